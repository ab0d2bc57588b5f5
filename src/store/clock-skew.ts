/**
 * How far this node's clock is from the database's, which is the one clock that all nodes share (F7). The database reads
 * its clock somewhere between the sending of the question and the coming of the answer, so the middle is compared, and
 * half of the way is what the result may be off by.
 */
import { CLOCK_MARGIN_SECONDS } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { Unavailable } from '../core/refusal.ts';
import type { ObjectReader } from '../objects/registry.ts';
import type { Queryable } from './database.ts';

export interface ClockSkew {
  /** Clock of the database minus our own. */
  readonly skewMs: number;
  /** The true skew is within this of it. */
  readonly uncertaintyMs: number;
}

const MARGIN_MS = CLOCK_MARGIN_SECONDS * 1000;

/**
 * What requests read objects through: no read where this node's clock is certainly further than the margin from the
 * database's. What such a node issued would outlive a revocation "until now", and what expired, or not, it could not tell.
 * The database read its clock between question and answer, so a slow moment is never taken for a wrong clock.
 */
export async function readInTime(clock: Clock, read: () => Promise<ObjectReader>): Promise<ObjectReader> {
  const askedMs = clock.nowMs();
  const reader = await read();
  const { databaseMs } = reader.state;
  // Written so that a time that is no number is no time.
  if (!(askedMs - databaseMs <= MARGIN_MS && databaseMs - clock.nowMs() <= MARGIN_MS))
    throw new Unavailable('clock', `the clock of this node is more than ${CLOCK_MARGIN_SECONDS} s from the database's`);
  return reader;
}

/** A busy moment makes a sample worthless: up to so many are taken, until one is this good. */
const SAMPLES_MAX = 3;
const GOOD_UNCERTAINTY_MS = 50;

/** The best of a few samples. Throws Unavailable where the database cannot be asked. */
export async function measureClockSkew(db: Queryable, clock: Clock): Promise<ClockSkew> {
  let best: ClockSkew | undefined;
  for (let count = 0; count < SAMPLES_MAX; count++) {
    const sample = await takeSample(db, clock);
    if (best === undefined || sample.uncertaintyMs < best.uncertaintyMs) best = sample;
    if (best.uncertaintyMs <= GOOD_UNCERTAINTY_MS) break;
  }
  if (best === undefined) throw new Error('no sample of the clock was taken');
  return best;
}

async function takeSample(db: Queryable, clock: Clock): Promise<ClockSkew> {
  const sentMs = clock.nowMs();
  // `clock_timestamp` is the time of its evaluation; `now` is that of the transaction.
  const [row] = await db.query<{ now_ms: number }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms',
    [],
    { name: 'clock-skew' },
  );
  const answeredMs = clock.nowMs();
  if (row === undefined) throw new Error('the database gave no time');
  return { skewMs: row.now_ms - (sentMs + answeredMs) / 2, uncertaintyMs: Math.abs(answeredMs - sentMs) / 2 };
}
