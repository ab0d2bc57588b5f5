/**
 * Revocation against requests that are under way, on two nodes of one PostgreSQL. What comes out of an exchange that
 * began before the revocation and ended after it is dead on every node, and servers that verify offline are told.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { digest } from '../../src/store/values.ts';
import { tokenIdentity } from '../../src/tokens/claims.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { claimsOf } from '../support/token-client.ts';
import { bearer, expectGranted, NOTES, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';
import { askHop, expectActive, expectInactive, readDocument, tokenFor, tokenOf } from './status.ts';

const ALONE = { as: null };

withPostgres('two nodes on one PostgreSQL', () => {
  let cluster: PostgresCluster;
  let databases: Database[];
  let company: Company;
  let second: TestCambist;
  beforeAll(async () => {
    cluster = await startPostgres();
    const logger = createLogger('silent');
    const open = () => openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger });
    databases = [await open(), await open()];
    company = await startCompany({ database: databases[0]! });
    second = await startCambist({ objects: '', database: databases[1]!, joins: company.cambist });
  });
  afterAll(async () => {
    await second.stop();
    await company.stop();
    await Promise.all(databases.map((database) => database.close()));
    await cluster.stop();
  });
  beforeEach(async () => {
    await withClient(cluster.url, (client) =>
      client.query('DELETE FROM cambist.revocation; UPDATE cambist.state SET revoked_until = NULL'),
    );
  });

  it('R5 an assertion that was used at one endpoint of one node is used at every endpoint of the other', async () => {
    const used = bearer(await company.assertion());
    expect((await company.introspect({ token: 'x', ...used }, ALONE)).status).toBe(200);
    for (const send of [
      () => company.introspect({ token: 'x', ...used }, { ...ALONE, node: second }),
      () => company.revoke({ token: 'x', ...used }, { ...ALONE, node: second }),
      () => company.credentials(used, { ...ALONE, node: second }),
    ])
      expect((await send()).body.error).toBe('invalid_client');
  });

  it('an exchange whose commit waits while its subject token is revoked: what comes out is dead everywhere', async () => {
    const identity = tokenOf(await company.credentials({ resource: undefined }));
    const assertion = await company.assertion();
    const mark = digest('client_assertion', 'agent', tokenIdentity('agent', claimsOf(assertion)));
    const token = await withClient(cluster.url, async (client) => {
      // Its mark is in another transaction, so its commit waits for the end of that.
      await client.query('BEGIN');
      await client.query(
        "INSERT INTO cambist.replay_mark (hash, purpose, issuer, mark_id, expires_at) VALUES ($1, 'x', 'x', 'x', now())",
        [mark],
      );
      const exchange = company.exchange(
        {
          subject_token: identity,
          subject_token_type: `${TYPE}access_token`,
          resource: NOTES,
          ...bearer(assertion),
        },
        ALONE,
      );
      await untilSomebodyWaits(cluster.url);
      expect((await company.revoke(identity, { node: second })).status).toBe(200);
      await client.query('ROLLBACK');
      return tokenOf(await exchange);
    });
    for (const node of [company.cambist, second]) {
      expectInactive(await company.introspect(token, { node }));
      expect((await askHop(company, token, { node })).body.error).toBe('invalid_request');
      expect((await readDocument({ url: node.url, issuer: node.issuer })).tokens).toContain(claimsOf(token).jti);
    }
  });

  it('an exchange that takes longer than any margin while its subject is revoked: it knew nothing, and yet', async () => {
    // Keys that were never fetched, and take longer than a revocation reaches ahead.
    company.partner.breakEndpoint({ kind: 'delay', delayMs: 4_500 });
    const subject_token = await company.partner.mint({ sub: 'bea', aud: company.cambist.issuer, groups: ['staff'] });
    const exchange = company.exchange({ subject_token, subject_token_type: `${TYPE}id_token` });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(company.partner.fetches()).toBeGreaterThan(0);
    expect((await company.operations.revoke({ by: 'subject', value: 'partner:bea' })).ok).toBe(true);
    const answer = await exchange;
    company.partner.breakEndpoint(undefined);
    expectGranted(answer);
    for (const node of [company.cambist, second])
      expectInactive(await company.introspect(answer.body.access_token, { node }));
    const { predicates } = await readDocument(company.cambist);
    expect(claimsOf(answer.body.access_token).iat).toBeLessThanOrEqual(predicates[0]?.issued_until ?? 0);
  });

  it('revoked here, refused there with the next request, by turns, with exchanges in between', async () => {
    for (let turn = 0; turn < 10; turn++) {
      const [here, there] = turn % 2 === 0 ? [company.cambist, second] : [second, company.cambist];
      const token = await tokenFor(company, { scope: 'notes:write' }, { node: there });
      const hop = tokenOf(await askHop(company, token, { node: here }));
      const other = await tokenFor(company, {}, { node: here });
      expectActive(await company.introspect(token, { node: there }));
      expect((await company.revoke(token, { node: here })).status).toBe(200);
      expectInactive(await company.introspect(token, { node: there }));
      expectInactive(await company.introspect(hop, { node: there, as: 'calendar-server' }));
      expect((await askHop(company, token, { node: there })).body.error).toBe('invalid_request');
      expectActive(await company.introspect(other, { node: there }));
    }
  });
});

async function untilSomebodyWaits(url: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    const waiting = await withClient(url, async (client) => {
      const { rows } = await client.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%replay_mark%'",
      );
      return rows[0]?.n ?? 0;
    });
    if (waiting > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('nobody waits for the lock');
}
