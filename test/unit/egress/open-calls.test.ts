/** What ends an open call early: its expiry, what it stands on, and not knowing that for ten seconds. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { isRefusal } from '../../../src/core/refusal.ts';
import { createOpenCalls } from '../../../src/egress/open-calls.ts';
import type { Place } from '../../../src/egress/open-calls.ts';
import type { Registry, StateSeen } from '../../../src/objects/registry.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const FIRST = { version: 1, revocations: 1, keys: 1 } as unknown as StateSeen;

function node() {
  const state = { seen: FIRST, down: false, holds: true, looks: 0 };
  const calls = createOpenCalls({
    clock: { nowMs: () => Date.now() },
    callsMax: 3,
    callsPerClientMax: 2,
    registry: () => {
      state.looks += 1;
      return state.down ? Promise.reject(new Error('down')) : Promise.resolve({ state: state.seen } as Registry);
    },
  });
  const enter = (client: string): Place => {
    const place = calls.enter(client);
    if (isRefusal(place)) throw new Error(place.reason);
    return place;
  };
  const open = (client = 'a', lifetimeSeconds = 900) => {
    const cuts: string[] = [];
    const judged = { times: 0 };
    const place = enter(client);
    place.watch({
      expiresAtSeconds: Date.now() / 1000 + lifetimeSeconds,
      state: state.seen,
      stillHolds: () => {
        judged.times += 1;
        return Promise.resolve(state.holds);
      },
      cut: (ending) => void cuts.push(ending),
    });
    return { place, cuts, judged };
  };
  return { state, calls, enter, open };
}

test('a call ends with its token, and not before', async () => {
  const { open } = node();
  const { cuts } = open('a', 5);
  await vi.advanceTimersByTimeAsync(4990);
  expect(cuts).toEqual([]);
  await vi.advanceTimersByTimeAsync(20);
  expect(cuts).toEqual(['expired']);
});

test('it is judged again only where something changed, and cut where it holds no more', async () => {
  const { state, open } = node();
  const { cuts, judged } = open();
  await vi.advanceTimersByTimeAsync(5000);
  expect(judged.times).toBe(0);
  state.seen = { ...FIRST, version: 2 };
  await vi.advanceTimersByTimeAsync(3000);
  expect([judged.times, cuts]).toEqual([1, []]);
  state.holds = false;
  state.seen = { ...FIRST, version: 2, revocations: 2 };
  await vi.advanceTimersByTimeAsync(1000);
  expect(cuts).toEqual(['revoked']);
});

test('where the state is unknown for ten seconds it is cut; a shorter outage is lived through', async () => {
  const { state, open } = node();
  const { cuts } = open();
  await vi.advanceTimersByTimeAsync(1000);
  state.down = true;
  await vi.advanceTimersByTimeAsync(8000);
  state.down = false;
  await vi.advanceTimersByTimeAsync(2000);
  state.down = true;
  await vi.advanceTimersByTimeAsync(9000);
  expect(cuts).toEqual([]);
  await vi.advanceTimersByTimeAsync(3000);
  expect(cuts[0]).toBe('state_unknown');
});

test('places are counted by client and in all, and free again once left, however often', () => {
  const { calls, enter } = node();
  const first = enter('a');
  enter('a');
  expect(calls.enter('a')).toMatchObject({ reason: 'egress_calls_exceeded' });
  enter('b');
  expect(() => calls.enter('c')).toThrow(/too many calls/);
  first.leave();
  first.leave();
  expect(calls.count()).toBe(2);
  enter('a');
  expect(() => calls.enter('b')).toThrow(/too many calls/);
});

test('stopping ends what is open, and nothing is looked at any more', async () => {
  const { state, calls, open } = node();
  const { cuts } = open();
  calls.stop();
  expect(cuts).toEqual(['stopped']);
  const { looks } = state;
  await vi.advanceTimersByTimeAsync(5000);
  expect(state.looks).toBe(looks);
});
