/**
 * What a presented token is worth: R6 (its errors), R9, R10, R13, R15, R17, A1 and A3 of the security reference, for
 * subject and actor tokens. How tokens are written is in `token-format.test.ts`.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { claimsOf, headerOf } from '../support/token-client.ts';
import { bearer, CALENDAR, expectGranted, expectRefused, NOTES, signClaims, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());
afterEach(() => {
  company.holdClock(undefined);
});

const ID = `${TYPE}id_token`;
const ACCESS = `${TYPE}access_token`;
const JWT = `${TYPE}jwt`;
const bad = (reason: string, detail?: Record<string, unknown>) => ({
  error: 'invalid_request',
  reason,
  ...(detail === undefined ? {} : { detail }),
});
const NOT_MEANT = bad('subject_token_not_meant_for_client');

/** A token of ours for a resource, as `agent` gets it for Ada. */
async function ownToken(fields: Record<string, string> = {}): Promise<string> {
  const answer = await company.exchange(fields);
  expectGranted(answer);
  return answer.body.access_token;
}

describe('A1 R6 a subject token is there, once, with its type (CVE-2026-9704)', () => {
  it('A1 missing, empty, blank or duplicated → 400; the client itself is never the subject instead', async () => {
    const token = await company.idToken();
    expect(expectGranted(await company.exchange({ subject_token: token })).sub).toBe('corp:ada');
    const missing = bad('parameter_missing', { parameter: 'subject_token' });
    await expectRefused(company, await company.exchange({ subject_token: undefined }), missing);
    await expectRefused(company, await company.exchange({ subject_token: '' }), missing);
    const neither = { subject_token: undefined, subject_token_type: undefined };
    await expectRefused(company, await company.exchange(neither), missing);
    const both = { subject_token: '', subject_token_type: '' };
    await expectRefused(company, await company.exchange(both), missing);
    for (const blank of [' ', '   ', '\u00a0', 'null', 'undefined', '.', '..', '{}'])
      await expectRefused(
        company,
        await company.exchange({ subject_token: blank }),
        bad('subject_token_invalid', { fault: 'malformed' }),
      );
    for (const twice of [
      [token, token],
      [token, ''],
      ['', token],
    ])
      await expectRefused(company, await company.exchange({ subject_token: twice }), {
        ...bad('parameter_duplicated'),
        unauthenticated: true,
      });
  });

  it('R6 the type of a token is required with it and refused without it (RFC 8693 §2.1)', async () => {
    expectGranted(await company.exchange());
    await expectRefused(
      company,
      await company.exchange({ subject_token_type: undefined }),
      bad('parameter_missing', { parameter: 'subject_token_type' }),
    );
    await expectRefused(
      company,
      await company.exchange({ actor_token_type: JWT }),
      bad('parameter_missing', { parameter: 'actor_token' }),
    );
    await expectRefused(
      company,
      await company.exchange({ actor_token: await company.idToken() }),
      bad('parameter_missing', { parameter: 'actor_token_type' }),
    );
  });

  it('R6 unknown token types → invalid_request, unknown parameters are ignored (RFC 6749 §3.2)', async () => {
    expectGranted(await company.exchange({ unknown: 'x', id_token_hint: 'y', requested_token_type: JWT }));
    for (const type of ['refresh_token', 'saml2', 'id-jag', 'ID_TOKEN', 'constructor'])
      await expectRefused(
        company,
        await company.exchange({ subject_token_type: TYPE + type }),
        bad('token_type_unsupported'),
      );
    for (const type of ['__proto__', 'toString', 'id_token'])
      await expectRefused(company, await company.exchange({ subject_token_type: type }), bad('token_type_unsupported'));
    for (const type of [`${TYPE}refresh_token`, ID, 'access_token', `${TYPE}saml2`])
      await expectRefused(
        company,
        await company.exchange({ requested_token_type: type }),
        bad('requested_token_type_unsupported'),
      );
  });
});

