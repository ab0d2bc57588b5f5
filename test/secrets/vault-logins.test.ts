/**
 * Logins at a real Vault over their whole life: Kubernetes with a real plugin, renewal up to the maximum and a new login
 * beyond it, a token that ends underneath, a rate limit of Vault's own.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import type { Vault } from '../../src/secrets/vault/vault.ts';
import { bodyOf } from '../support/egress.ts';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVault, withVaultPlugin } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const POLICY = 'path "secret/data/github" { capabilities = ["read"] }';
const found = { found: { fields: { token: 'first' } } };

withVault('logins at a real Vault', (start) => {
  let vault: TestVault;
  let folder: string;
  beforeAll(async () => {
    vault = await start();
    folder = mkdtempSync(join(tmpdir(), 'cambist-vault-logins-'));
    await vault.root('PUT', 'sys/policies/acl/cambist', { policy: POLICY });
    await vault.root('POST', 'secret/data/github', { data: { token: 'first' } });
    await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
  });
  afterAll(async () => {
    await vault.stop();
    rmSync(folder, { recursive: true });
  });

  const read = (adapter: Vault) => adapter.read({ mount: undefined, path: 'github' });

  /** An AppRole whose tokens live so long; and what its adapter logs. */
  async function byAppRole(name: string, lifetimes: { token_ttl: string; token_max_ttl: string }) {
    const role = `auth/approle/role/${name}`;
    await vault.root('POST', role, { token_policies: ['cambist'], ...lifetimes });
    const { data: id } = (await vault.root('GET', `${role}/role-id`)) as { data: { role_id: string } };
    const { data: made } = (await vault.root('POST', `${role}/secret-id`, {})) as { data: { secret_id: string } };
    const lines: string[] = [];
    const logger = createLogger('info', { write: (line: string) => lines.push(line) });
    const secretId = { value: made.secret_id };
    const login = {
      method: 'approle',
      mount: 'approle',
      roleId: id.role_id,
      secretId,
      secretIdWrapped: false,
    } as const;
    const logins = () => lines.filter((line) => line.includes('logged in to vault')).length;
    return { adapter: openAdapter(vault, { login }, { logger }), logins, lines };
  }

  /** Accessors of the tokens of one AppRole that live. */
  async function tokensOf(name: string): Promise<string[]> {
    const { data } = (await vault.root('GET', 'auth/token/accessors?list=true')) as { data: { keys: string[] } };
    const tokens = await Promise.all(
      data.keys.map(async (accessor) => {
        const { body } = await vault.ask('POST', 'auth/token/lookup-accessor', {
          token: vault.rootToken,
          body: { accessor },
        });
        const token = body['data'] as { meta?: { role_name?: string } | null } | undefined;
        return token?.meta?.role_name === name ? [accessor] : [];
      }),
    );
    return tokens.flat();
  }

  test('a token is renewed at two thirds of its life, and replaced at its maximum: no read ever fails', async () => {
    const { adapter, logins, lines } = await byAppRole('renewed', { token_ttl: '3s', token_max_ttl: '7s' });
    const endsAtMs = performance.now() + 10_000;
    while (performance.now() < endsAtMs) {
      expect(await read(adapter)).toMatchObject(found);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // Without renewal there would be five of them, at least.
    expect(logins()).toBeGreaterThanOrEqual(2);
    expect(logins()).toBeLessThanOrEqual(3);
    expect(lines.join('')).not.toContain('could not be renewed');
  });

  test('tokens that are revoked again and again under load: a new login each time, and no read fails', async () => {
    const { adapter, logins } = await byAppRole('revoked', { token_ttl: '20m', token_max_ttl: '1h' });
    await adapter.logIn();
    let reads = 0;
    let running = true;
    const reader = async () => {
      while (running) {
        expect(await read(adapter)).toMatchObject(found);
        reads += 1;
      }
    };
    const readers = Promise.all(Array.from({ length: 10 }, reader));
    for (let times = 0; times < 2; times += 1) {
      for (const accessor of await tokensOf('revoked'))
        await vault.root('POST', 'auth/token/revoke-accessor', { accessor });
      await expect.poll(logins, { timeout: 5_000 }).toBe(times + 2);
      // A third login within seconds would be taken for a Vault whose tokens are all dead.
      await new Promise((resolve) => setTimeout(resolve, 5_500));
    }
    running = false;
    await readers;
    expect(reads).toBeGreaterThan(100);
    expect(logins()).toBe(3);
  });

  test('a rate limit of Vault: waited for where that is in time, else told as what it is', async () => {
    const own = await start();
    onTestFinished(() => own.stop());
    await own.root('POST', 'secret/data/github', { data: { token: 'first' } });
    await own.root('POST', 'sys/quotas/rate-limit/all', { rate: 20, interval: '1s' });
    const adapter = openAdapter(own, { login: { method: 'token', token: own.rootToken } });
    await adapter.logIn();
    const reads = await Promise.allSettled(Array.from({ length: 40 }, () => read(adapter)));
    for (const one of reads) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'rate_limited' });
    expect(reads.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(20);
    expect(adapter.state().breaker).toBe('closed');
  });

  withVaultPlugin('kubernetes-auth-plugin', 'Kubernetes', () => {
    test('the projected token is read at each login, and the cluster says whose it is', async () => {
      const { host, reviewed } = await startTokenReviews({
        'pod-one': 'cambist',
        'pod-two': 'cambist',
        other: 'other',
      });
      await vault.root('POST', 'sys/auth/kubernetes', { type: 'kubernetes-auth-plugin' });
      await vault.root('POST', 'auth/kubernetes/config', {
        kubernetes_host: host,
        token_reviewer_jwt: 'reviewer',
        disable_local_ca_jwt: true,
      });
      await vault.root('POST', 'auth/kubernetes/role/cambist', {
        bound_service_account_names: 'cambist',
        bound_service_account_namespaces: 'apps',
        audience: 'vault',
        token_policies: ['cambist'],
        token_ttl: '1s',
        token_max_ttl: '2s',
      });
      const file = join(folder, 'projected');
      writeFileSync(file, podToken('pod-one'));
      const login = { method: 'kubernetes', mount: 'kubernetes', role: 'cambist', file } as const;
      const adapter = openAdapter(vault, { login });
      expect(await read(adapter)).toMatchObject(found);
      // The kubelet replaces the file.
      writeFileSync(file, podToken('pod-two'));
      await expect.poll(() => reviewed.includes('pod-two'), { timeout: 10_000 }).toBe(true);
      expect(await read(adapter)).toMatchObject(found);
      expect(new Set(reviewed)).toEqual(new Set(['pod-one', 'pod-two']));
      writeFileSync(join(folder, 'other'), podToken('other'));
      const failure = openAdapter(vault, { login: { ...login, file: join(folder, 'other') } }).logIn();
      await expect(failure).rejects.toMatchObject({ code: 'login_refused' });
    });
  });
});

