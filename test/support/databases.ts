/**
 * One suite, both engines: PGlite in memory, and a real PostgreSQL (`TEST_DATABASE_URL`, else a cluster of its own from
 * the binaries that are found). Every test gets a fresh, migrated database. Where no PostgreSQL can be had the suite is
 * skipped there and says why; with `CI` set that is a failure.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, onTestFinished, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import { DEFAULT_SCHEMA, RUNTIME_ROLE } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { ensureAuditPartitions, runMigrations } from '../../src/store/migrate.ts';
import type { OpenDatabaseOptions } from '../../src/store/open.ts';
import { openPglite } from '../../src/store/pglite.ts';
import type { EmbeddedDatabase } from '../../src/store/pglite.ts';
import { openPostgres } from '../../src/store/pg.ts';
import { findPostgresBinaries, startPostgres, withClient } from './postgres-cluster.ts';
import type { PostgresCluster } from './postgres-cluster.ts';

export { startPostgres } from './postgres-cluster.ts';
export type { PostgresCluster } from './postgres-cluster.ts';

export interface TestDatabase {
  /** As a node uses it: under the runtime's role. */
  readonly db: Database;
  /** Of another node on the same database. PGlite has one process: there it is the same connection. */
  readonly anotherNode: () => Promise<Database>;
  /** Runs `work` under another role; `undefined` = the owner. */
  readonly asRole: <T>(role: string | undefined, work: (db: Database) => Promise<T>) => Promise<T>;
}

export interface Databases {
  readonly engine: Database['engine'];
  /** Migrated and empty; closed after the test that asked for it (after the suite, if asked outside a test). */
  fresh(): Promise<TestDatabase>;
  /** An empty database that was never migrated, for `openDatabase`. */
  source(): Promise<OpenDatabaseOptions['source']>;
}

const silent = createLogger('silent');

/** Declares the suite once per engine. */
export function withDatabases(name: string, suite: (databases: Databases) => void): void {
  describe(`${name} (PGlite)`, () => {
    suite(pgliteDatabases());
  });
  const unavailable = whyNoPostgres();
  if (unavailable === undefined)
    describe(`${name} (PostgreSQL)`, () => {
      suite(postgresDatabases());
    });
  else declareUnavailable(`${name} (PostgreSQL)`, unavailable);
}

/** For suites that need a real PostgreSQL. */
export function withPostgres(name: string, suite: () => void): void {
  const unavailable = findPostgresBinaries() === undefined ? 'no PostgreSQL binaries were found' : undefined;
  if (unavailable === undefined) describe(name, suite);
  else declareUnavailable(name, unavailable);
}

function declareUnavailable(name: string, reason: string): void {
  if (process.env['CI'] !== undefined)
    test(name, () => {
      throw new Error(`with CI set this must run: ${reason}`);
    });
  else {
    console.warn(`skipped: ${name}: ${reason}`);
    test.skip(`${name}: ${reason}`);
  }
}

function whyNoPostgres(): string | undefined {
  if (process.env['TEST_DATABASE_URL'] !== undefined) return undefined;
  return findPostgresBinaries() === undefined
    ? 'TEST_DATABASE_URL is not set and no PostgreSQL binaries were found'
    : undefined;
}

/** After the test that opened it; after the suite, if it was opened outside a test. */
function closeAfterwards<D extends Database>(db: D, ofSuite: D[]): void {
  try {
    onTestFinished(() => db.close());
  } catch {
    ofSuite.push(db);
  }
}

/** Starting an engine takes longer than making its schema anew: engines are used again, one per database in use. */
function pgliteDatabases(): Databases {
  const engines: EmbeddedDatabase[] = [];
  const idle: EmbeddedDatabase[] = [];
  const opened: Database[] = [];
  afterAll(async () => {
    for (const engine of engines) await engine.close();
  });

  async function startEngine(): Promise<EmbeddedDatabase> {
    const engine = await openPglite({ dataDir: 'memory', schema: DEFAULT_SCHEMA, role: undefined, logger: silent });
    engines.push(engine);
    return engine;
  }

  return {
    engine: 'pglite',
    async fresh() {
      const engine = idle.pop() ?? (await startEngine());
      await engine.assumeRole(undefined);
      await engine.transaction((q) => q.script(`DROP SCHEMA IF EXISTS ${DEFAULT_SCHEMA} CASCADE`));
      await runMigrations(engine);
      await ensureAuditPartitions(engine);
      await engine.assumeRole(RUNTIME_ROLE);
      const db = leased(engine, () => idle.push(engine));
      closeAfterwards(db, opened);
      return {
        db,
        anotherNode: () => Promise.resolve(db),
        async asRole(role, work) {
          await engine.assumeRole(role);
          try {
            return await work(db);
          } finally {
            await engine.assumeRole(RUNTIME_ROLE);
          }
        },
      };
    },
    source: () => Promise.resolve({ engine: 'pglite', dataDir: 'memory' }),
  };
}

/** Whatever a test leaves running must not reach the database of the next one. */
function leased(engine: EmbeddedDatabase, onClose: () => void): Database {
  let closed = false;
  const whileOpen = <T>(run: () => Promise<T>): Promise<T> =>
    closed ? Promise.reject(new Unavailable('database', 'the test is over')) : run();
  return {
    ...engine,
    query: (...statement) => whileOpen(() => engine.query(...statement)),
    transaction: (work) => whileOpen(() => engine.transaction(work)),
    close: () => {
      if (!closed) onClose();
      closed = true;
      return Promise.resolve();
    },
  };
}

function postgresDatabases(): Databases {
  const opened: Database[] = [];
  const created: string[] = [];
  let cluster: PostgresCluster | undefined;
  let adminUrl = '';
  let template: string;

  const open = async (url: string, role: string | undefined) => {
    const db = await openPostgres({ url, schema: DEFAULT_SCHEMA, role, logger: silent });
    closeAfterwards(db, opened);
    return db;
  };
  const create = async (from?: string) => {
    const name = `cambist_test_${randomBytes(6).toString('hex')}`;
    await withClient(adminUrl, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE ${from ?? 'template0'}`));
    created.push(name);
    return name;
  };
  const urlOf = (name: string) => {
    const url = new URL(adminUrl);
    url.pathname = `/${name}`;
    return url.toString();
  };

  beforeAll(async () => {
    if (process.env['TEST_DATABASE_URL'] === undefined) cluster = await startPostgres();
    adminUrl = cluster?.url ?? process.env['TEST_DATABASE_URL'] ?? '';
    template = await create();
    const owner = await openPostgres({ url: urlOf(template), schema: DEFAULT_SCHEMA, role: undefined, logger: silent });
    await runMigrations(owner);
    await ensureAuditPartitions(owner);
    await owner.close();
  });
  afterAll(async () => {
    await Promise.all(opened.map((db) => db.close()));
    if (cluster !== undefined) await cluster.stop();
    else
      for (const name of created.reverse())
        await withClient(adminUrl, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  });
  return {
    engine: 'postgresql',
    async fresh() {
      const url = urlOf(await create(template));
      return {
        db: await open(url, RUNTIME_ROLE),
        anotherNode: () => open(url, RUNTIME_ROLE),
        asRole: async (role, work) => work(await open(url, role)),
      };
    },
    async source() {
      return { engine: 'postgresql', url: urlOf(await create()) };
    },
  };
}
