/** Time as a value that is passed in, so that every bound can be tested at its edge. */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };

/** NumericDate (RFC 7519 §2): whole seconds since the epoch, rounded down. */
export function nowSeconds(clock: Clock): number {
  return Math.floor(clock.nowMs() / 1000);
}
