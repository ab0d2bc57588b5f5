/**
 * Takes a backup: every table of ours as of one moment (a REPEATABLE READ snapshot), while the service runs, in a stream
 * whose memory does not grow with the database. What is sealed in the database is sealed in the file; the
 * key-encryption key is not in it. The file is born readable by its owner only, and never in the place of another.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { link, open, rm } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { BACKUP_FORMAT, BackupRefused, digestAad, rowLine } from './backup-file.ts';
import type { BackupHeader } from './backup-file.ts';
import type { Database, Queryable } from './database.ts';
import type { Envelope } from './envelope.ts';
import { listRootKeys } from './root-keys.ts';

export { BackupRefused } from './backup-file.ts';

export interface BackupSummary {
  readonly file: string;
  readonly taken_at: string;
  readonly epoch: number;
  readonly rows: Readonly<Record<string, number>>;
  readonly sha256: string;
}

/** A file that grows while the backup is taken; it gets its own name when it is whole. */
export function partialName(file: string): string {
  return `${file}.partial`;
}

/** Rows that are fetched at a time. */
const FETCH_ROWS = 200;
/** The header says its version. Tables that are not logged (counters of requests) are left out too. */
const NOT_KEPT = ['schema_migration'];

/** Throws BackupRefused when the file is there already, or the database was never used. */
export async function takeBackup(db: Database, envelope: Envelope, file: string): Promise<BackupSummary> {
  const partial = partialName(file);
  const writer = await createWriter(partial, file);
  try {
    const summary = await db.transaction(async (q) => {
      await q.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      await q.query(`SET LOCAL bytea_output = 'hex'`);
      const header = await headerOf(q, db.schema, envelope);
      await writer.write(`${JSON.stringify(header)}\n`);
      const rows: Record<string, number> = {};
      for (const table of header.tables) rows[table.name] = await writeTable(q, table, (text) => writer.write(text));
      const sha256 = writer.digest();
      const sealed = Buffer.from(envelope.seal(sha256, digestAad(header.instance))).toString('base64');
      const end = { rows, sha256: sha256.toString('hex'), sealed_sha256: sealed };
      await writer.write(`${JSON.stringify({ end })}\n`);
      return { file, taken_at: header.taken_at, epoch: header.epoch, rows, sha256: end.sha256 };
    });
    await writer.finish();
    // A link fails where there is a file already; a rename would put this one in its place.
    await link(partial, file).catch((error: unknown) => {
      throw inTheWay(error, file);
    });
    return summary;
  } finally {
    writer.abandon();
    await rm(partial, { force: true });
  }
}

function inTheWay(error: unknown, file: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST') return new BackupRefused(`${file} is there already: name a file that is not`);
  if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR')
    return new BackupRefused(`${file} cannot be written (${code}): name a file in a folder that is yours to write`);
  return error;
}

async function createWriter(partial: string, file: string) {
  const exists = await open(file, 'r').then(
    (handle) => handle.close().then(() => true),
    () => false,
  );
  if (exists) throw new BackupRefused(`${file} is there already: name a file that is not`);
  const handle = await open(partial, 'wx', 0o600).catch((error: unknown) => {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST'
      ? new BackupRefused(`${partial} is there: another backup is being taken, or one was killed; then remove it`)
      : inTheWay(error, file);
  });
  const sink = createWriteStream(partial, { fd: handle.fd, autoClose: false });
  const gzip = createGzip();
  const written = finished(gzip.pipe(sink));
  // Awaited in `finish`; until then its failure shows in `write`.
  written.catch(() => undefined);
  const hash = createHash('sha256');
  let failure: Error | undefined;
  /** Lets the one writer that waits go on: there is room again, or there never will be. */
  let goOn: () => void = () => undefined;
  gzip.on('drain', () => {
    goOn();
  });
  for (const stream of [gzip, sink])
    stream.on('error', (error: Error) => {
      failure ??= error;
      goOn();
    });
  const check = () => {
    if (failure !== undefined) throw writeFailure(failure, file);
  };

  return {
    async write(text: string): Promise<void> {
      check();
      hash.update(text);
      if (gzip.write(text)) return;
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      check();
    },
    digest: () => hash.copy().digest(),
    async finish(): Promise<void> {
      gzip.end();
      await written.catch((error: unknown) => {
        throw writeFailure(error, file);
      });
      await handle.sync();
      await handle.close();
    },
    abandon(): void {
      gzip.destroy();
      sink.destroy();
      void handle.close().catch(() => undefined);
    },
  };
}

