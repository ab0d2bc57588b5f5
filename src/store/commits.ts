/**
 * Commits what an answer stands on, before the answer: replay marks, the issued token's row and the audit record. No
 * commit, no token. Concurrent requests share one statement (`commit-statement.ts`) without being able to harm each
 * other: a request that the database refuses fails alone. What was sent and never answered is found out afterwards by
 * `settlement.ts`; its caller is told 503 at once.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { createBatchQueue } from './batch-queue.ts';
import { runCommitStatement } from './commit-statement.ts';
import type { Commitment } from './commitment.ts';
import { OutcomeUnknown, StatementFailed } from './database.ts';
import type { Database } from './database.ts';
import { createSettlement } from './settlement.ts';
import type { Settlement, SettlementRecords } from './settlement.ts';

export type { Commitment } from './commitment.ts';

/** What became of a commitment that the database answered for. */
export type CommitOutcome =
  | { readonly outcome: 'committed' }
  /** `mark`: index of the first mark that was there already. */
  | { readonly outcome: 'replayed'; readonly mark: number };

export interface Committer {
  /** Throws Unavailable when it is not certain that everything is committed: then there must be no token. */
  commit(commitment: Commitment): Promise<CommitOutcome>;
  /** An answer that was committed did not reach its caller (the connection was cut). Never throws. */
  reportUndelivered(record: RecordRow): void;
  /** How much waits to be sent, and of how much the outcome is not known or not recorded. */
  sizes(): { readonly queued: number; readonly unsettled: number };
  /** Resolves when nothing is queued, in flight or unsettled, or after `drainTimeoutMs`. */
  drain(): Promise<void>;
}

export interface CommitterOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Builds the records that settlement writes. */
  readonly settle: SettlementRecords;
  readonly maxQueued?: number;
  /** A request that waited longer than this is refused instead of being sent. */
  readonly maxWaitMs?: number;
  readonly drainTimeoutMs?: number;
  /** Told of every statement: how many commits it carried, how long it took, and whether it failed. */
  readonly onStatement?: (items: number, durationMs: number, outcome: 'done' | 'failed') => void;
}

interface Caller {
  readonly commitment: Commitment;
  readonly resolve: (outcome: CommitOutcome) => void;
  readonly reject: (error: Error) => void;
}

export function createCommitter(options: CommitterOptions): Committer {
  const { db, clock, logger } = options;
  const settlement = createSettlement({ db, logger, records: options.settle });
  const queue = createBatchQueue<Caller>({
    clock,
    maxInFlight: db.maxInFlightBatches,
    maxQueued: options.maxQueued ?? 2000,
    maxWaitMs: options.maxWaitMs ?? 5000,
    batchItemsMax: 200,
    batchBytesMax: 2_000_000,
    run: (batch) => commitBatch({ db, logger, settlement, onStatement: options.onStatement }, batch),
    refuse: ({ reject }, reason) => {
      reject(reason);
    },
  });

  return {
    async commit(commitment) {
      assertOneIdentity(commitment);
      if (settlement.isFull()) throw new Unavailable('database', 'too many earlier commits are still to be found out');
      return new Promise((resolve, reject) => {
        queue.add({ commitment, resolve, reject }, bytesOf(commitment));
      });
    },
    reportUndelivered(record) {
      settlement.undelivered(record);
    },
    sizes: () => ({ queued: queue.size(), unsettled: settlement.size() }),
    async drain() {
      let timer: NodeJS.Timeout | undefined;
      const deadline = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, options.drainTimeoutMs ?? 10_000, 'late');
      });
      const outcome = await Promise.race([queue.idle().then(() => settlement.idle()), deadline]);
      clearTimeout(timer);
      if (outcome === 'late')
        logger.error(
          { queued: queue.size(), unsettled: settlement.size() },
          'stopped before every commit was found out',
        );
    },
  };
}

interface Parts {
  readonly db: Database;
  readonly logger: Logger;
  readonly settlement: Settlement;
  readonly onStatement: CommitterOptions['onStatement'];
}

/** Answers every caller of the batch one way or another; never throws. */
async function commitBatch(parts: Parts, batch: readonly Caller[]): Promise<void> {
  const startedMs = performance.now();
  const told = (outcome: 'done' | 'failed') =>
    parts.onStatement?.(batch.length, performance.now() - startedMs, outcome);
  try {
    const lost = await runCommitStatement(
      parts.db,
      batch.map(({ commitment }) => commitment),
    );
    told('done');
    batch.forEach(({ resolve }, ord) => {
      const mark = lost.get(ord);
      resolve(mark === undefined ? { outcome: 'committed' } : { outcome: 'replayed', mark });
    });
  } catch (error) {
    told('failed');
    await failBatch(parts, batch, error);
  }
}

async function failBatch(parts: Parts, batch: readonly Caller[], error: unknown): Promise<void> {
  if (error instanceof StatementFailed && batch.length > 1) {
    // One of them is refused by the database: halve until it stands alone.
    const middle = Math.ceil(batch.length / 2);
    await commitBatch(parts, batch.slice(0, middle));
    await commitBatch(parts, batch.slice(middle));
    return;
  }
  if (!(error instanceof Unavailable))
    parts.logger.error(
      { err: error, requestId: batch[0]?.commitment.record.requestId },
      'a record could not be committed: no token was issued',
    );
  const answer =
    error instanceof Unavailable
      ? error
      : new Unavailable('database', 'the record could not be committed', { cause: error });
  for (const { reject } of batch) reject(answer);
  if (error instanceof OutcomeUnknown) parts.settlement.settle(batch.map(({ commitment }) => commitment.record));
}

/** Settlement blocks a late commit by taking the record's place, so a record and its stand-ins share one place. */
function assertOneIdentity({ record, marks }: Commitment): void {
  for (const { lost } of marks)
    if (lost.id !== record.id || lost.recordedAtMs !== record.recordedAtMs)
      throw new TypeError('the record of a lost mark must have the id and time of the record it stands in for');
}

function bytesOf({ record, marks }: Commitment): number {
  return record.canonical.length + marks.reduce((sum, { lost }) => sum + lost.canonical.length, 0);
}
