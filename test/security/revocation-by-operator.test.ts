/**
 * What an operator revokes: by subject, actor, client, resource, issuer, key, or everything, up to a moment. What was
 * issued until then is dead with the next request, as presented token, as actor token, as client assertion; what comes
 * after it lives. The clock of the node is held, the database's is real.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RevokeArguments } from '../../src/admin/revocation-operations.ts';
import { createLogger } from '../../src/core/log.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { principalDigest } from '../../src/tokens/revocation.ts';
import { claimsOf, headerOf } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import {
  bearer,
  CALENDAR,
  expectErrorForm,
  expectGranted,
  expectRefused,
  NOTES,
  POD,
  requestIdOf,
  startCompany,
  TYPE,
} from './company.ts';
import type { Company } from './company.ts';
import { askHop, expectActive, expectInactive, readDocument, tokenFor, tokenOf } from './status.ts';

/** The margin for clocks that are ahead, and the second that has begun. */
const MARGIN_SECONDS = 3;
const ALONE = { as: null };

let company: Company;
let database: Database;
beforeAll(async () => {
  const logger = createLogger('silent');
  database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
  company = await startCompany({ database });
});
afterAll(async () => {
  await company.stop();
  await database.close();
});
beforeEach(async () => {
  company.holdClock(undefined);
  await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
});

const nowSeconds = () => Math.floor(Date.now() / 1000);
const later = () => nowSeconds() + MARGIN_SECONDS + 5;

async function revoke(args: RevokeArguments): Promise<void> {
  const outcome = await company.operations.revoke(args);
  expect(outcome.ok, JSON.stringify(outcome)).toBe(true);
}

/** A request that is refused now and may be asked again: nothing that it could issue would live. */
async function expectTryLater(answer: TokenAnswer): Promise<void> {
  expectErrorForm(answer, 503, 'temporarily_unavailable');
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  const records = await company.cambist.records(requestIdOf(answer));
  expect(records.map(({ body }) => body.kind)).toEqual(['failed']);
}

/** A fresh ID token of Ada, by the clock of the node. */
const freshIdToken = (atSeconds: number) => company.idToken({}, { issuedInSeconds: atSeconds - nowSeconds() });

