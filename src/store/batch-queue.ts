/**
 * A bounded queue that is emptied in batches, a few at a time. Nobody waits while a batch may be sent; who comes while
 * all are under way goes with the next one. What waited too long is refused instead of being sent: its caller is gone.
 */
import type { Clock } from '../core/clock.ts';
import { Unavailable } from '../core/refusal.ts';

export interface BatchQueueOptions<T> {
  readonly clock: Clock;
  readonly maxInFlight: number;
  readonly maxQueued: number;
  readonly maxWaitMs: number;
  readonly batchItemsMax: number;
  readonly batchBytesMax: number;
  /** Must see to every item of the batch; what it throws is a bug. */
  readonly run: (batch: readonly T[]) => Promise<void>;
  /** Called instead of `run` for an item that waited too long. */
  readonly refuse: (item: T, reason: Unavailable) => void;
}

export interface BatchQueue<T> {
  /** Throws Unavailable when the queue is full. */
  add(item: T, bytes: number): void;
  size(): number;
  /** Resolves when nothing is queued or under way. */
  idle(): Promise<void>;
}

interface Queued<T> {
  readonly item: T;
  readonly bytes: number;
  readonly queuedAtMs: number;
}

export function createBatchQueue<T>(options: BatchQueueOptions<T>): BatchQueue<T> {
  const queue: Queued<T>[] = [];
  let inFlight = 0;
  let onIdle: (() => void)[] = [];

  function takeBatch(): T[] {
    const batch: T[] = [];
    let bytes = 0;
    const oldestMs = options.clock.nowMs() - options.maxWaitMs;
    for (let next = queue[0]; next !== undefined && batch.length < options.batchItemsMax; next = queue[0]) {
      if (batch.length > 0 && bytes + next.bytes > options.batchBytesMax) break;
      queue.shift();
      if (next.queuedAtMs < oldestMs)
        options.refuse(next.item, new Unavailable('overload', 'the request waited too long'));
      else {
        batch.push(next.item);
        bytes += next.bytes;
      }
    }
    return batch;
  }

  function pump(): void {
    while (inFlight < options.maxInFlight && queue.length > 0) {
      const batch = takeBatch();
      if (batch.length === 0) break;
      inFlight++;
      void options.run(batch).finally(() => {
        inFlight--;
        pump();
      });
    }
    if (inFlight > 0 || queue.length > 0) return;
    for (const resolve of onIdle) resolve();
    onIdle = [];
  }

  return {
    add(item, bytes) {
      if (queue.length >= options.maxQueued) throw new Unavailable('overload', 'too many requests are waiting');
      queue.push({ item, bytes, queuedAtMs: options.clock.nowMs() });
      pump();
    },
    size: () => queue.length,
    idle: () =>
      inFlight === 0 && queue.length === 0 ? Promise.resolve() : new Promise((resolve) => onIdle.push(resolve)),
  };
}
