/** What `cambist doctor` finds out about a real Vault, each shown something that is wrong. */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { examine } from '../../src/admin/doctor/examine.ts';
import type { ExamineParts } from '../../src/admin/doctor/examine.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { startCambist, TEST_KEY } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startFakeVault } from '../support/fake-vault.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const upstream = (name: string, credential: object, more: object = {}) => ({
  name,
  base_url: 'https://api.example',
  scopes: { use: 'Use' },
  callers: ['server'],
  requests: [{ methods: ['*'], path: '/**', scopes: ['use'] }],
  credential: { kind: 'static', store: 'vault', field: 'token', ...credential },
  ...more,
});
const dynamic = { kind: 'dynamic', path: 'database/creds/cambist-orders', field: 'password' };
const POLICY = `
path "secret/data/upstreams/*" { capabilities = ["read"] }
path "auth/token/create/cambist-lease" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }`;

withVault('doctor and Vault', (start) => {
  let vault: TestVault;
  let cambist: TestCambist;
  let approle: Extract<VaultSettings['login'], { method: 'approle' }>;

  beforeAll(async () => {
    [vault, cambist] = await Promise.all([start(), startCambist({ objects: '' })]);
    await vault.root('PUT', 'sys/policies/acl/cambist', { policy: POLICY });
    await vault.root('PUT', 'sys/policies/acl/cambist-lease', {
      policy: 'path "database/creds/cambist-*" { capabilities = ["read"] }',
    });
    await vault.root('POST', 'auth/token/roles/cambist-lease', { allowed_policies: ['cambist-lease'], orphan: true });
    await vault.root('POST', 'secret/data/upstreams/github', { data: { token: 'canary-value' } });
    await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
    await vault.root('POST', 'auth/approle/role/cambist', { token_policies: ['cambist'], token_ttl: '20m' });
    const { data: id } = (await vault.root('GET', 'auth/approle/role/cambist/role-id')) as {
      data: { role_id: string };
    };
    const { data: made } = (await vault.root('POST', 'auth/approle/role/cambist/secret-id', {})) as {
      data: { secret_id: string };
    };
    approle = {
      method: 'approle',
      mount: 'approle',
      roleId: id.role_id,
      secretId: { value: made.secret_id },
      secretIdWrapped: false,
    };
  });
  afterAll(() => Promise.all([vault.stop(), cambist.stop()]));

  const settingsOf = (more: Partial<VaultSettings> = {}): VaultSettings => ({
    address: vault.address,
    namespace: undefined,
    caFile: undefined,
    kvMount: 'secret',
    login: approle,
    subjectLogin: undefined,
    leaseTokenRole: 'cambist-lease',
    timeoutMs: 2_000,
    ...more,
  });

  /** What is said of Vault and of upstreams there: `health name: message → fix`. */
  async function said(upstreams: readonly object[], settings: VaultSettings | 'none' = settingsOf()) {
    const clients = [{ id: 'server', auth: ['client_secret_basic'] }];
    await cambist.apply(JSON.stringify({ clients, upstreams }), { prune: true });
    const parts: ExamineParts = {
      database: cambist.database,
      envelope: createEnvelope(TEST_KEY),
      clock: systemClock,
      logger: createLogger('silent'),
      clockSkewLimitMs: 2_000,
      keyTimes: { rotateAfterSeconds: 30 * 86_400, publishAheadSeconds: 86_400 },
      poolMax: undefined,
      demoRefusedBecause: undefined,
      vault: settings === 'none' ? undefined : settings,
      ownIssuer: cambist.issuer,
    };
    const findings = await examine(parts);
    expect(JSON.stringify(findings)).not.toContain('canary');
    // Whether its API answers, and who calls it, is another matter.
    const other = /api\.example|call edge|nobody|embedded/;
    return findings
      .filter(({ noun, message }) => noun === 'vault' || (noun === 'upstream' && !other.test(message)))
      .map(({ health, name, message, fix }) => `${health} ${name}: ${message}${fix === undefined ? '' : ` → ${fix}`}`);
  }
  const badOf = async (...args: Parameters<typeof said>) =>
    (await said(...args)).filter((line) => !line.startsWith('ok'));

  test('nothing is wrong where nothing is; what was made to look is ended', async () => {
    const accessors = async () =>
      ((await vault.root('GET', 'auth/token/accessors?list=true')) as { data: { keys: string[] } }).data.keys.length;
    const before = await accessors();
    const found = await said([
      upstream('github', { path: 'upstreams/github' }),
      upstream('mail', { path: 'upstreams/{subject}/mail' }),
      upstream('orders', { ...dynamic }, { inject: { kind: 'bearer' } }),
    ]);
    expect(found).toEqual([
      expect.stringMatching(/^ok server: http:.*: version \d+\.\d+\.\d+.*, unsealed, answers in \d+ ms$/),
      expect.stringMatching(
        /^ok login: by approle; its token lives (1199|1200) s and has the policies cambist, default$/,
      ),
      'ok leases: a token for a lease was made, and ended',
    ]);
    expect(await accessors()).toBe(before);
  });

  test('a secret that is missing, its field, its tags, and what the policy does not let us read', async () => {
    expect(
      await badOf([
        upstream('absent', { path: 'upstreams/absent' }),
        upstream('fieldless', { path: 'upstreams/github', field: 'key' }),
        upstream('untagged', { path: 'upstreams/github' }, { require_tags: { owner: true } }),
        upstream('forbidden', { path: 'others/github' }),
        upstream('personal', { path: 'people/{subject}/github' }),
      ]),
    ).toEqual([
      'failed absent: there is no secret upstreams/absent: every request to it is refused → vault kv put -mount=secret upstreams/absent token=-',
      'failed fieldless: its secret upstreams/github has no field key → vault kv patch -mount=secret upstreams/github key=-',
      'failed forbidden: the policy of Vault does not let Cambist read secret/data/others/github: every request to it is refused → add to the policy: path "secret/data/others/github" { capabilities = ["read"] }',
      'failed personal: the policy of Vault does not let Cambist read secret/data/people/+/github: every request to it is refused → add to the policy: path "secret/data/people/+/github" { capabilities = ["read"] }',
      'failed untagged: its secret upstreams/github has no tag cambist_owner, which require_tags asks for → vault kv metadata patch -mount=secret -custom-metadata=cambist_owner=… upstreams/github',
    ]);
  });

  test('a lease that cannot be had: its path, its token role, a login that ends too soon', async () => {
    const other = upstream('orders', { ...dynamic, path: 'database/creds/admin' }, { inject: { kind: 'bearer' } });
    expect(await badOf([other])).toEqual([
      'failed leases: no lease can be had: database/creds/admin may not be read (upstream orders) → add to the policy in allowed_policies of the token role cambist-lease: path "database/creds/admin" { capabilities = ["read"] }',
    ]);
    const orders = [upstream('orders', { ...dynamic })];
    const [unknown] = await badOf(orders, settingsOf({ leaseTokenRole: 'nobody' }));
    expect(unknown).toMatch(
      /^failed leases: .*auth\/token\/create\/nobody.* → let its policy update auth\/token\/create\/nobody/,
    );
    const made = await vault.root('POST', 'auth/token/create', { policies: ['root'], ttl: '10m', renewable: false });
    const { client_token: token } = made['auth'] as { client_token: string };
    const [root, ends, leases] = await badOf(
      orders,
      settingsOf({ leaseTokenRole: undefined, login: { method: 'token', token } }),
    );
    expect(root).toMatch(/^warning login: it is a root token/);
    expect(ends).toMatch(/^warning login: the token cannot be renewed: in (599|600) s/);
    expect(leases).toMatch(/^warning leases: leases end with the login that they hang on, which lives (599|600) s/);
  });

  test('a login that is refused says how to mend it, and is said once', async () => {
    const upstreams = [upstream('github', { path: 'upstreams/github' }), upstream('orders', { ...dynamic })];
    expect(await badOf(upstreams, settingsOf({ login: { ...approle, roleId: 'nobody' } }))).toEqual([
      expect.stringMatching(/^failed login: refused our login \(auth\/approle\/login: .*make a new secret id/),
    ]);
    expect(await badOf(upstreams, settingsOf({ login: { method: 'token', token: 'canary-dead' } }))).toEqual([
      expect.stringMatching(/^failed login: refused our login .*→ give a token that is alive/),
    ]);
    expect(await badOf(upstreams, settingsOf({ login: { method: 'token_file', file: '/nowhere/sink' } }))).toEqual([
      expect.stringMatching(/vault.login.file cannot be read: ENOENT.*→ see that the agent runs/),
    ]);
    const jwt = { method: 'jwt', mount: 'jwt', role: 'cambist', audience: 'https://vault.test' } as const;
    expect(await badOf(upstreams, settingsOf({ login: jwt }))).toEqual([
      expect.stringMatching(/^failed login: .*→ compare jwks_url and bound_issuer/),
    ]);
  });

  test('the login by JWT is tried with a token of our own', async () => {
    await vault.root('POST', 'sys/auth/jwt', { type: 'jwt' });
    await vault.root('POST', 'auth/jwt/config', {
      jwks_url: `${cambist.url}/oauth2/jwks`,
      bound_issuer: cambist.issuer,
    });
    await vault.root('POST', 'auth/jwt/role/cambist', {
      role_type: 'jwt',
      user_claim: 'sub',
      bound_audiences: ['https://vault.test'],
      bound_claims: { cambist_login: 'service' },
      token_policies: ['cambist'],
      token_ttl: '20m',
    });
    const login = { method: 'jwt', mount: 'jwt', role: 'cambist', audience: 'https://vault.test' } as const;
    expect(await said([], settingsOf({ login }))).toContainEqual(expect.stringMatching(/^ok login: by jwt/));
  });

  test('a wrapped secret id is left for the node', async () => {
    const wrapped = await vault.ask('POST', 'auth/approle/role/cambist/secret-id', {
      token: vault.rootToken,
      body: {},
      headers: { 'x-vault-wrap-ttl': '60s' },
    });
    const { token: value } = wrapped.body['wrap_info'] as { token: string };
    const login = { ...approle, secretId: { value }, secretIdWrapped: true };
    expect(await said([upstream('github', { path: 'others/github' })], settingsOf({ login }))).toEqual([
      expect.stringMatching(/^ok server/),
      expect.stringMatching(/^ok login: not tried/),
    ]);
    expect((await vault.ask('POST', 'sys/wrapping/lookup', { body: { token: value } })).status).toBe(200);
  });

  test('one that is sealed, one that is down, one whose clock is off, and one that is somebody else', async () => {
    const own = await start();
    onTestFinished(() => own.stop());
    await own.root('PUT', 'sys/seal');
    const upstreams = [upstream('github', { path: 'upstreams/github' })];
    const at = (address: string) => settingsOf({ address, login: { method: 'token', token: 't' } });
    expect(await badOf(upstreams, at(own.address))).toEqual([
      'failed server: it is sealed: what needs it is answered 503 → vault operator unseal; docs/runbooks/vault-down.md',
    ]);
    expect(await badOf(upstreams, at('http://127.0.0.1:1'))).toEqual([
      expect.stringMatching(/^failed server: could not be reached \(ECONNREFUSED\) → see that it is up/),
    ]);
    const lost = settingsOf({ address: 'https://127.0.0.1:1', caFile: '/nowhere/ca.pem' });
    expect(await badOf(upstreams, lost)).toEqual([
      'failed server: its TLS certificate was not accepted (vault.ca_file: /nowhere/ca.pem cannot be read: ENOENT) → name the authority that signed its certificate in vault.ca_file (VAULT_CACERT), or renew it',
    ]);
    const health = { initialized: true, sealed: false, standby: true, version: '1.0.0' };
    const fake = await startFakeVault(() => ({
      status: 429,
      body: { ...health, server_time_utc: Math.floor(Date.now() / 1000) - 60 },
    }));
    const found = await said(upstreams, at(fake.address));
    expect(found[0]).toMatch(/^ok server: .*a standby, which passes questions on/);
    expect(found[1]).toMatch(/^failed clock: its clock is (59|60) s behind ours → synchronise/);
    const stranger = await startFakeVault(() => ({ body: { hello: 'world' } }));
    expect(await badOf(upstreams, at(stranger.address))).toContainEqual(
      expect.stringMatching(/^failed server: answered with something unexpected \(sys\/health: status 200\)/),
    );
  });

  test('an upstream that wants a Vault which the settings have not, or a login as the subject', async () => {
    const github = upstream('github', { path: 'upstreams/github' });
    expect(await said([github], 'none')).toEqual([
      expect.stringMatching(
        /^failed github: its credential is in Vault, and the settings have none.*→ set vault.address/,
      ),
    ]);
    const personal = upstream('personal', { path: 'upstreams/{subject}', login: 'subject' });
    expect(await badOf([personal])).toEqual([
      'failed personal: is read as the subject, and the settings have no login for that → set vault.subject_login.role',
    ]);
    expect(await badOf([], 'none')).toEqual([]);
  });
});
