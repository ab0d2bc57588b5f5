/**
 * `cambist doctor`: what it finds, against real databases, issuers and processes. A check that cannot fail is none, so
 * each is shown something that is wrong.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { examine } from '../../src/admin/doctor/examine.ts';
import type { ExamineParts } from '../../src/admin/doctor/examine.ts';
import { runChecks } from '../../src/admin/doctor/findings.ts';
import type { Finding } from '../../src/admin/doctor/findings.ts';
import { surroundingsChecks } from '../../src/cli/doctor-surroundings.ts';
import { examineDatabase } from '../../src/cli/upkeep.ts';
import { loadSettings } from '../../src/config/settings.ts';
import type { Settings } from '../../src/config/settings.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import { createFetcher } from '../../src/net/fetcher.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { spawnCambist, startCambist, TEST_KEY } from '../support/cambist.ts';
import type { SpawnedCambist, TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';
import { setKey } from '../support/fetching.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';

const logger = createLogger('silent');
const KEY_TIMES = { rotateAfterSeconds: 30 * 86_400, publishAheadSeconds: 86_400 };

/** The findings of one noun (and name) that are not well, as `health message`. */
const badOf = (findings: readonly Finding[], noun: string, name?: string) =>
  findings
    .filter((one) => one.health !== 'ok' && one.noun === noun && (name === undefined || one.name === name))
    .map(({ health, message }) => `${health} ${message}`);

function expectFixes(findings: readonly Finding[]): void {
  for (const { health, fix } of findings) expect(health === 'ok' ? '' : fix, JSON.stringify(findings)).toBeDefined();
}

