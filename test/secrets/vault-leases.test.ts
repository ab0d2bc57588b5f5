/**
 * Leases for real: Vault makes roles at a PostgreSQL, and whether a lease lives is found out by logging in with it. The
 * rows lie in the same PostgreSQL, in a database of Cambist's own, with two nodes on it.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { DEFAULT_SCHEMA, RUNTIME_ROLE } from '../../src/store/database.ts';
import { runCommitStatement } from '../../src/store/commit-statement.ts';
import type { Database } from '../../src/store/database.ts';
import { createLeaseRows } from '../../src/store/leases.ts';
import { openDatabase } from '../../src/store/open.ts';
import { openPostgres } from '../../src/store/pg.ts';
import { digest } from '../../src/store/values.ts';
import type { Credential, CredentialUse } from '../../src/upstream/credential.ts';
import { createCredentials } from '../../src/upstream/credentials.ts';
import { createLeaseSweeper } from '../../src/upstream/lease-sweeper.ts';
import { record } from '../store/fixtures.ts';
import { withPostgres } from '../support/databases.ts';
import { startPostgres, withClient } from '../support/postgres-cluster.ts';
import type { PostgresCluster } from '../support/postgres-cluster.ts';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVaultPlugin } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { granted, upstream, useOf } from '../unit/upstream/credentials-in-memory.ts';

const silent = createLogger('silent');
const POLICY = `
path "database/creds/readonly" { capabilities = ["read"] }
path "database/creds/slow" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }`;
const SPEC = { kind: 'dynamic', path: 'database/creds/readonly', field: 'password', username_field: 'username' };
const UPSTREAM = upstream(SPEC, { name: 'orders', inject: { kind: 'basic' } });

withPostgres('leases at a real PostgreSQL', () => {
  withVaultPlugin('postgresql-database-plugin', 'of a real Vault', declare);
});

function declare(start: () => Promise<TestVault>): void {
  let vault: TestVault;
  let cluster: PostgresCluster;
  let db: Database;

  beforeAll(async () => {
    [vault, cluster] = await Promise.all([start(), startPostgres()]);
    db = await openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger: silent });
    for (const [kind, name, spec] of [
      ['upstream', 'orders', { callers: ['crm-server'] }],
      ['client', 'crm-server', {}],
    ] as const)
      await db.query(
        `INSERT INTO object (kind, name_hash, name, spec, origin, version) VALUES ($1, $2, $3, $4::jsonb, 'test', 1)`,
        [kind, digest(name), name, JSON.stringify(spec)],
      );
    const { username, password, host } = new URL(cluster.url);
    await vault.root('PUT', 'sys/policies/acl/cambist', { policy: POLICY });
    await vault.root('POST', 'sys/mounts/database', { type: 'database' });
    await vault.root('POST', 'database/config/orders', {
      plugin_name: 'postgresql-database-plugin',
      allowed_roles: '*',
      connection_url: `postgresql://{{username}}:{{password}}@${host}/postgres?sslmode=disable`,
      username,
      password,
    });
    const creation = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`;
    await vault.root('POST', 'database/roles/readonly', {
      db_name: 'orders',
      creation_statements: creation,
      default_ttl: '10m',
      max_ttl: '1h',
    });
  });
  afterAll(async () => {
    await db.close();
    await Promise.all([vault.stop(), cluster.stop()]);
  });

  /** A node of its own: pool, login, cache and sweeper. */
  async function node() {
    const pool = await openPostgres({ url: cluster.url, schema: DEFAULT_SCHEMA, role: RUNTIME_ROLE, logger: silent });
    const login = { method: 'token', token: await tokenOfCambist() } as const;
    const adapter = openAdapter(vault, { login });
    const rows = createLeaseRows(pool);
    const credentials = createCredentials({
      stores: { embedded: adapter, vault: adapter },
      clock: systemClock,
      logger: silent,
      cacheSeconds: 5,
      fetcher: { postForm: () => Promise.reject(new Error('not asked for')) },
      rows,
      registeredNameOf: () => Promise.resolve(undefined),
    });
    const sweeper = createLeaseSweeper({ rows, broker: adapter, logger: silent });
    onTestFinished(async () => {
      await sweeper.stop();
      await credentials.close();
      await pool.close();
    });
    return { credentials, sweeper, rows };
  }

  async function tokenOfCambist(): Promise<string> {
    const body = { policies: ['cambist'], ttl: '1h' };
    const { auth } = (await vault.root('POST', 'auth/token/create', body)) as { auth: { client_token: string } };
    return auth.client_token;
  }

  let tokens = 0;
  function use(more: Partial<CredentialUse> = {}): CredentialUse {
    const expiresAtSeconds = Math.floor(Date.now() / 1000) + 300;
    return useOf(UPSTREAM, {
      token: { identity: `token-${++tokens}`, ancestors: [`parent-${tokens}`], expiresAtSeconds },
      ...more,
    });
  }

  async function logsIn({ fields }: Credential): Promise<boolean> {
    const url = new URL(cluster.url);
    url.username = fields['username'] ?? '';
    url.password = fields['password'] ?? '';
    try {
      await withClient(url.toString(), (client) => client.query('SELECT 1'));
      return true;
    } catch (error) {
      // 28P01 and 28000: no such role any more; anything else is a fault of the test.
      if (/^28/.test((error as { code?: string }).code ?? '')) return false;
      throw error;
    }
  }

  async function rolesLeft(): Promise<number> {
    return withClient(cluster.url, async (client) => {
      const { rows } = await client.query("SELECT count(*)::int AS n FROM pg_roles WHERE rolname LIKE 'v-%'");
      return (rows[0] as { n: number }).n;
    });
  }

  async function revokeToken({ token }: CredentialUse): Promise<void> {
    const revocation = { kind: 'token', value: token.identity, issuedUntil: null, lifetimeSeconds: 300 } as const;
    await runCommitStatement(db, [{ marks: [], record: record('refused'), revocations: [revocation] }]);
  }

  async function until(what: string, holds: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
    const began = performance.now();
    while (!(await holds())) {
      if (performance.now() - began > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  const leases = () => db.query<{ state: string; accessor: string | null }>('SELECT state, accessor FROM lease');
  /** Vault acknowledges the end of a holder, and ends what it held a moment later. */
  const noneLeft = async () => (await leases()).length === 0 && (await rolesLeft()) === 0;

  test('a lease lets in, lives as long as its token, and ends within seconds of its revocation, on another node too', async () => {
    const [here, there] = [await node(), await node()];
    const one = use();
    const other = use();
    const [got, kept] = [await granted(here.credentials.obtain(one)), await granted(here.credentials.obtain(other))];
    expect(await logsIn(got)).toBe(true);
    expect(got.expiresAtSeconds).toBeLessThanOrEqual(one.token.expiresAtSeconds);
    expect(got.expiresAtSeconds).toBeGreaterThan(one.token.expiresAtSeconds - 10);
    there.sweeper.start();
    await revokeToken(one);
    await until('role gone', async () => !(await logsIn(got)));
    // The other one is somebody else's, and alive.
    expect(await logsIn(kept)).toBe(true);
    await revokeToken(other);
    await until('nothing left', noneLeft);
  });

  test('a fetched lease ends with the subject token that it was fetched with, and with an ancestor of it', async () => {
    const { credentials, sweeper } = await node();
    const fetching = use({ purpose: 'fetch' });
    const got = [await granted(credentials.obtain(fetching)), await granted(credentials.obtain(fetching))];
    expect(got[0]?.fields['username']).not.toBe(got[1]?.fields['username']);
    const [identity = ''] = fetching.token.ancestors;
    await revokeToken({ ...fetching, token: { ...fetching.token, identity } });
    await sweeper.runOnce();
    await until('nothing left', noneLeft);
  });

  test('a lease that expires ends by itself at Vault, and its row with it', async () => {
    const { credentials, sweeper } = await node();
    const token = { ...use().token, expiresAtSeconds: Math.floor(Date.now() / 1000) + 6 };
    const got = await granted(credentials.obtain(use({ token })));
    expect(await logsIn(got)).toBe(true);
    // Without any sweeper: the holder is over, and its lease with it.
    await until('role gone', async () => (await rolesLeft()) === 0);
    await sweeper.runOnce();
    expect(await leases()).toEqual([]);
  });

  test('a restart of a node ends nothing that is alive', async () => {
    const first = await node();
    const one = use();
    const got = await granted(first.credentials.obtain(one));
    await first.sweeper.runOnce();
    await first.credentials.close();
    await first.sweeper.stop();
    const second = await node();
    await second.sweeper.runOnce();
    expect(await logsIn(got)).toBe(true);
    await revokeToken(one);
    await second.sweeper.runOnce();
    await until('nothing left', noneLeft);
    expect(await logsIn(got)).toBe(false);
  });

  test('two nodes that sweep at once end every lease once', async () => {
    const [here, there] = [await node(), await node()];
    const uses = Array.from({ length: 12 }, () => use());
    await Promise.all(uses.map((one) => here.credentials.obtain(one).then((got) => granted(Promise.resolve(got)))));
    expect(await rolesLeft()).toBe(12);
    await Promise.all(uses.map(revokeToken));
    await Promise.all([here.sweeper.runOnce(), there.sweeper.runOnce()]);
    await until('nothing left', noneLeft);
    const numbers = [here.sweeper.numbers(), there.sweeper.numbers()];
    expect(numbers.reduce((sum, { ended }) => sum + ended, 0)).toBe(12);
    expect(numbers.reduce((sum, { failed }) => sum + failed, 0)).toBe(0);
  });

  test('revoked while Vault is sealed: the row stays, and the lease ends once Vault is back', async () => {
    const { credentials, sweeper } = await node();
    const one = use();
    const got = await granted(credentials.obtain(one));
    await vault.root('PUT', 'sys/seal');
    try {
      await revokeToken(one);
      await sweeper.runOnce();
      expect(await leases()).toMatchObject([{ state: 'ending' }]);
      expect(sweeper.numbers()).toMatchObject({ ending: 1, failed: 1 });
      expect(await logsIn(got)).toBe(true);
      // Nobody gets a lease meanwhile, and nothing is left of the attempt but what the sweeper will drop.
      await expect(credentials.obtain(use())).rejects.toMatchObject({ dependency: 'vault' });
    } finally {
      await vault.ask('PUT', 'sys/unseal', { body: { key: vault.unsealKey } });
    }
    sweeper.start();
    await until('nothing left', noneLeft, 60_000);
  });

  test('a lease that was revoked underneath is replaced at the next use after a 401', async () => {
    const { credentials, sweeper } = await node();
    const one = use();
    const got = await granted(credentials.obtain(one));
    await vault.root('PUT', 'sys/leases/revoke-prefix/database/creds/readonly');
    await until('role gone', async () => !(await logsIn(got)));
    expect((await granted(credentials.obtain(one))).secret).toBe(got.secret);
    credentials.reject(one, got);
    const fresh = await granted(credentials.obtain(one));
    expect(fresh.secret).not.toBe(got.secret);
    expect(await logsIn(fresh)).toBe(true);
    await fresh.discard();
    await sweeper.runOnce();
    await until('nothing left', noneLeft);
  });

  test('what Vault does not know, or does not allow, is a refusal, and leaves nothing', async () => {
    const { credentials } = await node();
    const asked = (path: string) =>
      credentials.obtain({ ...use(), upstream: upstream({ ...SPEC, path }, { inject: { kind: 'basic' } }) });
    expect(await asked('database/creds/other')).toMatchObject({ reason: 'credential_forbidden' });
    expect(await asked('other/creds/x')).toMatchObject({ reason: 'credential_forbidden' });
    expect(await leases()).toEqual([]);
  });

  /** Runs a node to a point of making a lease, and kills it there. */
  async function killedAt(stopAt: string, one: CredentialUse): Promise<void> {
    const settings = {
      address: vault.address,
      kvMount: 'secret',
      timeoutMs: 3_000,
      login: { method: 'token', token: await tokenOfCambist() },
    };
    const child = spawn(process.execPath, [fileURLToPath(new URL('lease-node.mjs', import.meta.url))], {
      env: {
        PATH: process.env['PATH'],
        LEASE_NODE: JSON.stringify({ databaseUrl: cluster.url, vault: settings, use: one, stopAt }),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    await Promise.race([until(`at ${stopAt}`, () => Promise.resolve(said.includes(`at ${stopAt}`)), 20_000), exited]);
    child.kill('SIGKILL');
    await exited;
    expect(said).toBe(`at ${stopAt}\n`);
  }

  test.each([
    ['intended', { state: 'intended', accessor: null }, 0],
    ['opened', { state: 'intended', accessor: null }, 0],
    ['noted', { state: 'intended', accessor: expect.any(String) as string }, 0],
    ['leased', { state: 'intended', accessor: expect.any(String) as string }, 1],
  ] as const)('a node that is killed once the lease is %s leaves none behind', async (stopAt, row, roles) => {
    const { sweeper } = await node();
    await killedAt(stopAt, use());
    expect(await leases()).toEqual([row]);
    expect(await rolesLeft()).toBe(roles);
    // Young, it may be under way.
    await sweeper.runOnce();
    expect(await leases()).toHaveLength(1);
    await db.query("UPDATE lease SET created_at = created_at - interval '60 seconds'");
    await sweeper.runOnce();
    await until('nothing left', noneLeft);
  });

  test('a node that is killed once the lease is held leaves it to the token', async () => {
    const { sweeper } = await node();
    const one = use();
    await killedAt('held', one);
    await sweeper.runOnce();
    expect(await rolesLeft()).toBe(1);
    await revokeToken(one);
    await sweeper.runOnce();
    await until('nothing left', noneLeft);
  });
}
