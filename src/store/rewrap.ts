/**
 * Seals what lies under an earlier key-encryption key anew under the one that seals now, a batch at a time: every batch
 * is one transaction with its record, what is done stays done, and a walk may begin again at any time and from any node.
 * A row that changed meanwhile is left to whoever changed it.
 */
import type { RecordRow } from '../audit/record.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database, Queryable } from './database.ts';
import { KEK_ID_PLACE } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import type { HeldRootKeys } from './root-keys.ts';
import { hex } from './values.ts';

interface SealedColumn {
  readonly table: string;
  readonly column: string;
  /** Primary key; `keyType` so that it can be compared. */
  readonly key: string;
  readonly keyType: 'uuid' | 'text';
  /** SQL for what the value is bound to. */
  readonly aad: string;
}

/** Every sealed column there is; a further one is a line here and a grant in a migration. The one that nodes check at their start goes first. */
const SEALED_COLUMNS: readonly SealedColumn[] = [
  { table: 'instance', column: 'sealed_check', key: 'id', keyType: 'uuid', aad: `'instance|' || id || '|check'` },
  {
    table: 'instance',
    column: 'sealed_blind_key',
    key: 'id',
    keyType: 'uuid',
    aad: `'instance|' || id || '|blind-index'`,
  },
  {
    table: 'signing_key',
    column: 'sealed_private',
    key: 'kid',
    keyType: 'text',
    aad: `'signing_key|' || kid || '|' || purpose`,
  },
  { table: 'person_key', column: 'sealed_key', key: 'ref', keyType: 'uuid', aad: `'person_key|' || ref || '|key'` },
  {
    table: 'secret',
    column: 'sealed',
    key: 'path',
    keyType: 'text',
    aad: `'secret|' || path || '|' || version || '|' || array_to_string(fields, E'\\n')`,
  },
];

const BATCH_ROWS = 500;

/** How far a walk has come; opaque to whoever carries it from call to call. */
export interface RewrapPosition {
  readonly column: number;
  /** The last key that was looked at. */
  readonly after: string | null;
}

export interface RewrapProgress {
  /** Values that this batch sealed anew. */
  readonly rewrapped: number;
  /** Values of this batch that no key given here opens, or that were altered: they stay as they are. */
  readonly unreadable: number;
  /** `null`: the walk has reached its end. */
  readonly next: RewrapPosition | null;
}

export interface SealedCount {
  readonly table: string;
  readonly column: string;
  readonly sealed: number;
  /** Under another key than the one that seals now. */
  readonly left: number;
}

type RecordRewrap = (done: {
  readonly table: string;
  readonly column: string;
  readonly rewrapped: number;
}) => RecordRow;

export interface Rewrapper {
  /** One batch from a position, `undefined` = from the beginning. `record` is built only where something was done. */
  step(position: RewrapPosition | undefined, record: RecordRewrap): Promise<RewrapProgress>;
  count(): Promise<readonly SealedCount[]>;
}

/** A walk from its beginning first wraps the root keys anew, where Vault has a newer version of what wraps them. */
export function createRewrapper(
  db: Database,
  envelope: Envelope,
  rootKeys: HeldRootKeys = { rewrap: () => Promise.resolve(0) },
): Rewrapper {
  return {
    async step(position, record) {
      if (position !== undefined) return walkOn(db, envelope, position, record);
      const rootKeysRewrapped = await rootKeys.rewrap((count) =>
        record({ table: 'root_key', column: 'wrapped', rewrapped: count }),
      );
      const { rewrapped, ...first } = await walkOn(db, envelope, { column: 0, after: null }, record);
      return { ...first, rewrapped: rewrapped + rootKeysRewrapped };
    },
    count: () =>
      Promise.all(
        SEALED_COLUMNS.map(async ({ table, column }) => {
          const [row] = await db.query<{ sealed: number; left: number }>(
            `SELECT count(*)::int AS sealed, (count(*) FILTER (WHERE ${kekIdOf(column)} <> $1))::int AS left
             FROM ${table} WHERE ${column} IS NOT NULL`,
            [envelope.kekId],
          );
          return { table, column, sealed: row?.sealed ?? 0, left: row?.left ?? 0 };
        }),
      ),
  };
}

async function walkOn(
  db: Database,
  envelope: Envelope,
  position: RewrapPosition,
  record: RecordRewrap,
): Promise<RewrapProgress> {
  const sealed = SEALED_COLUMNS[position.column];
  if (sealed === undefined) return { rewrapped: 0, unreadable: 0, next: null };
  return db.transaction(async (q) => {
    const rows = await othersOf(q, sealed, position.after, envelope.kekId);
    const opened = rows.flatMap((row) => reseal(envelope, row));
    const rewrapped = await write(q, sealed, opened);
    if (rewrapped > 0) {
      const { table, column } = sealed;
      await insertChangeRecord(q, record({ table, column, rewrapped }));
    }
    return { rewrapped, unreadable: rows.length - opened.length, next: following(position, rows) };
  });
}

interface OtherRow {
  readonly key: string;
  readonly aad: string;
  readonly sealed: Uint8Array;
}

interface ResealedRow {
  readonly key: string;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

function othersOf(q: Queryable, column: SealedColumn, after: string | null, kekId: string): Promise<OtherRow[]> {
  return q.query<OtherRow>(
    `SELECT ${column.key}::text AS key, ${column.aad} AS aad, ${column.column} AS sealed FROM ${column.table}
     WHERE ${column.column} IS NOT NULL AND ${kekIdOf(column.column)} <> $1
       AND ($2::${column.keyType} IS NULL OR ${column.key} > $2::${column.keyType})
     ORDER BY ${column.key} LIMIT ${BATCH_ROWS}`,
    [kekId, after],
  );
}

/** Nothing where the value does not open: under a key that is not known here, or not in the row that it was sealed for. */
function reseal(envelope: Envelope, { key, aad, sealed }: OtherRow): readonly ResealedRow[] {
  let plaintext: Uint8Array;
  try {
    plaintext = envelope.open(sealed, aad);
  } catch {
    return [];
  }
  return [{ key, before: sealed, after: envelope.seal(plaintext, aad) }];
}

async function write(q: Queryable, column: SealedColumn, rows: readonly ResealedRow[]): Promise<number> {
  if (rows.length === 0) return 0;
  const written = await q.query(
    `UPDATE ${column.table} SET ${column.column} = decode(given.after, 'hex')
     FROM unnest($1::text[], $2::text[], $3::text[]) AS given(key, before, after)
     WHERE ${column.key} = given.key::${column.keyType} AND ${column.column} = decode(given.before, 'hex') RETURNING 1`,
    [rows.map(({ key }) => key), rows.map(({ before }) => hex(before)), rows.map(({ after }) => hex(after))],
  );
  return written.length;
}

function following({ column }: RewrapPosition, rows: readonly OtherRow[]): RewrapPosition | null {
  if (rows.length === BATCH_ROWS) return { column, after: rows.at(-1)?.key ?? null };
  return column + 1 < SEALED_COLUMNS.length ? { column: column + 1, after: null } : null;
}

function kekIdOf(column: string): string {
  return `encode(substring(${column} FROM ${KEK_ID_PLACE.from} FOR ${KEK_ID_PLACE.bytes}), 'hex')`;
}