describe('with the database at hand', () => {
  let cambist: TestCambist;
  let issuer: JwksIssuer;
  let parts: ExamineParts;

  beforeAll(async () => {
    issuer = await startJwksIssuer();
    cambist = await startCambist({
      objects: `
issuers: [{name: corp, issuer: '${issuer.issuer}', internal: true, algorithms: [ES256], claims: {groups: groups}}]
clients: [{id: planner, auth: [client_secret_basic]}, {id: notes-server, auth: [client_secret_basic]}]
resources: [{name: notes, uri: 'https://notes.test/mcp', scopes: {read: Read}, served_by: [notes-server]}]
roles: [{name: staff, groups: ['corp:staff']}]
policies: [{id: p, cedar: 'permit (principal in Role::"staff", action == Action::"access", resource == Scope::"notes#read");'}]
`,
    });
    parts = {
      database: cambist.database,
      envelope: createEnvelope(TEST_KEY),
      clock: systemClock,
      logger,
      clockSkewLimitMs: 2000,
      keyTimes: KEY_TIMES,
      poolMax: undefined,
      demoRefusedBecause: undefined,
      vault: undefined,
      ownIssuer: cambist.issuer,
    };
  });
  afterAll(async () => {
    await cambist.stop();
    await issuer.stop();
  });
  afterEach(() => {
    issuer.breakEndpoint(undefined);
    issuer.breakEndpoint(undefined, '/.well-known/openid-configuration');
    issuer.setMetadata({});
    issuer.publish(undefined);
  });

  test('nothing is wrong where nothing is, and nothing was changed by looking', async () => {
    const before = await cambist.database.query('SELECT * FROM state');
    const findings = await examine(parts);
    expect(findings.filter(({ health }) => health !== 'ok')).toEqual([]);
    expect(findings.map(({ noun }) => noun)).toEqual(
      expect.arrayContaining(['database', 'keys', 'issuer', 'client', 'resource', 'role', 'subject', 'policy']),
    );
    expect(await cambist.database.query('SELECT * FROM state')).toEqual(before);
  });

  test.each<[string, () => void, RegExp]>([
    ['that is down', () => issuer.breakEndpoint({ kind: 'hang_up' }), /cannot be fetched.*could not be reached/],
    [
      'that answers with an error',
      () => issuer.breakEndpoint({ kind: 'status', status: 500 }),
      /status other than 200 \(500\)/,
    ],
    [
      'whose metadata name another issuer, by a slash',
      () => issuer.setMetadata({ issuer: `${issuer.issuer}/` }),
      /names another issuer/,
    ],
    ['whose key set is inadmissible', () => issuer.publish([{ kty: 'oct', k: 'AAAA' }]), /key set is invalid/],
    ['without a key', () => issuer.publish([]), /no usable key/],
    [
      'that offers other algorithms',
      () => issuer.setMetadata({ id_token_signing_alg_values_supported: ['RS256'] }),
      /offer ID tokens signed with none of ES256/,
    ],
  ])('a trusted issuer %s is found', async (_, breakIt, expected) => {
    breakIt();
    const findings = await examine(parts);
    expect(badOf(findings, 'issuer', 'corp').join('\n')).toMatch(expected);
    expectFixes(findings);
  });

  test('a trusted issuer with keys of another kind than configured, and one whose clock is off, are found', async () => {
    await issuer.rotate({ algorithm: 'RS256', dropOld: true });
    const ahead = { nowMs: () => Date.now() + 60_000 };
    const findings = badOf(await examine({ ...parts, clock: ahead }), 'issuer', 'corp');
    await issuer.rotate({ algorithm: 'ES256', dropOld: true });
    expect(findings[0]).toMatch(/failed its keys are for .*RS256.*only ES256/);
    expect(findings[1]).toMatch(/warning its clock is (59|60|61) s behind ours/);
  });

  test('a clock that is off against the database is a warning from half of the limit, and wrong beyond it', async () => {
    const off = async (ms: number) =>
      badOf(await examine({ ...parts, clock: { nowMs: () => Date.now() + ms } }), 'database', 'clock');
    expect(await off(600)).toEqual([]);
    expect(await off(1500)).toEqual([expect.stringMatching(/^warning .*1\.\d+ s ahead/)]);
    expect(await off(-3000)).toEqual([expect.stringMatching(/^failed .*(2\.9\d|3\.0\d) s behind/)]);
  });

  test('another key-encryption key is found', async () => {
    const envelope = createEnvelope(TEST_KEY.map((byte) => byte ^ 1));
    expect(badOf(await examine({ ...parts, envelope }), 'database', 'key-encryption key')).toEqual([
      'failed the key that was given does not open this database',
    ]);
  });

  test('sealed values that somebody swapped are told from a wrong key-encryption key, each where it lies', async () => {
    const { database } = parts;
    const swapInstance = () =>
      database.query('UPDATE instance SET sealed_check = sealed_blind_key, sealed_blind_key = sealed_check');
    const swapKeys = () =>
      database.query(
        `UPDATE signing_key SET sealed_private = other.sealed_private FROM signing_key AS other
         WHERE signing_key.purpose = 'access-token' AND other.purpose = 'access-token'
           AND signing_key.state = 'active' AND other.state = 'active' AND signing_key.kid <> other.kid`,
      );
    await swapInstance();
    const ofInstance = badOf(await examine(parts), 'database', 'key-encryption key');
    await swapInstance();
    expect(ofInstance).toEqual([
      'failed the key that was given is the right one, but the row "instance" is not as it was sealed: moved or altered',
    ]);

    await swapKeys();
    const findings = await examine(parts);
    await swapKeys();
    expectFixes(findings);
    const ofKeys = badOf(findings, 'keys', 'signing keys');
    expect(ofKeys).toHaveLength(2);
    for (const found of ofKeys) expect(found).toMatch(/^failed the private half of \S+ is not what was sealed for it/);
    expect(badOf(findings, 'database', 'key-encryption key')).toEqual([]);
    expect(badOf(await examine(parts), 'keys')).toEqual([]);
  });

  test('a rotation that nobody carries out is found', async () => {
    const keyTimes = { rotateAfterSeconds: -1_000, publishAheadSeconds: -2_000 };
    expect(badOf(await examine({ ...parts, keyTimes }), 'keys')).toEqual([]);
    const long = { rotateAfterSeconds: -1_000_000, publishAheadSeconds: 0 };
    expect(badOf(await examine({ ...parts, keyTimes: long }), 'keys').join()).toMatch(/rotation of keys is behind/);
  });

  test('objects that cannot work, concern nobody or belong to a demo are found, each by its name', async () => {
    const database = await startCambist({
      objects: `
issuers: [{name: corp, issuer: '${issuer.issuer}', internal: true, algorithms: [ES256]}]
clients:
  - {id: keyed, auth: [private_key_jwt], jwks_uri: '${issuer.url}/none', internal: true, token_endpoint_audience: true}
  - {id: changing, auth: [client_secret_basic], demo: true}
resources: [{name: notes, uri: 'https://notes.test/mcp', scopes: {read: Read}}]
roles: [{name: staff, groups: ['corp:staff']}, {name: nobody}]
subjects: [{issuer: corp, sub: alice}]
policies: [{id: p, cedar: 'permit (principal in Role::"stuff", action == Action::"access", resource == Scope::"notes#write");'}]
`,
    });
    try {
      await database.service.clientSecrets.add('changing');
      const later = { nowMs: () => Date.now() + 8 * 86_400_000 };
      const findings = await examine({ ...parts, database: database.database, clock: later });
      expect(badOf(findings, 'client', 'keyed')).toEqual([
        expect.stringMatching(/^warning token_endpoint_audience/),
        expect.stringMatching(/^failed the keys of client keyed cannot be fetched/),
      ]);
      expect(badOf(findings, 'client', 'changing')).toEqual([expect.stringMatching(/two secrets of it are valid/)]);
      expect(badOf(findings, 'resource', 'notes')).toEqual([expect.stringMatching(/nobody serves it/)]);
      expect(badOf(findings, 'role', 'staff')).toEqual(['warning nobody can be in group "corp:staff"']);
      expect(badOf(findings, 'role', 'nobody')).toEqual([expect.stringMatching(/nobody has it/)]);
      expect(badOf(findings, 'subject', 'corp:alice')).toEqual([expect.stringMatching(/no role/)]);
      expect(badOf(findings, 'policy', 'p')).toEqual([
        expect.stringContaining('Role::"stuff"'),
        expect.stringContaining('Scope::"notes#write"'),
      ]);
      expect(badOf(findings, 'objects')).toEqual([
        expect.stringMatching(/^warning objects of the demo.*client changing/),
      ]);
      const refusing = await examine({ ...parts, database: database.database, demoRefusedBecause: 'it is shared' });
      expect(badOf(refusing, 'objects')).toEqual([expect.stringMatching(/^failed .*it is shared/)]);
      expectFixes(findings);
      await database.service.clientSecrets.retire('changing', undefined);
      expect(badOf(await examine({ ...parts, database: database.database }), 'client', 'changing')).toEqual([
        'failed it has no secret: it cannot authenticate',
      ]);
    } finally {
      await database.stop();
    }
  });
});

