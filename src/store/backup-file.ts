/**
 * The format of a backup: gzip over lines of JSON (docs/backup.md). The first line is the header, every other one a row as
 * PostgreSQL writes it (`row_to_json`), the last one the trailer with counts, the SHA-256 of everything before it, and
 * that digest sealed under the key-encryption key. Rows are never parsed here: they go from database to file and back
 * as text, so that nothing of them is lost in between. Refuses a file that is cut short, was altered, has another format,
 * or was made under another key-encryption key.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import type { Envelope } from './envelope.ts';
import { WrongKeyEncryptionKey } from './envelope.ts';
import { placeName } from './root-keys.ts';

export const BACKUP_FORMAT = 1;

/** A file that is no backup that can be restored here; the message says why and what to do. */
export class BackupRefused extends Error {
  override readonly name = 'BackupRefused';
}

const identifier = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/);
const count = z.number().int().min(0);

const headerShape = z.object({
  cambist_backup: z.literal(BACKUP_FORMAT),
  schema_version: z.number().int().min(1),
  instance: z.uuid(),
  epoch: z.number().int().min(1),
  /** Id of the key-encryption key that seals what is sealed in it; the key itself is not in it. */
  key_encryption_key: z.string(),
  /** Root keys as they lie in the database: wrapped, so that whoever may unwrap them can open the file first. */
  root_keys: z
    .array(z.object({ id: z.string(), mount: z.string(), key: z.string(), wrapped: z.string().max(4096) }))
    .default([]),
  /** RFC 3339, by the clock of the database. */
  taken_at: z.string(),
  /** In an order in which they can be filled. */
  tables: z.array(z.object({ name: identifier, columns: z.array(identifier).min(1) })).min(1),
  /** Months (`YYYY_MM`) that have a partition of audit records of their own. */
  audit_months: z.array(z.string().regex(/^\d{4}_\d{2}$/)),
});
export type BackupHeader = z.infer<typeof headerShape>;

const trailerShape = z.object({
  end: z.object({ rows: z.record(identifier, count), sha256: z.string(), sealed_sha256: z.string() }),
});
export type BackupTrailer = z.infer<typeof trailerShape>['end'];

/** A row of the database with all that belongs to it; a line beyond this is no row of ours. */
const LINE_MAX_CHARS = 64 * 1024 * 1024;
const TRAILER_START = '{"end":';

/** What the sealed digest is bound to. */
export function digestAad(instance: string): string {
  return `backup|${instance}|sha256`;
}

/** The line of a row; `row` is JSON already. */
export function rowLine(table: string, row: string): string {
  return `{"table":"${table}","row":${row}}\n`;
}

/** What is in a file, and what it was made of. */
export interface BackupContent {
  readonly header: BackupHeader;
  readonly rows: Readonly<Record<string, number>>;
  readonly sha256: string;
}

/**
 * Reads a whole file and checks it; `onRow` is given every row on the way, of one that may still turn out to be altered:
 * it must be able to take everything back. Throws BackupRefused.
 */
export async function readBackup(
  file: string,
  envelope: Pick<Envelope, 'open'>,
  onRow: (table: string, row: string, header: BackupHeader) => Promise<void> | undefined = () => undefined,
): Promise<BackupContent> {
  const hash = createHash('sha256');
  const rows: Record<string, number> = {};
  let header: BackupHeader | undefined;
  let trailer: BackupTrailer | undefined;
  for await (const line of linesOf(file)) {
    if (trailer !== undefined) throw new BackupRefused(`${file} goes on after its end: it was altered`);
    if (line.startsWith(TRAILER_START)) {
      trailer = parsed(trailerShape, line, file).end;
      continue;
    }
    hash.update(line).update('\n');
    if (header === undefined) {
      header = parseHeader(line, file);
      continue;
    }
    const { table, row } = parseRow(line, header, file);
    rows[table] = (rows[table] ?? 0) + 1;
    await onRow(table, row, header);
  }
  if (header === undefined || trailer === undefined)
    throw new BackupRefused(`${file} is cut short: its end is missing. Take another backup file`);
  const sha256 = hash.digest();
  checkDigest({ file, header, trailer, sha256 }, envelope);
  for (const { name } of header.tables)
    if ((trailer.rows[name] ?? 0) !== (rows[name] ?? 0))
      throw new BackupRefused(`${file} was altered: rows are missing`);
  return { header, rows, sha256: sha256.toString('hex') };
}