describe('one aim', () => {
  /** Ada through the agent, the hop of the notes server, Grace through another client, the agent for itself. */
  async function issued() {
    const ada = await tokenFor(company, { scope: 'notes:write' });
    const subject_token = await company.idToken({ sub: 'grace' });
    return {
      ada,
      hop: tokenOf(await askHop(company, ada)),
      grace: await tokenFor(company, { subject_token }, { as: 'second' }),
      self: tokenOf(await company.credentials()),
    };
  }
  type Names = keyof Awaited<ReturnType<typeof issued>>;

  it.each<[RevokeArguments, readonly Names[]]>([
    [{ by: 'subject', value: 'corp:ada' }, ['ada', 'hop']],
    [{ by: 'subject', value: 'agent' }, ['self']],
    [{ by: 'actor', value: 'agent' }, ['ada', 'hop']],
    [{ by: 'actor', value: 'notes-server' }, ['hop']],
    [{ by: 'client', value: 'agent' }, ['ada', 'hop', 'self']],
    [{ by: 'client', value: 'second' }, ['grace']],
    [{ by: 'resource', value: 'notes' }, ['ada', 'grace', 'self']],
    [{ by: 'resource', value: `${CALENDAR}/` }, ['hop']],
    [{ by: 'issuer', value: 'corp' }, ['ada', 'hop', 'grace']],
    [{ by: 'all' }, ['ada', 'hop', 'grace', 'self']],
  ])('%j kills what it names with the next request, and nothing else', async (args, dead) => {
    const tokens = await issued();
    const states = async () => {
      const active: Names[] = [];
      for (const name of Object.keys(tokens) as Names[]) {
        const as = name === 'hop' ? 'calendar-server' : 'notes-server';
        const answer = await company.introspect(tokens[name], { as });
        if (answer.body.active === true) active.push(name);
      }
      return active;
    };
    expect(await states()).toEqual(['ada', 'hop', 'grace', 'self']);
    await revoke(args);
    expect(await states()).toEqual(['ada', 'hop', 'grace', 'self'].filter((name) => !dead.includes(name as Names)));
    const hop = await askHop(company, tokens.ada);
    if (dead.includes('ada'))
      await expectRefused(company, hop, {
        error: 'invalid_request',
        reason: 'subject_token_revoked',
        detail: { revoked: args.by },
      });
    // The same lines decide at a server that verifies offline.
    const { predicates } = await readDocument(company.cambist);
    expect(predicates.map(({ kind }) => kind)).toEqual([args.by]);
  });

  it('key: what a key that signs no more has signed', async () => {
    const token = await tokenFor(company);
    const { kid } = headerOf(token);
    const refused = await company.operations.revoke({ by: 'key', value: kid });
    expect(refused).toMatchObject({ ok: false, problem: { title: expect.stringContaining('cambist keys taint') } });
    expectActive(await company.introspect(token));
    const { service } = company.cambist;
    const record = (await service.prepareChange([]))({});
    await service.revocationParts.commitRevocation(record, [
      { kind: 'key', value: kid, issuedUntil: null, lifetimeSeconds: 300 },
    ]);
    expectInactive(await company.introspect(token));
  });

  it('token: by jti, with what was exchanged from it; an ID token as records name it', async () => {
    const subject_token = await company.idToken();
    const first = await tokenFor(company, { subject_token, scope: 'notes:write' });
    const hop = tokenOf(await askHop(company, first));
    await revoke({ by: 'token', value: claimsOf(first).jti });
    expectInactive(await company.introspect(hop, { as: 'calendar-server' }));
    const second = await tokenFor(company, { subject_token });
    const [lineage] = await database.query<{ ancestors: string[] }>(
      'SELECT ancestors FROM issued_token WHERE jti = $1',
      [claimsOf(second).jti],
      { name: 'test-lineage' },
    );
    await revoke({ by: 'token', value: lineage?.ancestors[0] });
    expectInactive(await company.introspect(second));
    await expectRefused(company, await company.exchange({ subject_token }), {
      error: 'invalid_request',
      reason: 'subject_token_revoked',
      detail: { revoked: 'token' },
    });
  });

  it.each<[string, RevokeArguments]>([
    ['a jti that was never issued', { by: 'token', value: 'b6f3a9a4-0000-4000-8000-000000000000' }],
    ['an unknown client', { by: 'client', value: 'plannner' }],
    ['an unknown resource', { by: 'resource', value: 'nots' }],
    ['an unknown issuer', { by: 'issuer', value: 'crop' }],
    ['a person of an unknown issuer', { by: 'subject', value: 'crop:ada' }],
    ['an unknown key', { by: 'key', value: 'nokey' }],
    ['a name where none belongs', { by: 'all', value: 'corp' }],
    ['no name', { by: 'client' }],
    ['a time for a token', { by: 'token', value: 'x', issuedBefore: '2026-01-01T00:00:00Z' }],
    ['a time without its zone', { by: 'all', issuedBefore: '2026-01-01T00:00:00' }],
    ['a date', { by: 'all', issuedBefore: '2026-01-01' }],
    ['the epoch', { by: 'all', issuedBefore: '1970-01-01T00:00:00Z' }],
    ['the future', { by: 'all', issuedBefore: '2099-01-01T00:00:00Z' }],
  ])('is refused for %s, and nothing is revoked', async (_, args) => {
    expect(await company.operations.revoke(args)).toMatchObject({ ok: false });
    expect(await database.query('SELECT * FROM revocation', [], { name: 'test-look' })).toEqual([]);
  });

  it('has its record, in which a person is sealed', async () => {
    const [before] = await database.query<{ n: number }>('SELECT count(*)::int AS n FROM audit_record', [], {
      name: 'test-count',
    });
    await revoke({ by: 'subject', value: 'corp:ada' });
    const rows = await database.query<{ kind: string; text: string; persons: string[] }>(
      `SELECT kind, convert_from(canonical, 'UTF8') AS text, persons FROM audit_record ORDER BY recorded_at, id OFFSET $1`,
      [before?.n],
      { name: 'test-records' },
    );
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ kind: 'changed', persons: [expect.any(String)] });
    expect(rows[0]?.text).toContain('"action":"revoke"');
    // Not the bare name: a random reference can spell it by chance.
    expect(rows[0]?.text).not.toMatch(/corp|"ada"/);
  });
});

