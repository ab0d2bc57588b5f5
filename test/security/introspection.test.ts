/**
 * R1, R2, R3, R5, R18, A4 at the introspection endpoint (RFC 7662): who may ask, what is said, and that nothing is said
 * of anything else. What it has in common with the revocation endpoint is asked of both.
 */
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { signAccessToken } from '../../src/tokens/access-token.ts';
import { claimsOf, headerOf, postForm } from '../support/token-client.ts';
import type { FormFields } from '../support/token-client.ts';
import {
  bearer,
  CALENDAR,
  expectErrorForm,
  expectGranted,
  expectRefused,
  MAIL,
  NOTES,
  requestIdOf,
  startCompany,
} from './company.ts';
import type { Company } from './company.ts';
import { askHop, expectActive, expectInactive, tokenFor, tokenOf } from './status.ts';

const ALONE = { as: null };
const ENDPOINTS = ['introspect', 'revoke'] as const;

let company: Company;
let database: Database;
/** Names of the statements that ran, in their order. */
let statements: string[] = [];
/** Nothing can be written: what a full disk does (F4). */
let isFull = false;

beforeAll(async () => {
  const logger = createLogger('silent');
  database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
  company = await startCompany({
    database: {
      ...database,
      query: (text, values, options) => {
        statements.push(options?.name ?? text);
        if (isFull && options?.name === 'commit-batch')
          return Promise.reject(new Unavailable('database', 'could not extend file: No space left on device'));
        return database.query(text, values, options);
      },
    },
  });
  await company.cambist.apply(OFFICE);
});
afterAll(async () => {
  await company.stop();
  await database.close();
});

/** Mail has a server of its own here, and the client `second` reads notes as whoever it speaks for. */
const OFFICE = `
clients: [{ id: mail-server, auth: [client_secret_basic] }]
resources:
  - name: mail
    uri: '${MAIL}'
    scopes: { 'mail:read': Read }
    default_scopes: ['mail:read']
    audience_group: office
    served_by: [mail-server]
policies:
  - id: second
    description: Its own tokens have no actor
    cedar: |
      permit (principal == Client::"second", action == Action::"impersonate", resource == Scope::"notes#notes:read");
`;

