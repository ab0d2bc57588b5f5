import { v4 as newUuid } from 'uuid';
import { expect, test } from 'vitest';
import { createIssuedTokens } from '../../src/store/issued.ts';
import { createRecordReader } from '../../src/store/records.ts';
import type { RecordQuery } from '../../src/store/records.ts';
import { withDatabases } from '../support/databases.ts';
import { committer, issue, issuedRow, record } from './fixtures.ts';

withDatabases('records', (databases) => {
  test('a record is read back whole, by request and by jti', async () => {
    const { db } = await databases.fresh();
    const commits = committer(db);
    const persons = [newUuid(), newUuid()];
    const request = issue([], { persons, resources: ['https://a.example', 'https://b.example'] });
    await commits.commit(request);
    commits.reportUndelivered(request.record);
    await commits.drain();
    const reader = createRecordReader(db);
    const [own, followed] = await reader.byRequestId(request.record.requestId);
    const { canonical, ...fields } = own!;
    expect(fields).toEqual({
      id: request.record.id,
      recordedAtMs: request.record.recordedAtMs,
      kind: 'issued',
      reason: null,
      requestId: request.record.requestId,
      clientId: 'agent-1',
      resources: ['https://a.example', 'https://b.example'],
      jti: request.record.jti,
      persons,
      leafIndex: null,
      epoch: 1,
    });
    expect(Uint8Array.from(canonical)).toEqual(request.record.canonical);
    expect(followed).toMatchObject({ kind: 'undelivered', requestId: request.record.requestId });
    expect((await reader.byJti(request.record.jti!)).map(({ kind }) => kind)).toEqual(['issued', 'undelivered']);
    expect(await reader.byRequestId('unknown\0')).toEqual([]);
  });

  test('pages go through everything once, newest or oldest first, also where records share a moment', async () => {
    const { db } = await databases.fresh();
    const commits = committer(db);
    const now = Date.now();
    const made = Array.from({ length: 25 }, (_, index) => record('refused', { recordedAtMs: now + (index >> 2) }));
    await Promise.all(made.map((one) => commits.commit({ marks: [], record: one })));
    const reader = createRecordReader(db);
    const sorted = made
      .map(({ recordedAtMs, id }) => `${recordedAtMs} ${id}`)
      .sort()
      .map((line) => line.split(' ')[1]);
    for (const order of ['oldest', 'newest'] as const) {
      const seen: string[] = [];
      let after: RecordQuery['after'];
      for (;;) {
        const page = await reader.page({ limit: 10, order, ...(after === undefined ? {} : { after }) });
        seen.push(...page.map(({ id }) => id));
        if (page.length < 10) break;
        after = page.at(-1)!;
      }
      expect(seen).toEqual(order === 'oldest' ? sorted : sorted.toReversed());
    }
  });

  test('a page holds what was asked for', async () => {
    const { db } = await databases.fresh();
    const commits = committer(db);
    const person = newUuid();
    const now = Date.now();
    const made = {
      one: record('issued', { clientId: 'a', persons: [newUuid(), person], recordedAtMs: now }),
      two: record('refused', { clientId: 'a', reason: 'target_unknown', recordedAtMs: now + 1 }),
      three: record('refused', { clientId: 'b', recordedAtMs: now + 2 }),
    };
    await Promise.all(Object.values(made).map((one) => commits.commit({ marks: [], record: one })));
    const reader = createRecordReader(db);
    const found = async (query: Omit<RecordQuery, 'limit'>) => {
      const page = await reader.page({ limit: 100, order: 'oldest', ...query });
      return page.map(({ id }) => Object.entries(made).find(([, one]) => one.id === id)?.[0]);
    };
    expect(await found({ clientId: 'a' })).toEqual(['one', 'two']);
    expect(await found({ kind: 'refused' })).toEqual(['two', 'three']);
    expect(await found({ clientId: 'a', kind: 'refused' })).toEqual(['two']);
    expect(await found({ reason: 'target_unknown' })).toEqual(['two']);
    expect(await found({ person })).toEqual(['one']);
    expect(await found({ fromMs: now + 1, untilMs: now + 2 })).toEqual(['two']);
    expect(await found({})).toEqual(['one', 'two', 'three']);
    expect(await reader.page({ limit: 0 })).toHaveLength(1);
  });

  test('an issued token is found by its jti with its ancestors; many at once in few statements', async () => {
    const { db } = await databases.fresh();
    const commits = committer(db);
    const ancestors = [newUuid(), newUuid()];
    const requests = Array.from({ length: 30 }, () => issue());
    const chained = { ...issue(), issued: issuedRow('child', { ancestors, subjectClaims: 'sealed' }) };
    await Promise.all([...requests, chained].map((request) => commits.commit(request)));
    let statements = 0;
    const issued = createIssuedTokens({
      ...db,
      query(text, values, options) {
        statements++;
        return db.query(text, values, options);
      },
    });
    const found = await Promise.all(requests.map(({ issued: row }) => issued.find(row!.jti)));
    expect(found.every((row) => row?.ancestors.length === 0)).toBe(true);
    expect(statements).toBe(2);
    expect(await issued.find('child')).toEqual({
      ancestors,
      subjectRef: chained.issued.subjectRef,
      subjectClaims: 'sealed',
      vouchedBy: [],
    });
    for (const unknown of ['', 'nul\0', 'x'.repeat(5000), newUuid()])
      expect(await issued.find(unknown)).toBeUndefined();
  });
});
