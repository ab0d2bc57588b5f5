/**
 * What is kept in memory for a short while: a bounded number of values, each until a time of its own, each made once for
 * all who ask at the same time. Nothing of this is ever written anywhere.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.ts';

/** `untilMs` undefined: for those who asked at the same time, and nobody else. What failed is such a value, or throws. */
export interface Made<V> {
  readonly value: V;
  readonly untilMs: number | undefined;
}

export interface Kept<V extends object> {
  /** The kept value, or that of the `make` that is under way, or of this one. */
  get(key: string, make: () => Promise<Made<V>>): Promise<V>;
  /**
   * Forgets a value that an upstream did not take, if it still is the one that is kept; `true` where it was. At most once
   * per `rejectEveryMs` and key, so that an upstream that takes nothing cannot make us ask for ever more.
   */
  reject(key: string, isIt: (value: V) => boolean): boolean;
  /** Forgets a value that has ended, if it still is the one that is kept. */
  remove(key: string, value: V): void;
  /** Forgets all, and keeps nothing any more. */
  close(): void;
}

export function createKept<V extends object>(parts: {
  readonly clock: Clock;
  readonly entriesMax: number;
  readonly rejectEveryMs: number;
}): Kept<V> {
  const { clock, entriesMax, rejectEveryMs } = parts;
  const entries = new LRUCache<string, { readonly value: V; readonly untilMs: number }>({ max: entriesMax });
  const rejectedAtMs = new LRUCache<string, number>({ max: entriesMax });
  const flights = new Map<string, Promise<V>>();
  let closed = false;

  async function fly(key: string, make: () => Promise<Made<V>>): Promise<V> {
    const { value, untilMs } = await make();
    if (!closed && untilMs !== undefined && untilMs > clock.nowMs()) entries.set(key, { value, untilMs });
    return value;
  }

  return {
    get(key, make) {
      const entry = entries.get(key);
      if (entry !== undefined && entry.untilMs > clock.nowMs()) return Promise.resolve(entry.value);
      entries.delete(key);
      const under = flights.get(key);
      if (under !== undefined) return under;
      const flight = fly(key, make).finally(() => flights.delete(key));
      flights.set(key, flight);
      return flight;
    },
    reject(key, isIt) {
      const entry = entries.get(key);
      if (entry === undefined || !isIt(entry.value)) return false;
      const nowMs = clock.nowMs();
      if (nowMs - (rejectedAtMs.get(key) ?? -Infinity) < rejectEveryMs) return false;
      rejectedAtMs.set(key, nowMs);
      return entries.delete(key);
    },
    remove(key, value) {
      if (entries.get(key)?.value === value) entries.delete(key);
    },
    close() {
      closed = true;
      entries.clear();
    },
  };
}
