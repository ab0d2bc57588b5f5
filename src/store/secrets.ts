/**
 * The secrets of the embedded store: the latest version of each, its values and tags sealed. Path, version and names of
 * the fields are bound to what is sealed, so that a row that was swapped or edited does not open. A change is one
 * transaction with its record; an earlier version is gone when it is replaced, and no value is in any error.
 */
import type { RecordRow } from '../audit/record.ts';
import { Unavailable } from '../core/refusal.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database, Queryable } from './database.ts';
import type { Envelope } from './envelope.ts';
import { textArray } from './values.ts';

/** What is sealed of a secret. */
export interface SecretContent {
  readonly fields: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
}

export interface StoredSecret extends SecretContent {
  /** Counts from 1, one more with each change. */
  readonly version: number;
}

/** A secret without its values. */
export interface SecretEntry {
  readonly path: string;
  readonly version: number;
  /** Names of the fields, sorted. */
  readonly fields: readonly string[];
  /** `undefined`: the row does not open, under another key or altered. */
  readonly tags: Readonly<Record<string, string>> | undefined;
  readonly createdAtMs: number;
  /** Of the latest version. */
  readonly updatedAtMs: number;
}

/** What is made of a secret, or why nothing is. */
export type SecretEdit<R> = { readonly put: SecretContent } | { readonly remove: true } | { readonly refuse: R };

export interface EmbeddedSecrets {
  /** Always from the database. Throws Unavailable where the row does not open. */
  read(path: string): Promise<StoredSecret | undefined>;
  /** Of one path, without values. */
  find(path: string): Promise<SecretEntry | undefined>;
  /** By path, after one; at most `limit`. */
  list(page: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly SecretEntry[]>;
  /**
   * Puts or removes what `edit` says of what is there (`unreadable`: a row that does not open), nobody else changing that
   * secret meanwhile. `record` is told the new version, of a removed one the last; where it cannot be written, nothing is changed.
   */
  change<R>(
    path: string,
    edit: (before: StoredSecret | 'unreadable' | undefined) => SecretEdit<R>,
    record: (version: number) => RecordRow,
  ): Promise<{ readonly version: number } | { readonly refused: R }>;
}

interface Row {
  readonly path: string;
  readonly version: number;
  readonly sealed: Uint8Array;
  readonly fields: string[];
  readonly created_at: Date;
  readonly updated_at: Date;
}

const SELECT = 'SELECT path, version, sealed, fields, created_at, updated_at FROM secret';

export function createEmbeddedSecrets(db: Database, envelope: Envelope): EmbeddedSecrets {
  const rowOf = async (q: Queryable, path: string) => {
    // No path has a NUL, and no statement takes one.
    const rows = path.includes('\0') ? [] : await q.query<Row>(`${SELECT} WHERE path = $1`, [path]);
    return rows[0];
  };
  return {
    async read(path) {
      const row = await rowOf(db, path);
      return row === undefined ? undefined : openRow(envelope, row);
    },
    async find(path) {
      const row = await rowOf(db, path);
      return row === undefined ? undefined : entryOf(envelope, row);
    },
    async list({ after, limit }) {
      const rows = await db.query<Row>(
        `${SELECT} WHERE $1::text IS NULL OR path > $1::text COLLATE "C" ORDER BY path LIMIT $2`,
        [after ?? null, limit],
      );
      return rows.map((row) => entryOf(envelope, row));
    },
    change: (path, edit, record) =>
      db.transaction(async (q) => {
        // Also where there is no row yet that could be locked.
        await q.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', [`${db.schema} secret`, path]);
        const row = await rowOf(q, path);
        const edited = edit(row === undefined ? undefined : (opened(envelope, row) ?? 'unreadable'));
        if ('refuse' in edited) return { refused: edited.refuse };
        const version = 'put' in edited ? (row?.version ?? 0) + 1 : (row?.version ?? 0);
        await ('put' in edited
          ? putRow(q, envelope, path, { ...edited.put, version })
          : q.query('DELETE FROM secret WHERE path = $1', [path]));
        await insertChangeRecord(q, record(version));
        return { version };
      }),
  };
}

async function putRow(q: Queryable, envelope: Envelope, path: string, secret: StoredSecret): Promise<void> {
  const { version, fields, tags } = secret;
  const names = Object.keys(fields).sort();
  const sealed = envelope.seal(Buffer.from(JSON.stringify({ fields, tags })), aadOf({ path, version, fields: names }));
  await q.query(
    `INSERT INTO secret (path, version, sealed, fields) VALUES ($1, $2, $3, $4::text::text[])
     ON CONFLICT (path) DO UPDATE SET version = excluded.version, sealed = excluded.sealed, fields = excluded.fields,
       updated_at = clock_timestamp()`,
    [path, version, sealed, textArray(names)],
  );
}

/** As `rewrap.ts` has it in SQL. Neither a path nor the name of a field holds a line break. */
function aadOf({ path, version, fields }: Pick<Row, 'path' | 'version' | 'fields'>): string {
  return `secret|${path}|${version}|${fields.join('\n')}`;
}

/** Throws Unavailable: of two secrets that were swapped, neither is given to anybody. */
function openRow(envelope: Envelope, row: Row): StoredSecret {
  let plaintext: Uint8Array;
  try {
    plaintext = envelope.open(row.sealed, aadOf(row));
  } catch (cause) {
    if (cause instanceof Unavailable) throw cause;
    throw new Unavailable('database', 'a secret was altered or moved: cambist doctor names it', { cause });
  }
  const { fields, tags } = JSON.parse(new TextDecoder().decode(plaintext)) as SecretContent;
  return { version: row.version, fields, tags };
}

function opened(envelope: Envelope, row: Row): StoredSecret | undefined {
  try {
    return openRow(envelope, row);
  } catch {
    return undefined;
  }
}

function entryOf(envelope: Envelope, row: Row): SecretEntry {
  return {
    path: row.path,
    version: row.version,
    fields: row.fields,
    tags: opened(envelope, row)?.tags,
    createdAtMs: row.created_at.getTime(),
    updatedAtMs: row.updated_at.getTime(),
  };
}