describe('upstreams', () => {
  let cambist: TestCambist;
  let parts: ExamineParts;
  let api: JwksIssuer;
  const upstream = (name: string, more = '', credential = '') =>
    `{name: ${name}, base_url: '${api.url}', internal: true, scopes: {use: Use}, callers: [server],
      requests: [{methods: [GET], path: '/**', scopes: [use]}],
      credential: {kind: static, store: embedded, path: apis/keys, field: key${credential}}${more}}`;
  const apply = (upstreams: readonly string[], calls = '') =>
    cambist.apply(
      `
clients: [{id: server, auth: [client_secret_basic]}, {id: other, auth: [client_secret_basic]}, {id: self, auth: [client_secret_basic], grants: [client_credentials]}]
resources: [{name: notes, uri: 'https://notes.test/mcp', scopes: {read: Read}, served_by: [server], calls: [${calls}]}]
policies: [{id: p, cedar: 'permit (principal == Client::"server", action == Action::"access", resource == Scope::"named#use"); forbid (principal == Client::"self", action == Action::"act", resource in Resource::"${cambist.issuer}/egress/named");'}]
upstreams: [${upstreams.join(', ')}]`,
      { prune: true },
    );

  beforeAll(async () => {
    api = await startJwksIssuer();
    cambist = await startCambist({ objects: '' });
    await setKey(cambist);
    parts = {
      database: cambist.database,
      envelope: createEnvelope(TEST_KEY),
      clock: systemClock,
      logger,
      clockSkewLimitMs: 2000,
      keyTimes: KEY_TIMES,
      poolMax: undefined,
      demoRefusedBecause: undefined,
      vault: undefined,
      ownIssuer: cambist.issuer,
    };
  });
  afterAll(async () => {
    await cambist.stop();
    await api.stop();
  });

  test('that can be used are well: whatever their API answers without a key is an answer', async () => {
    await apply([upstream('named')], '{upstream: named, needs: [read], gives: [use]}');
    const findings = await examine(parts);
    expect(badOf(findings, 'upstream')).toEqual([]);
    // Policies that name it, by scope and by egress URI, name something that is there.
    expect(badOf(findings, 'policy')).toEqual([]);
    expect(findings).toContainEqual({ noun: 'upstream', name: 'named', health: 'ok', message: `${api.url} answers` });
  });

  test('that nobody can use are found: no caller, no way there, ways that end at others', async () => {
    await apply(
      [
        upstream('nobody').replace('[server]', '[]'),
        upstream('named'),
        upstream('unreached'),
        upstream('elsewhere').replace('[server]', '[other, self]'),
      ],
      '{upstream: elsewhere, needs: [read], gives: [use]}',
    );
    await cambist.disable('client', 'other');
    const findings = await examine(parts);
    const bad = (name: string) => badOf(findings, 'upstream', name);
    expect(bad('nobody')).toEqual(['warning nobody may use it']);
    expect(bad('named')).toEqual([
      'warning no call edge leads to it: no server can use it with a token that it received',
    ]);
    expect(bad('unreached')).toEqual([
      'warning no call edge leads to it and no policy names it: nobody is likely to use it',
    ]);
    expect(bad('elsewhere')).toEqual([
      'warning its caller other is disabled',
      'warning its caller self may not exchange tokens: it can use it for itself only',
      'warning resource notes may call it, and none of its servers is among its callers',
    ]);
    expectFixes(findings);
    await cambist.enable('client', 'other');
  });

  test('that hand a key out, or put it into URLs, are named', async () => {
    const query = ', inject: {kind: query, name: key, allow_query: true}';
    await apply([upstream('named', query, ', allow_fetch: true')], '{upstream: named, needs: [read], gives: [use]}');
    expect(badOf(await examine(parts), 'upstream', 'named')).toEqual([
      expect.stringMatching(/^warning credential\.allow_fetch hands the key itself/),
      expect.stringMatching(/^warning inject\.kind query puts the key into URLs/),
    ]);
  });

  test('whose API is out of reach, or at a private address that nobody allowed, are found', async () => {
    const down = `http://127.0.0.1:${await freePort()}`;
    const more = `, more_urls: {files: '${down}'}`;
    const inside = upstream('inside').replace(`'${api.url}', internal: true`, `'https://127.0.0.1:1'`);
    await apply([upstream('named', more), inside], '{upstream: named, needs: [read], gives: [use]}');
    const findings = await examine(parts);
    expect(badOf(findings, 'upstream', 'named')).toEqual([`failed ${down}: it could not be reached (ECONNREFUSED)`]);
    expect(badOf(findings, 'upstream', 'inside').join('\n')).toMatch(
      /failed https:\/\/127\.0\.0\.1:1: its address is not public/,
    );
    expectFixes(findings);
  });
});

