/**
 * The one statement that commits a batch: replay marks, issued tokens' rows, revocations and audit records of many
 * requests, all or nothing. Within it each request stands alone: whoever loses one of its marks gets the record of that loss instead of
 * the one it came with, and no issued row; its other marks stay consumed.
 */
import type { RecordRow } from '../audit/record.ts';
import { CLOCK_MARGIN_SECONDS } from '../core/clock.ts';
import { Unavailable } from '../core/refusal.ts';
import type { Commitment, IssuedRow, ReplayMark, RevocationRow } from './commitment.ts';
import { StatementFailed } from './database.ts';
import type { Queryable } from './database.ts';
import { digest, hex, storable, textArray } from './values.ts';

const RECORD_FIELDS = 'id, recorded_at, kind, reason, request_id, client_id, resources, jti, persons, canonical';
const RECORD_ARRAYS = ['uuid', 'float8', 'text', 'text', 'text', 'text', 'text', 'text', 'text', 'text'] as const;
const RECORD_VALUES = `id, to_timestamp(recorded_at / 1000), kind, reason, request_id, client_id, resources::text[], jti,
  persons::uuid[], decode(canonical, 'hex')`;

/** The year 9999: what a caller signed may say any time, PostgreSQL holds fewer. */
const LATEST_SECONDS = 253_402_300_799;

/** As long as a URI may be; an index entry holds that. */
const REVOKED_CHARS_MAX = 2048;
/** Stands for `now` in a column of NumericDates. */
const UNTIL_NOW = -1;

/** Parameters $from, $from+1, … as arrays of these types. */
function parameters(from: number, types: readonly string[]): string {
  return types.map((type, index) => `$${from + index}::${type}[]`).join(', ');
}

// A mark is won by the first of this batch that has it, and only if the insert made its row. An insert waits for another
// transaction that is inserting the same mark. Sorted, so that two batches with the same marks cannot lock each other out.
const STATEMENT = `
WITH mark AS (
  SELECT * FROM unnest(${parameters(1, ['int', 'int', 'text', 'text', 'text', 'text', 'float8'])})
    AS t(ord, seq, hash, purpose, issuer, mark_id, expires_at)
), claim AS (
  SELECT DISTINCT ON (hash) * FROM mark ORDER BY hash, ord, seq
), won AS (
  INSERT INTO replay_mark (hash, purpose, issuer, mark_id, expires_at)
  SELECT decode(hash, 'hex'), purpose, issuer, mark_id, to_timestamp(expires_at) FROM claim ORDER BY hash
  ON CONFLICT DO NOTHING RETURNING hash
), lost AS (
  SELECT m.ord, min(m.seq) AS seq FROM mark m WHERE NOT EXISTS (
    SELECT FROM claim c JOIN won w ON w.hash = decode(c.hash, 'hex')
    WHERE c.hash = m.hash AND c.ord = m.ord AND c.seq = m.seq
  ) GROUP BY m.ord
), candidate AS (
  SELECT * FROM unnest(${parameters(8, ['int', 'int', ...RECORD_ARRAYS])}) AS t(ord, seq, ${RECORD_FIELDS})
), recorded AS (
  INSERT INTO audit_record (${RECORD_FIELDS}, epoch)
  SELECT ${RECORD_VALUES}, coalesce((SELECT epoch FROM instance), 1)
  FROM candidate LEFT JOIN lost USING (ord)
  WHERE candidate.seq = coalesce(lost.seq, -1) ORDER BY ord
), issued AS (
  INSERT INTO issued_token (jti, ancestors, vouched_by, subject_ref, client_id, actors, resources, kid, issued_at, expires_at, subject_claims)
  SELECT jti, ancestors::text[], vouched_by::text[], subject_ref, client_id, actors::text[], resources::text[], kid,
    to_timestamp(issued_at), to_timestamp(expires_at), subject_claims
  FROM unnest(${parameters(20, ['int', 'text', 'text', 'text', 'text', 'text', 'text', 'text', 'text', 'float8', 'float8', 'text'])})
    AS t(ord, jti, ancestors, vouched_by, subject_ref, client_id, actors, resources, kid, issued_at, expires_at, subject_claims)
  WHERE NOT EXISTS (SELECT FROM lost WHERE lost.ord = t.ord)
), revoking AS (
  SELECT * FROM unnest(${parameters(32, ['int', 'text', 'text', 'float8', 'int', 'text'])})
    AS t(ord, kind, value, issued_until, lifetime, record_id)
  WHERE NOT EXISTS (SELECT FROM lost WHERE lost.ord = t.ord)
), revoked AS (
  INSERT INTO revocation AS standing (kind, value, issued_until, expires_at, record_id)
  SELECT kind, value, CASE WHEN bool_and(issued_until IS NOT NULL) THEN max(CASE issued_until WHEN ${UNTIL_NOW}
      THEN ceil(extract(epoch FROM clock_timestamp())) + ${CLOCK_MARGIN_SECONDS} ELSE issued_until END) END,
    clock_timestamp() + max(lifetime) * interval '1 second', min(record_id)::uuid
  FROM revoking GROUP BY kind, value ORDER BY kind, value
  ON CONFLICT (kind, value) DO UPDATE SET
    issued_until = CASE WHEN standing.issued_until IS NOT NULL AND excluded.issued_until IS NOT NULL
      THEN greatest(standing.issued_until, excluded.issued_until) END,
    expires_at = greatest(standing.expires_at, excluded.expires_at), record_id = excluded.record_id
  RETURNING expires_at
), noticed AS (
  UPDATE state SET revocations = revocations + 1,
    revoked_until = greatest(revoked_until, (SELECT max(expires_at) FROM revoked))
  WHERE EXISTS (SELECT FROM revoked)
)
SELECT ord, seq FROM lost`;

