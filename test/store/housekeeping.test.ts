import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import { createHousekeepingRunner } from '../../src/status/housekeeping-jobs.ts';
import { StatementFailed } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { batchRows, createHousekeeping } from '../../src/store/housekeeping.ts';
import { withDatabases } from '../support/databases.ts';
import { committer, issue, record, recordsOf, silentLogger } from './fixtures.ts';

const DAY_MS = 86_400_000;
const countOf = async (db: Database, table: string) =>
  (await db.query<{ rows: number }>(`SELECT count(*)::int AS rows FROM ${table}`))[0]!.rows;
const drop = (db: Database, days: number) =>
  createHousekeeping(db).dropAuditMonth(days, (partition) => record('changed', { reason: partition }));

withDatabases('housekeeping', (databases) => {
  test('a mark stays until five minutes after its end, to the second; only then it goes (R5)', async () => {
    const { db, asRole } = await databases.fresh();
    const commits = committer(db);
    await commits.commit(issue(['early']));
    await commits.commit(issue(['late']));
    await asRole(undefined, (owner) =>
      owner.query(`UPDATE replay_mark SET expires_at = now() - interval '5 minutes' +
        CASE mark_id WHEN 'early' THEN interval '-1 second' ELSE interval '30 seconds' END`),
    );
    expect(await createHousekeeping(db).removeExpiredMarks()).toBe(1);
    expect(await commits.commit(issue(['late']))).toMatchObject({ outcome: 'replayed' });
    expect(await commits.commit(issue(['early']))).toEqual({ outcome: 'committed' });
  });

  test('a token is known for an hour after it expired, a revocation for five minutes', async () => {
    const { db, asRole } = await databases.fresh();
    for (let i = 0; i < 3; i++) await committer(db).commit(issue());
    await asRole(undefined, async (owner) => {
      const ages = ['59 minutes', '61 minutes', '2 days'];
      const rows = await owner.query<{ jti: string }>('SELECT jti FROM issued_token');
      for (const [index, { jti }] of rows.entries())
        await owner.query(`UPDATE issued_token SET expires_at = now() - $2::interval WHERE jti = $1`, [
          jti,
          ages[index],
        ]);
      await owner.query(`INSERT INTO revocation (kind, value, expires_at, record_id)
        SELECT 'token', age::text, now() - age, gen_random_uuid()
        FROM unnest(ARRAY['4 minutes', '6 minutes']::interval[]) AS age`);
    });
    expect(await createHousekeeping(db).removeExpiredTokens()).toBe(2);
    expect(await createHousekeeping(db).removeExpiredRevocations()).toBe(1);
    expect(await db.query('SELECT value FROM revocation')).toEqual([{ value: '00:04:00' }]);
  });

  test('the runtime role can delete no mark, token or record but through the functions that judge them', async () => {
    const { db } = await databases.fresh();
    for (const statement of [
      'DELETE FROM replay_mark',
      'DELETE FROM issued_token',
      'DELETE FROM audit_record',
      'TRUNCATE audit_record',
      'DROP TABLE audit_record_default',
      `SELECT make_audit_partition('2001-01-01'::timestamp)`,
    ])
      await expect(db.query(statement)).rejects.toMatchObject({ sqlstate: '42501' });
  });

  test('batches are bounded, and go on until nothing is left, with numbers for metrics', async () => {
    const { db, asRole } = await databases.fresh();
    const rows = 2 * batchRows(db) + 7;
    await asRole(undefined, (owner) => insertExpiredMarks(owner, rows));
    const store = createHousekeeping(db);
    expect(await store.removeExpiredMarks()).toBe(batchRows(db));
    const job = { name: 'replay_marks', runBatch: () => store.removeExpiredMarks(), fullBatch: batchRows(db) };
    const runner = createHousekeepingRunner({
      jobs: [job],
      clock: systemClock,
      logger: silentLogger,
      intervalSeconds: 60,
    });
    await runner.runOnce();
    expect(await countOf(db, 'replay_mark')).toBe(0);
    expect(runner.numbers()).toEqual([
      {
        name: 'replay_marks',
        runs: 1,
        removed: batchRows(db) + 7,
        failures: { unavailable: 0, bug: 0 },
        lastSuccessMs: expect.any(Number),
        lastError: undefined,
      },
    ]);
  });

  describe('months of audit records', () => {
    /** A month of records, the newest of which is `newestDays` old; returns the name of its partition. */
    async function monthOf(owner: Database, newestDays: number): Promise<string> {
      const at = new Date(Date.now() - newestDays * DAY_MS);
      await owner.query(`SELECT make_audit_partition($1::timestamp)`, [at.toISOString()]);
      await committer(owner).commit(issue([], { recordedAtMs: at.getTime() }));
      return `audit_record_${at.toISOString().slice(0, 7).replace('-', '_')}`;
    }
    const partitions = async (db: Database) =>
      (
        await db.query<{ name: string }>(
          `SELECT relname AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid
           WHERE inhparent = 'audit_record'::regclass ORDER BY 1`,
        )
      ).map(({ name }) => name);

    test('go whole, the oldest first, and the record of it is in the same transaction', async () => {
      const { db, asRole } = await databases.fresh();
      const [older, old] = await asRole(undefined, async (owner) => [
        await monthOf(owner, 200),
        await monthOf(owner, 120),
      ]);
      expect(await drop(db, 60)).toBe(older);
      expect(await drop(db, 60)).toBe(old);
      expect(await drop(db, 60)).toBeUndefined();
      expect((await recordsOf(db)).map(({ kind, reason }) => ({ kind, reason }))).toEqual([
        { kind: 'changed', reason: older },
        { kind: 'changed', reason: old },
      ]);
    });

    test('stay where the record cannot be written', async () => {
      const { db, asRole } = await databases.fresh();
      const old = await asRole(undefined, (owner) => monthOf(owner, 120));
      const failing = createHousekeeping(db).dropAuditMonth(60, () => {
        throw new Error('no record');
      });
      await expect(failing).rejects.toThrow('no record');
      expect(await partitions(db)).toContain(old);
    });

    test('stay while any day of theirs is within the retention, and the default partition always', async () => {
      const { db, asRole } = await databases.fresh();
      await asRole(undefined, async (owner) => {
        await monthOf(owner, 32);
        await committer(owner).commit(issue([], { recordedAtMs: Date.now() - 900 * DAY_MS }));
      });
      const before = await partitions(db);
      // The month of 32 days ago ended less than 32 days ago.
      expect(await drop(db, 62)).toBeUndefined();
      expect(await partitions(db)).toEqual(before);
      expect(await countOf(db, 'audit_record')).toBe(2);
    });

    test('stay when a younger record is among them, whatever the name of the partition says', async () => {
      const { db, asRole } = await databases.fresh();
      await asRole(undefined, async (owner) => {
        await owner.query('ALTER TABLE audit_record DETACH PARTITION audit_record_default');
        await owner.query('CREATE TABLE audit_record_2001_01 PARTITION OF audit_record DEFAULT');
        await committer(owner).commit(issue([], { recordedAtMs: Date.now() - 400 * DAY_MS }));
        await committer(owner).commit(issue([], { recordedAtMs: Date.now() + 400 * DAY_MS }));
      });
      expect(await drop(db, 30)).toBeUndefined();
      expect(await countOf(db, 'audit_record')).toBe(2);
    });

    test.each([29, 0, -1, null])('are not removed for a retention of %s days', async (days) => {
      const { db } = await databases.fresh();
      await expect(drop(db, days as number)).rejects.toBeInstanceOf(StatementFailed);
    });

    if (databases.engine === 'postgresql')
      test('wait for nobody: with a transaction in the way the month stays, and inserts go on', async () => {
        const { db, asRole, anotherNode } = await databases.fresh();
        const old = await asRole(undefined, (owner) => monthOf(owner, 120));
        const reader = await anotherNode();
        await reader.transaction(async (q) => {
          await q.query('SELECT count(*) FROM audit_record');
          await expect(drop(db, 60)).rejects.toBeInstanceOf(Unavailable);
          await committer(db).commit(issue());
        });
        expect(await drop(db, 60)).toBe(old);
      });
  });

  if (databases.engine === 'postgresql') {
    test('a row that somebody holds is passed over, and goes the next time', async () => {
      const { db, asRole } = await databases.fresh();
      await asRole(undefined, async (owner) => {
        await insertExpiredMarks(owner, 10);
        await owner.transaction(async (q) => {
          await q.query(`SELECT FROM replay_mark WHERE mark_id IN ('1', '2', '3') FOR UPDATE`);
          expect(await createHousekeeping(db).removeExpiredMarks()).toBe(7);
        });
      });
      expect(await createHousekeeping(db).removeExpiredMarks()).toBe(3);
    });

    test('two nodes clean a big table at once while requests go on: every row goes once, every commit is answered', async () => {
      const { db, asRole, anotherNode } = await databases.fresh();
      const rows = 20_000;
      await asRole(undefined, (owner) => insertExpiredMarks(owner, rows));
      const nodes = [db, await anotherNode()];
      const runners = nodes.map((node) => {
        const store = createHousekeeping(node);
        const job = { name: 'replay_marks', runBatch: () => store.removeExpiredMarks(), fullBatch: batchRows(node) };
        return createHousekeepingRunner({ jobs: [job], clock: systemClock, logger: silentLogger, intervalSeconds: 60 });
      });
      const commits = committer(await anotherNode());
      const progress = { cleaned: false };
      let committed = 0;
      const cleaning = Promise.all(runners.map((runner) => runner.runOnce())).then(() => (progress.cleaned = true));
      // One at a time: each that is answered while the cleaning is under way waited for less than all of it.
      while (!progress.cleaned) {
        expect(await commits.commit(issue([`fresh-${committed}`]))).toEqual({ outcome: 'committed' });
        committed++;
      }
      await cleaning;
      expect(committed).toBeGreaterThan(20);
      expect(runners.flatMap((runner) => runner.numbers()).reduce((sum, { removed }) => sum + removed, 0)).toBe(rows);
      expect(await countOf(db, 'replay_mark')).toBe(committed);
    });
  }
});

