/**
 * Puts a backup into a database: the whole file is verified first, then everything is done in one transaction. What was
 * valid between the backup and now must not come back to life: the epoch is raised, and every token, assertion and mark
 * from before this moment is revoked (`revocation` of kind `all`), because the marks that would have refused them and
 * the revocations that would have hit them may be missing. What is alive elsewhere, leases of Vault, stays known. Refuses a
 * database that is in use, that is not empty (unless it is to be replaced), and one of another version. Runs as the owner
 * of the schema.
 */
import type { RecordRow } from '../audit/record.ts';
import { CLOCK_MARGIN_SECONDS } from '../core/clock.ts';
import { FUTURE_TOLERANCE_SECONDS } from '../tokens/claims.ts';
import { BackupRefused, readBackup } from './backup-file.ts';
import type { BackupContent, BackupHeader } from './backup-file.ts';
import { insertChangeRecord } from './commit-statement.ts';
import { StatementFailed } from './database.ts';
import type { Database, Queryable } from './database.ts';
import type { Envelope } from './envelope.ts';
import { planMigrations } from './migrate.ts';
import { REVOCATION_LIFETIME_SECONDS } from './revocations.ts';
import { KEY_REVOKED_SECONDS, RETIRED_PUBLISHED_SECONDS } from './signing-keys.ts';

export interface RestoreOptions {
  readonly file: string;
  readonly envelope: Pick<Envelope, 'open'>;
  /** Throw away what the database holds. */
  readonly replace: boolean;
  /** Builds the record that says what was restored. */
  readonly recordOf: (change: Readonly<Record<string, unknown>>) => RecordRow;
  readonly author: string;
  /** Told now and then how many rows are in. */
  readonly onProgress?: (rows: number) => void;
}

export interface RestoreSummary {
  readonly taken_at: string;
  readonly epoch: number;
  readonly rows: Readonly<Record<string, number>>;
  /** NumericDate: what was issued up to then is dead. */
  readonly revoked_until: number;
  /** How many signing keys were in the backup: none signs again. */
  readonly tainted_keys: number;
}

/**
 * What was accepted just now may say that it was issued later: by what we tolerate, by a node whose clock was ahead of the
 * database's, by the clock of another database than this one; and by the rest of a second.
 */
const AHEAD_SECONDS = FUTURE_TOLERANCE_SECONDS + 2 * CLOCK_MARGIN_SECONDS + 1;
const LOOKS_FOR_NODES = 10;
const BATCH_ROWS = 500;
const BATCH_CHARS = 4_000_000;

/** Throws BackupRefused; then nothing was changed. */
export async function restoreBackup(owner: Database, options: RestoreOptions): Promise<RestoreSummary> {
  const verified = await readBackup(options.file, options.envelope);
  const { current, target, pending } = await planMigrations(owner);
  checkVersion(verified.header, { current, target, upToDate: pending.length === 0 });
  return owner.transaction(async (q) => {
    await q.query(`SET LOCAL lock_timeout = '5s'`);
    await q.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', ['cambist migrations', owner.schema]);
    await refuseNodes(q);
    const before = await emptied(q, verified.header, options.replace);
    await fill(q, verified, options);
    await keepLeases(q, before);
    return finish(q, verified, before, options);
  });
}

function checkVersion(
  { schema_version: version }: BackupHeader,
  { current, target, upToDate }: { current: number; target: number; upToDate: boolean },
): void {
  if (version > target)
    throw new BackupRefused(
      `the backup is of version ${version} of the schema, this program knows versions up to ${target}: ` +
        'restore it with the Cambist that took it, or a newer one',
    );
  if (!upToDate)
    throw new BackupRefused(
      `the database is at version ${current}, this program needs version ${target}. Run: cambist migrate up`,
    );
  if (version < target)
    throw new BackupRefused(
      `the backup is of version ${version} of the schema, the database is at ${target}: make an empty database with the ` +
        'Cambist that took the backup (cambist migrate up), restore there, then run cambist migrate up with this one',
    );
}

/** A node that runs on has keys and persons of the old database in memory. */
async function refuseNodes(q: Queryable): Promise<void> {
  let nodes = 0;
  for (let look = 0; look < LOOKS_FOR_NODES; look++) {
    // The view stays as it was first seen in a transaction, and a connection that was closed is there for a moment.
    if (look > 0) await q.query('SELECT pg_sleep(0.2), pg_stat_clear_snapshot()');
    const [found] = await q.query<{ nodes: number }>(
      `SELECT count(*)::integer AS nodes FROM pg_catalog.pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'cambist'`,
    );
    nodes = found?.nodes ?? 0;
    if (nodes === 0) return;
  }
  throw new BackupRefused(
    `Cambist is connected to this database (${nodes} ${nodes === 1 ? 'connection' : 'connections'}): stop every node first, then restore`,
  );
}

/** Of a database that is replaced: what must only grow, and what lives on outside of it. */
interface Before {
  readonly epoch: number;
  readonly version: number;
  readonly revocations: number;
  readonly keys: number;
  /** Rows of leases, as JSON. */
  readonly leases: string;
}

/** Makes every table empty, or refuses where one is not and nothing was said about replacing; what must not be lost. */
async function emptied(q: Queryable, { tables }: BackupHeader, replace: boolean): Promise<Before> {
  for (const { name } of tables) {
    const known = await q.query(`SELECT to_regclass($1) AS found WHERE to_regclass($1) IS NOT NULL`, [name]);
    if (known.length === 0) throw new BackupRefused(`the backup has a table "${name}" that this program does not know`);
    if (replace || name === 'state') continue;
    if ((await q.query(`SELECT FROM "${name}" LIMIT 1`)).length > 0)
      throw new BackupRefused(
        `the database is not empty (table "${name}"): restore into an empty database, or give --replace to throw away ` +
          'everything that is in it, records included',
      );
  }
  const [before] = await q.query<Before>(
    `SELECT coalesce((SELECT epoch FROM instance), 0) AS epoch, version, revocations, keys,
       (SELECT coalesce(json_agg(lease), '[]')::text FROM lease) AS leases FROM state`,
  );
  await q.query(`TRUNCATE ${tables.map(({ name }) => `"${name}"`).join(', ')}`);
  return before ?? { epoch: 0, version: 0, revocations: 0, keys: 0, leases: '[]' };
}