describe('issued before', () => {
  it('to the second: what was issued in the second before it is dead, what was issued in its own lives', async () => {
    const at = nowSeconds() - 60;
    const issueAt = async (seconds: number) => {
      company.holdClock(seconds);
      const subject_token = await company.idToken({}, { issuedInSeconds: -120 });
      return tokenFor(company, { subject_token, scope: 'notes:write' });
    };
    const [before, exact] = [await issueAt(at - 1), await issueAt(at)];
    company.holdClock(undefined);
    await revoke({ by: 'client', value: 'agent', issuedBefore: new Date(at * 1000).toISOString() });
    expectInactive(await company.introspect(before));
    expectActive(await company.introspect(exact));
    expectGranted(await askHop(company, exact));
    // Half a second later, the second of `exact` has begun before it.
    await revoke({ by: 'client', value: 'agent', issuedBefore: new Date(at * 1000 + 500).toISOString() });
    expectInactive(await company.introspect(exact));
  });

  it('until now: with a margin for clocks that are ahead, and not for ever', async () => {
    const now = nowSeconds();
    company.holdClock(now + 1);
    const ahead = tokenOf(await company.credentials());
    company.holdClock(undefined);
    await revoke({ by: 'client', value: 'agent' });
    expectInactive(await company.introspect(ahead));
    company.holdClock(later());
    expectActive(await company.introspect(tokenOf(await company.credentials())));
  });
});

describe('until the margin is over', () => {
  it.each<[RevokeArguments]>([
    [{ by: 'client', value: 'agent' }],
    [{ by: 'resource', value: 'notes' }],
    [{ by: 'all' }],
  ])('%j: a token would be born dead, so the caller is asked to come again', async (args) => {
    await revoke(args);
    await expectTryLater(await company.credentials());
    company.holdClock(later());
    expectActive(await company.introspect(tokenOf(await company.credentials())));
  });

  it('the ID token of a revoked subject is refused; of a later sign-in it is taken as soon as what it gives would live', async () => {
    const old = await company.idToken();
    await revoke({ by: 'subject', value: 'corp:ada' });
    const refused = { error: 'invalid_request', reason: 'subject_token_revoked', detail: { revoked: 'subject' } };
    await expectRefused(company, await company.exchange({ subject_token: old }), refused);
    const fresh = await freshIdToken(later());
    await expectTryLater(await company.exchange({ subject_token: fresh }));
    company.holdClock(later());
    expectActive(await company.introspect(await tokenFor(company, { subject_token: fresh })));
    await expectRefused(company, await company.exchange({ subject_token: old }), refused);
    // Nobody else was meant.
    expectGranted(await company.exchange({ subject_token: await company.idToken({ sub: 'grace' }) }));
  });
});

