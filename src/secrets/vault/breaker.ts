/**
 * Leaves a Vault alone that fails: after several failures in a row nobody asks for a while, then one asks for all. What
 * is asked meanwhile fails at once, so that a Vault that hangs does not hold every request for its whole time-out.
 */

const FAILURES_MAX = 5;
const REST_MIN_MS = 1_000;
const REST_MAX_MS = 30_000;

export const BREAKER_STATES = ['closed', 'open', 'half_open'] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];

export interface Breaker {
  /** May something be asked now? In the half-open state only the first who asks may. */
  admit(): boolean;
  succeeded(): void;
  failed(): void;
  /** Whoever was admitted found out nothing about Vault. */
  abandoned(): void;
  state(): BreakerState;
}

/** `nowMs` only goes forward; `random` in [0, 1). */
export function createBreaker(
  nowMs: () => number = () => performance.now(),
  random: () => number = Math.random,
): Breaker {
  let failures = 0;
  let rests = 0;
  let restsUntilMs: number | undefined;
  let probing = false;

  return {
    admit() {
      if (restsUntilMs === undefined) return true;
      if (nowMs() < restsUntilMs || probing) return false;
      probing = true;
      return true;
    },
    succeeded() {
      failures = 0;
      rests = 0;
      restsUntilMs = undefined;
      probing = false;
    },
    failed() {
      failures += 1;
      if (restsUntilMs !== undefined && !probing) return;
      if (!probing && failures < FAILURES_MAX) return;
      const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** rests);
      rests = Math.min(rests + 1, 10);
      probing = false;
      // Nodes that went down together must not come back together.
      restsUntilMs = nowMs() + restMs * (0.75 + random() / 2);
    },
    abandoned() {
      probing = false;
    },
    state() {
      if (restsUntilMs === undefined) return 'closed';
      return probing || nowMs() >= restsUntilMs ? 'half_open' : 'open';
    },
  };
}