/** A token as a kubelet projects it, of a pod whose name its service account's uid tells. */
function podToken(pod: string): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const nowSeconds = Math.floor(Date.now() / 1000);
  const account = pod === 'other' ? 'other' : 'cambist';
  const claims = {
    iss: 'https://kubernetes.default.svc',
    aud: ['vault'],
    sub: `system:serviceaccount:apps:${account}`,
    iat: nowSeconds,
    exp: nowSeconds + 600,
    'kubernetes.io': {
      namespace: 'apps',
      serviceaccount: { name: account, uid: `uid-${account}` },
      pod: { name: pod },
    },
  };
  return `${encode({ alg: 'RS256', kid: 'k' })}.${encode(claims)}.${Buffer.from('signature').toString('base64url')}`;
}

/** The one question that the plugin has for an API server: whose token is this? */
async function startTokenReviews(accounts: Readonly<Record<string, string>>) {
  const reviewed: string[] = [];
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      const { spec } = JSON.parse(body.toString()) as { spec: { token: string } };
      const claims = JSON.parse(Buffer.from(spec.token.split('.')[1] ?? '', 'base64url').toString()) as {
        'kubernetes.io': { pod: { name: string } };
      };
      const pod = claims['kubernetes.io'].pod.name;
      reviewed.push(pod);
      const account = accounts[pod] ?? '';
      response.writeHead(201, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          status: {
            authenticated: true,
            audiences: ['vault'],
            user: {
              username: `system:serviceaccount:apps:${account}`,
              uid: `uid-${account}`,
              groups: ['system:serviceaccounts', 'system:serviceaccounts:apps', 'system:authenticated'],
            },
          },
        }),
      );
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, reviewed };
}