withDatabases('doctor and the database', (databases) => {
  const partsOf = (database: ExamineParts['database']): ExamineParts => ({
    database,
    envelope: createEnvelope(TEST_KEY),
    clock: systemClock,
    logger,
    clockSkewLimitMs: 2000,
    keyTimes: KEY_TIMES,
    poolMax: databases.engine === 'postgresql' ? 60 : undefined,
    demoRefusedBecause: undefined,
    vault: undefined,
    ownIssuer: 'https://sts.test',
  });

  test('missing months, marks that nobody removes, and a database that is new or of another version are found', async () => {
    const { db, asRole } = await databases.fresh();
    const fresh = await examine(partsOf(db));
    expect(badOf(fresh, 'database', 'key-encryption key')).toEqual([expect.stringMatching(/no node was ever started/)]);
    await asRole(undefined, async (owner) => {
      const [month] = await owner.query<{ name: string }>(
        `SELECT 'audit_record_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AS name`,
      );
      await owner.query(`DROP TABLE ${month!.name}`);
      await owner.query(`INSERT INTO replay_mark VALUES (sha256('a'), 'p', 'i', 'm', now() - interval '3 hours')`);
    });
    const findings = await examine(partsOf(db));
    expect(badOf(findings, 'database', 'audit records')).toEqual([
      expect.stringMatching(/^failed no partition for \d{4}_\d{2}$/),
    ]);
    expect(badOf(findings, 'database', 'housekeeping')).toEqual([expect.stringMatching(/expired hours ago/)]);
    if (databases.engine === 'postgresql')
      expect(badOf(findings, 'database', 'server').join()).toMatch(/a second node would not get its own/);
    expectFixes(findings);
    await asRole(undefined, (owner) => owner.query(`INSERT INTO schema_migration (version) VALUES (99)`));
    expect(await examine(partsOf(db))).toEqual([
      {
        noun: 'database',
        name: 'version',
        health: 'failed',
        message: expect.stringMatching(/version 99/),
        fix: expect.any(String),
      },
    ]);
  });
});

