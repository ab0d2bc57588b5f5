/**
 * Concurrent requests that ask the database the same question share one statement, without ever sharing an answer that
 * is older than the question: what is asked while a statement is under way goes with the next one, never with that one.
 */

/** Each call resolves with the outcome of a run that began after the call. One run at a time. */
export function shareNext<T>(run: () => Promise<T>): () => Promise<T> {
  const grouped = groupLookups<'', T>((_keys) => run().then((value) => new Map([['', value]])));
  return async () => (await grouped('')) as T;
}

/**
 * Looks keys up in groups: `run` gets the distinct keys of all calls since the last run began, at most `keysMax`, and
 * returns what it found. One run at a time, no delay when idle.
 */
export function groupLookups<K, V>(
  run: (keys: readonly K[]) => Promise<ReadonlyMap<K, V>>,
  keysMax = 500,
): (key: K) => Promise<V | undefined> {
  interface Waiter {
    readonly resolve: (value: V | undefined) => void;
    readonly reject: (reason: unknown) => void;
  }
  let waiting = new Map<K, Waiter[]>();
  let running = false;

  function takeGroup(): Map<K, Waiter[]> {
    if (waiting.size <= keysMax) {
      const group = waiting;
      waiting = new Map();
      return group;
    }
    const group = new Map([...waiting].slice(0, keysMax));
    for (const key of group.keys()) waiting.delete(key);
    return group;
  }

  async function runGroups(): Promise<void> {
    running = true;
    while (waiting.size > 0) {
      const group = takeGroup();
      try {
        const found = await run([...group.keys()]);
        for (const [key, waiters] of group) for (const { resolve } of waiters) resolve(found.get(key));
      } catch (error) {
        for (const waiters of group.values()) for (const { reject } of waiters) reject(error);
      }
    }
    running = false;
  }

  return (key) =>
    new Promise((resolve, reject) => {
      const waiters = waiting.get(key);
      if (waiters === undefined) waiting.set(key, [{ resolve, reject }]);
      else waiters.push({ resolve, reject });
      if (!running) void runGroups();
    });
}
