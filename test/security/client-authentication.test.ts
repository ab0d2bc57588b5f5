/**
 * Who is calling: R1 to R3 of the security reference, and what a client assertion may and may not be, for every method
 * that there is. Replayed assertions are in `replay.test.ts`, disabled clients in `disabled.test.ts`.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { basicHeader } from '../support/token-client.ts';
import { bearer, EXCHANGE, expectGranted, expectRefused, JWT_SPIFFE, NOTES, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());

const ALONE = { as: null };
const invalid = (fault: string) => ({
  error: 'invalid_client',
  reason: 'client_assertion_invalid',
  detail: { fault },
});

describe('R1 every grant needs client authentication (RFC 8693 §2.1)', () => {
  it('R1 client credentials without authentication → 401 invalid_client', async () => {
    expectGranted(await company.credentials());
    const answer = await company.credentials({}, ALONE);
    await expectRefused(company, answer, { error: 'invalid_client', reason: 'client_authentication_missing' });
    expect(answer.headers.get('www-authenticate')).toBeNull();
  });

  it('R1 token exchange without authentication, or with a bare client_id → 401 invalid_client', async () => {
    expectGranted(await company.exchange());
    const expected = { error: 'invalid_client', reason: 'client_authentication_missing' };
    await expectRefused(company, await company.exchange({}, ALONE), expected);
    await expectRefused(company, await company.exchange({ client_id: 'agent' }, ALONE), expected);
  });

  it('R1 a grant that does not exist says nothing to who is not authenticated', async () => {
    const unknown = { grant_type: 'password', username: 'ada', password: 'x' };
    await expectRefused(company, await company.credentials(unknown, ALONE), {
      error: 'invalid_client',
      reason: 'client_authentication_missing',
    });
    await expectRefused(company, await company.credentials(unknown), {
      error: 'unsupported_grant_type',
      reason: 'grant_unsupported',
    });
  });

  it('R1 a wrong secret, an unknown client and a method that the client does not have read alike', async () => {
    const secret = company.cambist.secretOf('agent');
    expectGranted(await company.credentials({ client_id: 'agent', client_secret: secret }, ALONE));
    const wrong = await company.credentials({ client_id: 'agent', client_secret: `${secret}x` }, ALONE);
    await expectRefused(company, wrong, { error: 'invalid_client', reason: 'client_secret_wrong' });
    const unknown = await company.credentials({ client_id: 'nobody', client_secret: secret }, ALONE);
    await expectRefused(company, unknown, { error: 'invalid_client', reason: 'client_unknown' });
    const method = await company.credentials({}, { as: 'poster' });
    await expectRefused(company, method, { error: 'invalid_client', reason: 'client_method_not_allowed' });
    expect(wrong.text).toBe(unknown.text);
    expect(method.text).toBe(unknown.text);
  });

  it("R1 one client's secret is worth nothing under another client's id", async () => {
    const secret = company.cambist.secretOf('second');
    expectGranted(await company.credentials({}, { as: 'second' }));
    const answer = await company.credentials({ client_id: 'agent', client_secret: secret }, ALONE);
    await expectRefused(company, answer, { error: 'invalid_client', reason: 'client_secret_wrong' });
  });

  it('R1 an Authorization header that is not well-formed Basic is no authentication', async () => {
    const secret = company.cambist.secretOf('agent');
    const encode = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    expectGranted(await company.credentials({}, { as: null, headers: { authorization: encode(`agent:${secret}`) } }));
    for (const authorization of [
      `Bearer ${secret}`,
      'Basic',
      'Basic !!!',
      encode('agent'),
      encode(`:${secret}`),
      encode('agent:'),
      encode(`agent:%zz${secret}`),
    ]) {
      const answer = await company.credentials({}, { as: null, headers: { authorization } });
      await expectRefused(company, answer, { error: 'invalid_client', reason: 'client_authentication_missing' });
      expect(answer.headers.get('www-authenticate')).toBe('Basic realm="cambist", charset="UTF-8"');
    }
  });
});

describe('R2 exactly one authentication method (RFC 6749 §2.3)', () => {
  const ambiguous = { error: 'invalid_request', reason: 'client_authentication_ambiguous', unauthenticated: true };

  it('R2 two authentication methods → 400 invalid_request (RFC 6749 §2.3)', async () => {
    const secret = company.cambist.secretOf('agent');
    const body = { client_id: 'agent', client_secret: secret };
    const basic = { as: null, headers: { authorization: basicHeader('agent', secret) } };
    expectGranted(await company.exchange(body, ALONE));
    expectGranted(await company.exchange({}, basic));
    expectGranted(await company.exchange(bearer(await company.assertion()), ALONE));
    await expectRefused(company, await company.exchange(body, basic), ambiguous);
    await expectRefused(company, await company.exchange(bearer(await company.assertion()), basic), ambiguous);
    const both = { ...body, ...bearer(await company.assertion()) };
    await expectRefused(company, await company.exchange(both, ALONE), ambiguous);
  });

  it('R2 half a second method counts as one: a secret without client_id, an assertion type without assertion', async () => {
    const secret = company.cambist.secretOf('agent');
    const type = bearer('x')['client_assertion_type'];
    await expectRefused(company, await company.exchange({ client_secret: secret }), ambiguous);
    await expectRefused(company, await company.exchange({ client_assertion_type: type }), ambiguous);
    await expectRefused(company, await company.exchange({ client_assertion: 'x' }), ambiguous);
  });

  it('R2 A5 an unverified assertion beside a valid secret changes nothing: it is refused (CVE-2026-16093)', async () => {
    const forged = await company.assertion({ sub: 'notes-server', iss: 'notes-server' });
    await expectRefused(company, await company.credentials(bearer(forged)), ambiguous);
  });

  it('R2 client_id in the body must be the one that the credential proves, whatever the method → 401', async () => {
    const mismatch = { error: 'invalid_client', reason: 'client_id_mismatch' };
    expectGranted(await company.credentials({ client_id: 'agent' }));
    await expectRefused(company, await company.credentials({ client_id: 'second' }), mismatch);
    expectGranted(await company.credentials({ client_id: 'agent', ...bearer(await company.assertion()) }, ALONE));
    const other = { client_id: 'second', ...bearer(await company.assertion()) };
    await expectRefused(company, await company.credentials(other, ALONE), mismatch);
    expectGranted(await company.credentials({ client_id: 'pod', ...bearer(await company.podToken()) }, ALONE));
    const pod = { client_id: 'agent', ...bearer(await company.podToken()) };
    await expectRefused(company, await company.credentials(pod, ALONE), mismatch);
  });
});

describe("R3 an assertion's audience is our issuer as sole value (draft-ietf-oauth-rfc7523bis)", () => {
  it('R3 anything but our issuer alone → 401; a one-element array is fine', async () => {
    const { issuer } = company.cambist;
    for (const aud of [issuer, [issuer]])
      expectGranted(await company.credentials(bearer(await company.assertion({ aud })), ALONE));
    for (const aud of [
      `${issuer}/oauth2/token`,
      [`${issuer}/oauth2/token`],
      `${issuer}/`,
      issuer.toUpperCase(),
      [issuer, 'https://other.example'],
      [issuer, `${issuer}/oauth2/token`],
      'https://other.example',
    ]) {
      const answer = await company.credentials(bearer(await company.assertion({ aud })), ALONE);
      await expectRefused(company, answer, invalid('audience_mismatch'));
    }
    for (const [aud, fault] of [
      [undefined, 'claim_missing'],
      ['', 'claim_invalid'],
      [[], 'claim_invalid'],
      [[issuer, issuer], 'claim_invalid'],
      [{ [issuer]: true }, 'claim_invalid'],
    ] as const) {
      const answer = await company.credentials(bearer(await company.assertion({ aud })), ALONE);
      await expectRefused(company, answer, invalid(fault));
    }
  });

  it('R3 the token endpoint is an audience only for a client that is allowed it', async () => {
    const aud = `${company.cambist.issuer}/oauth2/token`;
    const ofRemote = (claims: object) => company.assertion({ iss: 'remote', sub: 'remote', ...claims });
    expectGranted(await company.credentials(bearer(await ofRemote({ aud })), ALONE));
    expectGranted(await company.credentials(bearer(await ofRemote({})), ALONE));
    const both = await ofRemote({ aud: [aud, company.cambist.issuer] });
    await expectRefused(company, await company.credentials(bearer(both), ALONE), invalid('audience_mismatch'));
    const agent = await company.assertion({ aud });
    await expectRefused(company, await company.credentials(bearer(agent), ALONE), invalid('audience_mismatch'));
  });

  it('R3 the same holds for the tokens of platforms', async () => {
    expectGranted(await company.credentials(bearer(await company.podToken()), ALONE));
    for (const aud of ['https://kubernetes.default.svc', [company.cambist.issuer, 'https://kubernetes.default.svc']]) {
      const answer = await company.credentials(bearer(await company.podToken({ aud })), ALONE);
      await expectRefused(company, answer, invalid('audience_mismatch'));
    }
  });
});

describe('R10 R13 what else an assertion must be', () => {
  it('R13 iss and sub are the client (RFC 7523 §3), signed with its own key', async () => {
    const stranger = await company.signer.strangerKey();
    const kid = company.signer.keys[0]!.kid;
    const forged = await company.assertion({}, { key: stranger, header: { kid } });
    await expectRefused(company, await company.credentials(bearer(forged), ALONE), invalid('signature_invalid'));
    const unknownKey = await company.assertion({}, { key: stranger });
    await expectRefused(company, await company.credentials(bearer(unknownKey), ALONE), invalid('key_unknown'));
    const otherIss = await company.assertion({ iss: 'https://elsewhere.example' });
    await expectRefused(company, await company.credentials(bearer(otherIss), ALONE), invalid('issuer_mismatch'));
    const nobody = await company.assertion({ iss: 'nobody', sub: 'nobody' });
    await expectRefused(company, await company.credentials(bearer(nobody), ALONE), {
      error: 'invalid_client',
      reason: 'client_unknown',
    });
    // The key is agent's; the name is another client's, which does not use assertions.
    const other = await company.assertion({ iss: 'second', sub: 'second' });
    await expectRefused(company, await company.credentials(bearer(other), ALONE), {
      error: 'invalid_client',
      reason: 'client_method_not_allowed',
    });
  });

  it('R15 an assertion must expire, and within an hour', async () => {
    expectGranted(await company.credentials(bearer(await company.assertion({}, { lifetimeSeconds: 3600 })), ALONE));
    const long = await company.assertion({}, { lifetimeSeconds: 3601 });
    await expectRefused(company, await company.credentials(bearer(long), ALONE), invalid('lifetime_too_long'));
    const endless = await company.assertion({ exp: undefined });
    await expectRefused(company, await company.credentials(bearer(endless), ALONE), invalid('claim_missing'));
    const old = await company.assertion({}, { issuedInSeconds: -60, lifetimeSeconds: 60 });
    await expectRefused(company, await company.credentials(bearer(old), ALONE), invalid('expired'));
  });

  it('R15 a platform token that lives longer than its issuer allows is no assertion', async () => {
    expectGranted(await company.credentials(bearer(await company.podToken({}, { lifetimeSeconds: 3600 })), ALONE));
    const long = await company.podToken({}, { lifetimeSeconds: 3601 });
    await expectRefused(company, await company.credentials(bearer(long), ALONE), invalid('lifetime_too_long'));
  });

  it('R13 a workload is a client only by an exact binding: issuer and sub', async () => {
    for (const [form, client] of [
      [bearer(await company.podToken()), 'pod'],
      [bearer(await company.githubToken()), 'github-agent'],
      [bearer(await company.spiffeToken(), JWT_SPIFFE), 'spiffe-agent'],
    ] as const)
      expect(expectGranted(await company.credentials(form, ALONE))).toMatchObject({ sub: client, client_id: client });
    const unknown = { error: 'invalid_client', reason: 'client_unknown' };
    const other = await company.podToken({ sub: 'system:serviceaccount:agents:planner2' });
    await expectRefused(company, await company.credentials(bearer(other), ALONE), unknown);
    // The right sub, from another trusted issuer.
    const cross = await company.githubToken({ sub: 'system:serviceaccount:agents:planner' });
    await expectRefused(company, await company.credentials(bearer(cross), ALONE), unknown);
    const owner = await company.githubToken({ repository_owner: 'evil' });
    await expectRefused(company, await company.credentials(bearer(owner), ALONE), invalid('claim_invalid'));
  });

  it('R10 a JWT-SVID goes with its own assertion type, and nothing else does', async () => {
    const unsupported = { error: 'invalid_client', reason: 'client_assertion_type_unsupported' };
    expectGranted(await company.credentials(bearer(await company.spiffeToken(), JWT_SPIFFE), ALONE));
    await expectRefused(company, await company.credentials(bearer(await company.spiffeToken()), ALONE), unsupported);
    const pod = bearer(await company.podToken(), JWT_SPIFFE);
    await expectRefused(company, await company.credentials(pod, ALONE), unsupported);
    const own = bearer(await company.assertion(), JWT_SPIFFE);
    await expectRefused(company, await company.credentials(own, ALONE), unsupported);
    const saml = bearer(await company.assertion(), 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer');
    await expectRefused(company, await company.credentials(saml, ALONE), unsupported);
  });

  it('R10 an ID token or access token of a bound workload is no client assertion', async () => {
    const robot = { sub: 'robot', aud: company.cambist.issuer };
    const refused = invalid('type_not_allowed');
    const idToken = await company.corp.mint(robot);
    await expectRefused(company, await company.credentials(bearer(idToken), ALONE), refused);
    const accessToken = await company.corp.mint({ ...robot, scope: 'all' }, { header: { typ: 'at+jwt' } });
    await expectRefused(company, await company.credentials(bearer(accessToken), ALONE), refused);
    // The same ID token is what it is: a subject token, of the client that it is bound to.
    const exchanged = await company.exchange({ subject_token: idToken });
    expect(expectGranted(exchanged)).toMatchObject({ sub: 'robot', act: { sub: 'agent' } });
  });

  it('A6 what a client signs for another purpose is no assertion, and an assertion is no subject or actor token', async () => {
    for (const typ of ['at+jwt', 'dpop+jwt', 'oauth-id-jag+jwt', 'application/at+jwt', 'logout+jwt']) {
      const token = await company.assertion({}, { header: { typ } });
      await expectRefused(company, await company.credentials(bearer(token), ALONE), invalid('type_not_allowed'));
    }
    for (const typ of [undefined, 'jwt', 'client-authentication+jwt'])
      expectGranted(await company.credentials(bearer(await company.assertion({}, { header: { typ } })), ALONE));
    for (const type of ['id_token', 'access_token', 'jwt']) {
      const asSubject = { subject_token: await company.assertion(), subject_token_type: TYPE + type };
      await expectRefused(company, await company.exchange(asSubject), {
        error: 'invalid_request',
        reason: 'subject_token_issuer_unknown',
      });
      const asActor = { actor_token: await company.assertion(), actor_token_type: TYPE + type };
      await expectRefused(company, await company.exchange(asActor), {
        error: 'invalid_request',
        reason: 'actor_token_issuer_unknown',
      });
    }
  });

  it('R10 our own tokens are no client assertions', async () => {
    const identity = await company.credentials({ resource: undefined });
    expect(expectGranted(identity).aud).toBe(company.cambist.issuer);
    const answer = await company.credentials(bearer(identity.body.access_token), ALONE);
    await expectRefused(company, answer, invalid('issuer_mismatch'));
    const asSubject = {
      grant_type: EXCHANGE,
      subject_token: identity.body.access_token,
      subject_token_type: `${TYPE}access_token`,
      resource: NOTES,
    };
    expect(expectGranted(await company.exchange(asSubject)).sub).toBe('agent');
  });
});