describe('R9 A3 a subject token must be meant for us or for the requesting client', () => {
  it('A3 a valid signature with another audience is refused, as a string or in a list', async () => {
    for (const aud of ['portal', ['portal'], ['other', 'portal'], company.cambist.issuer])
      expectGranted(await company.exchange({ subject_token: await company.idToken({ aud }) }));
    for (const aud of ['other', ['other'], ['other', 'third'], 'portal2', 'Portal', 'portal/', 'agent', NOTES])
      await expectRefused(
        company,
        await company.exchange({ subject_token: await company.idToken({ aud }) }),
        NOT_MEANT,
      );
    for (const [aud, fault] of [
      [undefined, 'claim_missing'],
      ['', 'claim_invalid'],
      [[], 'claim_invalid'],
      [['portal', 7], 'claim_invalid'],
      [{ portal: true }, 'claim_invalid'],
    ] as const)
      await expectRefused(
        company,
        await company.exchange({ subject_token: await company.idToken({ aud }) }),
        bad('subject_token_invalid', { fault, claim: 'aud' }),
      );
  });

  it('R9 an audience may be presented only by the clients that the trusted issuer names for it', async () => {
    expectGranted(await company.exchange({}, { as: 'second' }));
    await expectRefused(company, await company.exchange({}, { as: 'outsider' }), NOT_MEANT);
    // A token for Cambist itself may be presented by anybody here, unless its issuer lists its clients.
    const forUs = await company.idToken({ aud: company.cambist.issuer });
    expectGranted(await company.exchange({ subject_token: forUs }, { as: 'outsider' }));
    const partner = await company.partner.mint({ sub: 'grace', aud: company.cambist.issuer, groups: ['staff'] });
    expectGranted(await company.exchange({ subject_token: partner }));
    await expectRefused(company, await company.exchange({ subject_token: partner }, { as: 'second' }), NOT_MEANT);
  });

  it('R9 an identity token is good only in the hands of its own client, as subject and as actor', async () => {
    const identity = await company.credentials({ resource: undefined });
    expect(expectGranted(identity)).toMatchObject({ aud: company.cambist.issuer, sub: 'agent', client_id: 'agent' });
    const token = identity.body.access_token as string;
    const asSubject = { subject_token: token, subject_token_type: ACCESS };
    expectGranted(await company.exchange(asSubject));
    await expectRefused(company, await company.exchange(asSubject, { as: 'second' }), NOT_MEANT);
    const asActor = { actor_token: token, actor_token_type: ACCESS };
    expect(expectGranted(await company.exchange(asActor)).act).toMatchObject({ sub: 'agent' });
    await expectRefused(
      company,
      await company.exchange(asActor, { as: 'second' }),
      bad('actor_token_not_meant_for_client'),
    );
  });

  it('R9 a token for a resource is a subject token only for the clients that serve that resource', async () => {
    const token = await ownToken({ scope: 'notes:write' });
    const hop = { subject_token: token, subject_token_type: ACCESS, resource: CALENDAR };
    expect(expectGranted(await company.exchange(hop, { as: 'notes-server' })).sub).toBe('corp:ada');
    for (const as of ['agent', 'second', 'calendar-server', 'outsider'])
      await expectRefused(company, await company.exchange(hop, { as }), NOT_MEANT);
    // For its own resource as well: the agent that got it cannot extend it.
    await expectRefused(company, await company.exchange({ ...hop, resource: NOTES }), NOT_MEANT);
  });

  it('R9 the issued token is never the input, and a token that was never issued is refused', async () => {
    const input = await company.idToken({ aud: company.cambist.issuer });
    const answer = await company.exchange({ subject_token: input });
    const out = expectGranted(answer);
    expect(answer.body.access_token).not.toBe(input);
    expect(out.jti).not.toBe(claimsOf(input).jti);
    expect(out.aud).toBe(NOTES);
    // A self exchange of an identity token is a new token too.
    const identity = await company.credentials({ resource: undefined });
    const again = await company.exchange({ subject_token: identity.body.access_token, subject_token_type: ACCESS });
    expect(expectGranted(again).jti).not.toBe(claimsOf(identity.body.access_token).jti);
  });
});

