import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_SCHEMA, OutcomeUnknown, RUNTIME_ROLE } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { openPostgres } from '../../src/store/pg.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { committer, issue, recordsOf, silentLogger } from './fixtures.ts';

const KILLS = 6;
const IN_FLIGHT = 50;

withPostgres('the postmaster is killed with commits in flight (F1)', () => {
  let cluster: PostgresCluster;
  let db: Database;
  beforeAll(async () => {
    cluster = await startPostgres();
    const first = await openDatabase({
      source: { engine: 'postgresql', url: cluster.url },
      migrate: true,
      logger: silentLogger,
    });
    await first.close();
    db = await openPostgres({
      url: cluster.url,
      schema: DEFAULT_SCHEMA,
      role: RUNTIME_ROLE,
      connectTimeoutMs: 1000,
      logger: silentLogger,
    });
  });
  afterAll(async () => {
    await db.close();
    await cluster.stop();
  });

  test('every commit that was acknowledged is there once; every other is not there, failed, or followed by undelivered', async () => {
    const commits = committer(db, { drainTimeoutMs: 30_000 });
    const outcomes = new Map<string, 'committed' | 'refused' | 'unknown'>();
    let killed = false;
    for (let kill = 0; kill < KILLS; kill++) {
      killed = false;
      const callers = Array.from({ length: IN_FLIGHT }, async (_, caller) => {
        for (let round = 0; !killed || round === 0; round++) {
          const request = issue([`k${kill}-c${caller}-r${round}`]);
          try {
            await commits.commit(request);
            outcomes.set(request.record.id, 'committed');
          } catch (error) {
            outcomes.set(request.record.id, error instanceof OutcomeUnknown ? 'unknown' : 'refused');
            await pause(1);
          }
        }
      });
      try {
        await new Promise((resolve) => setTimeout(resolve, 100 + kill * 37));
        await cluster.kill9({ backends: kill % 2 === 0 });
        // Until somebody finds it dead.
        while (
          await commits.commit(issue()).then(
            () => true,
            () => false,
          )
        )
          await pause(5);
      } finally {
        killed = true;
      }
      await Promise.all(callers);
      await cluster.restart();
      // It recovers by itself.
      await commits.commit(issue());
    }
    await commits.drain();

    const kindsOf = new Map<string, string[]>();
    const rows = await db.query<{ id: string; kind: string; request_id: string }>(
      'SELECT id, kind, request_id FROM audit_record ORDER BY recorded_at, id',
    );
    const requestOf = new Map(rows.filter(({ id }) => outcomes.has(id)).map(({ id, request_id }) => [id, request_id]));
    for (const { request_id, kind } of rows) kindsOf.set(request_id, [...(kindsOf.get(request_id) ?? []), kind]);
    const counts: Record<string, number> = {};
    for (const [id, outcome] of outcomes) {
      const kinds = kindsOf.get(requestOf.get(id) ?? '')?.join('+') ?? 'nothing';
      counts[`${outcome}: ${kinds}`] = (counts[`${outcome}: ${kinds}`] ?? 0) + 1;
    }
    console.log(`${KILLS} kills`, counts);
    const allowed = ['committed: issued', 'refused: nothing', 'unknown: failed', 'unknown: issued+undelivered'];
    expect(Object.keys(counts).filter((found) => !allowed.includes(found))).toEqual([]);
    expect(counts['committed: issued']).toBeGreaterThan(IN_FLIGHT);
    expect((counts['unknown: failed'] ?? 0) + (counts['unknown: issued+undelivered'] ?? 0)).toBeGreaterThan(0);
    // A token's row is there exactly for what was committed.
    const orphans = await db.query(
      `SELECT FROM issued_token WHERE jti NOT IN (SELECT jti FROM audit_record WHERE kind = 'issued' AND jti IS NOT NULL)`,
    );
    expect(orphans).toHaveLength(0);
  }, 120_000);

  test('while the database is away settlement waits, and it goes on when it is back', async () => {
    const commits = committer(db, { drainTimeoutMs: 30_000 });
    const before = (await recordsOf(db)).length;
    const request = issue();
    await commits.commit(request);
    await cluster.kill9();
    commits.reportUndelivered(request.record);
    await new Promise((resolve) => setTimeout(resolve, 400));
    await cluster.restart();
    await commits.drain();
    const rows = (await recordsOf(db)).slice(before);
    expect(rows.map(({ kind }) => kind)).toEqual(['issued', 'undelivered']);
  }, 60_000);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