describe.each(ENDPOINTS)('the caller of /oauth2/%s', (endpoint) => {
  const ask = (form: FormFields, caller = {}) => company[endpoint](form, caller);

  it('R1 has authenticated (RFC 7662 §2.1, RFC 7009 §2.1)', async () => {
    const token = await tokenFor(company);
    await expectRefused(company, await ask({ token }, ALONE), {
      error: 'invalid_client',
      reason: 'client_authentication_missing',
    });
    const wrong = { as: null, headers: { authorization: `Basic ${btoa('notes-server:wrong')}` } };
    const answer = await ask({ token }, wrong);
    await expectRefused(company, answer, { error: 'invalid_client', reason: 'client_secret_wrong' });
    expect(answer.headers.get('www-authenticate')).toMatch(/^Basic /);
    const unknown = { as: null, headers: { authorization: `Basic ${btoa('nobody:wrong')}` } };
    await expectRefused(company, await ask({ token }, unknown), {
      error: 'invalid_client',
      reason: 'client_unknown',
    });
    await expectRefused(company, await ask({ token, client_id: 'notes-server' }, ALONE), {
      error: 'invalid_client',
      reason: 'client_authentication_missing',
    });
    expectActive(await company.introspect(token));
  });

  it('R1 may use every method that the metadata name', async () => {
    for (const [form, caller] of [
      [{}, { as: 'agent' }],
      [{ client_id: 'agent', client_secret: company.cambist.secretOf('agent') }, ALONE],
      [bearer(await company.assertion()), ALONE],
      [bearer(await company.podToken()), ALONE],
    ] as const)
      expect((await ask({ token: 'unknown', ...form }, caller)).status).toBe(200);
  });

  it('R2 uses exactly one method (RFC 6749 §2.3)', async () => {
    const secret = { client_id: 'agent', client_secret: company.cambist.secretOf('agent') };
    for (const [form, caller] of [
      [secret, { as: 'agent' }],
      [bearer(await company.assertion()), { as: 'agent' }],
      [{ ...secret, ...bearer(await company.assertion()) }, ALONE],
    ] as const)
      await expectRefused(company, await ask({ token: 'unknown', ...form }, caller), {
        error: 'invalid_request',
        reason: 'client_authentication_ambiguous',
        unauthenticated: true,
      });
    const other = { token: 'unknown', client_id: 'second', ...bearer(await company.assertion()) };
    await expectRefused(company, await ask(other, ALONE), { error: 'invalid_client', reason: 'client_id_mismatch' });
  });

  it('R3 signs its assertion for our issuer and nothing else', async () => {
    for (const aud of [`${company.cambist.issuer}/oauth2/${endpoint}`, `${company.cambist.issuer}/oauth2/token`])
      await expectRefused(company, await ask({ token: 'x', ...bearer(await company.assertion({ aud })) }, ALONE), {
        error: 'invalid_client',
        reason: 'client_assertion_invalid',
        detail: { fault: 'audience_mismatch' },
      });
  });

  it('R5 uses an assertion once, whatever the endpoints', async () => {
    const replayed = { error: 'invalid_client', reason: 'client_assertion_replayed', unauthenticated: false };
    const first = bearer(await company.assertion());
    expect((await ask({ token: 'x', ...first }, ALONE)).status).toBe(200);
    for (const again of [...ENDPOINTS, 'credentials'] as const) {
      const form = again === 'credentials' ? first : { token: 'x', ...first };
      const answer = await company[again](form, ALONE);
      await expectRefused(company, answer, replayed);
      // Who did not authenticate does not learn how the client stands with its limits.
      expect([answer.headers.get('ratelimit'), answer.headers.get('ratelimit-policy')]).toEqual([null, null]);
    }

    const second = bearer(await company.assertion());
    expectGranted(await company.credentials(second, ALONE));
    await expectRefused(company, await ask({ token: 'x', ...second }, ALONE), replayed);
  });

  it('is no client that was disabled', async () => {
    const token = await tokenFor(company);
    const as = endpoint === 'introspect' ? 'notes-server' : 'second';
    await company.cambist.disable('client', as);
    await expectRefused(company, await ask({ token }, { as }), {
      error: 'invalid_client',
      reason: 'client_disabled',
    }).finally(() => company.cambist.enable('client', as));
  });

  it('R6 sends a form, by POST, with nothing twice and nothing in the query', async () => {
    const url = `${company.cambist.url}/oauth2/${endpoint}`;
    const basic = ['notes-server', company.cambist.secretOf('notes-server')] as const;
    const malformed: [FormFields | string, Record<string, string>, string, string][] = [
      [{ token: ['x', 'x'] }, {}, '', 'parameter_duplicated'],
      [{ token: 'x', token_type_hint: ['a', 'b'] }, {}, '', 'parameter_duplicated'],
      [{ token: 'x' }, {}, '?token=x', 'parameter_in_query'],
      ['{"token":"x"}', { 'content-type': 'application/json' }, '', 'content_type_unsupported'],
      ['token=x', { 'content-type': 'text/plain' }, '', 'content_type_unsupported'],
    ];
    for (const [form, headers, query, reason] of malformed)
      await expectRefused(company, await postForm(url + query, form, { basic, headers }), {
        error: 'invalid_request',
        reason,
        unauthenticated: true,
      });
    for (const form of [{}, { token: '' }, { token_type_hint: 'access_token' }])
      await expectRefused(company, await ask(form, { as: 'agent' }), {
        error: 'invalid_request',
        reason: 'parameter_missing',
        detail: { parameter: 'token' },
      });
    const response = await fetch(`${url}?token=x`);
    const { status, headers } = response;
    const text = await response.text();
    expectErrorForm({ status, headers, text, body: JSON.parse(text) }, 405, 'invalid_request');
    expect(response.headers.get('allow')).toBe('POST');
    const large = await postForm(url, { token: 'x'.repeat(40_000) }, { basic });
    expectErrorForm(large, 413, 'invalid_request');
  });
});

