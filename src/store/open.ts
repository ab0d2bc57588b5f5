/**
 * Opens the database that a node runs on: migrated (or found to be up to date), with the audit partitions of the next
 * months, and every statement from then on under the runtime's role. The one place that knows both drivers.
 */
import type { Logger } from '../core/log.ts';
import { DEFAULT_SCHEMA, RUNTIME_ROLE } from './database.ts';
import type { Database } from './database.ts';
import { ensureAuditPartitions, MigrationRefused, planMigrations, runMigrations } from './migrate.ts';
import { openPglite } from './pglite.ts';
import { openPostgres } from './pg.ts';

export interface OpenDatabaseOptions {
  readonly source:
    | {
        readonly engine: 'postgresql';
        readonly url: string;
        readonly poolMax?: number;
        readonly connectTimeoutMs?: number;
        readonly statementTimeoutMs?: number;
      }
    /** `dataDir`: a folder, or `memory`. */
    | { readonly engine: 'pglite'; readonly dataDir: string };
  readonly schema?: string;
  /** `true` = migrate if need be; `false` = refuse a database that is not at this program's version. */
  readonly migrate: boolean;
  readonly logger: Logger;
}

const MIGRATION_STATEMENT_TIMEOUT_MS = 600_000;

/** Throws MigrationRefused, DataFolderInUse, or Unavailable when the database cannot be reached. */
export async function openDatabase(options: OpenDatabaseOptions): Promise<Database> {
  const { source, logger } = options;
  const schema = options.schema ?? DEFAULT_SCHEMA;
  if (source.engine === 'pglite') {
    const db = await openPglite({ dataDir: source.dataDir, schema, role: undefined, logger });
    return closingOnFailure(db, async () => {
      await prepare(db, options.migrate);
      await db.assumeRole(RUNTIME_ROLE);
      return db;
    });
  }
  const owner = await openOwner({ source, schema, logger });
  try {
    await prepare(owner, options.migrate);
  } finally {
    await owner.close();
  }
  const { engine: _, ...connection } = source;
  return openPostgres({ ...connection, schema, role: RUNTIME_ROLE, logger });
}

/** Opens the database as the user that owns it, for migrations. */
export function openOwner(options: Pick<OpenDatabaseOptions, 'source' | 'schema' | 'logger'>): Promise<Database> {
  const { source, logger } = options;
  const schema = options.schema ?? DEFAULT_SCHEMA;
  return source.engine === 'pglite'
    ? openPglite({ dataDir: source.dataDir, schema, role: undefined, logger })
    : openPostgres({
        url: source.url,
        schema,
        role: undefined,
        poolMax: 1,
        statementTimeoutMs: MIGRATION_STATEMENT_TIMEOUT_MS,
        logger,
      });
}

const OLDEST_SERVER = 150_000;

async function prepare(owner: Database, migrate: boolean): Promise<void> {
  const [server] = await owner.query<{ version: number }>(
    `SELECT current_setting('server_version_num')::int AS version`,
  );
  if (server === undefined || server.version < OLDEST_SERVER)
    throw new MigrationRefused('the database is older than PostgreSQL 15: use PostgreSQL 15 or newer');
  if (migrate) await runMigrations(owner);
  else {
    const { current, target, pending } = await planMigrations(owner);
    if (pending.length > 0)
      throw new MigrationRefused(
        `the database is at version ${current}, this program needs version ${target}. Run: cambist migrate up`,
      );
  }
  await ensureAuditPartitions(owner);
}

async function closingOnFailure<T>(db: Database, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await db.close();
    throw error;
  }
}
