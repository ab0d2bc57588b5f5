/**
 * What a database tells an operator about itself, for `cambist doctor`. Reads only.
 */
import type { Database, Queryable } from './database.ts';

export interface ServerFacts {
  /** As in `15.8`. */
  readonly version: string;
  /** Round trip of the smallest statement; the median of a few. */
  readonly latencyMs: number;
  /** Connections that the server lets in, those for superusers not counted. */
  readonly connectionsMax: number;
  readonly connectionsNow: number;
  /** The user that logged in owns the schema, or is a superuser. */
  readonly loginOwnsSchema: boolean;
}

export interface AuditFacts {
  /** Months (`YYYY_MM`) from this one on, of the next three, that have no partition of their own. */
  readonly monthsMissing: readonly string[];
  /** Records of a month that had no partition: their months cannot be removed. */
  readonly recordsInDefault: boolean;
}

export interface SecretCount {
  readonly clientId: string;
  /** 1 or 2. */
  readonly valid: number;
  readonly newestAtMs: number;
}

const LATENCY_SAMPLES = 5;

export async function examineServer(db: Database): Promise<ServerFacts> {
  const samples: number[] = [];
  for (let sample = 0; sample < LATENCY_SAMPLES; sample++) {
    const beganMs = performance.now();
    await db.query('SELECT 1');
    samples.push(performance.now() - beganMs);
  }
  const [row] = await db.query<Omit<ServerFacts, 'latencyMs'>>(
    `SELECT current_setting('server_version') AS version,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS "connectionsMax",
       (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE datname IS NOT NULL) AS "connectionsNow",
       pg_catalog.pg_has_role(session_user, (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = $1), 'USAGE')
         AS "loginOwnsSchema"`,
    [db.schema],
  );
  if (row === undefined) throw new Error('the server told nothing about itself');
  return { ...row, latencyMs: samples.sort((a, b) => a - b)[LATENCY_SAMPLES >> 1] ?? 0 };
}

export async function examineAudit(db: Queryable): Promise<AuditFacts> {
  const missing = await db.query<{ month: string }>(
    `SELECT to_char(month, 'YYYY_MM') AS month FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
       now() AT TIME ZONE 'UTC' + interval '2 months', interval '1 month') AS month
     WHERE to_regclass('audit_record_' || to_char(month, 'YYYY_MM')) IS NULL`,
  );
  // By the catalogue: the runtime's role reads partitions through their parent only, and counting would read them all.
  const [partition] = await db.query<{ filled: boolean }>(
    `SELECT pg_catalog.pg_relation_size('audit_record_default') > 0 AS filled`,
  );
  return { monthsMissing: missing.map(({ month }) => month), recordsInDefault: partition?.filled === true };
}

/** Is there a mark or token that should have been removed an hour ago and more? */
export async function findOverdue(db: Queryable): Promise<boolean> {
  const [row] = await db.query<{ overdue: boolean }>(
    `SELECT EXISTS (SELECT FROM replay_mark WHERE expires_at < now() - interval '2 hours')
       OR EXISTS (SELECT FROM issued_token WHERE expires_at < now() - interval '3 hours') AS overdue`,
  );
  return row?.overdue === true;
}

/** How many secrets each client has that are valid; clients without one are not in it. */
export async function countSecrets(db: Queryable): Promise<readonly SecretCount[]> {
  const rows = await db.query<{ client: string; valid: number; newest: Date }>(
    `SELECT client, count(*)::int AS valid, max(created_at) AS newest FROM client_secret WHERE retired_at IS NULL
     GROUP BY client ORDER BY client`,
  );
  return rows.map(({ client: clientId, valid, newest }) => ({ clientId, valid, newestAtMs: newest.getTime() }));
}
