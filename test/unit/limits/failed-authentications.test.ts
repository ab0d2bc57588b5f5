import { expect, test } from 'vitest';
import { createFailedAuthentications } from '../../../src/limits/failed-authentications.ts';

function counting(perMinute: number, entriesMax?: number) {
  let nowMs = 0;
  const failures = createFailedAuthentications({
    perMinute,
    elapsedMs: () => nowMs,
    ...(entriesMax === undefined ? {} : { entriesMax }),
  });
  return {
    failures,
    advance: (ms: number) => {
      nowMs += ms;
    },
    fail: (times: number, source: string, client: string | ((index: number) => string)) => {
      for (let index = 0; index < times; index++)
        failures.note(source, typeof client === 'string' ? client : client(index));
    },
  };
}

test('a pair of address and claimed client is turned away after its failures, until a minute after the first', () => {
  const { failures, fail, advance } = counting(3);
  fail(2, '192.0.2.1', 'agent');
  expect(failures.check('192.0.2.1', 'agent')).toBeUndefined();
  advance(10_000);
  fail(1, '192.0.2.1', 'agent');
  expect(failures.check('192.0.2.1', 'agent')).toMatchObject({ reason: 'source_throttled', retryAfterSeconds: 50 });
  advance(49_999);
  expect(failures.check('192.0.2.1', 'agent')).toMatchObject({ retryAfterSeconds: 1 });
  advance(1);
  expect(failures.check('192.0.2.1', 'agent')).toBeUndefined();
  fail(2, '192.0.2.1', 'agent');
  expect(failures.check('192.0.2.1', 'agent')).toBeUndefined();
});

test('another client behind the same address, and the same client elsewhere, are let in', () => {
  const { failures, fail } = counting(3);
  fail(29, '192.0.2.1', 'agent');
  expect(failures.check('192.0.2.1', 'agent')).toBeDefined();
  expect(failures.check('192.0.2.1', 'other')).toBeUndefined();
  expect(failures.check('192.0.2.2', 'agent')).toBeUndefined();
});

test('an address that tries client after client is turned away after ten times as many', () => {
  const { failures, fail } = counting(3);
  fail(29, '192.0.2.1', (index) => `guess-${index}`);
  expect(failures.check('192.0.2.1', 'other')).toBeUndefined();
  fail(1, '192.0.2.1', 'one more');
  expect(failures.check('192.0.2.1', 'other')).toMatchObject({ reason: 'source_throttled' });
  expect(failures.check('192.0.2.2', 'other')).toBeUndefined();
});

test.each([
  ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9', true],
  ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
  ['::ffff:192.0.2.1', '192.0.2.1', true],
  ['fe80::1%eth0', 'fe80::2%eth1', true],
  ['unknown', 'not an address', true],
  ['192.0.2.1', '192.0.2.2', false],
])('%s and %s are one source: %s', (one, other, same) => {
  const { failures, fail } = counting(1);
  fail(1, one, 'agent');
  expect(failures.check(other, 'agent') !== undefined).toBe(same);
});

test('made-up clients fill no memory and do not make the address forgotten', () => {
  const { failures, fail } = counting(5, 100);
  fail(5000, '192.0.2.1', (index) => `${index}${'x'.repeat(10_000)}`);
  expect(failures.size()).toBe(101);
  expect(failures.check('192.0.2.1', 'agent')).toBeDefined();
});
