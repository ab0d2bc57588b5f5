/** Cambist and a real Vault: it logs in with tokens of its own, as itself and as a subject, and says how Vault is. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { callOver, issue, startUpstream } from '../support/egress.ts';
import { parseExposition } from '../support/exposition.ts';
import { basicHeader } from '../support/token-client.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { ACCESS_TOKEN, exchange, ID_TOKEN, JWT } from './asking.ts';

const OBJECTS = `
clients:
  - { id: agent, auth: [client_secret_basic] }
resources:
  - { name: notes, uri: 'https://notes.test/mcp', scopes: { read: Read }, default_scopes: [read], served_by: [agent] }
issuers: [{ name: corp, issuer: 'https://idp.example', jwks_uri: 'https://idp.example/jwks' }]
`;
/** The key of each person lies at a place of their own, and Vault itself sees to it that only they get there. */
const personal = (url: string) => `
upstreams:
  - name: api
    base_url: '${url}'
    internal: true
    scopes: { 'api:use': Use }
    callers: [agent]
    requests: [{ methods: ['*'], path: '/**', scopes: ['api:use'] }]
    credential: { kind: static, store: vault, path: 'people/{subject}', field: token, login: subject }
`;

withVault('Cambist and Vault', (start) => {
  let vault: TestVault;
  beforeAll(async () => {
    vault = await start();
    await vault.root('PUT', 'sys/policies/acl/cambist', {
      policy: 'path "secret/data/shared" { capabilities = ["read"] }',
    });
    await vault.root('POST', 'secret/data/shared', { data: { token: 'of-all' } });
    await vault.root('POST', 'sys/auth/jwt', { type: 'jwt' });
  });
  afterAll(() => vault.stop());

  const settingsOf = (more: Partial<VaultSettings> = {}): VaultSettings => ({
    address: vault.address,
    namespace: undefined,
    caFile: undefined,
    kvMount: 'secret',
    login: { method: 'jwt', mount: 'jwt', role: 'cambist', audience: 'https://vault.test' },
    subjectLogin: { mount: 'jwt', role: 'subject', audience: 'https://vault.test' },
    leaseTokenRole: undefined,
    timeoutMs: 3_000,
    ...more,
  });

  async function cambistKnownToVault(): Promise<TestCambist> {
    const cambist = await startCambist({ objects: OBJECTS, settings: { vault: settingsOf() } });
    onTestFinished(() => cambist.stop());
    await vault.root('POST', 'auth/jwt/config', {
      jwks_url: `${cambist.url}/oauth2/jwks`,
      bound_issuer: cambist.issuer,
    });
    const role = (login: string, policies: string[]) =>
      vault.root('POST', `auth/jwt/role/${login === 'service' ? 'cambist' : login}`, {
        role_type: 'jwt',
        user_claim: 'sub',
        bound_audiences: ['https://vault.test'],
        bound_claims: { cambist_login: login },
        ...(login === 'subject' ? { claim_mappings: { cambist_path: 'path' } } : {}),
        token_policies: policies,
        token_ttl: '20m',
      });
    await role('service', ['cambist']);
    await role('subject', ['of-subjects']);
    // Before it knew of us Vault refused a login, which is not tried again at once.
    const login = () =>
      cambist.service.vault!.vault.logIn().then(
        () => 'let in',
        (error: unknown) => String(error),
      );
    await expect.poll(login, { timeout: 60_000, interval: 200 }).toBe('let in');
    return cambist;
  }

  test('logs in with a token that it signs itself and Vault checks with its JWKS', async () => {
    const { service } = await cambistKnownToVault();
    expect(await service.vault!.vault.read({ mount: undefined, path: 'shared' })).toEqual({
      found: { version: 1, fields: { token: 'of-all' }, tags: {} },
    });
  });

  test('reads as the subject: what the policy of Vault gives that one, and nobody else', async () => {
    const { service } = await cambistKnownToVault();
    const mounts = (await vault.root('GET', 'sys/auth')) as Record<string, { accessor: string }>;
    const name = `{{identity.entity.aliases.${mounts['jwt/']!.accessor}.name}}`;
    await vault.root('PUT', 'sys/policies/acl/of-subjects', {
      policy: `path "secret/data/users/${name}" { capabilities = ["read"] }`,
    });
    await vault.root('POST', 'secret/data/users/corp:ada', { data: { token: 'of-ada' } });
    await vault.root('POST', 'secret/data/users/corp:bob', { data: { token: 'of-bob' } });
    const readAs = (subjectName: string, path: string) =>
      service.vault!.vault.read({ mount: undefined, path }, service.vault!.userOf!({ subjectName }));
    expect(await readAs('corp:ada', 'users/corp:ada')).toMatchObject({ found: { fields: { token: 'of-ada' } } });
    expect(await readAs('corp:ada', 'users/corp:bob')).toEqual({ missing: 'forbidden' });
    expect(await readAs('corp:bob', 'users/corp:bob')).toMatchObject({ found: { fields: { token: 'of-bob' } } });
    // What Cambist itself may read, a subject may not.
    expect(await readAs('corp:ada', 'shared')).toEqual({ missing: 'forbidden' });
  });

  test('injects the key of the person whose request it is, read as that person', async () => {
    const cambist = await cambistKnownToVault();
    const api = await startUpstream();
    onTestFinished(() => api.stop());
    await cambist.apply(personal(api.url));
    const { accessor } = ((await vault.root('GET', 'sys/auth')) as Record<string, { accessor: string }>)['jwt/']!;
    await vault.root('PUT', 'sys/policies/acl/of-subjects', {
      policy: `path "secret/data/people/{{identity.entity.aliases.${accessor}.metadata.path}}" { capabilities = ["read"] }`,
    });
    for (const name of ['corp~3Aada', 'corp~3Abob~40x~2Etest'])
      await vault.root('POST', `secret/data/people/${name}`, { data: { token: `of-${name}` } });
    const callAs = async (sub: string) => {
      const subject = { issuer: 'https://idp.example', sub };
      const token = await issue(cambist, { clientId: 'agent', actors: ['agent'], subject });
      return (await callOver(`${cambist.url}/egress/api/x`, { token })).status;
    };
    expect([await callAs('ada'), await callAs('bob@x.test')]).toEqual([200, 200]);
    expect(api.arrived.map(({ headers }) => headers['authorization'])).toEqual([
      ['Bearer of-corp~3Aada'],
      ['Bearer of-corp~3Abob~40x~2Etest'],
    ]);
    // With the policy of somebody else there is nothing to be had.
    await vault.root('PUT', 'sys/policies/acl/of-subjects', {
      policy: 'path "secret/data/people/corp~3Aada" { capabilities = ["read"] }',
    });
    expect(await callAs('eve')).toBe(502);
  });

  test('a subject is not let in where the role is for Cambist itself', async () => {
    const { service } = await cambistKnownToVault();
    const jwt = await service.vault!.userOf!({ subjectName: 'corp:ada' }).assertion();
    const login = await vault.ask('POST', 'auth/jwt/login', { body: { role: 'cambist', jwt } });
    expect(login.status).toBe(400);
  });

  test('the token for Vault has a type of its own, lives 60 s, and is worth nothing at our own endpoints', async () => {
    const cambist = await cambistKnownToVault();
    const jwt = await cambist.service.vault!.userOf!({ subjectName: 'corp:ada' }).assertion();
    expect(decodeProtectedHeader(jwt)).toMatchObject({ typ: 'cambist-vault+jwt', alg: 'ES256' });
    const claims = decodeJwt(jwt);
    expect(claims).toMatchObject({
      iss: cambist.issuer,
      sub: 'corp:ada',
      aud: 'https://vault.test',
      cambist_login: 'subject',
    });
    expect(claims.exp! - claims.iat!).toBe(60);
    for (const as of [ACCESS_TOKEN, ID_TOKEN, JWT]) {
      const answer = await exchange(cambist, { client: 'agent', subject: jwt, as, resource: 'https://notes.test/mcp' });
      expect(answer.status, as).toBe(400);
    }
    const basic = { authorization: basicHeader('agent', cambist.secretOf('agent')) };
    const asked = await fetch(`${cambist.url}/oauth2/introspect`, {
      method: 'POST',
      headers: { ...basic, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ token: jwt }).toString(),
    });
    expect(await asked.json()).toEqual({ active: false });
  });

  test('with Vault down a node is ready, and says that it is degraded and why', async () => {
    const own = await start();
    const cambist = await startCambist({
      objects: '',
      settings: {
        vault: settingsOf({ address: own.address, login: { method: 'token', token: own.rootToken } }),
      },
    });
    onTestFinished(() => cambist.stop());
    const ready = async (url: string) => {
      const response = await fetch(`${url}/readyz`);
      return { status: response.status, body: await response.json() };
    };
    await expect.poll(() => ready(cambist.url)).toEqual({ status: 200, body: { status: 'ready' } });
    const numbers = async () => parseExposition(await (await fetch(`${cambist.adminUrl}/metrics`)).text());
    await expect.poll(async () => (await numbers()).value('cambist_vault_login_age_seconds', {})).toBeLessThan(60);
    expect((await numbers()).value('cambist_vault_breaker', { state: 'closed' })).toBe(1);
    await own.stop();
    await expect
      .poll(() => ready(cambist.url), { timeout: 20_000, interval: 250 })
      .toEqual({ status: 200, body: { status: 'ready', degraded: [{ name: 'vault' }] } });
    expect(await ready(cambist.adminUrl)).toEqual({
      status: 200,
      body: { status: 'ready', degraded: [{ name: 'vault', reason: 'could not be reached' }] },
    });
    // Tokens are signed without it.
    expect((await fetch(`${cambist.url}/oauth2/jwks`)).status).toBe(200);
    expect((await numbers()).value('cambist_vault_duration_seconds_count', { outcome: 'unreachable' })).toBeGreaterThan(
      0,
    );
  });

  test('a Vault that hangs does not hold the probe', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    const address = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const cambist = await startCambist({
      objects: '',
      settings: { vault: settingsOf({ address, timeoutMs: 60_000, login: { method: 'token', token: 't' } }) },
    });
    onTestFinished(async () => {
      await cambist.stop();
      silent.closeAllConnections();
      silent.close();
    });
    const startedMs = performance.now();
    expect((await fetch(`${cambist.url}/readyz`)).status).toBe(200);
    // Long before the time of a question.
    expect(performance.now() - startedMs).toBeLessThan(20_000);
  });
});
