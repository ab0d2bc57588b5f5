/**
 * A bounded cache that is never older than what its owner has learned: a fetch that began before something was forgotten
 * answers those who asked before, and is not kept. `undefined` (not there) is kept like any other answer.
 */
import { LRUCache } from 'lru-cache';
import { groupLookups } from './grouping.ts';

export interface VersionedCache<V> {
  get(key: string): Promise<V | undefined>;
  forget(keys: readonly string[]): void;
  forgetAll(): void;
}

export type LookupResult = 'hit' | 'miss';

export interface VersionedCacheOptions<V> {
  readonly entriesMax: number;
  /** Bound on the sum of what `bytesOf` says; `bytesOf` need not be exact. */
  readonly bytesMax: number;
  readonly bytesOf: (value: V) => number;
  /** Fetches many keys in one statement; what is not there is not in the map. */
  readonly fetch: (keys: readonly string[]) => Promise<ReadonlyMap<string, V>>;
  /** Told of every look-up whether the answer was there. */
  readonly onLookup?: ((result: LookupResult) => void) | undefined;
}

const NOTHING = Symbol('nothing');

/** About what an entry costs besides its key and value. */
const ENTRY_BYTES = 200;

export function createVersionedCache<V>(options: VersionedCacheOptions<V>): VersionedCache<V> {
  const entries = new LRUCache<string, { readonly value: V | typeof NOTHING }>({
    max: options.entriesMax,
    maxSize: options.bytesMax,
    sizeCalculation: ({ value }, key) =>
      ENTRY_BYTES + 2 * key.length + (value === NOTHING ? 0 : Math.max(0, options.bytesOf(value))),
  });
  let generation = 0;

  const fetchGrouped = groupLookups(async (keys: readonly string[]) => {
    const began = generation;
    const found = await options.fetch(keys);
    if (began === generation)
      for (const key of keys) entries.set(key, { value: found.has(key) ? (found.get(key) as V) : NOTHING });
    return found;
  });

  return {
    get(key) {
      const entry = entries.get(key);
      options.onLookup?.(entry === undefined ? 'miss' : 'hit');
      if (entry === undefined) return fetchGrouped(key);
      return Promise.resolve(entry.value === NOTHING ? undefined : entry.value);
    },
    forget(keys) {
      generation++;
      for (const key of keys) entries.delete(key);
    },
    forgetAll() {
      generation++;
      entries.clear();
    },
  };
}
