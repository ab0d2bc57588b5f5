/**
 * Two real processes on one PostgreSQL: what is revoked through one is refused by the other with the next request, and
 * soon by a server that verifies offline. How soon is measured by `npm run bench -- revocation`.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createVerifier } from '../../src/resource-server/verifier.ts';
import { withPostgres } from '../support/databases.ts';
import { claimsOf } from '../support/token-client.ts';
import { NOTES, startTwoNodes } from '../support/two-nodes.ts';
import type { TwoNodes } from '../support/two-nodes.ts';

const REVOCATIONS = 20;

withPostgres('two processes', () => {
  let both: TwoNodes;
  beforeAll(async () => {
    both = await startTwoNodes();
  }, 120_000);
  afterAll(() => both.stop());

  it('a token that is revoked here is refused there with the next request, twenty times', async () => {
    const { nodes } = both;
    for (let turn = 0; turn < REVOCATIONS; turn++) {
      const [here, there] = turn % 2 === 0 ? nodes : [nodes[1], nodes[0]];
      const token = await both.exchange(here, `user-${turn}`);
      const further = (await both.hop(there, token)).body.access_token;
      expect(await both.isActive(there, token)).toBe(true);
      const revoked = await both.ask(here, '/oauth2/revoke', 'agent', { token });
      expect(revoked.status, revoked.text).toBe(200);
      expect(await both.isActive(there, token)).toBe(false);
      expect(await both.isActive(there, further, 'crm-server')).toBe(false);
      expect((await both.hop(there, token)).body.error).toBe('invalid_request');
    }
  }, 60_000);

  it('so is what the command line revokes: a token, a client, a person; and explain says who did what', async () => {
    const [here, there] = both.nodes;
    const ofAda = await both.exchange(here, 'ada');
    const ofBob = await both.exchange(there, 'bob');
    const ofSpare = await both.exchange(here, 'bob', 'spare');
    for (const [token, ...aim] of [
      [ofAda, '--jti', claimsOf(ofAda).jti],
      [ofSpare, '--client', 'spare'],
      [ofBob, '--subject', 'corp:bob'],
    ] as const) {
      expect(await both.isActive(there, token)).toBe(true);
      expect(await here.command('token', 'revoke', ...aim)).toMatch(/^Revoked\./);
      expect(await both.isActive(there, token)).toBe(false);
    }
    const listed = await there.command('token', 'revocations');
    expect(listed).toMatch(/1 living token/);
    expect(listed).toMatch(/client +spare/);
    expect(listed).not.toContain('bob');

    const token = await both.exchange(there, 'carol');
    const revoked = await both.ask(there, '/oauth2/revoke', 'agent', { token });
    const explained = await here.command('explain', revoked.headers.get('cambist-request-id') ?? '');
    expect(explained).toMatch(/REVOKED/);
    expect(explained).toContain(claimsOf(token).jti);
    expect(explained).not.toContain('carol');
  }, 60_000);

  it('a server that verifies offline refuses it when it has read the next document', async () => {
    const [here, there] = both.nodes;
    const verifier = createVerifier({ issuer: both.issuer, resource: NOTES, revocationsPollSeconds: 0.2 });
    try {
      await verifier.ready();
      const [doomed, other] = [await both.exchange(there, 'dora'), await both.exchange(there, 'emil')];
      expect((await verifier.verify(doomed)).kind).toBe('access');
      expect((await both.ask(there, '/oauth2/revoke', 'agent', { token: doomed })).status).toBe(200);
      await expect
        .poll(() => verifier.verify(doomed), { timeout: 20_000 })
        .toMatchObject({ kind: 'rejection', reason: 'revoked' });
      expect((await verifier.verify(other)).kind).toBe('access');
      expect(await here.command('token', 'revoke', '--subject', 'corp:emil')).toMatch(/^Revoked\./);
      await expect
        .poll(() => verifier.verify(other), { timeout: 20_000 })
        .toMatchObject({ kind: 'rejection', reason: 'revoked' });
    } finally {
      verifier.close();
    }
  }, 60_000);
});
