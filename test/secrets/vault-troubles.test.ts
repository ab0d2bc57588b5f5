/**
 * A Vault that does not do its part: which trouble is told apart from which, what is tried again and how often, and that
 * nothing of it holds a request for longer than its time. What a real Vault can be brought to is in the other files of
 * this folder; here is what it cannot.
 */
import { expect, test } from 'vitest';
import { CATALOGUE } from '../../src/core/telemetry/catalogue.ts';
import { VAULT_FAULTS } from '../../src/secrets/vault/fault.ts';
import type { VaultFaultCode } from '../../src/secrets/vault/fault.ts';
import { loginAnswer, lookupAnswer, secretAnswer, startFakeVault } from '../support/fake-vault.ts';
import type { Answering, FakeAnswer, FakeVault } from '../support/fake-vault.ts';
import { openAdapter } from '../support/vault-adapter.ts';

test('metrics know every trouble by its code', () => {
  expect(CATALOGUE.vaultDuration.labels.outcome).toEqual(expect.arrayContaining(Object.keys(VAULT_FAULTS)));
});

const PLACE = { mount: undefined, path: 'github' };

/** Logged in already; `answer` is for everything else. */
async function troubled(answer: Answering, more: { timeoutMs?: number } = {}) {
  const fake = await startFakeVault((asked) => (asked.url.endsWith('/lookup-self') ? lookupAnswer() : answer(asked)));
  const outcomes: string[] = [];
  const adapter = openAdapter(
    fake,
    { login: { method: 'token', token: 't' }, ...more },
    { onAnswer: (outcome) => outcomes.push(outcome) },
  );
  await adapter.logIn();
  fake.asked.length = 0;
  outcomes.length = 0;
  return { fake, adapter, outcomes };
}

const errors = (...texts: string[]) => ({ errors: texts });

test.each<[string, FakeAnswer, VaultFaultCode, number]>([
  ['sealed', { status: 503, body: errors('Vault is sealed') }, 'sealed', 1],
  ['not initialized', { status: 501 }, 'uninitialized', 1],
  [
    'a standby that knows no active node',
    { status: 500, body: errors('local node not active but active cluster node not found') },
    'no_active_node',
    3,
  ],
  ['a standby that sends us elsewhere', { status: 307, headers: { location: 'http://127.0.0.1:1/' } }, 'redirect', 1],
  ['a performance replica', { status: 472 }, 'failing', 3],
  ['a replica that is behind', { status: 412 }, 'failing', 3],
  ['a rate limit', { status: 429, body: errors('request path: rate limit quota exceeded') }, 'rate_limited', 3],
  [
    'a mount that is upgrading to KV v2',
    { status: 400, body: errors('Upgrading from non-versioned to versioned data. This backend will be unavailable.') },
    'upgrading',
    3,
  ],
  ['an error of its own', { status: 500, body: errors('1 error occurred') }, 'failing', 3],
  ['a page of the proxy in front', { status: 502, body: '<html>Bad Gateway</html>' }, 'failing', 3],
  ['what is no JSON', { status: 200, body: '<html>Welcome</html>' }, 'not_json', 3],
  ['an answer without bounds', { status: 200, body: { a: 'x'.repeat(2_200_000) } }, 'too_large', 1],
  ['a status of nobody', { status: 418 }, 'odd_answer', 1],
])('%s: its own reason, and tried as often as makes sense', async (_, answer, code, tries) => {
  const { fake, adapter, outcomes } = await troubled(() => answer);
  await expect(adapter.read(PLACE)).rejects.toMatchObject({ name: 'VaultUnavailable', dependency: 'vault', code });
  expect(fake.asked).toHaveLength(tries);
  expect(outcomes).toEqual(Array.from({ length: tries }, () => code));
  expect(adapter.state().trouble).toEqual(expect.any(String));
});

test('what passes in a moment is not seen by who asks', async () => {
  for (const answer of [
    { status: 500 },
    { status: 429 },
    { status: 400, body: errors('Upgrading from non-versioned to versioned data.') },
  ]) {
    const { fake, adapter } = await troubled(() => (fake.asked.length < 3 ? answer : secretAnswer({ a: 'b' })));
    expect(await adapter.read(PLACE)).toMatchObject({ found: { fields: { a: 'b' } } });
    expect(adapter.state().trouble).toBeUndefined();
  }
});

test('a rate limit says when to come again: not before, and not at all where that is too late', async () => {
  const limited = (seconds: number) => ({ status: 429, headers: { 'retry-after': String(seconds) } });
  const patient = await troubled(({ url }) =>
    url !== '' && patient.fake.asked.length === 1 ? limited(1) : secretAnswer({ a: 'b' }),
  );
  const startedMs = performance.now();
  expect(await patient.adapter.read(PLACE)).toMatchObject({ found: {} });
  expect(performance.now() - startedMs).toBeGreaterThan(990);
  const hasty = await troubled(() => limited(30));
  await expect(hasty.adapter.read(PLACE)).rejects.toMatchObject({ code: 'rate_limited' });
  expect(hasty.fake.asked).toHaveLength(1);
});

test('tries of different requests do not come at the same moments', async () => {
  const arrivals = new Map<string, number[]>();
  const { adapter } = await troubled(({ url }) => {
    arrivals.set(url, [...(arrivals.get(url) ?? []), performance.now()]);
    return { status: 429 };
  });
  await Promise.allSettled(Array.from({ length: 12 }, (_, at) => adapter.read({ mount: undefined, path: `s-${at}` })));
  const pauses = [...arrivals.values()].map(([first = 0, second = 0]) => second - first);
  expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(50);
  expect(Math.min(...pauses)).toBeGreaterThan(200);
});

