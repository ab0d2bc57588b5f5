/**
 * R19 the revocation endpoint (RFC 7009): one's own tokens only, with everything that was exchanged from them, from the
 * next request on; and nothing is told about what is none of one's own. What it has in common with introspection is in
 * introspection.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CALENDAR, bearer, expectGranted, expectRefused, requestIdOf, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';
import { askHop, askHopBack, expectActive, expectInactive, tokenFor, tokenOf } from './status.ts';
import { claimsOf } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';

const CALENDAR_SERVER = { as: 'calendar-server' };
const REVOKED = { error: 'invalid_request', reason: 'subject_token_revoked', detail: { revoked: 'token' } };

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());

/** RFC 7009 §2.2: 200, and the body means nothing. */
function expectDone(answer: TokenAnswer): void {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.text).toBe('{}');
  expect(answer.headers.get('cache-control')).toBe('no-store');
}

describe('R19 a client revokes', () => {
  it('its own token: dead at introspection and at exchange with the next request', async () => {
    const token = await tokenFor(company, { scope: 'notes:write' });
    const other = await tokenFor(company);
    expectGranted(await askHop(company, token));
    expectDone(await company.revoke(token));
    expectInactive(await company.introspect(token));
    await expectRefused(company, await askHop(company, token), REVOKED);
    expectActive(await company.introspect(other));
  });

  it('all that was exchanged from it, over several hops, and what is exchanged no more', async () => {
    const first = await tokenFor(company, { scope: 'notes:write' });
    const second = tokenOf(await askHop(company, first));
    const third = tokenOf(await askHopBack(company, second));
    expectActive(await company.introspect(second, CALENDAR_SERVER));
    expectActive(await company.introspect(third));
    expectDone(await company.revoke(first));
    expectInactive(await company.introspect(second, CALENDAR_SERVER));
    expectInactive(await company.introspect(third));
    await expectRefused(company, await askHopBack(company, second), REVOKED);
    await expectRefused(company, await askHop(company, third), REVOKED);
  });

  it('from the middle of a chain: what came before lives', async () => {
    const first = await tokenFor(company, { scope: 'notes:write' });
    const second = tokenOf(await askHop(company, first));
    const third = tokenOf(await askHopBack(company, second));
    expectDone(await company.revoke(second, { as: 'notes-server' }));
    expectActive(await company.introspect(first));
    expectInactive(await company.introspect(third));
    expectActive(await company.introspect(tokenOf(await askHop(company, first)), CALENDAR_SERVER));
  });

  it('an identity token, with what was exchanged from it as subject and as actor token', async () => {
    const identity = tokenOf(await company.credentials({ resource: undefined }));
    const type = `${TYPE}access_token`;
    const asSubject = () => company.exchange({ subject_token: identity, subject_token_type: type });
    const asActor = () => company.exchange({ actor_token: identity, actor_token_type: type });
    const made = [tokenOf(await asSubject()), tokenOf(await asActor())];
    for (const token of made) expectActive(await company.introspect(token));
    expectDone(await company.revoke(identity));
    for (const token of made) expectInactive(await company.introspect(token));
    await expectRefused(company, await asSubject(), REVOKED);
    await expectRefused(company, await asActor(), { ...REVOKED, reason: 'actor_token_revoked' });
  });

  it('twice, with any hint, by every method: it is as dead as before', async () => {
    const token = await tokenFor(company);
    expectDone(await company.revoke({ token, token_type_hint: 'refresh_token' }));
    expectDone(await company.revoke({ token, token_type_hint: 'nonsense' }));
    expectDone(await company.revoke({ token, ...bearer(await company.assertion()) }, { as: null }));
    expectInactive(await company.introspect(token));
  });
});

