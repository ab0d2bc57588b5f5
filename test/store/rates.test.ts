import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { createRates } from '../../src/store/rates.ts';
import type { Rates } from '../../src/store/rates.ts';
import { withDatabases } from '../support/databases.ts';

const hashOf = (key: string) => createHash('sha256').update(key).digest('hex');
const [A, B] = [hashOf('a'), hashOf('b')] as const;
/** Long windows: no test here waits for one to end unless it says so. */
const HOUR = { windowSeconds: 3600 };

async function take(rates: Rates, hash: string, quota: number, wanted: number) {
  const permits = (await rates.take([{ hash, quota, wanted }])).get(hash);
  if (permits === undefined) throw new Error('no answer');
  return permits;
}

withDatabases('rates', (databases) => {
  test('a quota is given out to the last permit and then no more, whatever is wanted', async () => {
    const rates = createRates((await databases.fresh()).db, HOUR);
    expect(await take(rates, A, 10, 4)).toMatchObject({ granted: 4, remaining: 6 });
    expect(await take(rates, A, 10, 7)).toMatchObject({ granted: 6, remaining: 0 });
    expect(await take(rates, A, 10, 1)).toMatchObject({ granted: 0, remaining: 0 });
    expect(await take(rates, B, 3, 5)).toMatchObject({ granted: 3, remaining: 0 });
  });

  test('one statement takes for many keys, each by its own quota', async () => {
    const rates = createRates((await databases.fresh()).db, HOUR);
    const given = await rates.take([
      { hash: B, quota: 2, wanted: 5 },
      { hash: A, quota: 100, wanted: 5 },
    ]);
    expect(given.get(A)).toMatchObject({ granted: 5, remaining: 95 });
    expect(given.get(B)).toMatchObject({ granted: 2, remaining: 0 });
  });

  test('nodes that take at once never get more than the quota together, and never wait for each other in a circle', async () => {
    const { db, anotherNode } = await databases.fresh();
    const nodes = [createRates(db, HOUR), createRates(await anotherNode(), HOUR)];
    const given = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const order = index % 2 === 0 ? [A, B] : [B, A];
        const permits = await nodes[index % 2]!.take(order.map((hash) => ({ hash, quota: 50, wanted: 3 })));
        return [A, B].map((hash) => permits.get(hash)!.granted);
      }),
    );
    for (const column of [0, 1]) expect(given.reduce((sum, grants) => sum + grants[column]!, 0)).toBe(50);
  });

  test('a quota that is lowered gives nothing while more is used; one that is raised gives the difference', async () => {
    const rates = createRates((await databases.fresh()).db, HOUR);
    await take(rates, A, 10, 8);
    expect(await take(rates, A, 5, 1)).toMatchObject({ granted: 0, remaining: 0 });
    expect(await take(rates, A, 12, 100)).toMatchObject({ granted: 4, remaining: 0 });
  });

  test('a window ends by the clock of the database, and the next one has the whole quota', async () => {
    const rates = createRates((await databases.fresh()).db, { windowSeconds: 2 });
    let permits = await take(rates, A, 3, 3);
    expect(permits.endsInMs).toBeGreaterThan(0);
    expect(permits.endsInMs).toBeLessThanOrEqual(2000);
    permits = await take(rates, A, 3, 3);
    while (permits.granted === 0) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(1, permits.endsInMs)));
      permits = await take(rates, A, 3, 3);
    }
    expect(permits).toMatchObject({ granted: 3, remaining: 0 });
  });

  test('only windows that are long over are deleted, the oldest first and no more than asked', async () => {
    const { db } = await databases.fresh();
    const rates = createRates(db, HOUR);
    await take(rates, A, 10, 1);
    for (const [key, seconds] of [
      ['old', 500],
      ['older', 900],
      ['just over', 60],
    ] as const)
      await db.query(
        `INSERT INTO rate_window (hash, ends_at, quota, used, granted)
         VALUES (decode($1, 'hex'), now() - make_interval(secs => $2), 1, 1, 1)`,
        [hashOf(key), seconds],
      );
    const left = async () =>
      (await db.query<{ hash: string }>(`SELECT encode(hash, 'hex') AS hash FROM rate_window`))
        .map(({ hash }) => hash)
        .sort();
    expect(await rates.deleteExpired(1)).toBe(1);
    expect(await left()).toEqual([A, hashOf('old'), hashOf('just over')].sort());
    expect(await rates.deleteExpired(100)).toBe(1);
    expect(await rates.deleteExpired(100)).toBe(0);
    expect(await left()).toEqual([A, hashOf('just over')].sort());
  });

  test('windows of different keys do not all end at the same time', async () => {
    const { db } = await databases.fresh();
    await createRates(db).take(
      Array.from({ length: 20 }, (_, index) => ({ hash: hashOf(`${index}`), quota: 5, wanted: 1 })),
    );
    const rows = await db.query('SELECT DISTINCT ends_at FROM rate_window');
    expect(rows.length).toBeGreaterThan(5);
  });
});
