/**
 * Brings a database to the version of this program: plain SQL files run by postgrator, all of them in one transaction
 * under a lock, so that two nodes may start at once. Refuses a database of a newer version and one whose applied
 * migrations are not the ones shipped here.
 */
import { fileURLToPath } from 'node:url';
import Postgrator from 'postgrator';
import { RUNTIME_ROLE, SEQUENCER_ROLE, StatementFailed } from './database.ts';
import type { Database, Queryable, Transaction } from './database.ts';

export interface MigrationPlan {
  /** 0 = an empty database. */
  readonly current: number;
  /** What this program brings. */
  readonly target: number;
  readonly pending: readonly { readonly version: number; readonly name: string }[];
}

/** The database and this program do not fit together; the message says what to do. */
export class MigrationRefused extends Error {
  override readonly name = 'MigrationRefused';
}

const MIGRATIONS = new URL('./migrations/', import.meta.url);
const VERSION_TABLE = 'schema_migration';
const MONTHS_AHEAD = 3;

/** Reads only. Throws MigrationRefused for a database that is newer or was migrated by other files. */
export function planMigrations(db: Database): Promise<MigrationPlan> {
  return db.transaction((q) => plan(q, db.schema));
}

/** As the owner of the schema, not as the runtime role. Makes schema and roles where they are missing. */
export async function runMigrations(ownerDb: Database): Promise<MigrationPlan> {
  await ensureRoles(ownerDb);
  return ownerDb.transaction(async (q) => {
    await q.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', ['cambist migrations', ownerDb.schema]);
    const planned = await plan(q, ownerDb.schema);
    if (planned.pending.length === 0) return planned;
    await ensureSchema(q, ownerDb.schema);
    await migratorOf(q, ownerDb.schema).migrate('max');
    return planned;
  });
}

/** Makes the audit partitions of this month and the next ones. At every start, and now and then after that. */
export async function ensureAuditPartitions(db: Database): Promise<void> {
  await db.query('SELECT ensure_audit_partitions($1)', [MONTHS_AHEAD]);
}

async function plan(q: Transaction, schema: string): Promise<MigrationPlan> {
  const migrator = migratorOf(q, schema);
  const target = await migrator.getMaxVersion();
  const current = (await hasVersionTable(q, schema)) ? await migrator.getDatabaseVersion() : 0;
  if (current > target)
    throw new MigrationRefused(
      `the database is at version ${current}, this program knows versions up to ${target}. ` +
        'Start a newer Cambist, or restore the database from before its upgrade.',
    );
  if (current > 0) await checkApplied(migrator, current);
  const pending = migrator.getRunnableMigrations(current, target);
  return { current, target, pending: pending.map(({ version, name }) => ({ version, name })) };
}

async function checkApplied(migrator: Postgrator, current: number): Promise<void> {
  try {
    await migrator.validateMigrations(current);
  } catch (error) {
    const failed = error instanceof Error && /checksum failed for migration \[(\d+)\]/i.exec(error.message);
    if (failed === null || failed === false) throw error;
    throw new MigrationRefused(
      `migration ${failed[1] ?? ''} of this program is not the one that this database was made with. ` +
        'Start the program that made the database; an applied migration must never be edited.',
    );
  }
}

async function hasVersionTable(q: Queryable, schema: string): Promise<boolean> {
  const rows = await q.query('SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2', [
    schema,
    VERSION_TABLE,
  ]);
  return rows.length > 0;
}

/** IF NOT EXISTS asks for the right to create even what is there: so look first. */
async function ensureSchema(q: Transaction, schema: string): Promise<void> {
  const found = await q.query('SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1', [schema]);
  if (found.length === 0) await q.script(`CREATE SCHEMA ${schema}`);
  await q.script(`GRANT USAGE ON SCHEMA ${schema} TO ${RUNTIME_ROLE}, ${SEQUENCER_ROLE}`);
  if (await hasVersionTable(q, schema)) return;
  await q.script(
    `CREATE TABLE ${schema}.${VERSION_TABLE} (version bigint PRIMARY KEY, name text, md5 text, run_at timestamptz);
     INSERT INTO ${schema}.${VERSION_TABLE} (version) VALUES (0);
     GRANT SELECT ON ${schema}.${VERSION_TABLE} TO ${RUNTIME_ROLE}`,
  );
}

function migratorOf(q: Transaction, schema: string): Postgrator {
  // A pattern for `glob`: what is magic in it may stand in the path of an installation.
  const folder = fileURLToPath(MIGRATIONS)
    .replaceAll('\\', '/')
    .replaceAll(/[?*()[\]]/g, '[$&]');
  return new Postgrator({
    driver: 'pg',
    schemaTable: `${schema}.${VERSION_TABLE}`,
    migrationPattern: `${folder}*.sql`,
    newline: 'LF',
    execQuery: async (text) => ({ rows: await q.query(text) }),
    execSqlScript: (text) => q.script(text),
  });
}

/** Roles belong to the whole cluster: another database may be making the same ones at this moment. */
async function ensureRoles(ownerDb: Database): Promise<void> {
  try {
    await ownerDb.transaction(async (q) => {
      for (const role of [RUNTIME_ROLE, SEQUENCER_ROLE]) await q.script(ensureRole(role));
    });
  } catch (error) {
    if (!(error instanceof StatementFailed) || error.sqlstate !== '42501') throw error;
    throw new MigrationRefused(
      'the database user may not create the roles that Cambist runs under. Let an administrator run: ' +
        `CREATE ROLE ${RUNTIME_ROLE} NOLOGIN; CREATE ROLE ${SEQUENCER_ROLE} NOLOGIN; ` +
        `GRANT ${RUNTIME_ROLE}, ${SEQUENCER_ROLE} TO "<the user of DATABASE_URL>";`,
    );
  }
}

function ensureRole(role: string): string {
  return `DO $do$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '${role}') THEN
      BEGIN
        CREATE ROLE ${role} NOLOGIN;
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
      END;
    END IF;
    -- From PostgreSQL 16 on, whoever makes a role may not yet take it on.
    IF NOT pg_catalog.pg_has_role(session_user, '${role}',
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
      BEGIN
        EXECUTE format('GRANT ${role} TO %I', session_user);
      EXCEPTION WHEN unique_violation OR internal_error THEN NULL;
      END;
    END IF;
  END $do$`;
}