describe('R10 kinds of tokens are not confused (RFC 8725 §3.11)', () => {
  it('R10 typ × declared type: what is off the diagonal is refused', async () => {
    const at = { header: { typ: 'at+jwt' } };
    const identity = (await company.credentials({ resource: undefined })).body.access_token as string;
    const pod = await company.podToken();
    const accessToken = await company.corp.mint({ sub: 'ada', aud: 'portal', scope: 'x', groups: ['staff'] }, at);
    const rows: readonly [name: string, token: string, accepted: readonly string[]][] = [
      ['an ID token', await company.idToken(), [ID, JWT]],
      ['an ID token without typ', await company.idToken({}, { header: { typ: undefined } }), [ID, JWT]],
      ['an access token (RFC 9068)', accessToken, [ACCESS, JWT]],
      ['an access token with typ JWT', await company.idToken({ scope: 'read' }), []],
      [
        'a logout token',
        await company.idToken({ events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }),
        [],
      ],
      ['an ID-JAG', await company.idToken({}, { header: { typ: 'oauth-id-jag+jwt' } }), []],
      ['a DPoP proof', await company.idToken({}, { header: { typ: 'dpop+jwt' } }), []],
      ['a Keycloak bearer token', await company.idToken({ typ: 'Bearer' }), []],
      ['a service account token', pod, [JWT]],
      ['an identity token of ours', identity, [ACCESS, JWT]],
    ];
    for (const [name, token, accepted] of rows)
      for (const type of [ID, ACCESS, JWT]) {
        const answer = await company.exchange({ subject_token: token, subject_token_type: type });
        expect(answer.status, `${name} as ${type}: ${answer.text}`).toBe(accepted.includes(type) ? 200 : 400);
        if (accepted.includes(type)) continue;
        await expectRefused(company, answer, bad('subject_token_invalid'));
      }
  });

  it('R10 a kind that the trusted issuer does not list is refused, as actor token too', async () => {
    const partner = { aud: company.cambist.issuer, sub: 'grace', groups: ['staff'] };
    const listed = await company.partner.mint(partner);
    expectGranted(await company.exchange({ subject_token: listed, subject_token_type: JWT }));
    const unlisted = await company.partner.mint(partner, { header: { typ: 'at+jwt' } });
    for (const type of [ACCESS, JWT])
      await expectRefused(
        company,
        await company.exchange({ subject_token: unlisted, subject_token_type: type }),
        bad('subject_token_invalid', { fault: 'type_not_allowed' }),
      );
    await expectRefused(
      company,
      await company.exchange({ actor_token: unlisted, actor_token_type: ACCESS }),
      bad('actor_token_invalid', { fault: 'type_not_allowed' }),
    );
  });

  it('R10 a token that we issued has typ at+jwt and is never signed as anything else', async () => {
    expect(headerOf(await ownToken())).toMatchObject({ typ: 'at+jwt', alg: 'ES256' });
  });
});