function insertExpiredMarks(owner: Database, rows: number): Promise<unknown> {
  return owner.query(
    `INSERT INTO replay_mark (hash, purpose, issuer, mark_id, expires_at)
     SELECT sha256(i::text::bytea), 'client_assertion', 'agent-1', i::text, now() - interval '1 hour'
     FROM generate_series(1, $1::int) AS i`,
    [rows],
  );
}

describe('the runner', () => {
  const runnerOf = (runBatch: () => Promise<number>) =>
    createHousekeepingRunner({
      jobs: [
        { name: 'failing', runBatch },
        { name: 'other', runBatch: () => Promise.resolve(3) },
      ],
      clock: systemClock,
      logger: silentLogger,
      intervalSeconds: 60,
    });

  test.each([
    ['unavailable', new Unavailable('database', 'gone')],
    ['bug', new Error('oops')],
  ] as const)('a job that fails (%s) is counted as that, and the others run', async (kind, error) => {
    let failing = true;
    const runner = runnerOf(() => (failing ? Promise.reject(error) : Promise.resolve(0)));
    await runner.runOnce();
    expect(runner.numbers()).toMatchObject([
      { failures: { [kind]: 1 }, lastError: kind, lastSuccessMs: undefined },
      { removed: 3, lastError: undefined },
    ]);
    failing = false;
    await runner.runOnce();
    expect(runner.numbers()[0]).toMatchObject({ runs: 2, failures: { [kind]: 1 }, lastError: undefined });
  });

  test('after a stop there is no further batch, and stop waits for the one under way', async () => {
    let finish = (_rows: number): void => undefined;
    let batches = 0;
    const runner = createHousekeepingRunner({
      jobs: [
        {
          name: 'endless',
          runBatch: () => {
            batches++;
            return new Promise<number>((resolve) => (finish = resolve));
          },
          fullBatch: 1,
        },
      ],
      clock: systemClock,
      logger: silentLogger,
      intervalSeconds: 60,
    });
    const round = runner.runOnce();
    let stopped = false;
    const stopping = runner.stop().then(() => (stopped = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(stopped).toBe(false);
    finish(1);
    await Promise.all([stopping, round]);
    expect(batches).toBe(1);
  });
});