describe('what was removed or changed', () => {
  const client = (id: string) => `clients: [{ id: ${id}, auth: [client_secret_basic], groups: [agents] }]`;
  const issuerOf = (iss: string) =>
    JSON.stringify({
      issuers: [
        {
          name: 'passing',
          issuer: iss,
          jwks_uri: company.corp.jwksUri,
          internal: true,
          token_types: { jwt: {} },
          claims: { groups: 'groups' },
        },
      ],
      roles: [{ name: 'employee', groups: ['corp:staff', 'partner:staff', 'once:staff', 'passing:staff'] }],
    });
  const forIt = async () => ({ subject_token: await company.idToken({ aud: company.cambist.issuer }) });
  const remove = (kind: Kind, name: string) =>
    company.cambist.service.objects.change([{ type: 'remove', kind, name }], { author: 'test', origin: 'test' });
  const revokedValues = async () => {
    const { ok, value } = (await company.operations.listRevocations({})) as any;
    expect(ok).toBe(true);
    return value.predicates.map((one: { readonly value: string }) => one.value).sort();
  };

  it('a client: its tokens do not come back to life with it', async () => {
    await company.cambist.apply(client('passing'));
    const before = [
      await tokenFor(company, await forIt(), { as: 'passing' }),
      await tokenFor(company, await forIt(), { as: 'passing' }),
    ];
    await remove('client', 'passing');
    expectInactive(await company.introspect(before[0]!));
    await company.cambist.apply(client('passing'));
    // So they would without a revocation.
    expectActive(await company.introspect(before[0]!));
    await remove('client', 'passing');
    await revoke({ by: 'client', value: 'passing' });
    await company.cambist.apply(client('passing'));
    for (const token of before) expectInactive(await company.introspect(token));
  });

  it.each(['subject', 'actor'] as const)('a client that was removed, as %s', async (by) => {
    const id = `passing-${by}`;
    await company.cambist.apply(client(id));
    const own = tokenOf(await company.credentials({}, { as: id }));
    const ada = await tokenFor(company, await forIt(), { as: id });
    await remove('client', id);
    await revoke({ by, value: id });
    await company.cambist.apply(client(id));
    (by === 'subject' ? expectInactive : expectActive)(await company.introspect(own));
    (by === 'actor' ? expectInactive : expectActive)(await company.introspect(ada));
  });

  it.each<[RevokeArguments]>([[{ by: 'issuer', value: 'passing' }], [{ by: 'subject', value: 'passing:ada' }]])(
    'an issuer with another iss, or removed: %j',
    async (args) => {
      const [old, now] = ['https://old.example', 'https://now.example'];
      await company.cambist.apply(issuerOf(old));
      const jwt = await company.corp.mint({ iss: old, sub: 'ada', aud: company.cambist.issuer, groups: ['staff'] });
      const token = await tokenFor(company, { subject_token: jwt, subject_token_type: `${TYPE}jwt` });
      await company.cambist.apply(issuerOf(now));
      await revoke(args);
      const values = [old, now].map((iss) =>
        args.by === 'issuer' ? iss : principalDigest({ issuer: iss, sub: 'ada' }),
      );
      expect(await revokedValues()).toEqual(values.sort());
      await company.cambist.apply(issuerOf(old));
      expectInactive(await company.introspect(token));
      await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
      expectActive(await company.introspect(token));
      await remove('issuer', 'passing');
      await revoke(args);
      await company.cambist.apply(issuerOf(old));
      expectInactive(await company.introspect(token));
    },
  );

  it('a resource with another URI, or removed: by name, by the URI of now and by one that it had', async () => {
    const [old, now] = ['https://passing.example/old', 'https://passing.example/now'];
    const resource = (uri: string) =>
      `resources: [{ name: moved, uri: '${uri}', scopes: { 'p:read': Read }, default_scopes: ['p:read'] }]`;
    await company.cambist.apply(resource(old));
    await company.cambist.apply(resource(now));
    for (const [value, hit] of [
      ['moved', [now, old]],
      [now, [now]],
      [`${old}/`, [now, old]],
    ] as const) {
      await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
      await revoke({ by: 'resource', value });
      expect(await revokedValues(), value).toEqual(hit);
    }
    // Kept as an alias, as whoever moves a server does.
    const aliased = JSON.stringify({
      resources: [
        { name: 'moved', uri: now, aliases: [old], scopes: { 'p:read': 'Read' }, default_scopes: ['p:read'] },
      ],
    });
    await company.cambist.apply(aliased);
    await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
    await revoke({ by: 'resource', value: old });
    expect(await revokedValues()).toEqual([now, old]);
    await remove('resource', 'moved');
    for (const value of ['moved', now, old]) {
      await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
      await revoke({ by: 'resource', value });
      expect(await revokedValues(), value).toEqual([now, old]);
    }
    expect(await company.operations.revoke({ by: 'resource', value: 'https://passing.example/never' })).toMatchObject({
      ok: false,
    });
  });

  it('an upstream, by name and by its egress URI', async () => {
    await company.cambist.apply(`
upstreams:
  - name: gone
    base_url: 'https://api.example'
    scopes: { 'p:use': Use }
    requests: [{ methods: ['*'], path: '/**', scopes: ['p:use'] }]
    credential: { kind: static, store: embedded, path: gone, field: token }
`);
    await remove('upstream', 'gone');
    const uri = `${company.cambist.issuer}/egress/gone`;
    for (const value of ['gone', uri, `${uri}/`]) {
      await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
      await revoke({ by: 'resource', value });
      expect(await revokedValues(), value).toEqual([uri]);
    }
    expect(await company.operations.revoke({ by: 'resource', value: `${uri}x` })).toMatchObject({ ok: false });
  });
});

