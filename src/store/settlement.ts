/**
 * Finds out what became of commits whose answer never came, and makes the answer final. For each such record a `failed`
 * record is inserted in its very place: that waits for an original which is still being inserted, and where it succeeds
 * the original can never appear. Where the original stands, an `undelivered` record follows it, because its caller was
 * told 503. Tries until the database is back; what it has not settled when the process ends stays as it is.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Logger } from '../core/log.ts';
import { insertAbsentRecords } from './commit-statement.ts';
import { StatementFailed } from './database.ts';
import type { Database } from './database.ts';
import { storedRecord } from './records.ts';

export interface SettlementRecords {
  /** The record that takes the place of one that was never committed: same id and time. */
  failed(original: RecordRow): RecordRow;
  /** The record that follows one which was committed and not answered: an id and time of its own. */
  undelivered(original: RecordRow): RecordRow;
}

export interface Settlement {
  /** Records of a batch whose outcome is unknown, in the batch's order. */
  settle(records: readonly RecordRow[]): void;
  /** A record that is committed and whose answer did not arrive. */
  undelivered(record: RecordRow): void;
  size(): number;
  /** So much is unsettled that nothing more should be risked. */
  isFull(): boolean;
  idle(): Promise<void>;
}

const UNSETTLED_MAX = 10_000;
const ROUND_MAX = 200;
const ATTEMPTS_MAX = 20;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 5000;

/** Built once per item, so that a round which is repeated inserts the same rows again, and so changes nothing. */
interface Item {
  /** To be inserted if absent: the `failed` record in the original's place, or the `undelivered` one. */
  readonly row: RecordRow;
  readonly isOriginal: boolean;
  attempts: number;
}

export function createSettlement(options: {
  readonly db: Database;
  readonly logger: Logger;
  readonly records: SettlementRecords;
}): Settlement {
  const { db, logger, records } = options;
  let items: Item[] = [];
  let working = false;
  let onIdle: (() => void)[] = [];

  function add(item: Omit<Item, 'attempts'>): void {
    items.push({ ...item, attempts: 0 });
    if (!working) void work();
  }

  /** A fault of the builder must not stop the settling of the others. */
  function built(build: () => RecordRow, original: RecordRow): RecordRow | undefined {
    try {
      return build();
    } catch (error) {
      logger.error({ err: error, requestId: original.requestId }, 'a record of settlement could not be built');
      return undefined;
    }
  }

  async function work(): Promise<void> {
    working = true;
    let backoffMs = BACKOFF_MIN_MS;
    while (items.length > 0) {
      const round = items.slice(0, ROUND_MAX);
      try {
        const followUps = await settleRound(round);
        items = [...items.slice(round.length), ...followUps];
        backoffMs = BACKOFF_MIN_MS;
      } catch (error) {
        if (error instanceof StatementFailed) await settleOneByOne(round, error);
        await pause(backoffMs * (0.5 + Math.random()));
        backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
      }
    }
    working = false;
    for (const resolve of onIdle) resolve();
    onIdle = [];
  }

  /** Returns the `undelivered` records that are to follow what turned out to be committed. */
  async function settleRound(round: readonly Item[]): Promise<Item[]> {
    const inserted = await insertAbsentRecords(
      db,
      round.map(({ row }) => row),
    );
    const present = round.filter(({ row, isOriginal }) => isOriginal && !inserted.has(row.id)).map(({ row }) => row);
    if (round.some(({ isOriginal }) => isOriginal))
      logger.warn(
        { committed: present.length, notCommitted: round.length - present.length },
        'found out what became of commits whose answer was lost',
      );
    if (present.length === 0) return [];
    const originals = await readOriginals(db, present);
    return originals
      .filter(({ kind }) => kind === 'issued' || kind === 'refused')
      .flatMap((original) => {
        const row = built(() => records.undelivered(original), original);
        return row === undefined ? [] : [{ row, isOriginal: false, attempts: 0 }];
      });
  }

  /** Some row of the round is refused by the database: the others must not wait for it. */
  async function settleOneByOne(round: readonly Item[], first: StatementFailed): Promise<void> {
    const left: Item[] = [];
    for (const item of round) {
      try {
        left.push(...(await settleRound([item])));
      } catch (error) {
        item.attempts++;
        if (item.attempts < ATTEMPTS_MAX) left.push(item);
        else
          logger.error(
            { err: error instanceof StatementFailed ? error : first, requestId: item.row.requestId },
            'gave up settling a record',
          );
      }
    }
    items = [...items.slice(round.length), ...left];
  }

  return {
    settle(originals) {
      for (const original of originals) {
        const row = built(() => records.failed(original), original);
        if (row?.id === original.id && row.recordedAtMs === original.recordedAtMs) add({ row, isOriginal: true });
        else logger.error({ requestId: original.requestId }, 'a failed record must stand in the place of its original');
      }
    },
    undelivered(record) {
      if (items.length >= UNSETTLED_MAX)
        logger.error(
          { requestId: record.requestId },
          'an undelivered answer could not be recorded: too many are waiting',
        );
      else {
        const row = built(() => records.undelivered(record), record);
        if (row !== undefined) add({ row, isOriginal: false });
      }
    },
    size: () => items.length,
    isFull: () => items.length >= UNSETTLED_MAX,
    idle: () => (working ? new Promise((resolve) => onIdle.push(resolve)) : Promise.resolve()),
  };
}

/** What stands in the places that were taken. */
async function readOriginals(db: Database, places: readonly RecordRow[]): Promise<RecordRow[]> {
  const rows = await db.query<Parameters<typeof storedRecord>[0]>(
    `SELECT id, recorded_at, kind, reason, request_id, client_id, resources, jti, persons, canonical, leaf_index, epoch
     FROM audit_record JOIN unnest($1::float8[], $2::uuid[]) AS place(at, place_id)
       ON recorded_at = to_timestamp(at / 1000) AND id = place_id`,
    [places.map(({ recordedAtMs }) => recordedAtMs), places.map(({ id }) => id)],
  );
  return rows.map(storedRecord);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
