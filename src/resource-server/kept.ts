/**
 * A document that is loaded when first needed, kept while fresh, and served stale while its source is down, up to a hard
 * limit (fault F6 of the security reference). One load at a time, shared by all who wait; a source that fails is left
 * alone for a while; and nobody outside decides how often it is asked: what the kept value lacks causes at most one load
 * per cool-down.
 */
import type { Clock } from '../core/clock.ts';
import { RemoteFailure } from './remote.ts';

export interface Kept<T> {
  /**
   * The value now; waits for at most one load. A value that is not `enough` is returned only when it was loaded for this
   * call. Throws `RemoteFailure` if there is no value that is young enough, or what would be enough cannot be looked for
   * at present: the source fails, or it was asked within the cool-down.
   */
  get(enough?: (value: T) => boolean): Promise<T>;
  /** What the last load failed with. */
  problem(): string | undefined;
}

const MIN_FRESH_SECONDS = 60;
const MAX_FRESH_SECONDS = 3600;
const DEFAULT_FRESH_SECONDS = 300;
/** After this long without a good load, an old value is not used any more. */
const STALE_LIMIT_SECONDS = 24 * 3600;
const MAX_BACKOFF_SECONDS = 60;

/** Builds the keeper; `load` throws `RemoteFailure`, and what it throws changes nothing that is kept. */
export function createKept<T>(settings: {
  readonly load: () => Promise<{ readonly value: T; readonly maxAgeSeconds: number | undefined }>;
  readonly clock: Clock;
  /** Between two loads for something that a fresh value lacks. */
  readonly cooldownSeconds: number;
}): Kept<T> {
  const { load, clock, cooldownSeconds } = settings;
  let kept: { readonly value: T; readonly loadedMs: number; readonly freshUntilMs: number } | undefined;
  let lastAttemptMs = -Infinity;
  let failures = 0;
  let failure: RemoteFailure | undefined;
  let inFlight: Promise<void> | undefined;

  function refresh(): Promise<void> {
    inFlight ??= loadOnce().finally(() => {
      inFlight = undefined;
    });
    return inFlight;
  }

  async function loadOnce(): Promise<void> {
    lastAttemptMs = clock.nowMs();
    try {
      const { value, maxAgeSeconds = DEFAULT_FRESH_SECONDS } = await load();
      const freshSeconds = Math.min(Math.max(maxAgeSeconds, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS);
      const loadedMs = clock.nowMs();
      kept = { value, loadedMs, freshUntilMs: loadedMs + freshSeconds * 1000 };
      failures = 0;
      failure = undefined;
    } catch (error) {
      if (!(error instanceof RemoteFailure)) throw error;
      failures += 1;
      failure = error;
    }
  }

  function usable(nowMs: number): T | undefined {
    return kept !== undefined && nowMs - kept.loadedMs < STALE_LIMIT_SECONDS * 1000 ? kept.value : undefined;
  }

  /** Does this caller need a load: to wait for (`now`), beside it (`soon`), or not at all? */
  function needOf(missing: boolean, hasValue: boolean, nowMs: number): 'now' | 'soon' | 'no' {
    // A clock that was set back must not keep a value fresh for as long as it went back.
    const fresh = kept !== undefined && nowMs >= kept.loadedMs && nowMs < kept.freshUntilMs;
    if (!missing && fresh) return 'no';
    if (inFlight !== undefined) return missing || failures === 0 ? 'now' : 'no';
    const sinceAttemptSeconds = Math.abs(nowMs - lastAttemptMs) / 1000;
    // After a failure its own, shorter wait counts: nobody knows yet what the source would have said.
    if (failures > 0) {
      if (sinceAttemptSeconds < Math.min(2 ** (failures - 1), MAX_BACKOFF_SECONDS)) return 'no';
    } else if (hasValue && missing && fresh && sinceAttemptSeconds < cooldownSeconds) return 'no';
    // A source that failed may hang again: whoever can be served with the old value does not wait for it.
    return !missing && failures > 0 ? 'soon' : 'now';
  }

  return {
    async get(enough = () => true) {
      const before = usable(clock.nowMs());
      const missing = before === undefined || !enough(before);
      const need = needOf(missing, before !== undefined, clock.nowMs());
      if (need === 'now') await refresh();
      else if (need === 'soon') void refresh();
      const value = usable(clock.nowMs());
      if (value === undefined) throw failure ?? new RemoteFailure('unreachable', 'its document');
      // Only who has just looked can say that something does not exist: otherwise the answer is "later", not "no".
      if (!enough(value) && (failure !== undefined || need !== 'now'))
        throw failure ?? new RemoteFailure('cooling', 'what it lacks');
      return value;
    },
    problem: () => failure?.message,
  };
}
