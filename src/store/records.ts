/**
 * Reads audit records back, canonical bytes as they were stored. They are written by `commits.ts`,
 * and by the transaction of a change (`object-changes.ts`, `client-secrets.ts`).
 */
import type { RecordKind, RecordRow } from '../audit/record.ts';
import type { Database } from './database.ts';
import { storable } from './values.ts';

export interface StoredRecord extends RecordRow {
  /** Place in the Merkle tree, once the sequencer gave it one. */
  readonly leafIndex: number | null;
  readonly epoch: number;
}

export interface RecordPosition {
  readonly recordedAtMs: number;
  readonly id: string;
}

export interface RecordQuery {
  /** The last record of the page before. */
  readonly after?: RecordPosition;
  /** 1 to 1000. */
  readonly limit: number;
  /** Newest first unless `oldest`. */
  readonly order?: 'newest' | 'oldest';
  readonly clientId?: string;
  readonly kind?: RecordKind;
  readonly reason?: string;
  /** Ref of a person. */
  readonly person?: string;
  /** Inclusive. */
  readonly fromMs?: number;
  /** Exclusive. */
  readonly untilMs?: number;
}

export interface RecordReader {
  /** Everything recorded about one request, oldest first: its own record, and `undelivered` where that followed. */
  byRequestId(requestId: string): Promise<readonly StoredRecord[]>;
  byJti(jti: string): Promise<readonly StoredRecord[]>;
  page(query: RecordQuery): Promise<readonly StoredRecord[]>;
}

interface Row {
  id: string;
  recorded_at: Date;
  kind: RecordKind;
  reason: string | null;
  request_id: string;
  client_id: string | null;
  resources: string[];
  jti: string | null;
  persons: string[];
  canonical: Uint8Array;
  leaf_index: number | null;
  epoch: number;
}

const SELECT = `SELECT id, recorded_at, kind, reason, request_id, client_id, resources, jti, persons, canonical,
  leaf_index, epoch FROM audit_record`;
const FOUND_MAX = 100;

export function createRecordReader(db: Database): RecordReader {
  const findBy = async (column: 'request_id' | 'jti', value: string) => {
    const rows = await db.query<Row>(`${SELECT} WHERE ${column} = $1 ORDER BY recorded_at, id LIMIT ${FOUND_MAX}`, [
      storable(value),
    ]);
    return rows.map(storedRecord);
  };
  return {
    byRequestId: (requestId) => findBy('request_id', requestId),
    byJti: (jti) => findBy('jti', jti),
    async page(query) {
      const { text, values } = pageStatement(query);
      return (await db.query<Row>(text, values)).map(storedRecord);
    },
  };
}

function pageStatement(query: RecordQuery): { text: string; values: unknown[] } {
  const oldestFirst = query.order === 'oldest';
  const values: unknown[] = [];
  const conditions: string[] = [];
  const where = (condition: (...placeholders: string[]) => string, ...given: unknown[]) => {
    conditions.push(condition(...given.map((value) => `$${values.push(value)}`)));
  };
  if (query.after !== undefined)
    where(
      (...position) => `(recorded_at, id) ${oldestFirst ? '>' : '<'} (${position.join(', ')})`,
      new Date(query.after.recordedAtMs).toISOString(),
      query.after.id,
    );
  if (query.clientId !== undefined) where((id) => `client_id = ${id}`, storable(query.clientId));
  if (query.kind !== undefined) where((kind) => `kind = ${kind}`, query.kind);
  if (query.reason !== undefined) where((reason) => `reason = ${reason}`, storable(query.reason));
  if (query.person !== undefined) where((ref) => `persons @> ARRAY[${ref}::uuid]`, query.person);
  if (query.fromMs !== undefined)
    where((from) => `recorded_at >= ${from}::timestamptz`, new Date(query.fromMs).toISOString());
  if (query.untilMs !== undefined)
    where((until) => `recorded_at < ${until}::timestamptz`, new Date(query.untilMs).toISOString());
  const direction = oldestFirst ? 'ASC' : 'DESC';
  const limit = Math.min(Math.max(1, Math.trunc(query.limit)), 1000);
  return {
    text: `${SELECT} ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
      ORDER BY recorded_at ${direction}, id ${direction} LIMIT ${limit}`,
    values,
  };
}

/** A row of `audit_record` as the record that was committed. */
export function storedRecord(row: Row): StoredRecord {
  return {
    id: row.id,
    recordedAtMs: row.recorded_at.getTime(),
    kind: row.kind,
    reason: row.reason,
    requestId: row.request_id,
    clientId: row.client_id,
    resources: row.resources,
    jti: row.jti,
    persons: row.persons,
    canonical: row.canonical,
    leafIndex: row.leaf_index,
    epoch: row.epoch,
  };
}
