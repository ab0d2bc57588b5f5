/** What leaves a failing Vault alone: when it opens, whom it lets try, and how long it rests. */
import { expect, test } from 'vitest';
import { createBreaker } from '../../../src/secrets/vault/breaker.ts';

function bench(random = 0.5) {
  let nowMs = 0;
  const breaker = createBreaker(
    () => nowMs,
    () => random,
  );
  const fail = (times: number) => {
    for (let i = 0; i < times; i += 1) breaker.failed();
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { breaker, fail, pass };
}

test('opens at the fifth failure in a row, and not where something was answered in between', () => {
  const { breaker, fail } = bench();
  fail(4);
  breaker.succeeded();
  fail(4);
  expect(breaker.admit()).toBe(true);
  expect(breaker.state()).toBe('closed');
  fail(1);
  expect(breaker.admit()).toBe(false);
  expect(breaker.state()).toBe('open');
});

test('after its rest one asks for all; who is answered closes it', () => {
  const { breaker, fail, pass } = bench();
  fail(5);
  pass(999);
  expect(breaker.admit()).toBe(false);
  pass(1);
  expect(breaker.state()).toBe('half_open');
  expect([breaker.admit(), breaker.admit(), breaker.admit()]).toEqual([true, false, false]);
  breaker.succeeded();
  expect(breaker.state()).toBe('closed');
  expect(breaker.admit()).toBe(true);
});

test('rests twice as long after each try that fails, half a minute at most, and starts again from one second', () => {
  const { breaker, fail, pass } = bench();
  fail(5);
  for (const restMs of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    pass(restMs - 1);
    expect(breaker.admit(), `${restMs}`).toBe(false);
    pass(1);
    expect(breaker.admit(), `${restMs}`).toBe(true);
    breaker.failed();
  }
  pass(30_000);
  breaker.admit();
  breaker.succeeded();
  fail(5);
  pass(1_000);
  expect(breaker.admit()).toBe(true);
});

test('answers that come late, from before it opened, do not lengthen the rest', () => {
  const { breaker, fail, pass } = bench();
  fail(5);
  fail(20);
  pass(1_000);
  expect(breaker.admit()).toBe(true);
});

test('who was admitted and found out nothing lets another try', () => {
  const { breaker, fail, pass } = bench();
  fail(5);
  pass(1_000);
  expect(breaker.admit()).toBe(true);
  breaker.abandoned();
  expect(breaker.admit()).toBe(true);
});

test('nodes that opened together do not all come back together: a quarter earlier or later', () => {
  const [early, late] = [bench(0), bench(0.999)];
  for (const { fail, pass } of [early, late]) {
    fail(5);
    pass(750);
  }
  expect([early.breaker.admit(), late.breaker.admit()]).toEqual([true, false]);
  late.pass(500);
  expect(late.breaker.admit()).toBe(true);
});
