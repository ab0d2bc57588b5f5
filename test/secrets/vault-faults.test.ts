/**
 * The faults that are known of node-vault 0.12, one test each: what goes over the wire, seen by a server that keeps
 * every request. The numbers are those of the list that they were found under; of 10, LIST, nothing is used.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createVaultCalls } from '../../src/secrets/vault/calls.ts';
import type { VaultCall } from '../../src/secrets/vault/calls.ts';
import { renewalDelayMs } from '../../src/secrets/vault/session.ts';
import { loginAnswer, lookupAnswer, secretAnswer, startFakeVault } from '../support/fake-vault.ts';
import type { FakeVault } from '../support/fake-vault.ts';
import { openAdapter } from '../support/vault-adapter.ts';

const GITHUB = { mount: undefined, path: 'github' };
const tokensSeen = ({ asked }: FakeVault) => asked.map(({ headers }) => headers['x-vault-token']);

function callsTo(address: string, namespace?: string) {
  const calls = createVaultCalls({ address, namespace, caFile: undefined });
  onTestFinished(() => calls.close());
  const call = (more: Partial<VaultCall> = {}) =>
    calls.call({ method: 'GET', path: 'secret/data/x', token: 'one', timeoutMs: 2_000, ...more });
  return call;
}

test('1: no header of one call is in the next; after a new login the old token is not sent again', async () => {
  const fake = await startFakeVault(() => ({ body: {} }));
  const call = callsTo(fake.address);
  await call({ token: 'one' });
  await call({ token: 'two' });
  await call({ token: undefined });
  expect(tokensSeen(fake)).toEqual(['one', 'two', undefined]);

  const folder = mkdtempSync(join(tmpdir(), 'cambist-vault-faults-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const file = join(folder, 'sink');
  writeFileSync(file, 'of-the-first-login');
  fake.answer = ({ url }) => (url.endsWith('/lookup-self') ? lookupAnswer() : secretAnswer({ a: 'b' }));
  const adapter = openAdapter(fake, { login: { method: 'token_file', file } });
  expect(await adapter.read(GITHUB)).toMatchObject({ found: {} });
  writeFileSync(`${file}.new`, 'of-the-second-login');
  renameSync(`${file}.new`, file);
  // The file is looked at once a second.
  const tokenOfNext = async () => {
    await adapter.read(GITHUB);
    return tokensSeen(fake).at(-1);
  };
  await expect.poll(tokenOfNext, { timeout: 10_000 }).toBe('of-the-second-login');
  expect(await tokenOfNext()).toBe('of-the-second-login');
});

test('2: a token of 768 hours is renewed once a day, not in a loop, and not at all once closed', async () => {
  for (const seconds of [768 * 3600, 1e9, 2 ** 40]) expect(renewalDelayMs(seconds, 1)).toBeLessThan(2 ** 31);
  const fake = await startFakeVault(() => lookupAnswer(768 * 3600));
  const adapter = openAdapter(fake, { login: { method: 'token', token: 'long' } });
  await adapter.logIn();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await adapter.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(fake.asked.map(({ url }) => url)).toEqual(['/v1/auth/token/lookup-self']);
});

test('2: an error while a token is renewed does not end renewal', async () => {
  let renewals = 0;
  const fake = await startFakeVault(({ url }) => {
    if (!url.endsWith('renew-self')) return lookupAnswer(1);
    renewals += 1;
    // Three tries make one question.
    return renewals <= 3 ? { status: 500 } : { body: { auth: { lease_duration: 3600, renewable: true } } };
  });
  const adapter = openAdapter(fake, { login: { method: 'token', token: 'short' } });
  await adapter.logIn();
  await expect.poll(() => renewals, { timeout: 15_000, interval: 100 }).toBe(4);
});

test('3: the login of Kubernetes goes to the mount of the settings', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-vault-faults-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const file = join(folder, 'token');
  writeFileSync(file, 'projected.token.of-the-pod\n');
  const fake = await startFakeVault(() => loginAnswer('t'));
  for (const mount of ['kubernetes', 'clusters/west'])
    await openAdapter(fake, { login: { method: 'kubernetes', mount, role: 'cambist', file } }).logIn();
  expect(fake.asked.map(({ url }) => url)).toEqual(['/v1/auth/kubernetes/login', '/v1/auth/clusters/west/login']);
  expect(fake.asked[0]!.body).toEqual({ role: 'cambist', jwt: 'projected.token.of-the-pod' });
});

test('4: a token that is made for a lease does not take the place of our own', async () => {
  const fake = await startFakeVault(({ url }) => {
    if (url.endsWith('lookup-self')) return lookupAnswer();
    return url.endsWith('auth/token/create') ? loginAnswer('of-the-lease', { lease_duration: 60 }) : secretAnswer({});
  });
  const adapter = openAdapter(fake, { login: { method: 'token', token: 'ours' } });
  await adapter.openHolder(60);
  await adapter.read(GITHUB);
  expect(tokensSeen(fake)).toEqual(['ours', 'ours', 'ours']);
});

test('5: no path leads out of its place, and every segment is encoded', async () => {
  const fake = await startFakeVault(() => ({ body: {} }));
  const call = callsTo(fake.address);
  const leading = ['secret/data/../../sys/mounts', 'secret/data/a/..', './x', 'a//b', '/a', 'a/', 'a/...', ''];
  const odd = ['a?b=c', 'a#b', 'a%2e%2e/b', "a'b", 'a&b', 'a\\b', 'a b', 'a\nb', 'ä'];
  for (const path of [...leading, ...odd]) await expect(call({ path }), path).rejects.toThrow('could lead elsewhere');
  expect(fake.asked).toEqual([]);
  await call({ path: 'secret/data/user@corp/a:b=c+d~e' });
  expect(fake.asked[0]!.url).toBe('/v1/secret/data/user%40corp/a%3Ab%3Dc%2Bd~e');
});

test('6: a redirect is not followed, to no host and with no token', async () => {
  const elsewhere = await startFakeVault(() => secretAnswer({ token: 'of-somebody-else' }));
  const fake = await startFakeVault(() => ({ status: 307, headers: { location: `${elsewhere.address}/v1/x` } }));
  const call = callsTo(fake.address);
  await expect(call()).rejects.toMatchObject({ code: 'redirect' });
  expect(elsewhere.asked).toEqual([]);
});

test('6: the time of a call is kept, also where the answer drips or never ends', async () => {
  const fake = await startFakeVault(() => undefined);
  const startedMs = performance.now();
  await expect(callsTo(fake.address)({ timeoutMs: 200 })).rejects.toMatchObject({ code: 'timeout' });
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

/** What a process says that reads a secret with all that its environment can do to node-vault. */
function readInProcess(address: string, environment: Readonly<Record<string, string>>) {
  const module = new URL('../../dist/src/secrets/vault/calls.js', import.meta.url).href;
  const script = `
    const { createVaultCalls } = await import(${JSON.stringify(module)});
    const calls = createVaultCalls({ address: ${JSON.stringify(address)} });
    const answer = await calls.call({ method: 'POST', path: 'secret/data/x', body: { value: 'canary-sent' }, token: 'canary-token', timeoutMs: 2000 });
    console.log(answer.status);
    await calls.close();`;
  return new Promise<string>((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '-e', script],
      { env: { PATH: process.env['PATH'], ...environment } },
      (_, stdout, stderr) => {
        resolve(stdout + stderr);
      },
    );
  });
}

