import { describe, expect, test } from 'vitest';
import { Unavailable } from '../../src/core/refusal.ts';
import { OutcomeUnknown } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { createIssuedTokens } from '../../src/store/issued.ts';
import { withDatabases } from '../support/databases.ts';
import { committer, issue, mark, record, recordsOf, settle } from './fixtures.ts';

withDatabases('commits', (databases) => {
  describe('one request', () => {
    test('its marks, its issued row and its record are there when commit returns (R5)', async () => {
      const { db } = await databases.fresh();
      const request = issue(['a', 'b']);
      expect(await committer(db).commit(request)).toEqual({ outcome: 'committed' });
      expect(await recordsOf(db)).toMatchObject([{ id: request.record.id, kind: 'issued' }]);
      expect(await db.query('SELECT mark_id FROM replay_mark ORDER BY mark_id')).toEqual([
        { mark_id: 'a' },
        { mark_id: 'b' },
      ]);
      expect(await createIssuedTokens(db).find(request.issued!.jti)).toMatchObject({ ancestors: [] });
    });

    test('canonical bytes come back as they were, whatever bytes they are', async () => {
      const { db } = await databases.fresh();
      const canonical = Uint8Array.from({ length: 512 }, (_, index) => index % 256);
      await committer(db).commit({ marks: [], record: record('refused', { canonical }) });
      const [row] = await db.query<{ canonical: Uint8Array }>('SELECT canonical FROM audit_record');
      expect(Uint8Array.from(row!.canonical)).toEqual(canonical);
    });

    test('a mark that was consumed before refuses the request: its record is that of the first lost mark, no token row', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db);
      await commits.commit(issue(['used']));
      const late = issue(['fresh-1', 'used', 'fresh-2']);
      expect(await commits.commit(late)).toEqual({ outcome: 'replayed', mark: 1 });
      expect((await recordsOf(db)).filter(({ id }) => id === late.record.id)).toMatchObject([
        { kind: 'refused', reason: 'lost used' },
      ]);
      expect(await createIssuedTokens(db).find(late.issued!.jti)).toBeUndefined();
      // Its other marks stay consumed: they were presented, and whoever presented them may try again.
      expect(await commits.commit(issue(['fresh-2']))).toEqual({ outcome: 'replayed', mark: 0 });
    });

    test('a mark is good per purpose and issuer: another one with the same id is another mark (A6)', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db);
      await commits.commit(issue(['x']));
      for (const other of [{ purpose: 'subject_token' }, { issuer: 'agent-2' }]) {
        const own = record('issued');
        expect(await commits.commit({ marks: [mark('x', own, other)], record: own })).toEqual({ outcome: 'committed' });
      }
      const own = record('issued');
      const shifted = mark('', own, { purpose: 'client_assertion', issuer: 'agent-1x' });
      expect(await commits.commit({ marks: [shifted], record: own })).toEqual({ outcome: 'committed' });
    });

    test('text that PostgreSQL cannot hold does not make a request fail', async () => {
      const { db } = await databases.fresh();
      const own = record('refused', {
        clientId: `nul\0${'x'.repeat(5000)}`,
        resources: ['https://r.example/\0"\\{}', 'é€😀', `https://long.example/${'y'.repeat(2000)}`],
      });
      expect(await committer(db).commit({ marks: [mark('m\0"\\', own)], record: own })).toEqual({
        outcome: 'committed',
      });
      const [row] = await db.query<{ resources: string[] }>('SELECT resources FROM audit_record');
      expect(row!.resources).toEqual([
        'https://r.example/\uFFFD"\\{}',
        'é€😀',
        `https://long.example/${'y'.repeat(2000)}`,
      ]);
    });

    test('a record whose stand-in has another place is a bug, not a commit', async () => {
      const { db } = await databases.fresh();
      const apart = { marks: [mark('a', record('issued'))], record: record('issued') };
      await expect(committer(db).commit(apart)).rejects.toThrow(TypeError);
    });
  });

  describe('many requests at once', () => {
    test('50 parallel copies of one mark on two nodes: exactly one wins, every copy is recorded once (R5)', async () => {
      const { db, anotherNode } = await databases.fresh();
      const nodes = [committer(db), committer(await anotherNode())];
      const requests = Array.from({ length: 50 }, () => issue(['one']));
      const outcomes = await Promise.all(requests.map((request, index) => nodes[index % 2]!.commit(request)));
      expect(outcomes.filter(({ outcome }) => outcome === 'committed')).toHaveLength(1);
      const rows = await recordsOf(db);
      expect(rows).toHaveLength(50);
      expect(rows.filter(({ kind }) => kind === 'issued')).toHaveLength(1);
      expect(await db.query('SELECT jti FROM issued_token')).toHaveLength(1);
    });

    test('copies of one mark that share a statement: the first of them wins (R5)', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db);
      const before = Array.from({ length: db.maxInFlightBatches }, () => commits.commit(issue()));
      const copies = await Promise.all(Array.from({ length: 10 }, () => commits.commit(issue(['other', 'one']))));
      await Promise.all(before);
      expect(copies.map(({ outcome }) => outcome)).toEqual(['committed', ...Array<string>(9).fill('replayed')]);
      expect(await db.query('SELECT jti FROM issued_token')).toHaveLength(1 + before.length);
    });

    test('many marks in every order on two nodes: no deadlock, each mark has one winner', async () => {
      const { db, anotherNode } = await databases.fresh();
      const nodes = [committer(db), committer(await anotherNode())];
      const ids = Array.from({ length: 20 }, (_, index) => `m${index}`);
      const shuffled = Array.from({ length: 60 }, (_, round) =>
        ids.map((_id, index) => ids[(index * 7 + round * 3) % ids.length]!),
      );
      const outcomes = await Promise.all(shuffled.map((order, index) => nodes[index % 2]!.commit(issue(order))));
      expect(outcomes.filter(({ outcome }) => outcome === 'committed')).toHaveLength(1);
      expect(await recordsOf(db)).toHaveLength(60);
    });

    test('requests that come together share statements, and a request that comes alone does not wait', async () => {
      const { db } = await databases.fresh();
      const { counted, statements } = countingStatements(db);
      const commits = committer(counted);
      await Promise.all(Array.from({ length: 120 }, () => commits.commit(issue())));
      expect(statements()).toBeLessThanOrEqual(3);
      expect(await recordsOf(db)).toHaveLength(120);
    });

    test('a row that the database refuses fails its own request only (F2)', async () => {
      const { db, asRole } = await databases.fresh();
      await asRole(undefined, (owner) => raiseForReason(owner, 'poison'));
      const commits = committer(db);
      const requests = Array.from({ length: 60 }, (_, index) =>
        issue([`m${index}`], index === 37 ? { reason: 'poison' } : {}),
      );
      const outcomes = await Promise.allSettled(requests.map((request) => commits.commit(request)));
      const failed = outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [index] : []));
      expect(failed).toEqual([37]);
      expect((outcomes[37] as PromiseRejectedResult).reason).toBeInstanceOf(Unavailable);
      expect(await recordsOf(db)).toHaveLength(59);
      // Nothing of it is left: neither its mark nor its token.
      expect(await db.query(`SELECT FROM replay_mark WHERE mark_id = 'm37'`)).toHaveLength(0);
      expect(await createIssuedTokens(db).find(requests[37]!.issued!.jti)).toBeUndefined();
    });
  });

  describe('overload', () => {
    test('a full queue refuses at once, and what was queued is committed (F10)', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db, { maxQueued: 10 });
      const outcomes = await Promise.allSettled(Array.from({ length: 40 }, () => commits.commit(issue())));
      const refused = outcomes.filter(({ status }) => status === 'rejected');
      expect(refused).toHaveLength(40 - 10 - db.maxInFlightBatches);
      expect((refused[0] as PromiseRejectedResult).reason).toMatchObject({ dependency: 'overload' });
      expect(await recordsOf(db)).toHaveLength(10 + db.maxInFlightBatches);
    });

    test('who waited too long is refused without being sent (F11)', async () => {
      const { db } = await databases.fresh();
      let nowMs = 0;
      const commits = committer(db, { maxWaitMs: 100, clock: { nowMs: () => nowMs } });
      const first = Array.from({ length: db.maxInFlightBatches }, () => commits.commit(issue()));
      const waiting = expect(commits.commit(issue())).rejects.toMatchObject({ dependency: 'overload' });
      nowMs = 101;
      await Promise.all(first);
      await waiting;
      expect(await recordsOf(db)).toHaveLength(db.maxInFlightBatches);
    });
  });

  describe('the answer of the database was lost (F1)', () => {
    test('the caller is refused at once; what was not committed is recorded as failed', async () => {
      const { db } = await databases.fresh();
      const commits = committer(losingAnswers(db, 'before'));
      const request = issue(['a']);
      await expect(commits.commit(request)).rejects.toBeInstanceOf(Unavailable);
      await commits.drain();
      expect(await recordsOf(db)).toMatchObject([{ id: request.record.id, kind: 'failed' }]);
    });

    test('what was committed is followed by an undelivered record of the same request', async () => {
      const { db } = await databases.fresh();
      const commits = committer(losingAnswers(db, 'after'));
      const requests = [issue(['a']), { marks: [], record: record('refused') }];
      const outcomes = await Promise.allSettled(requests.map((request) => commits.commit(request)));
      expect(outcomes.map(({ status }) => status)).toContain('rejected');
      await commits.drain();
      const rows = await recordsOf(db);
      requests.forEach(({ record: { requestId, kind } }, index) => {
        const kinds = rows.filter(({ request_id }) => request_id === requestId).map((row) => row.kind);
        expect(kinds).toEqual(outcomes[index]!.status === 'rejected' ? [kind, 'undelivered'] : [kind]);
      });
    });

    test('noise and changes that were committed need no undelivered record', async () => {
      const { db } = await databases.fresh();
      const commits = committer(losingAnswers(db, 'after'));
      await expect(commits.commit({ marks: [], record: record('noise') })).rejects.toBeInstanceOf(Unavailable);
      await commits.drain();
      expect((await recordsOf(db)).map(({ kind }) => kind)).toEqual(['noise']);
    });

    test('a commit that arrives after it was settled cannot take effect', async () => {
      const { db } = await databases.fresh();
      const request = issue(['late']);
      const sent: (() => Promise<unknown>)[] = [];
      const delayed: Database = {
        ...db,
        query(text, values, options) {
          if (!text.includes('replay_mark') || sent.length > 0) return db.query(text, values, options);
          sent.push(() => db.query(text, values, options));
          return Promise.reject(new OutcomeUnknown('database', 'lost'));
        },
      };
      const commits = committer(delayed);
      await expect(commits.commit(request)).rejects.toBeInstanceOf(Unavailable);
      await commits.drain();
      await expect(sent[0]!()).rejects.toMatchObject({ sqlstate: '23505' });
      expect(await recordsOf(db)).toMatchObject([{ kind: 'failed' }]);
      expect(await createIssuedTokens(db).find(request.issued!.jti)).toBeUndefined();
    });

    // PGlite runs one statement at a time: there nothing is ever still under way.
    const underWayTest = databases.engine === 'pglite' ? [] : [test];
    for (const declare of underWayTest)
      declare.each([
        ['AFTER', 'settlement waits for it and it stands', ['issued', 'undelivered']],
        ['BEFORE', 'settlement takes its place and it fails', ['failed']],
      ] as const)('a commit that is still under way (%s its insert): %s', async (moment, _what, kinds) => {
        const { db, asRole } = await databases.fresh();
        await asRole(undefined, (owner) =>
          owner.transaction((q) =>
            q.script(`
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
              $f$ BEGIN IF NEW.kind = 'issued' THEN PERFORM pg_sleep(0.4); END IF; RETURN NEW; END $f$;
            CREATE TRIGGER slow ${moment} INSERT ON audit_record FOR EACH ROW EXECUTE FUNCTION slow()`),
          ),
        );
        const underWay: Promise<unknown>[] = [];
        const impatient: Database = {
          ...db,
          async query(text, values, options) {
            if (!text.includes('replay_mark')) return db.query(text, values, options);
            underWay.push(db.query(text, values, options).catch((error: unknown) => error));
            await new Promise((resolve) => setTimeout(resolve, 100));
            throw new OutcomeUnknown('database', 'lost');
          },
        };
        const commits = committer(impatient);
        const request = issue(['slow']);
        await expect(commits.commit(request)).rejects.toBeInstanceOf(Unavailable);
        await commits.drain();
        await Promise.all(underWay);
        expect((await recordsOf(db)).map(({ kind }) => kind)).toEqual(kinds);
        const token = await createIssuedTokens(db).find(request.issued!.jti);
        expect(token === undefined).toBe(moment === 'BEFORE');
      });

    test('a settlement whose own answer is lost is repeated and changes nothing', async () => {
      const { db } = await databases.fresh();
      let lost = 0;
      const flaky: Database = {
        ...db,
        async query(text, values, options) {
          const rows = await db.query<never>(text, values, options);
          if (text.includes('INSERT') && lost++ < 4) throw new OutcomeUnknown('database', 'lost');
          return rows;
        },
      };
      const commits = committer(flaky);
      await expect(commits.commit(issue())).rejects.toBeInstanceOf(Unavailable);
      await commits.drain();
      expect((await recordsOf(db)).map(({ kind }) => kind).sort()).toEqual(['issued', 'undelivered']);
    });

    test('a record that settlement cannot insert does not hold up the others', async () => {
      const { db, asRole } = await databases.fresh();
      await asRole(undefined, (owner) => raiseForReason(owner, 'poison'));
      const commits = committer(losingAnswers(db, 'before', Infinity), {
        settle: {
          ...settle,
          failed: (original) => ({ ...settle.failed(original), reason: original.reason }),
        },
        drainTimeoutMs: 1500,
      });
      const requests = [issue([], { reason: 'poison' }), issue(), issue()];
      await Promise.allSettled(requests.map((request) => commits.commit(request)));
      await commits.drain();
      const rows = await recordsOf(db);
      expect(rows.filter(({ request_id }) => request_id === requests[0]!.record.requestId)).toHaveLength(0);
      expect(rows.map(({ kind }) => kind)).toEqual(['failed', 'failed']);
    });

    test('an answer that was cut on its way to the caller is recorded as undelivered', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db);
      const request = issue();
      await commits.commit(request);
      commits.reportUndelivered(request.record);
      await commits.drain();
      expect((await recordsOf(db)).map(({ kind, request_id }) => [kind, request_id])).toEqual([
        ['issued', request.record.requestId],
        ['undelivered', request.record.requestId],
      ]);
    });
  });
});

