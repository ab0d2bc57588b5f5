/** Leases of a real Vault over a real PostgreSQL: each under a holder, and over when the holder is. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const POLICY = `
path "database/creds/readonly" { capabilities = ["read"] }
path "database/creds/slow" { capabilities = ["read"] }
path "secret/data/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/create/cambist-lease" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }`;

withPostgres('Vault and PostgreSQL', () => {
  withVault('leases', (start) => {
    let vault: TestVault;
    let postgres: PostgresCluster;

    beforeAll(async () => {
      [vault, postgres] = await Promise.all([start(), startPostgres()]);
      const server = new URL(postgres.url);
      await vault.root('PUT', 'sys/policies/acl/cambist', { policy: POLICY });
      await vault.root('POST', 'sys/mounts/database', { type: 'database' });
      await vault.root('POST', 'database/config/app', {
        plugin_name: 'postgresql-database-plugin',
        allowed_roles: '*',
        connection_url: `postgresql://{{username}}:{{password}}@${server.host}/postgres?sslmode=disable`,
        username: server.username,
        password: server.password,
      });
      await vault.root('POST', 'database/roles/readonly', {
        db_name: 'app',
        creation_statements: [`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`],
        default_ttl: '10m',
        max_ttl: '1h',
      });
    });
    afterAll(async () => {
      await vault.stop();
      await postgres.stop();
    });

    async function login(options: { ttl?: string } = {}) {
      const { auth } = (await vault.root('POST', 'auth/token/create', {
        policies: ['cambist'],
        ttl: options.ttl ?? '1h',
      })) as { auth: { client_token: string; accessor: string } };
      return auth;
    }
    const canLogIn = async ({ username = '', password = '' }: Readonly<Record<string, string>>) => {
      const url = new URL(postgres.url);
      [url.username, url.password] = [username, password];
      return withClient(url.toString(), (client) => client.query('SELECT 1')).then(
        () => true,
        () => false,
      );
    };
    const open = (token: string, more = {}) => openAdapter(vault, { login: { method: 'token', token }, ...more });
    const lookup = (accessor: string) => vault.root('POST', 'auth/token/lookup-accessor', { accessor });
    async function leased(adapter: ReturnType<typeof open>, seconds = 300) {
      const holder = await adapter.openHolder(seconds);
      const made = await holder.lease('database/creds/readonly');
      if ('missing' in made) throw new Error(`no lease: ${made.missing}`);
      return { ...made.leased, accessor: holder.accessor };
    }

    test('a lease is a PostgreSQL role that logs in, and no longer once its holder is revoked by accessor', async () => {
      const adapter = open((await login()).client_token);
      const lease = await leased(adapter);
      expect(lease.leaseId).toMatch(/^database\/creds\/readonly\//);
      // No longer than its holder, whatever the role of the engine says.
      expect(lease.durationSeconds).toBeLessThanOrEqual(300);
      expect(lease.durationSeconds).toBeGreaterThan(290);
      expect(await canLogIn(lease.fields)).toBe(true);
      await adapter.revokeHolder(lease.accessor);
      await expect.poll(() => canLogIn(lease.fields)).toBe(false);
      // Again, and for one that never was: well, too.
      await adapter.revokeHolder(lease.accessor);
      await adapter.revokeHolder('aaaaaaaaaaaaaaaaaaaaaaaa');
    });

    test('a lease whose answer nobody got ends with its holder', async () => {
      const adapter = open((await login()).client_token);
      const holder = await adapter.openHolder(300);
      await holder.lease('database/creds/readonly');
      const { data } = (await vault.root('GET', 'sys/leases/lookup/database/creds/readonly?list=true')) as {
        data: { keys: string[] };
      };
      expect(data.keys).toHaveLength(1);
      await adapter.revokeHolder(holder.accessor);
      await expect
        .poll(
          async () =>
            (await vault.ask('GET', 'sys/leases/lookup/database/creds/readonly?list=true', { token: vault.rootToken }))
              .status,
        )
        .toBe(404);
    });

    test('a lease that nobody waits for any more is made to its end, and ends with its holder', async () => {
      // The commit takes its time.
      await withClient(postgres.url, (client) =>
        client.query(`
          CREATE TABLE slow (n int);
          CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
          CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();`),
      );
      await vault.root('POST', 'database/roles/slow', {
        db_name: 'app',
        creation_statements: [`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`, 'INSERT INTO slow VALUES (1)'],
        default_ttl: '10m',
      });
      const roles = () =>
        withClient(postgres.url, async (client) => {
          const { rows } = await client.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%-slow-%'");
          return rows.length;
        });
      const adapter = open((await login()).client_token, { timeoutMs: 500 });
      const holder = await adapter.openHolder(300);
      await expect(holder.lease('database/creds/slow')).rejects.toMatchObject({ code: 'timeout' });
      // Cut then, or with its holder ended by now, it could be there for ever.
      await expect.poll(roles, { timeout: 5_000 }).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 500));
      await adapter.revokeHolder(holder.accessor);
      await expect.poll(roles, { timeout: 15_000 }).toBe(0);
    });

    test('another node revokes by the accessor alone', async () => {
      const lease = await leased(open((await login()).client_token));
      await open((await login()).client_token).revokeHolder(lease.accessor);
      await expect.poll(() => canLogIn(lease.fields)).toBe(false);
    });

    test('a holder ends by itself, at its explicit maximum', async () => {
      const holder = await open((await login()).client_token).openHolder(60);
      const { data } = (await lookup(holder.accessor)) as { data: Record<string, unknown> };
      expect(data).toMatchObject({ explicit_max_ttl: 60, renewable: false, type: 'service' });
    });

    test('our own token stays ours when it makes another', async () => {
      const outcomes: string[] = [];
      const { client_token: token } = await login();
      const adapter = openAdapter(vault, { login: { method: 'token', token } }, { onAnswer: (o) => outcomes.push(o) });
      const first = await adapter.openHolder(60);
      await adapter.revokeHolder(first.accessor);
      // With the child's token in its place, this would be refused.
      await adapter.openHolder(60);
      expect(outcomes).toEqual(['done', 'done', 'done', 'done']);
    });

    test('stopping revokes nothing', async () => {
      const adapter = open((await login()).client_token);
      const lease = await leased(adapter);
      await adapter.close();
      expect(await canLogIn(lease.fields)).toBe(true);
      expect(await lookup(lease.accessor)).toMatchObject({ data: {} });
    });

    test('a lease is never said to outlive the login that it hangs on', async () => {
      const short = await leased(open((await login({ ttl: '60s' })).client_token), 600);
      expect(short.durationSeconds).toBeLessThanOrEqual(60);
    });

    test('with a token role the holder is an orphan: it outlives our login', async () => {
      await vault.root('POST', 'auth/token/roles/cambist-lease', { orphan: true, allowed_policies: ['cambist'] });
      const parent = await login({ ttl: '60s' });
      const lease = await leased(open(parent.client_token, { leaseTokenRole: 'cambist-lease' }), 600);
      expect(lease.durationSeconds).toBeGreaterThan(590);
      await vault.root('POST', 'auth/token/revoke-accessor', { accessor: parent.accessor });
      expect(await canLogIn(lease.fields)).toBe(true);
    });

    test('what is no lease, is not there, or is not ours to read is told apart', async () => {
      await vault.root('POST', 'secret/data/plain', { data: { a: 'b' } });
      const holder = await open((await login()).client_token).openHolder(60);
      await expect(holder.lease('secret/data/plain')).rejects.toThrow('is no lease');
      expect(await holder.lease('database/creds/other')).toEqual({ missing: 'forbidden' });
      const root = await open(vault.rootToken).openHolder(60);
      expect(await root.lease('secret/data/nothing')).toEqual({ missing: 'absent' });
    });

    test('a policy that lets no token be made is a fault that names the path', async () => {
      const { auth } = (await vault.root('POST', 'auth/token/create', { policies: ['default'] })) as {
        auth: { client_token: string };
      };
      await expect(open(auth.client_token).openHolder(60)).rejects.toThrow('auth/token/create');
    });
  });
});
