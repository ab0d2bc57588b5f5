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

interface Parts {
  readonly db: Database;
  readonly logger: Logger;
  readonly records: SettlementRecords;
}

export function createSettlement(parts: Parts): Settlement {
  const { logger, records } = parts;
  let items: Item[] = [];
  let working = false;
  let onIdle: (() => void)[] = [];

  function add(more: readonly Item[]): void {
    items.push(...more);
    if (!working && items.length > 0) void work();
  }

  async function work(): Promise<void> {
    working = true;
    let backoffMs = BACKOFF_MIN_MS;
    while (items.length > 0) {
      const round = items.slice(0, ROUND_MAX);
      const { left, troubled } = await settleAll(parts, round);
      items = [...items.slice(round.length), ...left];
      if (troubled) await pause(backoffMs * (0.5 + Math.random()));
      backoffMs = troubled ? Math.min(backoffMs * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
    }
    working = false;
    for (const resolve of onIdle) resolve();
    onIdle = [];
  }

  return {
    settle(originals) {
      add(originals.flatMap((original) => itemOf(logger, original, () => records.failed(original), true)));
    },
    undelivered(record) {
      if (items.length < UNSETTLED_MAX) add(itemOf(logger, record, () => records.undelivered(record), false));
      else
        logger.error(
          { requestId: record.requestId },
          'an undelivered answer could not be recorded: too many are waiting',
        );
    },
    size: () => items.length,
    isFull: () => items.length >= UNSETTLED_MAX,
    idle: () => (working ? new Promise((resolve) => onIdle.push(resolve)) : Promise.resolve()),
  };
}

/** One item, or none: a fault of the builder must not stop the settling of the others. */
function itemOf(logger: Logger, original: RecordRow, build: () => RecordRow, isOriginal: boolean): Item[] {
  try {
    const row = build();
    if (!isOriginal || (row.id === original.id && row.recordedAtMs === original.recordedAtMs))
      return [{ row, isOriginal, attempts: 0 }];
    logger.error({ requestId: original.requestId }, 'a failed record must stand in the place of its original');
  } catch (error) {
    logger.error({ err: error, requestId: original.requestId }, 'a record of settlement could not be built');
  }
  return [];
}

/** What is left to do after trying the whole round; `troubled`: wait before the next one. Never throws. */
async function settleAll(parts: Parts, round: Item[]): Promise<{ left: Item[]; troubled: boolean }> {
  try {
    return { left: await settleRound(parts, round), troubled: false };
  } catch (error) {
    if (!(error instanceof StatementFailed)) return { left: round, troubled: true };
    if (round.length > 1) return settleOneByOne(parts, round);
    return { left: round.filter((item) => worthAnotherTry(parts.logger, item, error)), troubled: true };
  }
}

/** Some row of the round is refused by the database: the others must not wait for it. */
async function settleOneByOne(parts: Parts, round: readonly Item[]): Promise<{ left: Item[]; troubled: boolean }> {
  const left: Item[] = [];
  for (const item of round) left.push(...(await settleAll(parts, [item])).left);
  return { left, troubled: true };
}

function worthAnotherTry(logger: Logger, item: Item, error: StatementFailed): boolean {
  item.attempts++;
  if (item.attempts < ATTEMPTS_MAX) return true;
  logger.error({ err: error, requestId: item.row.requestId }, 'gave up settling a record');
  return false;
}

/** Returns the `undelivered` records that are to follow what turned out to be committed. */
async function settleRound({ db, logger, records }: Parts, round: readonly Item[]): Promise<Item[]> {
  const inserted = await insertAbsentRecords(
    db,
    round.map(({ row }) => row),
  );
  const unknown = round.filter(({ isOriginal }) => isOriginal).map(({ row }) => row);
  const taken = unknown.filter(({ id }) => !inserted.has(id));
  const originals = taken.length === 0 ? [] : await readOriginals(db, taken);
  if (unknown.length > 0)
    logger.warn(
      { committed: taken.length, notCommitted: unknown.length - taken.length },
      'found out what became of commits whose answer was lost',
    );
  return originals
    .filter(({ kind }) => kind === 'issued' || kind === 'refused')
    .flatMap((original) => itemOf(logger, original, () => records.undelivered(original), false));
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
