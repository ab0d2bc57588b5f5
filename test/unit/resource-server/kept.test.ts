import { expect, test } from 'vitest';
import { createKept } from '../../../src/resource-server/kept.ts';
import { RemoteFailure } from '../../../src/resource-server/remote.ts';
import { testClock } from './publisher.ts';

function source(maxAgeSeconds: number | undefined) {
  const clock = testClock();
  const state = { loads: 0, value: 'first', down: false, hang: undefined as Promise<void> | undefined, maxAgeSeconds };
  const kept = createKept({
    clock,
    cooldownSeconds: 30,
    load: async () => {
      state.loads += 1;
      await state.hang;
      if (state.down) throw new RemoteFailure('unreachable', 'keys');
      return { value: state.value, maxAgeSeconds: state.maxAgeSeconds };
    },
  });
  return { clock, state, kept };
}

test.each([
  [undefined, 300],
  [0, 60],
  [120, 120],
  [86_400, 3600],
])('max-age=%s keeps it fresh for %i s', async (maxAgeSeconds, freshSeconds) => {
  const { clock, state, kept } = source(maxAgeSeconds);
  await kept.get();
  clock.forward(freshSeconds - 1);
  await kept.get();
  expect(state.loads).toBe(1);
  clock.forward(1);
  state.value = 'second';
  expect(await kept.get()).toBe('second');
  expect(state.loads).toBe(2);
});

test('callers share one load', async () => {
  const { state, kept } = source(300);
  expect(await Promise.all(Array.from({ length: 50 }, () => kept.get()))).toHaveLength(50);
  expect(state.loads).toBe(1);
});

test('a source that is down: the old value serves for 24 hours without waiting, then nothing does', async () => {
  const { clock, state, kept } = source(300);
  await kept.get();
  state.down = true;
  clock.forward(24 * 3600 - 1);
  expect(await kept.get()).toBe('first');
  expect(kept.problem()).toContain('could not be reached');
  // It hangs besides: nobody who can be served waits for it.
  state.hang = new Promise(() => undefined);
  clock.forward(0.9);
  expect(await kept.get()).toBe('first');
  clock.forward(0.1);
  state.hang = undefined;
  await expect(kept.get()).rejects.toThrow(RemoteFailure);
});

test('a source that failed is left alone for longer and longer, up to a minute, and is had back', async () => {
  const { clock, state, kept } = source(300);
  state.down = true;
  for (const waitSeconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
    await expect(kept.get()).rejects.toThrow(RemoteFailure);
    const { loads } = state;
    clock.forward(waitSeconds - 0.1);
    await expect(kept.get()).rejects.toThrow(RemoteFailure);
    expect(state.loads).toBe(loads);
    clock.forward(0.1);
  }
  state.down = false;
  expect(await kept.get()).toBe('first');
  expect(kept.problem()).toBeUndefined();
});

test('what a fresh value lacks is looked for once per cool-down; "later" is said until then, and while the source is down', async () => {
  const { clock, state, kept } = source(3600);
  const wantsSecond = (value: string) => value === 'second';
  await kept.get();
  clock.forward(29);
  await expect(kept.get(wantsSecond)).rejects.toThrow('asked for a moment ago');
  expect(state.loads).toBe(1);
  expect(kept.problem()).toBeUndefined();
  clock.forward(1);
  expect(await kept.get(wantsSecond)).toBe('first');
  await expect(kept.get(wantsSecond)).rejects.toThrow(RemoteFailure);
  expect(await kept.get()).toBe('first');
  expect(state.loads).toBe(2);
  clock.forward(30);
  state.down = true;
  await expect(kept.get(wantsSecond)).rejects.toThrow(RemoteFailure);
  expect(await kept.get()).toBe('first');
  clock.forward(1);
  state.down = false;
  state.value = 'second';
  expect(await kept.get(wantsSecond)).toBe('second');
});

test('a clock that is set back does not keep a value fresh', async () => {
  const { clock, state, kept } = source(300);
  await kept.get();
  clock.forward(-3600);
  state.value = 'second';
  expect(await kept.get()).toBe('second');
});
