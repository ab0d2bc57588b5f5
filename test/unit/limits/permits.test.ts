import { expect, test } from 'vitest';
import { createPermits } from '../../../src/limits/permits.ts';
import type { PermitRequest, Permits, Rates } from '../../../src/store/rates.ts';

/** The database's side of it: exact, with windows that end when the test says so. */
function counted(windowMs = 60_000) {
  const used = new Map<string, number>();
  const asked: PermitRequest[][] = [];
  let nowMs = 0;
  const rates: Pick<Rates, 'take'> = {
    take: (requests) => {
      asked.push([...requests]);
      return Promise.resolve(
        new Map(
          requests.map(({ hash, quota, wanted }): [string, Permits] => {
            const before = used.get(hash) ?? 0;
            const granted = Math.max(0, Math.min(wanted, quota - before));
            used.set(hash, before + granted);
            const endsInMs = windowMs - (nowMs % windowMs);
            return [hash, { granted, remaining: Math.max(0, quota - before - granted), endsInMs }];
          }),
        ),
      );
    },
  };
  const node = (keysMax?: number) =>
    createPermits({ rates, elapsedMs: () => nowMs, ...(keysMax === undefined ? {} : { keysMax }) });
  return {
    node,
    asked,
    advance: (ms: number) => {
      if (Math.floor((nowMs + ms) / windowMs) > Math.floor(nowMs / windowMs)) used.clear();
      nowMs += ms;
    },
  };
}

const given = (permits: readonly { given: boolean }[]) => permits.filter((permit) => permit.given).length;

test.each([1, 7, 20, 39])('a limit of %i is exact to the request over two nodes', async (quota) => {
  const { node } = counted();
  const [one, other] = [node(), node()];
  const permits = [];
  for (let index = 0; index < quota + 3; index++) permits.push(await (index % 2 === 0 ? one : other).take('k', quota));
  expect(permits.map((permit) => permit.given)).toEqual([...Array(quota).fill(true), false, false, false]);
});

test('a large limit is never exceeded over three nodes, and takes a round trip per twentieth', async () => {
  const { node, asked } = counted();
  const nodes = [node(), node(), node()];
  const permits = await Promise.all(Array.from({ length: 3000 }, (_, index) => nodes[index % 3]!.take('k', 1000)));
  expect(given(permits)).toBe(1000);
  const sequential = counted();
  const alone = sequential.node();
  for (let index = 0; index < 1000; index++) expect((await alone.take('k', 1000)).given).toBe(true);
  expect(sequential.asked.length).toBe(20);
  expect(asked.length).toBeLessThan(30);
});

test('requests at the same time ask once, for as many as they are', async () => {
  const { node, asked } = counted();
  const one = node();
  const permits = await Promise.all([...Array(5).keys()].map(() => one.take('a', 3)).concat([one.take('b', 3)]));
  expect(given(permits)).toBe(4);
  // The first went at once; who came while it was under way went together.
  expect(asked.map((group) => group.map(({ hash, wanted }) => [hash, wanted]))).toEqual([
    [['a', 1]],
    [
      ['a', 4],
      ['b', 1],
    ],
  ]);
});

test('what is used up is not asked for again before the window ends; what is left of a block ends with it', async () => {
  const { node, asked, advance } = counted();
  const one = node();
  await one.take('k', 1);
  for (let index = 0; index < 100; index++) expect((await one.take('k', 1)).given).toBe(false);
  expect(asked.length).toBe(1);
  await one.take('big', 1000);
  expect(asked.length).toBe(2);
  advance(60_000);
  expect((await one.take('k', 1)).given).toBe(true);
  expect(await one.take('big', 1000)).toMatchObject({ given: true, remaining: 999 });
  expect(asked.length).toBe(4);
});

test('a limit that is changed holds with the next request', async () => {
  const { node } = counted();
  const one = node();
  expect((await one.take('k', 1)).given).toBe(true);
  expect((await one.take('k', 1)).given).toBe(false);
  expect((await one.take('k', 2)).given).toBe(true);
  await one.take('big', 1000);
  expect((await one.take('big', 1)).given).toBe(false);
});

test('says what is left and for how long, at least a second', async () => {
  const { node, advance } = counted();
  const one = node();
  expect(await one.take('k', 100)).toEqual({ given: true, remaining: 99, resetSeconds: 60 });
  advance(12_500);
  expect(await one.take('k', 100)).toEqual({ given: true, remaining: 98, resetSeconds: 48 });
  await one.take('once', 1);
  advance(47_499);
  expect(await one.take('once', 1)).toEqual({ given: false, remaining: 0, resetSeconds: 1 });
});

test('remembers no more keys than it may, and forgetting one gives nothing away', async () => {
  const { node } = counted();
  const one = node(10);
  for (let index = 0; index < 500; index++) await one.take(`k${index}`, 1);
  expect(one.size()).toBe(10);
  for (let index = 0; index < 500; index++) expect((await one.take(`k${index}`, 1)).given).toBe(false);
});

test('a database that fails gives no permit, and the next request asks again', async () => {
  let down = true;
  const { node } = counted();
  const rates: Pick<Rates, 'take'> = {
    take: (requests) =>
      down
        ? Promise.reject(new Error('down'))
        : Promise.resolve(new Map(requests.map(({ hash }) => [hash, { granted: 1, remaining: 0, endsInMs: 1000 }]))),
  };
  const one = createPermits({ rates, elapsedMs: () => 0 });
  await expect(one.take('k', 5)).rejects.toThrow('down');
  down = false;
  expect((await one.take('k', 5)).given).toBe(true);
  expect(node().size()).toBe(0);
});