test('6 and 8: no proxy, token, namespace or prefix of the environment, and nothing that DEBUG prints', async () => {
  const proxy = await startFakeVault(() => secretAnswer({}));
  const fake = await startFakeVault(() => secretAnswer({ value: 'canary-received' }));
  const said = await readInProcess(fake.address, {
    ...Object.fromEntries(
      ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'ALL_PROXY'].map((name) => [name, proxy.address]),
    ),
    NODE_USE_ENV_PROXY: '1',
    VAULT_ADDR: proxy.address,
    VAULT_TOKEN: 'stray-token',
    VAULT_NAMESPACE: 'stray-namespace',
    VAULT_PREFIX: 'stray-prefix',
    DEBUG: '*',
    NODE_DEBUG: 'http',
  });
  expect(said).toMatch(/^200$/m);
  expect(said).not.toContain('canary');
  expect(proxy.asked).toEqual([]);
  expect(fake.asked).toHaveLength(1);
  expect(fake.asked[0]).toMatchObject({ url: '/v1/secret/data/x', body: { value: 'canary-sent' } });
  expect(JSON.stringify(fake.asked[0]!.headers)).not.toContain('stray');
});

test('7: every call has the namespace, logins, renewals and look-ups too, but for the state of the seal', async () => {
  const fake = await startFakeVault(({ url }) => {
    if (url.endsWith('/login')) return loginAnswer('t', { lease_duration: 1 });
    if (url.endsWith('renew-self')) return { body: { auth: { lease_duration: 3600, renewable: true } } };
    return url.endsWith('lookup-self') ? lookupAnswer() : secretAnswer({});
  });
  const login = { method: 'approle', mount: 'approle', roleId: 'r', secretId: { value: 's' }, secretIdWrapped: false };
  const adapter = openAdapter(fake, { login: { ...login, method: 'approle' }, namespace: 'team/a' });
  await adapter.read(GITHUB);
  await expect.poll(() => fake.asked.some(({ url }) => url.endsWith('renew-self')), { timeout: 5_000 }).toBe(true);
  await openAdapter(fake, { login: { method: 'token', token: 't' }, namespace: 'team/a' }).logIn();
  for (const { url, headers } of fake.asked) expect(headers['x-vault-namespace'], url).toBe('team/a');
  fake.asked.length = 0;
  await adapter.probe();
  expect(fake.asked[0]).toMatchObject({ url: '/v1/sys/seal-status' });
  expect(fake.asked[0]!.headers).not.toHaveProperty('x-vault-namespace');
});

test('9: 202 is an answer, and every call says that no web page sent it', async () => {
  const fake = await startFakeVault(() => ({ status: 202, body: { warnings: ['w'] } }));
  expect(await callsTo(fake.address)()).toMatchObject({ status: 202, body: { warnings: ['w'] } });
  expect(fake.asked[0]!.headers['x-vault-request']).toBe('true');
});
