/**
 * Time: the clock that everything is given, and how much clocks may differ. Every allowance for that comes from here, so
 * that those which depend on each other cannot drift apart.
 */

/** Time as a value that is passed in, so that every bound can be tested at its edge. */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };

/**
 * How far the clock of a node may be from the database's: beyond it a node answers no request that depends on time, and so
 * far ahead reaches what is revoked "until now".
 */
export const CLOCK_MARGIN_SECONDS = 2;

/**
 * How much longer than a token its mark, its revocation and what else must outlive it are kept. It covers the margins of
 * two nodes and of a server that verifies offline, many times over.
 */
export const KEPT_AFTER_EXPIRY_SECONDS = 60;

/** NumericDate (RFC 7519 §2): whole seconds since the epoch, rounded down. */
export function nowSeconds(clock: Clock): number {
  return Math.floor(clock.nowMs() / 1000);
}
