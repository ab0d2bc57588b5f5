/**
 * F7: the clock of a node against that of the database.
 */
import { afterEach, expect, it } from 'vitest';
import { measureClockSkew } from '../../src/store/clock-skew.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';
import { claimsOf, postForm } from '../support/token-client.ts';

withDatabases('the skew of a clock', (databases) => {
  it.each([0, 3_600_000, -45_000, 2_345])('of %i ms is measured, within what the way took', async (shiftMs) => {
    const { db } = await databases.fresh();
    const { skewMs, uncertaintyMs } = await measureClockSkew(db, { nowMs: () => Date.now() + shiftMs });
    // Both ends of our own reading are rounded to a millisecond.
    expect(Math.abs(skewMs + shiftMs)).toBeLessThanOrEqual(uncertaintyMs + 2);
  });

  it('is taken from the best of several samples when one took long', async () => {
    const { db } = await databases.fresh();
    let questions = 0;
    const slowAtFirst = {
      query: async <R>(text: string, values?: readonly unknown[]): Promise<R[]> => {
        const rows = await db.query<R>(text, values);
        questions += 1;
        if (questions === 1) await new Promise((resolve) => setTimeout(resolve, 3_000));
        return rows;
      },
    };
    const { uncertaintyMs } = await measureClockSkew(slowAtFirst, { nowMs: () => Date.now() });
    expect(questions).toBeGreaterThan(1);
    expect(uncertaintyMs).toBeLessThan(1_000);
  });
});

let cambist: TestCambist | undefined;
afterEach(async () => {
  await cambist?.stop();
  cambist = undefined;
});

it('F7 a node whose clock is off by more than the limit is not ready, and ready when it is right again', async () => {
  let shiftMs = 5_000;
  const clock = { nowMs: () => Date.now() + shiftMs };
  cambist = await startCambist({ objects: '', settings: { clock, databaseClock: 'its-own' } });
  const { url, adminUrl } = cambist;
  const readyz = async (base: string) => {
    const response = await fetch(`${base}/readyz`);
    return { status: response.status, body: (await response.json()) as any };
  };
  expect(await readyz(url)).toEqual({
    status: 503,
    body: { status: 'not_ready', checks: [{ name: 'clock', ok: false }] },
  });
  expect((await readyz(adminUrl)).body.checks[0].reason).toMatch(
    /^the clock is (49|50)\d\d ms ahead of the database's; the limit is 2000 ms$/,
  );
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(cambist.service.health.clockSkewMs()).toBeLessThan(-4_900);

  // Compared again every ten seconds.
  shiftMs = -1_500;
  await expect.poll(() => readyz(url), { timeout: 30_000, interval: 500 }).toMatchObject({ status: 200 });
  shiftMs = -60_000;
  await expect.poll(() => readyz(url), { timeout: 30_000, interval: 500 }).toMatchObject({ status: 503 });
  expect((await readyz(adminUrl)).body.checks[0].reason).toContain('ms behind');
}, 90_000);

const NOTES = 'https://notes.skew/mcp';
const OBJECTS = `
clients:
  - {id: agent, auth: [client_secret_basic]}
  - {id: notes-server, auth: [client_secret_basic]}
resources:
  - {name: notes, uri: '${NOTES}', scopes: {read: Read}, default_scopes: [read], served_by: [notes-server]}
policies:
  - {id: all, cedar: 'permit (principal, action == Action::"access", resource);'}
`;

it('F7 beyond 2 s, ahead or behind, a node issues, judges and revokes nothing: 503 until its clock is right', async () => {
  let shiftMs = 0;
  const clock = { nowMs: () => Date.now() + shiftMs };
  const node = await startCambist({ objects: OBJECTS, settings: { clock, databaseClock: 'its-own' } });
  cambist = node;
  const as = (client: string) => ({ basic: [client, node.secretOf(client)] as const });
  const issue = () => node.token({ grant_type: 'client_credentials', resource: NOTES }, as('agent'));
  const token: string = (await issue()).body.access_token;
  const introspect = () => postForm(`${node.url}/oauth2/introspect`, { token }, as('notes-server'));
  const revoke = () => postForm(`${node.url}/oauth2/revoke`, { token }, as('agent'));

  for (const wrongMs of [2_600, -2_600, 3_600_000]) {
    shiftMs = wrongMs;
    for (const ask of [issue, introspect, revoke]) {
      const answer = await ask();
      expect([answer.status, answer.body.error], `${ask.name} at ${wrongMs}`).toEqual([503, 'temporarily_unavailable']);
    }
    expect((await fetch(`${node.url}/oauth2/revocations`)).status).toBe(503);
  }
  // Nothing of it was revoked, though by a clock that is an hour ahead the token is long over.
  shiftMs = 0;
  expect((await introspect()).body.active).toBe(true);
  for (const slightlyMs of [1_900, -1_900]) {
    shiftMs = slightlyMs;
    expect((await issue()).status).toBe(200);
    expect((await introspect()).body.active).toBe(true);
  }
});

it('F7 what a node issues while its clock is ahead as far as it may be is hit by a revocation "until now"', async () => {
  const clock = { nowMs: () => Date.now() + 1_900 };
  const node = await startCambist({ objects: OBJECTS, settings: { clock, databaseClock: 'its-own' } });
  cambist = node;
  const as = (client: string) => ({ basic: [client, node.secretOf(client)] as const });
  const issued = await node.token({ grant_type: 'client_credentials', resource: NOTES }, as('agent'));
  const token: string = issued.body.access_token;
  expect(claimsOf(token).iat).toBeGreaterThanOrEqual(Math.floor(Date.now() / 1000) + 1);
  await node.service.revocationParts.commitRevocation((await node.service.prepareChange([]))({}), [
    { kind: 'client', value: 'agent', issuedUntil: 'now', lifetimeSeconds: 300 },
  ]);
  const answer = await postForm(`${node.url}/oauth2/introspect`, { token }, as('notes-server'));
  expect(answer.body).toEqual({ active: false });
});
