import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_SCHEMA, RUNTIME_ROLE, SEQUENCER_ROLE, StatementFailed } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { ensureAuditPartitions, MigrationRefused, planMigrations, runMigrations } from '../../src/store/migrate.ts';
import { openDatabase } from '../../src/store/open.ts';
import { openPostgres } from '../../src/store/pg.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { withDatabases } from '../support/databases.ts';
import { committer, issue, record, recordsOf, silentLogger } from './fixtures.ts';

withDatabases('schema', (databases) => {
  /** For what PGlite does not have (other processes, users, databases): there, there is no such test. */
  const serverTest = (name: string, work: () => Promise<void>): void => {
    if (databases.engine !== 'pglite') test(name, work);
  };
  const serverUrl = async () => {
    const source = await databases.source();
    if (source.engine === 'pglite') throw new Error('PGlite has no URL');
    return source.url;
  };

  describe('migrations', () => {
    test('an empty database becomes one that works under the runtime role; a second start changes nothing', async () => {
      const source = await databases.source();
      const folder = mkdtempSync(join(tmpdir(), 'cambist-store-'));
      const lasting = source.engine === 'pglite' ? { ...source, dataDir: join(folder, 'data') } : source;
      try {
        const first = await openDatabase({ source: lasting, migrate: true, logger: silentLogger });
        await committer(first).commit(issue(['m']));
        expect(await first.query('SELECT current_user::text AS role')).toEqual([{ role: RUNTIME_ROLE }]);
        await first.close();
        const second = await openDatabase({ source: lasting, migrate: false, logger: silentLogger });
        expect(await recordsOf(second)).toHaveLength(1);
        await second.close();
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });

    test('an empty database is refused where migrating was not asked for, with the command to run', async () => {
      const source = await databases.source();
      const opening = openDatabase({ source, migrate: false, logger: silentLogger });
      await expect(opening).rejects.toBeInstanceOf(MigrationRefused);
      await expect(opening).rejects.toThrow(/cambist migrate up/);
    });

    test('a database of a newer version is refused in clear words, and nothing is undone (F12)', async () => {
      const { asRole, db } = await databases.fresh();
      await asRole(undefined, async (owner) => {
        await owner.query(`INSERT INTO schema_migration (version, name) VALUES (99, 'from the future')`);
        await expect(planMigrations(owner)).rejects.toThrow(/version 99.*up to/s);
        await expect(runMigrations(owner)).rejects.toBeInstanceOf(MigrationRefused);
      });
      expect(await db.query('SELECT version FROM schema_migration WHERE version = 99')).toHaveLength(1);
    });

    test('an applied migration that was edited is refused', async () => {
      const { asRole } = await databases.fresh();
      await asRole(undefined, async (owner) => {
        await owner.query(`UPDATE schema_migration SET md5 = 'other' WHERE version = 2`);
        await expect(planMigrations(owner)).rejects.toThrow(/migration 2 .*not the one/);
        await expect(runMigrations(owner)).rejects.toBeInstanceOf(MigrationRefused);
      });
    });

    test('there is nothing to come for a database of this version', async () => {
      const { db } = await databases.fresh();
      expect((await planMigrations(db)).pending).toEqual([]);
    });

    serverTest('a plan changes nothing and names what is to come', async () => {
      const owner = await openPostgres({
        url: await serverUrl(),
        schema: DEFAULT_SCHEMA,
        role: undefined,
        logger: silentLogger,
      });
      const plan = await planMigrations(owner);
      expect(plan).toMatchObject({ current: 0, target: plan.pending.length });
      expect(plan.pending[0]).toEqual({ version: 1, name: 'state-and-objects' });
      expect(await owner.query(`SELECT FROM pg_namespace WHERE nspname = 'cambist'`)).toEqual([]);
      await owner.close();
    });

    serverTest('two nodes that start at once on an empty database both come up', async () => {
      const source = { engine: 'postgresql', url: await serverUrl() } as const;
      const nodes = await Promise.all(
        Array.from({ length: 3 }, () => openDatabase({ source, migrate: true, logger: silentLogger })),
      );
      const { target } = await planMigrations(nodes[0]!);
      expect(await nodes[0]!.query('SELECT FROM schema_migration')).toHaveLength(target + 1);
      await Promise.all(nodes.map((node) => node.close()));
    });

    serverTest('an owner who may not create roles is told what to ask for; with the roles given it works', async () => {
      const source = { engine: 'postgresql', url: await serverUrl() } as const;
      const [user, fresh] = [`owner_${Date.now()}`, `fresh_${Date.now()}`];
      await withClient(source.url, async (client) => {
        for (const name of [user, fresh]) await client.query(`CREATE ROLE ${name} LOGIN PASSWORD 'p'`);
        await client.query(`GRANT CREATE ON DATABASE ${new URL(source.url).pathname.slice(1)} TO ${user}, ${fresh}`);
        await client.query(`GRANT ${RUNTIME_ROLE}, ${SEQUENCER_ROLE} TO ${user}`);
      });
      const urlOf = (name: string) => {
        const url = new URL(source.url);
        url.username = name;
        url.password = 'p';
        return url.toString();
      };
      const refused = openDatabase({ source: { ...source, url: urlOf(fresh) }, migrate: true, logger: silentLogger });
      await expect(refused).rejects.toThrow(/Let an administrator run: CREATE ROLE cambist_runtime NOLOGIN/);
      const db = await openDatabase({ source: { ...source, url: urlOf(user) }, migrate: true, logger: silentLogger });
      await committer(db).commit(issue());
      expect(await recordsOf(db)).toHaveLength(1);
      await db.close();
    });

    serverTest(
      'the service works as a user that owns nothing, which taking its role off gives no right to records',
      async () => {
        const source = { engine: 'postgresql', url: await serverUrl() } as const;
        const owned = await openDatabase({ source, migrate: true, logger: silentLogger });
        const user = `app_${Date.now()}`;
        await withClient(source.url, async (client) => {
          await client.query(`CREATE ROLE ${user} LOGIN PASSWORD 'p'`);
          await client.query(`GRANT ${RUNTIME_ROLE} TO ${user}`);
        });
        const url = new URL(source.url);
        url.username = user;
        url.password = 'p';
        const app = await openDatabase({
          source: { ...source, url: url.toString() },
          migrate: false,
          logger: silentLogger,
        });
        await committer(app).commit(issue());
        const deleteAsUser = (db: Database) =>
          db.transaction(async (q) => {
            await q.query('SET ROLE NONE');
            await q.query('DELETE FROM audit_record');
          });
        await expect(deleteAsUser(app)).rejects.toMatchObject({ sqlstate: '42501' });
        expect(await recordsOf(app)).toHaveLength(1);
        // Why it must not be the owner.
        await deleteAsUser(owned);
        expect(await recordsOf(owned)).toEqual([]);
        await Promise.all([app.close(), owned.close()]);
      },
    );

    serverTest('a tenant is a schema: two in one database know nothing of each other', async () => {
      const source = { engine: 'postgresql', url: await serverUrl() } as const;
      const [one, other] = await Promise.all(
        ['tenant_a', 'tenant_b'].map((schema) => openDatabase({ source, schema, migrate: true, logger: silentLogger })),
      );
      await committer(one!).commit(issue(['same']));
      expect(await committer(other!).commit(issue(['same']))).toEqual({ outcome: 'committed' });
      expect(await recordsOf(one!)).toHaveLength(1);
      expect(await recordsOf(other!)).toHaveLength(1);
      await Promise.all([one!.close(), other!.close()]);
    });
  });

  describe('what the runtime role may do', () => {
    let shared: { readonly db: Database };
    beforeAll(async () => {
      shared = await databases.fresh();
    });
    const forbidden = [
      `UPDATE audit_record SET reason = 'x'`,
      'DELETE FROM audit_record',
      'TRUNCATE audit_record',
      'UPDATE audit_record SET leaf_index = 1',
      `INSERT INTO audit_record (id, recorded_at, kind, request_id, resources, persons, canonical, epoch, leaf_index)
       VALUES (gen_random_uuid(), now(), 'noise', 'r', '{}', '{}', '', 1, 0)`,
      'UPDATE audit_record_default SET leaf_index = 1',
      'DELETE FROM audit_record_default',
      'DELETE FROM replay_mark',
      `UPDATE replay_mark SET expires_at = 'epoch'`,
      'DELETE FROM issued_token',
      'UPDATE issued_token SET jti = jti',
      'DELETE FROM object_change',
      'UPDATE object_change SET author = author',
      'UPDATE instance SET epoch = 1',
      'DELETE FROM instance',
      'DELETE FROM state',
      'UPDATE person_key SET ref = ref',
      'UPDATE signing_key SET public_jwk = public_jwk',
      'UPDATE signing_key SET purpose = purpose',
      `UPDATE client_secret SET hash = hash`,
      'UPDATE schema_migration SET version = 0',
      'CREATE TABLE mine (a int)',
      'DROP TABLE replay_mark',
      'ALTER TABLE audit_record DISABLE TRIGGER ALL',
      'CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
    ];
    test.each(forbidden)('not: %s', async (statement) => {
      const refused = shared.db.query(statement);
      await expect(refused).rejects.toBeInstanceOf(StatementFailed);
      await expect(refused).rejects.toMatchObject({ sqlstate: '42501' });
    });

    test('the sequencer role may give a record its place and nothing else', async () => {
      const { db, asRole } = await databases.fresh();
      await committer(db).commit(issue());
      await asRole(SEQUENCER_ROLE, async (sequencer) => {
        await sequencer.query('UPDATE audit_record SET leaf_index = 0');
        for (const statement of [
          `UPDATE audit_record SET reason = 'x'`,
          `UPDATE audit_record SET canonical = ''`,
          'DELETE FROM audit_record',
          'SELECT FROM signing_key',
          'SELECT FROM person_key',
          `INSERT INTO replay_mark (hash, purpose, issuer, mark_id, expires_at) VALUES ('', '', '', '', now())`,
        ])
          await expect(sequencer.query(statement)).rejects.toMatchObject({ sqlstate: '42501' });
      });
      expect(await db.query('SELECT leaf_index FROM audit_record')).toEqual([{ leaf_index: 0 }]);
    });

    test('a table of the caller does not stand in for the log when partitions are made', async () => {
      const { db } = await databases.fresh();
      await db.transaction(async (q) => {
        await q.query('CREATE TEMP TABLE audit_record (a int) ON COMMIT DROP');
        await q.query('SET LOCAL search_path = pg_temp, cambist');
        await q.query('SELECT ensure_audit_partitions(24)');
      });
      expect((await partitions(db)).length).toBe(26);
    });
  });

  describe('partitions of the log', () => {
    test('this month and the next ones are there; making them again makes none', async () => {
      const { db } = await databases.fresh();
      const before = await partitions(db);
      expect(before).toHaveLength(5);
      const month = new Date().toISOString().slice(0, 7).replace('-', '_');
      expect(before).toContain(`audit_record_${month}`);
      await ensureAuditPartitions(db);
      expect(await partitions(db)).toEqual(before);
    });

    test('a record of this month lies in its partition, one of another time in the default one, both are found', async () => {
      const { db } = await databases.fresh();
      const commits = committer(db);
      const far = record('refused', { recordedAtMs: Date.UTC(1999, 0, 1) });
      await commits.commit({ marks: [], record: record('refused') });
      await commits.commit({ marks: [], record: far });
      const rows = await db.query<{ part: string }>(
        'SELECT tableoid::regclass::text AS part FROM audit_record ORDER BY recorded_at',
      );
      expect(rows[0]!.part).toMatch(/audit_record_default$/);
      expect(rows[1]!.part).toMatch(/audit_record_\d{4}_\d{2}$/);
      expect(await recordsOf(db)).toHaveLength(2);
    });

    test('rows that are in the default partition already do not stop the making of others', async () => {
      const { db } = await databases.fresh();
      const now = new Date();
      const later = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 5, 3);
      await committer(db).commit({ marks: [], record: record('refused', { recordedAtMs: later }) });
      await db.query('SELECT ensure_audit_partitions(6)');
      expect(await partitions(db)).toHaveLength(7);
    });

    test('a place in the tree is given once', async () => {
      const { db, asRole } = await databases.fresh();
      const commits = committer(db);
      await Promise.all([commits.commit(issue()), commits.commit(issue())]);
      await asRole(SEQUENCER_ROLE, async (sequencer) => {
        await expect(sequencer.query('UPDATE audit_record SET leaf_index = 7')).rejects.toMatchObject({
          sqlstate: '23505',
        });
      });
    });
  });
});

async function partitions(db: Database): Promise<string[]> {
  const rows = await db.query<{ relname: string }>(
    `SELECT child.relname::text FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
     WHERE inhparent = 'cambist.audit_record'::regclass ORDER BY 1`,
  );
  return rows.map(({ relname }) => relname);
}