function writeFailure(error: unknown, file: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' ? new BackupRefused(`there is no space left for ${file}`) : error;
}

async function headerOf(q: Queryable, schema: string, envelope: Envelope): Promise<BackupHeader> {
  const [instance] = await q.query<{ id: string; epoch: number; now: Date }>(
    'SELECT id, epoch, now() AS now FROM instance',
  );
  const [migrated] = await q.query<{ version: number }>('SELECT max(version) AS version FROM schema_migration');
  if (instance === undefined || migrated === undefined)
    throw new BackupRefused('there is nothing to back up: no Cambist was ever started on this database');
  const months = await q.query<{ month: string }>(
    `SELECT right(child.relname, 7) AS month FROM pg_catalog.pg_inherits
     JOIN pg_catalog.pg_class child ON child.oid = inhrelid
     WHERE inhparent = 'audit_record'::regclass AND child.relname ~ '^audit_record_\\d{4}_\\d{2}$' ORDER BY 1`,
  );
  return {
    cambist_backup: BACKUP_FORMAT,
    schema_version: migrated.version,
    instance: instance.id,
    epoch: instance.epoch,
    key_encryption_key: envelope.kekId,
    root_keys: await listRootKeys(q),
    taken_at: instance.now.toISOString(),
    tables: await tablesOf(q, schema),
    audit_months: months.map(({ month }) => month),
  };
}

/** Every table of ours, those first that others refer to. Asked of the catalogue, so that none is ever forgotten. */
async function tablesOf(q: Queryable, schema: string): Promise<BackupHeader['tables']> {
  const tables = await q.query<{ name: string; columns: string[]; refers_to: string[] }>(
    `SELECT c.relname AS name,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum) AS columns,
       ARRAY(SELECT f.relname::text FROM pg_catalog.pg_constraint JOIN pg_catalog.pg_class f ON f.oid = confrelid
         WHERE conrelid = c.oid AND contype = 'f' AND confrelid <> c.oid) AS refers_to
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
     ORDER BY c.relname`,
    [schema],
  );
  const waiting = tables.filter(({ name }) => !NOT_KEPT.includes(name));
  const sorted: BackupHeader['tables'] = [];
  while (waiting.length > 0) {
    const next = waiting.findIndex(({ refers_to: names }) => !waiting.some(({ name }) => names.includes(name)));
    const [table] = waiting.splice(next, 1);
    if (next === -1 || table === undefined) throw new Error('tables refer to each other in a circle');
    sorted.push({ name: table.name, columns: table.columns });
  }
  return sorted;
}

async function writeTable(
  q: Queryable,
  { name, columns }: BackupHeader['tables'][number],
  write: (text: string) => Promise<void>,
): Promise<number> {
  await q.query(
    `DECLARE backup NO SCROLL CURSOR FOR SELECT row_to_json(kept)::text AS row FROM (SELECT ${columns.map((column) => `"${column}"`).join(', ')} FROM "${name}") AS kept`,
  );
  let rows = 0;
  for (;;) {
    const batch = await q.query<{ row: string }>(`FETCH ${FETCH_ROWS} FROM backup`);
    if (batch.length === 0) break;
    rows += batch.length;
    await write(batch.map(({ row }) => rowLine(name, row)).join(''));
  }
  await q.query('CLOSE backup');
  return rows;
}