describe('R19 nothing happens', () => {
  it('to the token of another client, not even of one that serves it, and the caller is told (RFC 7009 §2.1)', async () => {
    const token = await tokenFor(company, { scope: 'notes:write' });
    const second = tokenOf(await askHop(company, token));
    for (const as of ['notes-server', 'second', 'outsider'])
      await expectRefused(company, await company.revoke(token, { as }), {
        error: 'unauthorized_client',
        reason: 'token_not_own',
      });
    // Who gave it away has no say in what was made of it, but by revoking its own.
    await expectRefused(company, await company.revoke(second, { as: 'agent' }), {
      error: 'unauthorized_client',
      reason: 'token_not_own',
    });
    expectActive(await company.introspect(token));
    expectActive(await company.introspect(second, CALENDAR_SERVER));
  });

  it('for what is unknown, expired, forged or none of ours: 200, and no record (RFC 7009 §2.2)', async () => {
    const token = await tokenFor(company);
    const [header = '', payload = '', signature = ''] = token.split('.');
    const expired = await tokenFor(company);
    const forged = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    for (const nothing of [
      'garbage',
      'a.b.c',
      forged,
      await company.idToken(),
      await company.assertion(),
      await (await fetch(`${company.cambist.url}/oauth2/revocations`)).text(),
    ]) {
      const answer = await company.revoke(nothing);
      expectDone(answer);
      expect(await company.cambist.records(requestIdOf(answer))).toEqual([]);
    }
    expectActive(await company.introspect(token));
    try {
      company.holdClock(claimsOf(expired).exp);
      const answer = await company.revoke(expired);
      expectDone(answer);
      expect(await company.cambist.records(requestIdOf(answer))).toEqual([]);
    } finally {
      company.holdClock(undefined);
    }
  });

  it('for whoever presents an assertion that was used: refused, and the token lives', async () => {
    const token = await tokenFor(company);
    const used = bearer(await company.assertion());
    expectGranted(await company.credentials(used, { as: null }));
    await expectRefused(company, await company.revoke({ token, ...used }, { as: null }), {
      error: 'invalid_client',
      reason: 'client_assertion_replayed',
      unauthenticated: false,
    });
    expectActive(await company.introspect(token));
  });
});

describe('what is recorded', () => {
  it('the revocation, with the token that it names and its person by reference, found by its request id', async () => {
    const subject_token = await company.idToken({ sub: 'canary-person', email: 'canary@corp.example' });
    const token = await tokenFor(company, { subject_token });
    const answer = await company.revoke(token);
    expectDone(answer);
    const [record, ...more] = await company.cambist.records(requestIdOf(answer));
    expect(more).toEqual([]);
    const { jti, exp } = claimsOf(token);
    expect(record?.body).toMatchObject({
      kind: 'revoked',
      endpoint: 'revoke',
      client: { id: 'agent', method: 'client_secret_basic' },
      token: { jti, exp, client_id: 'agent' },
      revoked: [{ kind: 'token', value: jti, issued_until: null }],
    });
    const written = `${record?.canonical ?? ''}\n${company.log.join('\n')}`;
    for (const secret of [...token.split('.').slice(1), 'canary-person', 'canary@'])
      expect(written).not.toContain(secret);
    const explained = await company.operations.recordsByRequestId({ requestId: requestIdOf(answer) });
    expect(explained.ok && explained.value.map(({ kind }) => kind)).toEqual(['revoked']);
  });

  it('the refusal of a known caller, with the token that was meant', async () => {
    const token = await tokenFor(company);
    const answer = await company.revoke(token, { as: 'second' });
    const [record] = await company.cambist.records(requestIdOf(answer));
    expect(record?.body).toMatchObject({
      kind: 'refused',
      endpoint: 'revoke',
      client: { id: 'second' },
      token: { jti: claimsOf(token).jti, client_id: 'agent' },
      refusal: { reason: 'token_not_own' },
    });
  });

  it('nothing that was exchanged is left out where the resource differs', async () => {
    const first = await tokenFor(company, { scope: 'notes:write' });
    const second = tokenOf(await askHop(company, first));
    expect(claimsOf(second).aud).toBe(CALENDAR);
    expectDone(await company.revoke(first));
    const listed = await company.operations.listRevocations({});
    const tokens = listed.ok ? listed.value.tokens : [];
    expect(tokens).toEqual(expect.arrayContaining([claimsOf(first).jti, claimsOf(second).jti]));
  });
});
