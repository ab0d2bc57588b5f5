/**
 * How much of each limit is left in its window, over all nodes: one row per key and window, by the database's clock,
 * which all nodes share. A permit is given once, because the row that counts it is locked while it is given; what was
 * given and not used by its node is lost with the window, never carried over.
 */
import type { Database } from './database.ts';

export const WINDOW_SECONDS = 60;
/** A statement that waited across the end of its window may still count in it: its row stays at least as long. */
const KEPT_SECONDS = 120;

export interface PermitRequest {
  /** 64 hexadecimal digits. */
  readonly hash: string;
  /** Permits of one window; 1 to 1e9. */
  readonly quota: number;
  /** How many are wanted; at least 1. */
  readonly wanted: number;
}

export interface Permits {
  /** As many as were wanted, or what was left. */
  readonly granted: number;
  /** What is left for everybody after that. */
  readonly remaining: number;
  /** Until the end of the window, counted from when the database ran the statement. */
  readonly endsInMs: number;
}

export interface Rates {
  /** One statement for all of them; each hash at most once. Permits by hash. */
  take(requests: readonly PermitRequest[]): Promise<ReadonlyMap<string, Permits>>;
  /** Deletes windows that are long over, at most `rowsMax` of them, waiting for nobody; how many it were. For housekeeping. */
  deleteExpired(rowsMax: number): Promise<number>;
}

/**
 * Windows of different keys end at different times (`shift`), or everybody who was told to come back would come in the
 * same second. Sorted, so that two nodes that take for the same keys cannot lock each other out.
 */
const TAKE = `
INSERT INTO rate_window AS known (hash, ends_at, quota, used, granted)
SELECT hash, to_timestamp((floor((extract(epoch FROM statement_timestamp()) + shift) / $4::int) + 1) * $4::int - shift),
  quota, least(wanted, quota), least(wanted, quota)
FROM (
  SELECT decode(hash, 'hex') AS hash, quota, wanted, get_byte(decode(hash, 'hex'), 0) % $4::int AS shift
  FROM unnest($1::text[], $2::int[], $3::int[]) AS given(hash, quota, wanted)
) AS asked
ORDER BY hash
ON CONFLICT (hash, ends_at) DO UPDATE SET
  quota = excluded.quota,
  used = known.used + greatest(0, least(excluded.granted, excluded.quota - known.used)),
  granted = greatest(0, least(excluded.granted, excluded.quota - known.used))
RETURNING encode(hash, 'hex') AS hash, granted, greatest(0, quota - used) AS remaining,
  greatest(0, extract(epoch FROM ends_at - statement_timestamp()) * 1000)::float8 AS ends_in_ms`;

const DELETE_EXPIRED = `
WITH gone AS (
  DELETE FROM rate_window WHERE (hash, ends_at) IN (
    SELECT hash, ends_at FROM rate_window WHERE ends_at < now() - make_interval(secs => $2)
    ORDER BY ends_at LIMIT $1 FOR UPDATE SKIP LOCKED
  ) RETURNING 1
)
SELECT count(*)::int AS count FROM gone`;

/** `windowSeconds`: other than a minute only in tests. */
export function createRates(db: Database, { windowSeconds = WINDOW_SECONDS } = {}): Rates {
  return {
    async take(requests) {
      const rows = await db.query<{ hash: string; granted: number; remaining: number; ends_in_ms: number }>(
        TAKE,
        [
          requests.map(({ hash }) => hash),
          requests.map(({ quota }) => quota),
          requests.map(({ wanted }) => wanted),
          windowSeconds,
        ],
        { name: 'rates-take' },
      );
      return new Map(
        rows.map(({ hash, granted, remaining, ends_in_ms: endsInMs }) => [hash, { granted, remaining, endsInMs }]),
      );
    },
    async deleteExpired(rowsMax) {
      const [row] = await db.query<{ count: number }>(DELETE_EXPIRED, [rowsMax, KEPT_SECONDS]);
      return row?.count ?? 0;
    },
  };
}
