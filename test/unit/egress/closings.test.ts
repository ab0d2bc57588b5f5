/** The records of ends: each is committed once the database takes it, however long that is. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RecordRow } from '../../../src/audit/record.ts';
import { createLogger } from '../../../src/core/log.ts';
import { createClosings } from '../../../src/egress/closings.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A database that takes records from when it is told to. */
function database() {
  const state = { takes: false, tries: [] as string[], taken: [] as string[] };
  const closings = createClosings({
    logger: createLogger('silent'),
    commit: ({ record }) => {
      state.tries.push(record.id);
      if (!state.takes) return Promise.reject(new Error('down'));
      state.taken.push(record.id);
      return Promise.resolve({});
    },
  });
  let built = 0;
  const build = (name: string) => () => ({ id: `${name}-${(built += 1)}`, requestId: name }) as RecordRow;
  return { state, closings, build };
}

test('what the database does not take is tried again, each time as a record of its own, until it does', async () => {
  const { state, closings, build } = database();
  closings.commit(build('a'));
  await vi.advanceTimersByTimeAsync(3500);
  expect(state.tries).toHaveLength(4);
  expect(new Set(state.tries).size).toBe(4);
  state.takes = true;
  await vi.advanceTimersByTimeAsync(1000);
  expect(state.taken).toEqual(['a-5']);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(state.tries).toHaveLength(5);
});

test('stopping waits for them, and not for ever', async () => {
  const { state, closings, build } = database();
  closings.commit(build('a'));
  let idle = false;
  void closings.idle().then(() => (idle = true));
  await vi.advanceTimersByTimeAsync(1500);
  expect(idle).toBe(false);
  state.takes = true;
  await vi.advanceTimersByTimeAsync(1000);
  expect([idle, state.taken.length]).toEqual([true, 1]);

  state.takes = false;
  closings.commit(build('b'));
  let gaveUp = false;
  void closings.idle().then(() => (gaveUp = true));
  await vi.advanceTimersByTimeAsync(5000);
  expect(gaveUp).toBe(true);
});

test('at most 10,000 wait', () => {
  const { state, closings, build } = database();
  for (let count = 0; count < 10_001; count += 1) closings.commit(build('a'));
  expect(state.tries).toHaveLength(10_000);
});