/** Puts back the leases that were known before, which know more than those of the backup: else nobody would end them. */
async function keepLeases(q: Queryable, { leases }: Before): Promise<void> {
  const known = 'json_populate_recordset(NULL::lease, $1::json)';
  await q.query(`DELETE FROM lease WHERE id IN (SELECT id FROM ${known})`, [leases]);
  await q.query(`INSERT INTO lease SELECT * FROM ${known}`, [leases]);
}

/** Reads the file again, row by row into the tables. */
async function fill(q: Queryable, verified: BackupContent, options: RestoreOptions): Promise<void> {
  for (const month of verified.header.audit_months)
    await q.query(`SELECT make_audit_partition(to_date($1, 'YYYY_MM')::timestamp)`, [month]);
  let rows = 0;
  let batch: { table: string; rows: string[]; chars: number } | undefined;
  const flush = async (header: BackupHeader) => {
    if (batch === undefined) return;
    const { table, rows: lines } = batch;
    batch = undefined;
    const names = header.tables.find(({ name }) => name === table)?.columns.map((column) => `"${column}"`) ?? [];
    await q
      .query(
        `INSERT INTO "${table}" (${names.join(', ')})
         SELECT ${names.join(', ')} FROM json_populate_recordset(NULL::"${table}", $1::json)`,
        [`[${lines.join(',')}]`],
      )
      .catch((error: unknown) => {
        if (!(error instanceof StatementFailed)) throw error;
        throw new BackupRefused(`a row of table "${table}" does not fit into the database (${error.sqlstate})`);
      });
    rows += lines.length;
    options.onProgress?.(rows);
  };
  const again = await readBackup(options.file, options.envelope, async (table, row, header) => {
    if (batch !== undefined && (batch.table !== table || batch.rows.length >= BATCH_ROWS || batch.chars > BATCH_CHARS))
      await flush(header);
    batch ??= { table, rows: [], chars: 0 };
    batch.rows.push(row);
    batch.chars += row.length;
  });
  await flush(again.header);
  if (again.sha256 !== verified.sha256)
    throw new BackupRefused(`${options.file} changed while it was read: nothing was restored`);
}

/**
 * Whoever may have the backup may have its keys, and one that was tainted since must not sign again: all are out of use,
 * in whatever state they were. They are not published, and what they signed is revoked by `kid`; a node makes new ones
 * when it starts.
 */
async function taintKeys(q: Queryable): Promise<readonly string[]> {
  const tainted = await q.query<{ kid: string }>(
    `UPDATE signing_key SET state = 'tainted', sealed_private = NULL, ahead_seconds = NULL,
       retire_at = clock_timestamp() + make_interval(secs => $1) RETURNING kid`,
    [RETIRED_PUBLISHED_SECONDS],
  );
  return tainted.map(({ kid }) => kid).sort();
}

async function revokeKeys(q: Queryable, recordId: string): Promise<void> {
  await q.query(
    `INSERT INTO revocation (kind, value, issued_until, expires_at, record_id)
     SELECT 'key', kid, NULL, clock_timestamp() + make_interval(secs => $1), $2 FROM signing_key
     WHERE purpose = 'access-token'
     ON CONFLICT (kind, value) DO UPDATE SET issued_until = NULL, expires_at = excluded.expires_at,
       record_id = excluded.record_id`,
    [KEY_REVOKED_SECONDS, recordId],
  );
}

/** Raises what must only grow, kills everything from before this moment, and writes the record of it. */
async function finish(
  q: Queryable,
  { header, rows, sha256 }: BackupContent,
  before: Before,
  { recordOf, author }: RestoreOptions,
): Promise<RestoreSummary> {
  const epoch = Math.max(before.epoch, header.epoch) + 1;
  await q.query('UPDATE instance SET epoch = $1', [epoch]);
  const tainted = await taintKeys(q);
  const restored = { from: header.taken_at, sha256, epoch, instance: header.instance, tainted_keys: tainted };
  const record = recordOf({ author, origin: 'restore', restored });
  await insertChangeRecord(q, record);
  const [revoked] = await q.query<{ until: number }>(
    `INSERT INTO revocation (kind, value, issued_until, expires_at, record_id)
     VALUES ('all', '', ceil(extract(epoch FROM clock_timestamp())) + $3, clock_timestamp() + make_interval(secs => $1), $2)
     ON CONFLICT (kind, value) DO UPDATE SET issued_until = excluded.issued_until, expires_at = excluded.expires_at,
       created_at = excluded.created_at, record_id = excluded.record_id
     RETURNING issued_until AS until`,
    [REVOCATION_LIFETIME_SECONDS, record.id, AHEAD_SECONDS],
  );
  if (revoked === undefined) throw new Error('the revocation of a restore was not written');
  await revokeKeys(q, record.id);
  await q.query(
    `UPDATE state SET version = greatest(version, $1) + 1, revocations = greatest(revocations, $2) + 1,
       keys = greatest(keys, $3) + 1, revoked_until = (SELECT max(expires_at) FROM revocation)`,
    [before.version, before.revocations, before.keys],
  );
  return { taken_at: header.taken_at, epoch, rows, revoked_until: revoked.until, tainted_keys: tainted.length };
}