describe('checks', () => {
  test('one that hangs and one that breaks are findings, and take no other with them', async () => {
    const findings = await runChecks(
      [
        { noun: 'a', name: 'hangs', run: () => new Promise(() => undefined) },
        { noun: 'a', name: 'is down', run: () => Promise.reject(new Unavailable('database', 'gone')) },
        {
          noun: 'a',
          name: 'breaks',
          run: () => {
            throw new Error('oops');
          },
        },
        { noun: 'a', name: 'works', run: () => [{ health: 'ok', message: 'well' }] },
      ],
      50,
    );
    expect(findings.map(({ name, health, message }) => [name, health, message])).toEqual([
      ['hangs', 'failed', 'no answer within 0.05 s'],
      ['is down', 'failed', 'database: gone'],
      ['breaks', 'failed', 'the check itself failed: oops'],
      ['works', 'ok', 'well'],
    ]);
  });
});

describe('the surroundings', () => {
  let folder: string;
  const servers: Server[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'cambist-doctor-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  function settingsOf(env: Readonly<Record<string, string>>): Settings {
    const settings = loadSettings({ env: { CAMBIST_ADMIN_LISTEN: '127.0.0.1:0', ...env }, cwd: folder });
    if (Array.isArray(settings)) throw new Error(JSON.stringify(settings));
    return settings;
  }
  async function look(settings: Settings, secretFiles: readonly string[] = []): Promise<Finding[]> {
    const fetcher = createFetcher({ clock: systemClock, logger });
    try {
      return await runChecks(surroundingsChecks({ settings, fetcher, secretFiles }));
    } finally {
      await fetcher.close();
    }
  }

  test('a port that is free, one that is ours, and one that somebody else has are told apart', async () => {
    const port = await freePort();
    const settings = settingsOf({ CAMBIST_LISTEN: `127.0.0.1:${port}` });
    expect((await look(settings)).filter(({ health }) => health !== 'ok')).toEqual([]);
    const stranger = createServer((_, response) => response.end('{"issuer":"https://another.test"}'));
    servers.push(stranger);
    await new Promise<void>((done) => stranger.listen(port, '127.0.0.1', done));
    const findings = await look(settings);
    expect(badOf(findings, 'listener', 'public')).toEqual([`failed something else listens on 127.0.0.1:${port}`]);
    expect(badOf(findings, 'listener', 'issuer URL')).toEqual([expect.stringMatching(/somebody else/)]);
    expectFixes(findings);

    const cambist = await startCambist({ objects: '' });
    const ours = settingsOf({ CAMBIST_LISTEN: new URL(cambist.url).host });
    expect(badOf(await look(ours), 'listener')).toEqual([]);
    await cambist.stop();
  });

  test('an address that is not of this machine, and an admin listener that is not ready, are found', async () => {
    const admin = createServer((_, response) => {
      response.statusCode = 503;
      response.end('{"status":"not_ready","checks":[{"name":"database","ok":false,"reason":"it does not answer"}]}');
    });
    servers.push(admin);
    await new Promise<void>((done) => admin.listen(0, '127.0.0.1', done));
    const { port } = admin.address() as AddressInfo;
    const settings = settingsOf({ CAMBIST_ADMIN_LISTEN: `127.0.0.1:${port}` });
    expect(badOf(await look(settings), 'listener', 'admin')).toEqual([
      'failed the node is not ready: database (it does not answer)',
    ]);
    const elsewhere = settingsOf({
      CAMBIST_LISTEN: '192.0.2.1:8080',
      CAMBIST_PLAIN_HTTP: 'behind_tls_proxy',
      CAMBIST_ISSUER: 'https://sts.invalid',
    });
    const findings = await look(elsewhere);
    expect(badOf(findings, 'listener', 'public')).toEqual([expect.stringMatching(/192\.0\.2\.1 is no address/)]);
    expect(badOf(findings, 'listener', 'issuer URL')).toEqual([expect.stringMatching(/^warning .*cannot be read/)]);
  });

  test('a proxy that ends TLS and is not named is found: everybody would have its address', async () => {
    const behind = { CAMBIST_PLAIN_HTTP: 'behind_tls_proxy', CAMBIST_ISSUER: 'https://sts.invalid' };
    const all = { ...behind, CAMBIST_LISTEN: '0.0.0.0:0' };
    const findings = await look(settingsOf(all));
    expectFixes(findings);
    expect(badOf(findings, 'listener', 'proxy')).toEqual([
      expect.stringMatching(
        /^warning TLS ends at a proxy .* trusted_proxies is empty: every client has the proxy’s address/,
      ),
    ]);
    // A proxy on this machine is one too.
    expect(badOf(await look(settingsOf({ CAMBIST_ISSUER: 'https://sts.invalid' })), 'listener', 'proxy')).toHaveLength(
      1,
    );
    const named = settingsOf({ ...all, CAMBIST_TRUSTED_PROXIES: '10.0.0.0/8' });
    expect(badOf(await look(named), 'listener', 'proxy')).toEqual([]);
    expect(badOf(await look(settingsOf({})), 'listener', 'proxy')).toEqual([]);
  });

  test('a file with a secret that others can read is found', async () => {
    const file = join(folder, 'kek');
    writeFileSync(file, 'x', { mode: 0o600 });
    const settings = settingsOf({});
    expect(badOf(await look(settings, [file]), 'settings')).toEqual([]);
    chmodSync(file, 0o644);
    expect(badOf(await look(settings, [file]), 'settings')).toEqual([
      `failed ${file} can be read by every user of this machine`,
    ]);
  });

  test('a database that nobody started, or that does not answer, is a finding with a fix, and nothing is made', async () => {
    const embedded = settingsOf({ CAMBIST_DATA_DIR: 'none' });
    expect(await examineDatabase(embedded, () => undefined)).toMatchObject([
      { health: 'failed', fix: 'cambist serve' },
    ]);
    expect(existsSync(join(folder, 'none'))).toBe(false);
    const port = await freePort();
    const down = settingsOf({
      DATABASE_URL: `postgresql://u:a-password@127.0.0.1:${port}/cambist`,
      CAMBIST_ISSUER: 'https://sts.test',
      CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(TEST_KEY).toString('hex'),
    });
    const [found, ...more] = await examineDatabase(down, () => undefined);
    expect(more).toEqual([]);
    expect(found).toMatchObject({
      health: 'failed',
      name: 'connection',
      fix: expect.stringMatching(/start PostgreSQL/),
    });
    expect(JSON.stringify(found)).not.toContain('a-password');
  });
});