describe('what proves who somebody is', () => {
  const assertionAt = (seconds: number) => company.assertion({}, { issuedInSeconds: seconds - nowSeconds() });
  const revokedAssertion = {
    error: 'invalid_client',
    reason: 'client_assertion_invalid',
    detail: { fault: 'revoked' },
  };

  it('an actor token is refused as one', async () => {
    const actor = { actor_token: tokenOf(await company.credentials({ resource: undefined })) };
    const form = { ...actor, actor_token_type: `${TYPE}access_token` };
    expectGranted(await company.exchange(form));
    await revoke({ by: 'subject', value: 'agent' });
    await expectRefused(company, await company.exchange(form), {
      error: 'invalid_request',
      reason: 'actor_token_revoked',
      detail: { revoked: 'subject' },
    });
  });

  it.each<[RevokeArguments]>([[{ by: 'client', value: 'agent' }], [{ by: 'all' }]])(
    '%j takes assertions that the client signed before, and not its secret',
    async (args) => {
      const before = await company.assertion();
      const timeless = await company.assertion({ iat: undefined });
      await revoke(args);
      for (const assertion of [before, timeless])
        await expectRefused(company, await company.credentials(bearer(assertion), ALONE), revokedAssertion);
      company.holdClock(later());
      expectGranted(await company.credentials(bearer(await assertionAt(later())), ALONE));
      expectGranted(await company.credentials());
    },
  );

  it('the token of a platform is refused by its subject and by its issuer, and taken by "all", as a secret is', async () => {
    const form = bearer(await company.podToken());
    for (const args of [
      { by: 'subject', value: `kubernetes:${POD}` },
      { by: 'issuer', value: 'kubernetes' },
    ] as const) {
      const given = tokenOf(await company.credentials(form, ALONE));
      await revoke(args);
      await expectRefused(company, await company.credentials(form, ALONE), revokedAssertion);
      // By the workload, the client that it is bound to.
      if (args.by === 'subject') expectInactive(await company.introspect(given));
      await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
    }
    await revoke({ by: 'all' });
    company.holdClock(later());
    expectGranted(await company.credentials(form, ALONE));
  });

  it('one that may be used once is refused by "all" as well', async () => {
    const job = await company.once.mint({ sub: 'job-1', aud: company.cambist.issuer });
    await revoke({ by: 'all' });
    await expectRefused(company, await company.credentials(bearer(job), ALONE), revokedAssertion);
  });

  it('a subject token of a trusted issuer without iat counts as issued as early as it can have been', async () => {
    const mint = () =>
      company.once.mint({ sub: 'grace', aud: company.cambist.issuer, groups: ['staff'], iat: undefined });
    const form = async () => ({ subject_token: await mint(), subject_token_type: `${TYPE}jwt`, resource: NOTES });
    expectGranted(await company.exchange(await form()));
    await revoke({ by: 'issuer', value: 'once' });
    company.holdClock(later());
    expect((await company.exchange(await form())).body.error).toBe('invalid_request');
  });
});
