/**
 * Lets the rotation look for what is due, now and then, at a time of its own on every node. It never stands in the way
 * of a request: a look is one small statement, and keys are made beside the event loop.
 */
import type { Logger } from '../core/log.ts';
import type { KeyRotation } from './rotation.ts';

/** Half to one and a half times as long lie between two looks. */
const INTERVAL_MS = 30_000;

export interface KeySchedule {
  start(): void;
  /** Takes no further look, and waits for the one under way. */
  stop(): Promise<void>;
}

export function createKeySchedule(rotation: Pick<KeyRotation, 'tick'>, logger: Logger): KeySchedule {
  let timer: NodeJS.Timeout | undefined;
  let looking = Promise.resolve();
  let running = false;

  function look(): void {
    looking = rotation
      .tick()
      .catch((error: unknown) => {
        logger.warn({ err: error }, 'the signing keys could not be looked after; it is tried again');
      })
      .finally(wait);
  }

  function wait(): void {
    if (!running) return;
    timer = setTimeout(look, INTERVAL_MS * (0.5 + Math.random()));
    timer.unref();
  }

  return {
    start: () => {
      running = true;
      wait();
    },
    stop: () => {
      running = false;
      clearTimeout(timer);
      return looking;
    },
  };
}