describe('as a process', () => {
  const running: SpawnedCambist[] = [];
  afterEach(async () => {
    for (const one of running.splice(0)) {
      await one.stop();
      one.remove();
    }
  });

  test('doctor and backup ask a running embedded server; restore refuses while it runs, and gives a second one its objects', async () => {
    const first = await spawnCambist();
    running.push(first);
    const doctor = JSON.parse(await first.command('doctor', '--json'));
    expect(doctor.healthy, JSON.stringify(doctor)).toBe(true);
    writeFileSync(join(first.folder, 'o.yaml'), 'roles: [{name: staff}]');
    await first.command('apply', '-f', join(first.folder, 'o.yaml'));
    const file = join(first.folder, 'backup');
    expect(JSON.parse(await first.command('backup', '--json', '--out', file))).toMatchObject({ rows: { object: 1 } });
    await expect(first.command('backup', '--out', file)).rejects.toMatchObject({ code: 1 });
    await expect(first.command('restore', '--in', file, '--replace', '--yes')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/in use by process/),
    });
    await first.stop();
    await expect(first.command('restore', '--in', file)).rejects.toMatchObject({
      stderr: expect.stringMatching(/not empty/),
    });
    // Nobody is at a terminal here.
    await expect(first.command('restore', '--in', file, '--replace')).rejects.toMatchObject({ code: 2 });
    expect(JSON.parse(await first.command('restore', '--json', '--in', file, '--replace', '--yes'))).toMatchObject({
      epoch: 2,
    });
    expect(JSON.parse(await first.command('role', 'list', '--json'))).toMatchObject([{ name: 'staff' }]);
  }, 120_000);
});