describe('R13 issuer and keys belong together; principals are (issuer, sub)', () => {
  it("R13 one trusted issuer's key cannot sign for another", async () => {
    expectGranted(await company.exchange({ subject_token: await company.idToken() }));
    const { kubernetes, corp } = company;
    const ada = claimsOf(await company.idToken());
    await expectRefused(
      company,
      await company.exchange({ subject_token: signClaims(kubernetes, ada) }),
      bad('subject_token_invalid', { fault: 'key_unknown' }),
    );
    await expectRefused(
      company,
      await company.exchange({ subject_token: signClaims(kubernetes, ada, { kid: corp.keys[0]!.kid }) }),
      bad('subject_token_invalid', { fault: 'signature_invalid' }),
    );
  });

  it('R13 iss is compared exactly', async () => {
    const { issuer } = company.corp;
    for (const iss of [
      `${issuer}/`,
      issuer.toUpperCase(),
      'https://elsewhere.example',
      `${issuer}?`,
      issuer.slice(0, -1),
    ])
      await expectRefused(
        company,
        await company.exchange({ subject_token: await company.idToken({ iss }) }),
        bad('subject_token_issuer_unknown'),
      );
    for (const iss of [undefined, '', 7, [issuer]])
      await expectRefused(
        company,
        await company.exchange({ subject_token: await company.idToken({ iss }) }),
        bad('subject_token_invalid', { fault: 'claim_missing', claim: 'iss' }),
      );
  });

  it('R13 sub is a non-empty string', async () => {
    for (const [sub, fault] of [
      [undefined, 'claim_missing'],
      ['', 'claim_invalid'],
      [7, 'claim_invalid'],
      [{ id: 'ada' }, 'claim_invalid'],
      [['ada'], 'claim_invalid'],
      ['ada\n', 'claim_invalid'],
      ['a'.repeat(1025), 'claim_invalid'],
    ] as const) {
      const token = signClaims(company.corp, { ...claimsOf(await company.idToken()), sub });
      await expectRefused(
        company,
        await company.exchange({ subject_token: token }),
        bad('subject_token_invalid', { fault, claim: 'sub' }),
      );
    }
  });

  it("R13 a user's sub cannot pass for a client of ours", async () => {
    const grace = { aud: company.cambist.issuer, groups: ['staff'] };
    const verbatim = (sub: string) => company.partner.mint({ ...grace, sub });
    expect(expectGranted(await company.exchange({ subject_token: await verbatim('grace') })).sub).toBe('grace');
    const taken = bad('subject_name_taken');
    for (const sub of ['agent', 'notes-server', 'corp:ada'])
      await expectRefused(company, await company.exchange({ subject_token: await verbatim(sub) }), taken);
    // With a prefix it is somebody else, and acts through the client like anybody.
    const prefixed = expectGranted(await company.exchange({ subject_token: await company.idToken({ sub: 'agent' }) }));
    expect(prefixed).toMatchObject({ sub: 'corp:agent', act: { sub: 'agent' } });
  });

  it('R13 a subject of the same name at two issuers is two subjects', async () => {
    const partner = await company.partner.mint({ sub: 'ada', aud: company.cambist.issuer, groups: ['staff'] });
    const two = [
      expectGranted(await company.exchange()),
      expectGranted(await company.exchange({ subject_token: partner })),
    ];
    expect(two.map((claims) => claims.sub_id.iss)).toEqual([company.corp.issuer, company.partner.issuer]);
    expect(two.map((claims) => claims.sub)).toEqual(['corp:ada', 'ada']);
  });

  it('R13 a groups claim that only points elsewhere is not "no groups"', async () => {
    expectGranted(await company.exchange());
    for (const overage of [{ _claim_names: { groups: 'src1' } }, { hasgroups: true }])
      await expectRefused(
        company,
        await company.exchange({ subject_token: await company.idToken({ groups: undefined, ...overage }) }),
        bad('subject_token_invalid', { fault: 'groups_overage' }),
      );
  });
});