/** Loses the answer to commit statements that go out before the first `batches` of them have failed. */
function losingAnswers(db: Database, when: 'before' | 'after', batches = 1): Database {
  let lost = 0;
  return {
    ...db,
    async query(text, values, options) {
      if (!text.includes('replay_mark') || lost >= batches) return db.query(text, values, options);
      if (when === 'after') await db.query(text, values, options);
      await new Promise((resolve) => setTimeout(resolve, 5));
      lost++;
      throw new OutcomeUnknown('database', 'lost');
    },
  };
}

function countingStatements(db: Database): { counted: Database; statements: () => number } {
  let count = 0;
  return {
    counted: {
      ...db,
      query(text, values, options) {
        count++;
        return db.query(text, values, options);
      },
    },
    statements: () => count,
  };
}

async function raiseForReason(owner: Database, reason: string): Promise<void> {
  await owner.transaction((q) =>
    q.script(`
      CREATE FUNCTION raise_for_reason() RETURNS trigger LANGUAGE plpgsql AS
        $f$ BEGIN IF NEW.reason = '${reason}' THEN RAISE EXCEPTION 'refused by a trigger'; END IF; RETURN NEW; END $f$;
      CREATE TRIGGER raise_for_reason BEFORE INSERT ON audit_record FOR EACH ROW EXECUTE FUNCTION raise_for_reason()`),
  );
}