test('a login that is refused is not tried again by each request, and is tried again a second later', async () => {
  let refusing = true;
  const fake = await startFakeVault(({ url }) => {
    if (!url.endsWith('/login')) return secretAnswer({ a: 'b' });
    return refusing ? { status: 400, body: errors('invalid role or secret ID') } : loginAnswer('t');
  });
  const secretId = { value: 's' };
  const adapter = openAdapter(fake, {
    login: { method: 'approle', mount: 'approle', roleId: 'r', secretId, secretIdWrapped: false },
  });
  for (let requests = 0; requests < 20; requests += 1)
    await expect(adapter.read(PLACE)).rejects.toThrow('auth/approle/login: invalid role or secret ID');
  expect(fake.asked).toHaveLength(1);
  refusing = false;
  await expect
    .poll(() => adapter.read(PLACE).catch(() => undefined), { timeout: 10_000, interval: 100 })
    .toMatchObject({ found: {} });
  expect(fake.asked).toHaveLength(3);
});

test('a login that cannot be renewed any more is replaced, once for all leases that wait, and Vault counts as well', async () => {
  let logins = 0;
  const fake = await startFakeVault(({ url }) => {
    // As Vault says it of a token whose maximum is over.
    if (url.endsWith('renew-self')) return { status: 500, body: errors('1 error: past the max TTL, cannot renew') };
    if (url.endsWith('/create')) return loginAnswer('holder', { lease_duration: 100 });
    logins += 1;
    return loginAnswer(`t-${logins}`, { lease_duration: logins === 1 ? 100 : 3600 });
  });
  const secretId = { value: 's' };
  const login = { method: 'approle', mount: 'approle', roleId: 'r', secretId, secretIdWrapped: false } as const;
  const adapter = openAdapter(fake, { login });
  await adapter.openHolder(99);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await Promise.all(Array.from({ length: 20 }, () => adapter.openHolder(99)));
  expect(fake.asked.filter(({ url }) => url.endsWith('renew-self'))).toHaveLength(1);
  expect(logins).toBe(2);
  expect(adapter.state()).toMatchObject({ breaker: 'closed', trouble: undefined });
});

test('a lease whose token is an orphan asks no more of the login than that it is alive', async () => {
  const fake = await startFakeVault(({ url }) =>
    url.includes('/create') ? loginAnswer('holder', { lease_duration: 600 }) : loginAnswer('t', { lease_duration: 60 }),
  );
  const login = { method: 'jwt', mount: 'k', role: 'r', audience: 'a' } as const;
  const mint = () => Promise.resolve('a.b.c');
  const adapter = openAdapter(fake, { login, leaseTokenRole: 'cambist-lease' }, { mint });
  for (let leases = 0; leases < 5; leases += 1) await adapter.openHolder(600);
  expect(fake.asked.map(({ url }) => url)).toEqual([
    '/v1/auth/k/login',
    ...Array.from({ length: 5 }, () => '/v1/auth/token/create/cambist-lease'),
  ]);
});

test('slow: every question ends within its time, and after five in a row the next ones at once', async () => {
  const { fake, adapter } = await troubled(() => undefined, { timeoutMs: 400 });
  const timed = async () => {
    const startedMs = performance.now();
    const error = await adapter.read(PLACE).then(
      () => undefined,
      (reason: unknown) => reason as { code: string },
    );
    return { code: error?.code, ms: performance.now() - startedMs };
  };
  for (let questions = 0; questions < 3; questions += 1) expect((await timed()).ms).toBeLessThan(5_000);
  const asked = fake.asked.length;
  const resting = await Promise.all(Array.from({ length: 20 }, timed));
  for (const { code } of resting) expect(code).toBe('resting');
  expect(fake.asked).toHaveLength(asked);
  expect(adapter.state()).toMatchObject({ breaker: 'open' });
});

test('a Vault that is back is found within seconds', async () => {
  const { fake, adapter } = await troubled(() => ({ status: 500 }));
  for (let questions = 0; questions < 2; questions += 1) await expect(adapter.read(PLACE)).rejects.toThrow();
  fake.answer = () => secretAnswer({ a: 'b' });
  fake.asked.length = 0;
  await expect
    .poll(() => Promise.all(Array.from({ length: 10 }, () => adapter.read(PLACE).catch(() => undefined))), {
      timeout: 5_000,
      interval: 50,
    })
    .toContainEqual({ found: { version: 1, fields: { a: 'b' }, tags: {} } });
  expect(adapter.state().breaker).toBe('closed');
});

test('a lease is asked for once, whatever becomes of the answer: another try might make a second one', async () => {
  const { fake, adapter } = await troubled(({ url }) =>
    url.endsWith('/create') ? loginAnswer('holder', { lease_duration: 60 }) : { status: 500 },
  );
  const holder = await adapter.openHolder(60);
  fake.asked.length = 0;
  await expect(holder.lease('database/creds/app')).rejects.toMatchObject({ code: 'failing' });
  expect(fake.asked).toHaveLength(1);
});

test('a connection that is cut in the middle is unreachable, by its code alone', async () => {
  const { createServer } = await import('node:net');
  const server = createServer((socket) => socket.once('data', () => socket.destroy())).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const cut: Pick<FakeVault, 'address'> = { address: `http://127.0.0.1:${port}` };
  const adapter = openAdapter(cut, { login: { method: 'token', token: 'canary-token' }, timeoutMs: 600 });
  const error = await adapter.logIn().catch((reason: unknown) => reason as Error);
  server.close();
  expect(error).toMatchObject({ code: 'unreachable' });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('canary');
});