describe('R15 times (RFC 7519 §4.1.4 to §4.1.6)', () => {
  const now = Math.floor(Date.now() / 1000) + 100;
  const at = (times: Record<string, unknown>) =>
    signClaims(company.corp, { iss: company.corp.issuer, sub: 'ada', aud: 'portal', groups: ['staff'], ...times });

  it('R15 the boundary table: iat and nbf up to 10 s ahead, exp without leeway, lifetime within the cap', async () => {
    company.holdClock(now);
    for (const times of [
      { iat: now, exp: now + 300 },
      { iat: now + 10, exp: now + 300 },
      { iat: now, nbf: now + 10, exp: now + 300 },
      { iat: now - 300, exp: now + 1 },
      { iat: now, exp: now + 86400 },
    ])
      expectGranted(await company.exchange({ subject_token: at(times) }));
    for (const [times, fault] of [
      [{ iat: now + 11, exp: now + 300 }, 'issued_in_future'],
      [{ iat: now, nbf: now + 11, exp: now + 300 }, 'not_yet_valid'],
      [{ iat: now - 300, exp: now }, 'expired'],
      [{ iat: now - 300, exp: now - 1 }, 'expired'],
      [{ iat: now, exp: now + 86401 }, 'lifetime_too_long'],
      [{ iat: now - 86400, exp: now + 1 }, 'lifetime_too_long'],
      [{ iat: now }, 'claim_missing'],
      [{ exp: now + 300 }, 'claim_missing'],
      [{ iat: now, exp: now + 300.5 }, 'claim_invalid'],
      [{ iat: now, exp: String(now + 300) }, 'claim_invalid'],
      [{ iat: now, exp: 2 ** 53 }, 'claim_invalid'],
      [{ iat: now, exp: 1e308 }, 'claim_invalid'],
      [{ iat: -1, exp: now + 300 }, 'claim_invalid'],
      [{ iat: now, exp: null }, 'claim_invalid'],
      [{ iat: now, nbf: 'x', exp: now + 300 }, 'claim_invalid'],
    ] as const)
      await expectRefused(
        company,
        await company.exchange({ subject_token: at(times) }),
        bad('subject_token_invalid', { fault }),
      );
  });

  it('R15 our own tokens expire to the second as subject tokens', async () => {
    const token = await ownToken({ scope: 'notes:write' });
    const { exp } = claimsOf(token);
    const hop = { subject_token: token, subject_token_type: ACCESS, resource: CALENDAR };
    company.holdClock(exp - 1);
    expect(expectGranted(await company.exchange(hop, { as: 'notes-server' })).exp).toBe(exp);
    company.holdClock(exp);
    await expectRefused(
      company,
      await company.exchange(hop, { as: 'notes-server' }),
      bad('subject_token_invalid', { fault: 'expired' }),
    );
  });

  it('R7 what is issued ends with its subject token and its actor token', async () => {
    company.holdClock(now);
    const short = at({ iat: now, exp: now + 42 });
    expect(expectGranted(await company.exchange({ subject_token: short })).exp).toBe(now + 42);
    const pod = signClaims(company.kubernetes, {
      ...claimsOf(await company.podToken()),
      iat: now,
      exp: now + 17,
    });
    const assertion = bearer(await company.podToken({ iat: now, exp: now + 600 }));
    const fields = { subject_token: at({ aud: company.cambist.issuer, iat: now, exp: now + 300 }) };
    const answer = await company.exchange(
      { ...fields, ...assertion, actor_token: pod, actor_token_type: JWT },
      { as: null },
    );
    expect(expectGranted(answer)).toMatchObject({ exp: now + 17, act: { sub: 'pod' } });
  });
});

describe('R17 audience and binding', () => {
  it('R17 a bound subject or actor token is refused while binding is not supported', async () => {
    const cnf = { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' };
    expectGranted(await company.exchange());
    for (const bound of [cnf, { 'x5t#S256': 'x' }, {}, null]) {
      const token = signClaims(company.corp, { ...claimsOf(await company.idToken()), cnf: bound });
      await expectRefused(company, await company.exchange({ subject_token: token }), bad('subject_token_bound'));
      const actor = { actor_token: token, actor_token_type: ID };
      await expectRefused(company, await company.exchange(actor), bad('actor_token_bound'));
    }
    const assertion = bearer(await company.podToken({ cnf }));
    await expectRefused(company, await company.credentials(assertion, { as: null }), {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'bound' },
    });
  });

  it('R17 a token is for the one audience that was asked for, whatever the alias', async () => {
    for (const resource of [NOTES, `${NOTES}/`, 'https://notes.example/api', 'HTTPS://NOTES.example:443/mcp'])
      expect(expectGranted(await company.exchange({ resource })).aud).toBe(NOTES);
    expect(expectGranted(await company.exchange({ resource: undefined, audience: 'notes' })).aud).toBe(NOTES);
  });
});
