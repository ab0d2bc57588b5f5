/**
 * Ends the leases that are due, whichever node made them: every two seconds it looks which may not go on (their token was
 * revoked, somebody in it disabled, their time is over), and ends those at Vault. Nodes share the work row by row. What
 * Vault does not take now stays, and is tried again; a lease whose token is alive is left alone, also when its node goes.
 */
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import type { LeaseBroker } from '../secrets/secret-store.ts';
import type { EndingLease, LeaseNumbers, LeaseRows } from '../store/leases.ts';

const LOOK_MS = 2000;
const BATCH_ROWS = 50;
/** Revocations under way at a time: Vault has other work. */
const PARALLEL = 5;

/** Counted since the start of this node, and what the last look found. */
export interface LeaseSweepNumbers extends LeaseNumbers {
  readonly ended: number;
  readonly failed: number;
}

export interface LeaseSweeper {
  /** Begins to look; the first look comes within two seconds. */
  start(): void;
  /** One look, now; one that is under way counts. Never throws. */
  runOnce(): Promise<void>;
  numbers(): LeaseSweepNumbers;
  /** No further look; waits for the one under way. */
  stop(): Promise<void>;
}

export function createLeaseSweeper(parts: {
  readonly rows: LeaseRows;
  /** `undefined`: no Vault is configured, so no lease of it can be ended from here. */
  readonly broker: Pick<LeaseBroker, 'revokeHolder'> | undefined;
  readonly logger: Logger;
}): LeaseSweeper {
  const { rows, broker, logger } = parts;
  let seen: LeaseNumbers = { alive: 0, ending: 0, oldestEndingSeconds: undefined };
  let ended = 0;
  let failed = 0;
  let failing = false;
  const stopping = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let round: Promise<void> | undefined;

  /** Resolves to whether it was ended. */
  async function endOne(by: Pick<LeaseBroker, 'revokeHolder'>, { id, accessor }: EndingLease): Promise<boolean> {
    try {
      if (accessor !== null) await by.revokeHolder(accessor);
      await rows.remove(id);
      ended += 1;
      return true;
    } catch (error) {
      failed += 1;
      // The first of many says it; the others are in the numbers.
      if (!failing) logger.warn({ err: error, lease: id }, 'a lease could not be ended: it is tried again');
      failing = true;
      return false;
    }
  }

  async function endBatch(by: Pick<LeaseBroker, 'revokeHolder'>): Promise<boolean> {
    const batch = await rows.claimEnding(BATCH_ROWS);
    const queue = [...batch];
    const failures: string[] = [];
    const work = async () => {
      for (let lease = queue.shift(); lease !== undefined; lease = queue.shift())
        if (!(await endOne(by, lease))) failures.push(lease.id);
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
    const well = failures.length === 0;
    if (well && batch.length > 0) failing = false;
    return well && batch.length === BATCH_ROWS;
  }

  async function look(): Promise<void> {
    try {
      seen = await rows.numbers();
      if (broker === undefined || seen.alive + seen.ending === 0) return;
      await rows.markDue();
      for (let more = true; more && !stopping.signal.aborted;) more = await endBatch(broker);
      seen = await rows.numbers();
    } catch (error) {
      const kind = error instanceof Unavailable ? 'warn' : 'error';
      logger[kind]({ err: error }, 'leases: what is due could not be found out');
    }
  }

  function runOnce(): Promise<void> {
    round ??= look().finally(() => {
      round = undefined;
    });
    return round;
  }

  function schedule(): void {
    if (stopping.signal.aborted) return;
    // Jitter, so that nodes that were started together do not come together.
    timer = setTimeout(() => void runOnce().then(schedule), LOOK_MS * (0.5 + Math.random() / 2));
    timer.unref();
  }

  return {
    start: schedule,
    runOnce,
    numbers: () => ({ ...seen, ended, failed }),
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      await round;
    },
  };
}
