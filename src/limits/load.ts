/**
 * Overload is shed early (F10): requests under way are counted, and what comes beyond the bound is told to come back
 * instead of waiting in a queue that helps nobody. While the event loop is late, which is when this process has more to
 * do than it can, a tenth of the bound holds: what is under way can then be finished before its callers give up.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Unavailable } from '../core/refusal.ts';

const SAMPLE_MS = 1000;
const RESOLUTION_MS = 20;
/** How late 1 of 100 turns of the event loop was within the last second. */
const LATE_MS = 1000;
const LATE_FACTOR = 10;

export interface Load {
  /** Runs the work of one request, or throws Unavailable (`overload`) without beginning it. */
  run<T>(work: () => Promise<T>): Promise<T>;
  underWay(): number;
  /** Requests that were told to come back, since the start. */
  shed(): number;
}

export function createLoad(parts: {
  readonly underWayMax: number;
  /** 99th percentile of the event loop's delay, milliseconds. */
  latenessMs(): number;
}): Load {
  let underWay = 0;
  let shed = 0;
  return {
    async run(work) {
      const late = parts.latenessMs() > LATE_MS;
      const max = late ? Math.max(1, Math.floor(parts.underWayMax / LATE_FACTOR)) : parts.underWayMax;
      if (underWay >= max) {
        shed += 1;
        throw new Unavailable('overload', late ? 'the event loop is late' : 'too many requests under way');
      }
      underWay += 1;
      try {
        return await work();
      } finally {
        underWay -= 1;
      }
    },
    underWay: () => underWay,
    shed: () => shed,
  };
}

/** Measures how late this process's event loop was within the last second. */
export function watchEventLoop(): { latenessMs(): number; stop(): void } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  let latenessMs = 0;
  const timer = setInterval(() => {
    latenessMs = delay.count === 0 ? 0 : delay.percentile(99) / 1e6;
    delay.reset();
  }, SAMPLE_MS);
  timer.unref();
  return {
    latenessMs: () => latenessMs,
    stop: () => {
      clearInterval(timer);
      delay.disable();
    },
  };
}
