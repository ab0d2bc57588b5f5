/**
 * Runs the jobs of housekeeping: every now and then, each until it finds nothing more to remove, batch after batch with
 * a pause at least as long as the batch took, so that requests always have more of the database than it has. Nodes do
 * not wait for each other and do not disturb each other. A job that fails is tried again at the next round and fails
 * nobody else; every job has numbers.
 */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';

export interface HousekeepingJob {
  /** For metrics and logs: `replay_marks`. */
  readonly name: string;
  /** One bounded batch; resolves to how many rows (or partitions) it removed. */
  readonly runBatch: () => Promise<number>;
  /** A batch that removed as many may have left some; `undefined` = one batch is always all. */
  readonly fullBatch?: number;
}

/** Why a job failed: the database could not do it now, or it is a bug. */
export type JobErrorKind = 'unavailable' | 'bug';

/** Counters since the start of this node. */
export interface JobNumbers {
  readonly name: string;
  readonly runs: number;
  readonly removed: number;
  readonly failures: Readonly<Record<JobErrorKind, number>>;
  /** `undefined` = never yet. */
  readonly lastSuccessMs: number | undefined;
  /** Of the last run; `undefined` when it succeeded. */
  readonly lastError: JobErrorKind | undefined;
}

export interface HousekeepingRunner {
  /** Begins the rounds; the first one comes within an interval. */
  start(): void;
  /** One round of every job, now; a round that is under way counts. Never throws. */
  runOnce(): Promise<void>;
  numbers(): readonly JobNumbers[];
  /** No further batch; waits for the one under way. */
  stop(): Promise<void>;
}

export interface HousekeepingParts {
  readonly jobs: readonly HousekeepingJob[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly intervalSeconds: number;
}

const PAUSE_LEAST_MS = 20;

/** Numbers while they are counted. */
interface Counted {
  readonly job: HousekeepingJob;
  runs: number;
  removed: number;
  failures: Record<JobErrorKind, number>;
  lastSuccessMs: number | undefined;
  lastError: JobErrorKind | undefined;
}

/** Builds the runner; nothing runs before `start` or `runOnce`. */
export function createHousekeepingRunner(parts: HousekeepingParts): HousekeepingRunner {
  const counted = parts.jobs.map((job): Counted => ({
    job,
    runs: 0,
    removed: 0,
    failures: { unavailable: 0, bug: 0 },
    lastSuccessMs: undefined,
    lastError: undefined,
  }));
  const stopping = new AbortController();
  const { signal } = stopping;
  let timer: NodeJS.Timeout | undefined;
  let round: Promise<void> | undefined;

  async function runRound(): Promise<void> {
    for (const one of counted) if (!signal.aborted) await runJob(one, parts, signal);
  }
  function runOnce(): Promise<void> {
    round ??= runRound().finally(() => {
      round = undefined;
    });
    return round;
  }
  function schedule(): void {
    if (signal.aborted) return;
    // Jitter, so that nodes that were started together do not come together.
    const delayMs = parts.intervalSeconds * 1000 * (0.5 + Math.random() / 2);
    timer = setTimeout(() => void runOnce().then(schedule), delayMs);
    timer.unref();
  }

  return {
    start: schedule,
    runOnce,
    numbers: () =>
      counted.map(({ job, failures, ...numbers }) => ({ name: job.name, ...numbers, failures: { ...failures } })),
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      await round;
    },
  };
}

async function runJob(counted: Counted, { clock, logger }: HousekeepingParts, signal: AbortSignal): Promise<void> {
  const { job } = counted;
  counted.runs++;
  try {
    for (;;) {
      const beganMs = performance.now();
      const removed = await job.runBatch();
      counted.removed += removed;
      if (job.fullBatch === undefined || removed < job.fullBatch || signal.aborted) break;
      await pause(Math.max(PAUSE_LEAST_MS, performance.now() - beganMs), signal);
    }
    counted.lastSuccessMs = clock.nowMs();
    counted.lastError = undefined;
  } catch (error) {
    const kind = error instanceof Unavailable ? 'unavailable' : 'bug';
    counted.failures[kind]++;
    counted.lastError = kind;
    logger[kind === 'bug' ? 'error' : 'warn']({ err: error, job: job.name }, 'housekeeping: a job failed');
  }
}

/** Ends early, without an error, when `signal` does. */
function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, durationMs);
    signal.addEventListener('abort', end, { once: true });
  });
}
