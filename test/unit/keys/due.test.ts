import { describe, expect, test } from 'vitest';
import { dueSteps } from '../../../src/keys/due.ts';
import type { DueStep } from '../../../src/keys/due.ts';
import { slotsOf } from '../../../src/keys/slots.ts';
import type { SigningKeyRow } from '../../../src/store/signing-keys.ts';

const TIMES = { rotateAfterSeconds: 1000, publishAheadSeconds: 100 };
const START_MS = Date.UTC(2026, 0, 1);
const at = (seconds: number) => START_MS + seconds * 1000;
const SLOT = { purpose: 'access-token', algorithm: 'ES256' };

function key(kid: string, state: SigningKeyRow['state'], more: Partial<SigningKeyRow> = {}): SigningKeyRow {
  return {
    kid,
    ...SLOT,
    state,
    publicJwk: {},
    sealedPrivate: null,
    createdAtMs: at(0),
    publishedAtMs: at(0),
    activatedAtMs: state === 'next' ? null : at(0),
    retireAtMs: null,
    aheadSeconds: null,
    ...more,
  };
}

/** Every other slot has a fresh active key. */
function due(rows: readonly SigningKeyRow[], seconds: number): readonly DueStep[] {
  const others = slotsOf()
    .filter(({ purpose, algorithm }) => purpose !== SLOT.purpose || algorithm !== SLOT.algorithm)
    .map((slot) => key(`${slot.purpose} ${slot.algorithm}`, 'active', { ...slot, activatedAtMs: at(seconds) }));
  return dueSteps([...rows, ...others], at(seconds), TIMES);
}

describe('what the keys are due for', () => {
  test('a slot without a key gets its first one', () => {
    expect(dueSteps([], at(0), TIMES)).toEqual(slotsOf().map((slot) => ({ type: 'make_first', slot })));
  });

  test('the next key is made so early that it is published long enough when the active one has served', () => {
    expect(due([key('a', 'active')], 899)).toEqual([]);
    expect(due([key('a', 'active')], 900)).toEqual([{ type: 'make_next', slot: SLOT }]);
  });

  test.each([
    ['the active key has not served its time', 0, 999, []],
    ['both have: it is activated', 900, 1000, [{ type: 'activate', kid: 'b', aheadSeconds: 100 }]],
    ['the next key came late: it is published as long all the same', 950, 1049, []],
    ['and then activated', 950, 1050, [{ type: 'activate', kid: 'b', aheadSeconds: 100 }]],
  ] as const)('by schedule: %s', (_, publishedAt, now, expected) => {
    const rows = [key('a', 'active'), key('b', 'next', { publishedAtMs: at(publishedAt) })];
    expect(due(rows, now)).toEqual(expected);
  });

  test.each([
    ['not before the floor', 0, 4, []],
    ['at the floor', 0, 5, [{ type: 'activate', kid: 'b', aheadSeconds: 0 }]],
    ['not before the time that was asked for', 60, 59, []],
    ['at the time that was asked for', 60, 60, [{ type: 'activate', kid: 'b', aheadSeconds: 60 }]],
  ] as const)('by command: %s', (_, aheadSeconds, now, expected) => {
    expect(due([key('a', 'active'), key('b', 'next', { aheadSeconds })], now)).toEqual(expected);
  });

  test('a next key that is not known to be committed is marked, and does not count as published', () => {
    const rows = [key('a', 'active'), key('b', 'next', { publishedAtMs: null, aheadSeconds: 0 })];
    expect(due(rows, 5000)).toEqual([{ type: 'mark_published' }]);
  });

  test('retired and tainted keys are deleted when their time has come, not before', () => {
    const rows = [key('a', 'active'), key('r', 'retired', { retireAtMs: at(50) })];
    expect(due(rows, 49)).toEqual([]);
    expect(due(rows, 50)).toEqual([{ type: 'delete_expired' }]);
    expect(due([key('a', 'active'), key('t', 'tainted', { retireAtMs: at(50) })], 50)).toEqual([
      { type: 'delete_expired' },
    ]);
  });
});
