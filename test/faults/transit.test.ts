/**
 * A key-encryption key that is at a real Vault: nodes on a real PostgreSQL that move to it and back while they issue
 * tokens, a Vault that is sealed or gone, commands that are killed, backups, what the doctor says.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';
import { createLogger } from '../../src/core/log.ts';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { startCambist, TEST_KEY } from '../support/cambist.ts';
import type { StartOptions, TestCambist } from '../support/cambist.ts';
import { startPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { holdSteps } from './rotation-kills.ts';
import type { KillPoint } from './rotation-kills.ts';

const COMMAND = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const POLICY = readFileSync(new URL('../../deploy/vault/cambist-transit.hcl', import.meta.url), 'utf8');
const PLACE = { mount: 'transit', key: 'cambist' };
const NOTES = 'https://notes.test/mcp';
const OBJECTS = `
clients: [{id: agent, auth: [client_secret_basic]}]
resources: [{name: notes, uri: ${NOTES}, scopes: {read: Read}, default_scopes: [read]}]
policies: [{id: all, cedar: 'permit (principal, action == Action::"access", resource);'}]
`;

withVault('the key-encryption key at Vault', (start) => {
  let vault: TestVault;
  let token: string;
  let cluster: PostgresCluster;
  let folder: string;
  const nodes: { cambist: TestCambist; database: Database }[] = [];

  beforeAll(async () => {
    [vault, cluster] = await Promise.all([start(), startPostgres()]);
    await vault.root('PUT', 'sys/policies/acl/cambist-transit', { policy: POLICY });
    token = await tokenOf(vault);
  });
  afterAll(() => Promise.all([vault.stop(), cluster.stop()]));
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cambist-transit-'));
    // A key that earlier tests rotated goes; every test has its own first version.
    await vault.ask('DELETE', 'sys/mounts/transit', { token: vault.rootToken });
    await vault.root('POST', 'sys/mounts/transit', { type: 'transit' });
    await vault.root('POST', 'transit/keys/cambist', {});
    await withClient(cluster.url, (client) => client.query('DROP SCHEMA IF EXISTS cambist CASCADE'));
  });
  afterEach(async () => {
    for (const { cambist } of nodes) await cambist.stop();
    for (const { database } of nodes.splice(0)) await database.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function tokenOf(of: TestVault): Promise<string> {
    const { auth } = (await of.root('POST', 'auth/token/create', { policies: ['cambist-transit'] })) as {
      auth: { client_token: string };
    };
    return auth.client_token;
  }
  const vaultSettings = (of: { address: string } = vault, as = token): VaultSettings => ({
    address: of.address,
    namespace: undefined,
    caFile: undefined,
    kvMount: 'secret',
    login: { method: 'token', token: as },
    subjectLogin: undefined,
    leaseTokenRole: undefined,
    timeoutMs: 2_000,
  });

  /** A node in this process; without more it has the Transit key. */
  async function node(settings: StartOptions['settings'] = {}, joins?: TestCambist): Promise<TestCambist> {
    const database = await openDatabase({
      source: { engine: 'postgresql', url: cluster.url },
      migrate: true,
      logger: createLogger('silent'),
    });
    try {
      const cambist = await startCambist({
        objects: joins === undefined ? OBJECTS : '',
        database,
        ...(joins === undefined ? {} : { joins }),
        settings: {
          keyEncryptionKey: PLACE,
          vault: vaultSettings(),
          limits: { clientPerMinute: null, subjectPerMinute: null },
          ...settings,
        },
      });
      nodes.push({ cambist, database });
      return cambist;
    } catch (error) {
      await database.close();
      throw error;
    }
  }
  async function end(cambist: TestCambist): Promise<void> {
    const at = nodes.findIndex((one) => one.cambist === cambist);
    const [gone] = nodes.splice(at, 1);
    await gone!.cambist.stop();
    await gone!.database.close();
  }
  const ask = (at: TestCambist) =>
    at.token({ grant_type: 'client_credentials', resource: NOTES }, { basic: ['agent', at.secretOf('agent')] });

  async function rewrap(at: TestCambist): Promise<{ rewrapped: number; left: number }> {
    const { rewrapper, changeRecord } = at.service.keyParts;
    let rewrapped = 0;
    for (let position: Parameters<typeof rewrapper.step>[0]; ;) {
      const step = await rewrapper.step(position, (done) => changeRecord({ author: 'test', ...done }));
      rewrapped += step.rewrapped;
      if (step.next === null) break;
      position = step.next;
    }
    return { rewrapped, left: (await rewrapper.count()).reduce((sum, { left }) => sum + left, 0) };
  }
  const rows = async (table: string) =>
    withClient(cluster.url, async (client) => {
      const { rows: found } = await client.query(`SELECT * FROM cambist.${table} ORDER BY 1`);
      return found as Record<string, unknown>[];
    });
  const versions = async () => (await rows('root_key')).map(({ wrapped }) => /^vault:v\d+/.exec(String(wrapped))?.[0]);

  /** Asks without a pause until it is stopped. */
  function load(at: TestCambist) {
    const statuses: number[] = [];
    const running = new AbortController();
    const done = (async () => {
      while (!running.signal.aborted) statuses.push((await ask(at)).status);
    })();
    return {
      statuses,
      stop: async () => {
        running.abort();
        await done;
      },
    };
  }

  /** The built program, with settings of its own. */
  function spawnCommand(args: readonly string[], settings: object, env: Record<string, string> = {}): ChildProcess {
    const config = join(folder, 'cambist.yaml');
    writeFileSync(
      config,
      JSON.stringify({
        issuer: 'https://sts.test',
        database: { url: '${DATABASE}' },
        key_encryption: { transit: { key: 'cambist' } },
        vault: { address: vault.address, login: { method: 'token', token: '${TOKEN}' }, timeout_ms: 1000 },
        log_level: 'warn',
        ...settings,
      }),
    );
    return spawn(process.execPath, [COMMAND, ...args, '--config', config], {
      env: { ...cleanEnvironment(), DATABASE: cluster.url, TOKEN: token, ...env },
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
  async function command(
    args: readonly string[],
    settings: object = {},
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; text: string; out: string }> {
    const child = spawnCommand(args, settings, env);
    let text = '';
    let out = '';
    child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, text, out };
  }
  const LOCAL = { CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(TEST_KEY).toString('base64') };

  test('a node starts, another joins, and neither asks Vault for a token that it issues: not even a sealed one stops them', async () => {
    const own = await start();
    await own.root('POST', 'sys/mounts/transit', { type: 'transit' });
    await own.root('POST', 'transit/keys/cambist', {});
    const settings = { vault: vaultSettings(own, own.rootToken) };
    const here = await node(settings);
    const there = await node(settings, here);
    expect(await rows('root_key')).toMatchObject([{ mount: 'transit', key: 'cambist' }]);
    await own.root('PUT', 'sys/seal');
    for (const at of [here, there]) {
      expect(await ask(at)).toMatchObject({ status: 200 });
      await at.service.keys.ring.reload();
    }
    await expect(node(settings, here)).rejects.toThrow(/is sealed.*Transit key transit\/cambist.*cambist doctor/s);
    await own.stop();
  }, 120_000);

  test('from a local key to Transit and back, a node issuing tokens all the while: none is refused', async () => {
    const local = { keyEncryptionKey: TEST_KEY, previousKeyEncryptionKeys: [PLACE] };
    const transit = { previousKeyEncryptionKeys: [TEST_KEY] };
    let here = await node({ keyEncryptionKey: TEST_KEY });
    const there = await node(local, here);
    const traffic = load(there);
    await end(here);
    here = await node(transit, there);
    expect(await rewrap(here)).toMatchObject({ rewrapped: expect.any(Number), left: 0 });
    await traffic.stop();
    expect(new Set(traffic.statuses)).toEqual(new Set([200]));
    await end(there);
    // Transit alone is enough, the old key alone is not.
    const alone = await node({}, here);
    expect(await ask(alone)).toMatchObject({ status: 200 });
    await expect(node({ keyEncryptionKey: TEST_KEY }, here)).rejects.toThrow(/another key-encryption key/);

    const more = load(here);
    await end(alone);
    const back = await node(local, here);
    expect(await rewrap(back)).toMatchObject({ left: 0 });
    await more.stop();
    expect(new Set(more.statuses)).toEqual(new Set([200]));
    await end(here);
    expect(await ask(await node({ keyEncryptionKey: TEST_KEY, vault: undefined }, back))).toMatchObject({
      status: 200,
    });
  }, 120_000);

  test('a root key in the row of another one does not open', async () => {
    await vault.root('POST', 'transit/keys/second', {});
    const root = vaultSettings(vault, vault.rootToken);
    const second = { mount: 'transit', key: 'second' };
    await end(await node({ vault: root, previousKeyEncryptionKeys: [second] }));
    // Both wrapped by the same key of Vault: only what they are bound to tells them apart.
    const [one, two] = await rows('root_key');
    await withClient(cluster.url, async (client) => {
      const put = (id: unknown, key: unknown, wrapped: unknown) =>
        client.query('UPDATE cambist.root_key SET key = $2, wrapped = $3 WHERE id = $1', [id, key, wrapped]);
      await put(one!['id'], 'aside', one!['wrapped']);
      await put(two!['id'], one!['key'], one!['wrapped']);
      await put(one!['id'], two!['key'], two!['wrapped']);
    });
    await expect(node({ vault: root, previousKeyEncryptionKeys: [second] })).rejects.toThrow(/is not the one/);
  }, 60_000);

  test('the newest version of the Transit key wraps after keys rewrap; then the older ones may go', async () => {
    const here = await node();
    await vault.root('POST', 'transit/keys/cambist/rotate', {});
    expect(await versions()).toEqual(['vault:v1']);
    const done = await command(['keys', 'rewrap', '--json']);
    expect(done).toMatchObject({ code: 0, text: expect.stringContaining('"rewrapped": 1') });
    expect(await versions()).toEqual(['vault:v2']);
    expect(await command(['keys', 'rewrap', '--json'])).toMatchObject({
      text: expect.stringContaining('"rewrapped": 0'),
    });
    await vault.root('POST', 'transit/keys/cambist/config', { min_decryption_version: 2 });
    expect(await ask(await node({}, here))).toMatchObject({ status: 200 });

    await vault.root('POST', 'transit/keys/cambist/rotate', {});
    await vault.root('POST', 'transit/keys/cambist/config', { min_decryption_version: 3 });
    await expect(node({}, here)).rejects.toThrow(/min_decryption_version.*lower it.*keys rewrap/);
    // What has it in memory can still mend it.
    expect(await rewrap(here)).toEqual({ rewrapped: 1, left: 0 });
    expect(await ask(await node({}, here))).toMatchObject({ status: 200 });
  }, 120_000);

  const KILLS: readonly KillPoint[] = [
    { name: 'wrap anew', table: 'root_key', timing: 'BEFORE UPDATE', when: 'true', startsWithNext: false },
    {
      name: 'commit of that',
      table: 'root_key',
      timing: 'AFTER UPDATE',
      when: 'true',
      constraint: true,
      startsWithNext: false,
    },
    {
      name: 'check of the instance',
      table: 'instance',
      timing: 'BEFORE UPDATE',
      when: 'new.sealed_check <> old.sealed_check',
      startsWithNext: false,
    },
    {
      name: 'private keys',
      table: 'signing_key',
      timing: 'BEFORE UPDATE',
      when: 'new.sealed_private <> old.sealed_private',
      startsWithNext: false,
    },
  ];
  test('keys rewrap is killed at any of its steps, a node beside it: nothing is lost, and the next one finishes', async () => {
    const local = { keyEncryptionKey: TEST_KEY, previousKeyEncryptionKeys: [PLACE] };
    const there = await node(local);
    const holder = await holdSteps(cluster.url);
    try {
      for (const [index, point] of KILLS.entries()) {
        await vault.root('POST', 'transit/keys/cambist/rotate', {});
        // To Transit and back in turns, so that there is something to do each time.
        const toTransit = index % 2 === 0;
        const [settings, env] = toTransit
          ? [{}, { CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: LOCAL.CAMBIST_KEY_ENCRYPTION_KEY }]
          : [{ key_encryption: { previous_transit: { key: 'cambist' } } }, LOCAL];
        await holder.hold(point);
        const child = spawnCommand(['keys', 'rewrap'], settings, env);
        await holder.waitUntilHeld(point, child);
        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('close', resolve));
        await holder.release();
        await there.service.keys.ring.reload();
        expect(await ask(there), point.name).toMatchObject({ status: 200 });
        const done = await command(['keys', 'rewrap'], settings, env);
        expect(done, `${point.name}: ${done.text}`).toMatchObject({
          code: 0,
          text: expect.stringContaining('0 left under other keys'),
        });
        await there.service.keys.ring.reload();
        expect(await ask(await node(toTransit ? {} : { keyEncryptionKey: TEST_KEY }, there)), point.name).toMatchObject(
          {
            status: 200,
          },
        );
      }
    } finally {
      await holder.close();
    }
  }, 240_000);

  test('a Vault that is not there: serve waits a while and ends with code 1, other commands at once; both say what is lacking', async () => {
    await end(await node());
    const address = `http://127.0.0.1:${await freePort()}`;
    const nowhere = { vault: { address, login: { method: 'token', token: '${TOKEN}' }, timeout_ms: 500 } };
    const listed = await command(['keys', 'list'], nowhere);
    expect(listed).toMatchObject({ code: 1 });
    expect(listed.text).toMatch(
      /vault: could not be reached \(ECONNREFUSED\): .*Transit key transit\/cambist.*cambist doctor/,
    );
    const startedMs = performance.now();
    const served = await command(['serve'], { ...nowhere, listen: { port: 0 }, admin_listen: { enabled: false } });
    expect(served).toMatchObject({ code: 1, text: expect.stringMatching(/asked again.*could not be reached/s) });
    expect(performance.now() - startedMs).toBeGreaterThan(10_000);
    expect(performance.now() - startedMs).toBeLessThan(30_000);
    const refused = await command(['keys', 'list'], {}, { TOKEN: 'hvs.a-canary-token' });
    expect(refused).toMatchObject({ code: 1, text: expect.stringMatching(/refused our login/) });
    expect(refused.text).not.toContain('canary');
  }, 90_000);

  test('a Vault that comes while a node waits is enough', async () => {
    const own = await start();
    await own.root('POST', 'sys/mounts/transit', { type: 'transit' });
    await own.root('POST', 'transit/keys/cambist', {});
    await own.root('PUT', 'sys/seal');
    const starting = node({ vault: vaultSettings(own, own.rootToken), vaultPatienceMs: 20_000 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await own.ask('PUT', 'sys/unseal', { body: { key: own.unsealKey } });
    expect(await ask(await starting)).toMatchObject({ status: 200 });
    await own.stop();
  }, 60_000);

  test('a backup is restored with the same Transit key, and refused in clear words with another, or with a local one', async () => {
    const here = await node();
    await end(here);
    const file = join(folder, 'a.backup');
    expect(await command(['backup', '--out', file])).toMatchObject({ code: 0 });
    const id = String((await rows('root_key'))[0]!['id']);
    await vault.root('POST', 'transit/keys/other', {});
    const root = { TOKEN: vault.rootToken };
    const restore = ['restore', '--in', file, '--replace', '--yes'];
    for (const [settings, env, said] of [
      [{ key_encryption: { transit: { key: 'other' } } }, root, /Transit key transit\/other is not the one/],
      [
        { key_encryption: {} },
        { ...LOCAL },
        new RegExp(`key-encryption key ${id}, wrapped by the Transit key transit/cambist`),
      ],
    ] as const) {
      const refused = await command(restore, settings, env);
      expect(refused).toMatchObject({ code: 1 });
      expect(refused.text).toMatch(said);
    }
    await vault.root('POST', 'transit/keys/cambist/rotate', {});
    expect(await command(restore)).toMatchObject({ code: 0 });
    expect(await versions()).toEqual(['vault:v1']);
    expect(await command(['keys', 'list'])).toMatchObject({ code: 0, text: expect.stringContaining('active') });
  }, 120_000);

  test('the doctor says whether the Transit key is there, may be used, and goes on to open what it wrapped', async () => {
    const here = await node();
    const doctor = async (settings: object = {}, env: Record<string, string> = {}) => {
      const { out } = await command(['doctor', '--json'], settings, env);
      const { findings } = JSON.parse(out) as {
        findings: { noun: string; name: string; health: string; message: string; fix?: string }[];
      };
      return findings
        .filter(({ noun, name }) => (noun === 'vault' && name.includes('/')) || name === 'key-encryption key')
        .map(
          ({ name, health, message, fix }) => `${health} ${name}: ${message}${fix === undefined ? '' : ` → ${fix}`}`,
        );
    };
    expect(await doctor()).toEqual([
      expect.stringMatching(/^ok key-encryption key: [0-9a-f]{16} is the right one/),
      'ok transit/cambist: aes256-gcm96; its version 1 wraps our root key; it encrypts and decrypts',
    ]);
    await vault.root('POST', 'transit/keys/cambist/rotate', {});
    await vault.root('POST', 'transit/keys/cambist/config', { deletion_allowed: true, exportable: true });
    expect((await doctor()).slice(1)).toEqual([
      'warning transit/cambist: version 1 wraps our root key, the newest is 2 → cambist keys rewrap',
      expect.stringMatching(/^warning transit\/cambist: it is exportable/),
      expect.stringMatching(
        /^warning .*may be deleted.* → vault write transit\/keys\/cambist\/config deletion_allowed=false/,
      ),
    ]);
    await vault.root('POST', 'transit/keys/cambist/config', { min_decryption_version: 2 });
    expect((await doctor()).slice(0, 2)).toEqual([
      expect.stringMatching(/^failed key-encryption key: min_decryption_version/),
      expect.stringMatching(
        /^failed .*version 1 wraps our root key, and Vault decrypts from version 2 on.* → .*min_decryption_version=1/,
      ),
    ]);
    await vault.root('POST', 'transit/keys/cambist/config', { min_decryption_version: 1 });
    await vault.root('POST', 'transit/keys/other', {});
    expect(await doctor({ key_encryption: { transit: { key: 'gone' } } }, { TOKEN: vault.rootToken })).toEqual([
      expect.stringMatching(/^failed key-encryption key/),
      expect.stringMatching(
        /^failed transit\/gone: there is no Transit key transit\/gone → .*vault write -f transit\/keys\/gone/,
      ),
    ]);
    expect(await doctor({}, { TOKEN: randomBytes(8).toString('hex') })).toEqual([
      expect.stringMatching(/^failed key-encryption key: refused our login/),
    ]);
    expect(await ask(here)).toMatchObject({ status: 200 });
  }, 120_000);
});