describe('what a server of the audience is told', () => {
  it('every claim as it was signed, for whom and who acts (RFC 7662 §2.2, RFC 8693 §4.1)', async () => {
    const token = await tokenFor(company, { scope: 'notes:write' });
    expect(expectActive(await company.introspect(token))).toEqual({
      active: true,
      token_type: 'Bearer',
      ...claimsOf(token),
    });
    const hop = tokenOf(await askHop(company, token));
    expect(expectActive(await company.introspect(hop, { as: 'calendar-server' }))).toMatchObject({
      act: { sub: 'notes-server', act: { sub: 'agent' } },
      sub_id: { format: 'iss_sub', iss: company.corp.issuer, sub: 'ada' },
      aud: CALENDAR,
      client_id: 'notes-server',
    });
    const self = await company.credentials();
    const told = expectActive(await company.introspect(self.body.access_token));
    expect(told).toMatchObject({ sub: 'agent', client_id: 'agent' });
    expect(told).not.toHaveProperty('act');
  });

  it('a token of an audience group, to each of its servers and to no other', async () => {
    const fields = { resource: [CALENDAR, MAIL], scope: 'calendar:read mail:read' };
    const token = await tokenFor(company, fields);
    for (const as of ['calendar-server', 'mail-server'])
      expect(expectActive(await company.introspect(token, { as })).aud).toEqual([CALENDAR, MAIL]);
    expectInactive(await company.introspect(token, { as: 'notes-server' }));
    await company.cambist.disable('resource', 'calendar');
    try {
      expectInactive(await company.introspect(token, { as: 'calendar-server' }));
      expectActive(await company.introspect(token, { as: 'mail-server' }));
    } finally {
      await company.cambist.enable('resource', 'calendar');
    }
  });

  it('token_type_hint changes nothing (RFC 7662 §2.1)', async () => {
    const token = await tokenFor(company);
    for (const token_type_hint of ['access_token', 'refresh_token', 'nonsense'])
      expectActive(await company.introspect({ token, token_type_hint }));
  });

  it('R15 until its last second', async () => {
    const token = await tokenFor(company);
    const { exp } = claimsOf(token);
    try {
      company.holdClock(exp - 1);
      expectActive(await company.introspect(token));
      company.holdClock(exp);
      expectInactive(await company.introspect(token));
    } finally {
      company.holdClock(undefined);
    }
  });
});

