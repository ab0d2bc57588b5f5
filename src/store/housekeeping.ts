/**
 * The statements of housekeeping: what has expired goes, a bounded batch at a time, by functions that run as the owner
 * of the schema (`migrations/007`), because the runtime's role may delete neither marks nor tokens nor records. Several
 * nodes may run them at once: a row that one of them holds is passed over by the others. A month of audit records goes in
 * one transaction with the record that says so.
 */
import type { RecordRow } from '../audit/record.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database } from './database.ts';

export interface Housekeeping {
  /** Replay marks whose token no node accepts any more. */
  removeExpiredMarks(): Promise<number>;
  /** Rows of tokens that expired an hour ago or earlier. */
  removeExpiredTokens(): Promise<number>;
  /** Revocations of what has expired meanwhile. */
  removeExpiredRevocations(): Promise<number>;
  /**
   * The oldest month of records, if all of it is older than `retentionDays` (30 at least); its partition's name, or
   * `undefined` where there is none. Throws Unavailable when the lock could not be had within 100 ms: try again later.
   */
  dropAuditMonth(retentionDays: number, recordOf: (partition: string) => RecordRow): Promise<string | undefined>;
}

/** Of the embedded engine smaller: a statement of it stops the whole process. */
const BATCH_ROWS = { postgresql: 1000, pglite: 200 } as const;

/** How many rows a full batch has on this database: fewer were removed = nothing is left. */
export function batchRows(db: Pick<Database, 'engine'>): number {
  return BATCH_ROWS[db.engine];
}

const REMOVE_REVOCATIONS = `
WITH removed AS (
  DELETE FROM revocation WHERE (kind, value) IN (
    SELECT kind, value FROM revocation WHERE expires_at < now() - interval '5 minutes'
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
  ) RETURNING 1
) SELECT count(*)::integer AS removed FROM removed`;

/** The statements, over a database under the runtime's role. */
export function createHousekeeping(db: Database): Housekeeping {
  const rowsMax = batchRows(db);
  const removed = async (statement: string) => {
    const [row] = await db.query<{ removed: number }>(statement, [rowsMax]);
    return row?.removed ?? 0;
  };
  return {
    removeExpiredMarks: () => removed('SELECT remove_expired_marks($1) AS removed'),
    removeExpiredTokens: () => removed('SELECT remove_expired_tokens($1) AS removed'),
    removeExpiredRevocations: () => removed(REMOVE_REVOCATIONS),
    dropAuditMonth: (retentionDays, recordOf) =>
      db.transaction(async (q) => {
        const [row] = await q.query<{ partition: string | null }>('SELECT drop_audit_partition($1) AS partition', [
          retentionDays,
        ]);
        const partition = row?.partition ?? undefined;
        if (partition !== undefined) await insertChangeRecord(q, recordOf(partition));
        return partition;
      }),
  };
}