/** That nobody without the key-encryption key made or altered it, and that the key is the right one. */
function checkDigest(
  found: { file: string; header: BackupHeader; trailer: BackupTrailer; sha256: Buffer },
  envelope: Pick<Envelope, 'open'>,
): void {
  const { file, header, trailer, sha256 } = found;
  if (sha256.toString('hex') !== trailer.sha256) throw new BackupRefused(`${file} was altered: its SHA-256 is another`);
  let sealed: Uint8Array;
  try {
    sealed = envelope.open(Buffer.from(trailer.sealed_sha256, 'base64'), digestAad(header.instance));
  } catch (error) {
    if (error instanceof WrongKeyEncryptionKey) throw wrongKey(file, header);
    throw new BackupRefused(`${file} was altered: its digest was not made with the key-encryption key`);
  }
  if (!sha256.equals(sealed)) throw new BackupRefused(`${file} was altered: its sealed digest is of another file`);
}

/** What is said of a backup that no given key opens. */
export function wrongKey(file: string, header: BackupHeader): BackupRefused {
  const { key_encryption_key: id } = header;
  const root = header.root_keys.find((one) => one.id === id);
  return new BackupRefused(
    `${file} was made under key-encryption key ${id}${root === undefined ? '' : `, wrapped by the Transit key ${placeName(root)} of Vault`}, ` +
      'which is not the one given: ' +
      'give the key that was in force when the backup was taken. It is not in the backup, and nothing replaces it',
  );
}

/** The header alone; nothing of it can be believed before the whole file was read. */
export async function readBackupHeader(file: string): Promise<BackupHeader> {
  for await (const line of linesOf(file)) return parseHeader(line, file);
  throw new BackupRefused(`${file} is cut short. Take another backup file`);
}

function parseHeader(line: string, file: string): BackupHeader {
  const header: unknown = parsed(z.unknown(), line, file);
  const format = (header as { cambist_backup?: unknown } | null)?.cambist_backup;
  if (typeof format === 'number' && format > BACKUP_FORMAT)
    throw new BackupRefused(`${file} has format ${format}, this program knows ${BACKUP_FORMAT}: use a newer Cambist`);
  return parsed(headerShape, line, file);
}

function parseRow(line: string, header: BackupHeader, file: string): { table: string; row: string } {
  const match = /^\{"table":"([a-z_0-9]+)","row":(?=\{)/.exec(line);
  const table = match?.[1];
  if (match === null || table === undefined || !line.endsWith('}'))
    throw new BackupRefused(`${file} was altered: a line of it is not a row`);
  if (!header.tables.some(({ name }) => name === table))
    throw new BackupRefused(`${file} was altered: it has rows of a table that its header does not name`);
  return { table, row: line.slice(match[0].length, -1) };
}

function parsed<T>(shape: z.ZodType<T>, line: string, file: string): T {
  try {
    const checked = shape.safeParse(JSON.parse(line));
    if (checked.success) return checked.data;
  } catch {
    // Said below.
  }
  throw new BackupRefused(`${file} is not a backup of Cambist, or was altered`);
}

/** The lines of a gzip file, one at a time. */
async function* linesOf(file: string): AsyncGenerator<string> {
  const source = createReadStream(file);
  const text = createGunzip();
  source.on('error', (error) => text.destroy(error));
  source.pipe(text).setEncoding('utf8');
  let rest: string[] = [];
  let restChars = 0;
  try {
    for await (const chunk of text as AsyncIterable<string>) {
      const parts = chunk.split('\n');
      for (const part of parts.slice(0, -1)) {
        yield rest.length === 0 ? part : rest.join('') + part;
        rest = [];
        restChars = 0;
      }
      const last = parts.at(-1) ?? '';
      if (last !== '') rest.push(last);
      restChars += last.length;
      if (restChars > LINE_MAX_CHARS) throw new BackupRefused(`${file} is not a backup of Cambist: a line has no end`);
    }
  } catch (error) {
    throw readFailure(error, file);
  } finally {
    source.destroy();
  }
  if (restChars > 0)
    throw new BackupRefused(`${file} is cut short: its last line has no end. Take another backup file`);
}

function readFailure(error: unknown, file: string): unknown {
  const { code } = error as { code?: unknown };
  if (code === 'Z_BUF_ERROR') return new BackupRefused(`${file} is cut short. Take another backup file`);
  if (typeof code === 'string' && code.startsWith('Z_'))
    return new BackupRefused(`${file} is not a backup of Cambist, or was altered (${code})`);
  if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR')
    return new BackupRefused(`${file} cannot be read: ${code}`);
  return error;
}