describe('exactly {"active":false}', () => {
  it('R18 for who does not serve the audience: another server, the client that got the token, anybody', async () => {
    const token = await tokenFor(company);
    for (const as of ['calendar-server', 'agent', 'outsider', 'second'])
      expectInactive(await company.introspect(token, { as }));
    expectActive(await company.introspect(token));
  });

  it('R18 for a payload that was changed under a living jti, whoever signed it', async () => {
    const token = await tokenFor(company);
    const claims = claimsOf(token);
    const header = headerOf(token);
    const [, , signature = ''] = token.split('.');
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const written = (of: unknown) => Buffer.from(JSON.stringify(of)).toString('base64url');
    const changed = `${written(header)}.${written({ ...claims, scope: 'notes:purge' })}`;
    const signed = sign('sha256', Buffer.from(changed), { key: stranger, dsaEncoding: 'ieee-p1363' });
    for (const forged of [
      `${changed}.${signature}`,
      `${changed}.${signed.toString('base64url')}`,
      `${written({ ...header, alg: 'none' })}.${written(claims)}.`,
      `${written({ ...header, kid: 'other' })}.${token.split('.')[1] ?? ''}.${signature}`,
    ])
      expectInactive(await company.introspect(forged));
    expectActive(await company.introspect(token));
  });

  it('R18 the signature is checked before anything is looked up: a forgery costs what garbage costs', async () => {
    const token = await tokenFor(company);
    const [header = '', , signature = ''] = token.split('.');
    const claims = { ...claimsOf(token), aud: 'https://never-looked-up.example', client_id: 'nobody', jti: 'guess' };
    const forged = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`;
    const cost = async (of: string) => {
      statements = [];
      expectInactive(await company.introspect(of));
      return statements.filter((name) => name !== 'change-feed');
    };
    await cost('garbage');
    expect(await cost(forged)).toEqual(await cost('garbage'));
    statements = [];
    expectActive(await company.introspect(token));
    expect(statements).toContain('issued-find');
  });

  it('R10 for what is no access token of ours for a resource', async () => {
    const identity = await company.credentials({ resource: undefined });
    expectGranted(identity);
    const document = await (await fetch(`${company.cambist.url}/oauth2/revocations`)).text();
    for (const [what, token] of [
      ['an identity token, at its own client', identity.body.access_token],
      ['an ID token', await company.idToken()],
      ['an access token of a trusted issuer', await company.corp.mint({ sub: 'ada', aud: NOTES })],
      ['the revocation document', document],
      ['a client assertion', await company.assertion()],
      ['garbage', 'a.b.c'],
      ['nothing much', '.'],
      ['JSON', '{"payload":"x","signatures":[]}'],
      ['a very long text', 'x'.repeat(20_000)],
    ])
      for (const as of ['notes-server', 'agent'])
        expect((await company.introspect(token, { as })).text, what).toBe('{"active":false}');
  });

  it('for a token of ours that was never committed, however good its signature', async () => {
    const key = await company.cambist.service.keys.ring.signing('access-token', 'ES256');
    const claims = claimsOf(await tokenFor(company));
    expectInactive(await company.introspect(await signAccessToken({ ...claims, jti: randomUUID() }, key)));
    expectActive(await company.introspect(await signAccessToken(claims, key)));
  });

  it.each<[string, Kind, string]>([
    ['its subject', 'subject', 'corp:ada'],
    ['the issuer of its subject', 'issuer', 'corp'],
    ['its resource', 'resource', 'notes'],
    ['the client that got it', 'client', 'agent'],
  ])('A4 from the next request on when %s is disabled, and no longer when it is enabled', async (_, kind, name) => {
    const token = await tokenFor(company);
    expectActive(await company.introspect(token));
    await company.cambist.disable(kind, name);
    try {
      expectInactive(await company.introspect(token));
    } finally {
      await company.cambist.enable(kind, name);
    }
    expectActive(await company.introspect(token));
  });

  it('A4 when the client that got it is disabled, who is not in it', async () => {
    const token = await tokenFor(company, {}, { as: 'second' });
    expect(expectActive(await company.introspect(token))).not.toHaveProperty('act');
    await company.cambist.disable('client', 'second');
    try {
      expectInactive(await company.introspect(token));
    } finally {
      await company.cambist.enable('client', 'second');
    }
    expectActive(await company.introspect(token));
  });

  it('A4 when an earlier member of its chain is disabled, who did not ask for it', async () => {
    const hop = tokenOf(await askHop(company, await tokenFor(company, { scope: 'notes:write' })));
    const ask = () => company.introspect(hop, { as: 'calendar-server' });
    expectActive(await ask());
    await company.cambist.disable('client', 'agent');
    try {
      expectInactive(await ask());
    } finally {
      await company.cambist.enable('client', 'agent');
    }
    expectActive(await ask());
  });
});

describe('F4 while nothing can be written', () => {
  afterEach(() => {
    isFull = false;
  });

  it('introspection goes on, but for callers whose assertion would have to be marked as used: 503', async () => {
    const token = await tokenFor(company);
    const assertion = bearer(await company.assertion());
    isFull = true;
    expectActive(await company.introspect(token));
    expectInactive(await company.introspect('garbage'));
    const answer = await company.introspect({ token, ...assertion }, ALONE);
    expectErrorForm(answer, 503, 'temporarily_unavailable');
    expect(answer.headers.get('retry-after')).toBe('2');
    isFull = false;
    // It was not used up.
    expectInactive(await company.introspect({ token: 'x', ...assertion }, ALONE));
  });

  it('nothing is said to be revoked that is not', async () => {
    const token = await tokenFor(company);
    isFull = true;
    expectErrorForm(await company.revoke(token), 503, 'temporarily_unavailable');
    expect(await company.operations.revoke({ by: 'all' }).catch((error: unknown) => error)).toBeInstanceOf(Unavailable);
    isFull = false;
    expectActive(await company.introspect(token));
  });
});

describe('the record of an introspection', () => {
  it('is made where something was used up, and only there', async () => {
    const token = await tokenFor(company);
    expect(await company.cambist.records(requestIdOf(await company.introspect(token)))).toEqual([]);
    const answer = await company.introspect({ token, ...bearer(await company.assertion()) }, ALONE);
    const [record, ...more] = await company.cambist.records(requestIdOf(answer));
    expect(more).toEqual([]);
    expect(record?.body).toMatchObject({
      kind: 'introspected',
      endpoint: 'introspect',
      client: { id: 'agent', method: 'private_key_jwt' },
    });
    // The agent does not serve notes: it learns nothing, and nothing was looked up that could be recorded.
    expect(record?.body).not.toHaveProperty('token');
  });

  it('R23 neither it nor the log holds a token or a name', async () => {
    await company.cambist.apply(`
clients: [{ id: notes-signer, auth: [private_key_jwt], jwks: { keys: [${JSON.stringify(company.signer.keys[0]!.publicJwk)}] } }]
resources:
  - name: signed
    uri: 'https://signed.example/mcp'
    scopes: { 'signed:read': Read }
    default_scopes: ['signed:read']
    served_by: [notes-signer]
`);
    const subject_token = await company.idToken({ sub: 'canary-person', email: 'canary@corp.example' });
    const granted = await company.exchange({ subject_token, resource: 'https://signed.example/mcp' });
    expectGranted(granted);
    const token: string = granted.body.access_token;
    const mine = await company.assertion({ iss: 'notes-signer', sub: 'notes-signer' });
    const answer = await company.introspect({ token, ...bearer(mine) }, ALONE);
    expect(expectActive(answer).sub).toBe('corp:canary-person');
    const [record] = await company.cambist.records(requestIdOf(answer));
    expect(record?.body).toMatchObject({ kind: 'introspected', token: { jti: claimsOf(token).jti } });
    const written = `${record?.canonical ?? ''}\n${company.log.join('\n')}`;
    for (const secret of [...token.split('.').slice(1), ...mine.split('.').slice(1), 'canary-person', 'canary@'])
      expect(written).not.toContain(secret);
  });
});