/** Commits them all; returns, for each request that lost a mark, its place in the batch and the first mark it lost. */
export async function runCommitStatement(
  db: Queryable,
  batch: readonly Commitment[],
): Promise<ReadonlyMap<number, number>> {
  const marks = columns<readonly [number, number, ReplayMark]>(
    batch.flatMap(({ marks: own }, ord) => own.map((mark, seq) => [ord, seq, mark] as const)),
    [
      ([ord]) => ord,
      ([, seq]) => seq,
      ([, , { purpose, issuer, id }]) => hex(digest(purpose, issuer, id)),
      ([, , { purpose }]) => storable(purpose),
      ([, , { issuer }]) => storable(issuer),
      ([, , { id }]) => storable(id),
      ([, , { expiresAtSeconds }]) => Math.min(expiresAtSeconds, LATEST_SECONDS),
    ],
  );
  const candidates = batch.flatMap(({ record, marks: own }, ord) => [
    { ord, seq: -1, record },
    ...own.map(({ lost }, seq) => ({ ord, seq, record: lost })),
  ]);
  const issued = columns<readonly [number, IssuedRow]>(
    batch.flatMap(({ issued: row }, ord) => (row === undefined ? [] : [[ord, row] as const])),
    [
      ([ord]) => ord,
      ([, { jti }]) => jti,
      ([, { ancestors }]) => textArray(ancestors),
      ([, { vouchedBy }]) => textArray(vouchedBy),
      ([, { subjectRef }]) => subjectRef,
      ([, { clientId }]) => clientId,
      ([, { actors }]) => textArray(actors),
      ([, { resources }]) => textArray(resources),
      ([, { kid }]) => kid,
      ([, { issuedAtSeconds }]) => issuedAtSeconds,
      ([, { expiresAtSeconds }]) => expiresAtSeconds,
      ([, { subjectClaims }]) => subjectClaims,
    ],
  );
  const revocations = columns<readonly [number, RevocationRow, string]>(
    batch.flatMap(({ revocations: own = [], record }, ord) => own.map((row) => [ord, row, record.id] as const)),
    [
      ([ord]) => ord,
      ([, { kind }]) => kind,
      ([, { value }]) => storable(value, REVOKED_CHARS_MAX),
      ([, { issuedUntil }]) => (issuedUntil === 'now' ? UNTIL_NOW : issuedUntil),
      ([, { lifetimeSeconds }]) => lifetimeSeconds,
      ([, , recordId]) => recordId,
    ],
  );
  const values = [
    ...marks,
    candidates.map(({ ord }) => ord),
    candidates.map(({ seq }) => seq),
    ...recordColumns(candidates.map(({ record }) => record)),
    ...issued,
    ...revocations,
  ];
  const lost = await db.query<{ ord: number; seq: number }>(STATEMENT, values, { name: 'commit-batch' });
  return new Map(lost.map(({ ord, seq }) => [ord, seq]));
}

const INSERT_ABSENT = `
INSERT INTO audit_record (${RECORD_FIELDS}, epoch)
SELECT ${RECORD_VALUES}, coalesce((SELECT epoch FROM instance), 1)
FROM unnest(${parameters(1, ['int', ...RECORD_ARRAYS])}) AS t(ord, ${RECORD_FIELDS}) ORDER BY ord
ON CONFLICT DO NOTHING RETURNING id`;

/**
 * Inserts records where none stands under their (time, id); returns the ids of those that were inserted. It waits for a
 * transaction that is inserting the same one, so its answer is final.
 */
export async function insertAbsentRecords(db: Queryable, records: readonly RecordRow[]): Promise<ReadonlySet<string>> {
  const values = [records.map((_, ord) => ord), ...recordColumns(records)];
  const rows = await db.query<{ id: string }>(INSERT_ABSENT, values, { name: 'record-insert-absent' });
  return new Set(rows.map(({ id }) => id));
}

/** Within the transaction of a change: throws, and so undoes the change, unless the record of it stands after this. */
export async function insertChangeRecord(q: Queryable, record: RecordRow): Promise<void> {
  let inserted: ReadonlySet<string>;
  try {
    inserted = await insertAbsentRecords(q, [record]);
  } catch (cause) {
    if (!(cause instanceof StatementFailed)) throw cause;
    throw new Unavailable('database', 'the record of the change could not be written: nothing was changed', { cause });
  }
  if (!inserted.has(record.id)) throw new Error('another record stands in the place of the record of a change');
}

function recordColumns(records: readonly RecordRow[]): unknown[][] {
  return columns(records, [
    ({ id }) => id,
    ({ recordedAtMs }) => recordedAtMs,
    ({ kind }) => kind,
    ({ reason }) => (reason === null ? null : storable(reason)),
    ({ requestId }) => storable(requestId),
    ({ clientId }) => (clientId === null ? null : storable(clientId)),
    ({ resources }) => textArray(resources),
    ({ jti }) => (jti === null ? null : storable(jti)),
    ({ persons }) => textArray(persons),
    ({ canonical }) => hex(canonical),
  ]);
}

function columns<T>(rows: readonly T[], fields: readonly ((row: T) => unknown)[]): unknown[][] {
  return fields.map((field) => rows.map(field));
}
