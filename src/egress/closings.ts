/**
 * Commits the `closed` records: their calls are over and nobody waits for them, so what the database does not take now is
 * tried again until it does, or until this process ends. How many may wait is bounded; what is lost then is in the log.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Logger } from '../core/log.ts';
import type { Commitment } from '../store/commitment.ts';

const RETRY_MS = 1_000;
const WAITING_MAX = 10_000;
const STOP_TIMEOUT_MS = 5_000;

export interface Closings {
  /** `build` makes a record anew for each try: one whose outcome is unknown has lost its place (`settlement.ts`). */
  commit(build: () => RecordRow): void;
  /** Resolves when none waits, or after 5 s. */
  idle(): Promise<void>;
}

export function createClosings(parts: {
  readonly logger: Logger;
  commit(commitment: Commitment): Promise<unknown>;
}): Closings {
  const waiting = new Set<Promise<void>>();
  let giveUp = false;

  async function persist(build: () => RecordRow): Promise<void> {
    for (;;) {
      const record = build();
      try {
        await parts.commit({ marks: [], record });
        return;
      } catch (error) {
        if (giveUp) {
          parts.logger.error({ err: error, request_id: record.requestId }, 'the end of a call could not be recorded');
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    }
  }

  return {
    commit(build) {
      if (waiting.size >= WAITING_MAX) {
        parts.logger.error({ request_id: build().requestId }, 'the end of a call could not be recorded: too many wait');
        return;
      }
      const persisting = persist(build).finally(() => waiting.delete(persisting));
      waiting.add(persisting);
    },
    async idle() {
      const deadline = new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref());
      await Promise.race([Promise.all(waiting), deadline]);
      giveUp = true;
    },
  };
}
