/**
 * F5: a real Vault that is sealed, forgets our token, loses leases and rotates keys while a whole service is under load:
 * exchanges, calls through the egress with every kind of credential, fetches. Nothing hangs, nothing stale is used, the
 * books agree, and no lease is left.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { tokenOf } from '../http/asking.ts';
import { withPostgres } from '../support/databases.ts';
import { parseExposition } from '../support/exposition.ts';
import { claimsOf } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { createCaller, startVaultCompany, UPSTREAMS } from '../support/vault-company.ts';
import type { UpstreamName, VaultCompany } from '../support/vault-company.ts';
import { withVaultPlugin } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { disagreements, disagreementsOfCalls, openBooks } from './ledger.ts';
import type { Seen, SeenCall } from './ledger.ts';

const WORKERS = 6;
/** The time of one question, and what an exchange and a call may take beside it on a busy machine. */
const LONGEST_MS = 3_000 + 7_000;

interface Attempt extends SeenCall {
  readonly upstream: UpstreamName;
  readonly atMs: number;
  readonly tookMs: number;
  readonly retryAfter: string | undefined;
}

withPostgres('a whole service on PostgreSQL', () => {
  withVaultPlugin('postgresql-database-plugin', 'and a Vault that fails under load', declare);
});

function declare(start: () => Promise<TestVault>): void {
  let vault: TestVault;
  let company: VaultCompany;
  let caller: ReturnType<typeof createCaller>;
  const log: string[] = [];
  /** Of all tests together: the books are of one service. */
  const exchanges: Seen[] = [];
  const calls: Attempt[] = [];

  beforeAll(async () => {
    vault = await start();
    const logger = createLogger('info', { write: (line: string) => log.push(line) });
    company = await startVaultCompany(vault, { logger });
    caller = createCaller(company.cambist, company.corp);
  });
  afterAll(() => company.stop());

  function note(answer: TokenAnswer): TokenAnswer {
    const requestId = answer.headers.get('cambist-request-id') ?? undefined;
    const { jti } = claimsOf(String(answer.body.access_token)) as { jti?: string };
    const outcome = answer.status === 200 ? 'issued' : answer.status === 503 ? 'unavailable' : 'other';
    exchanges.push({ outcome, requestId, jti: answer.status === 200 ? jti : undefined, detail: answer.text });
    return answer;
  }

  /** Exchange, then call; now and then a fetch, whose answer is noted like an exchange. */
  async function once(received: string, round: number): Promise<void> {
    const upstream = UPSTREAMS[round % UPSTREAMS.length] ?? 'github';
    if (round % 7 === 6 && upstream !== 'github') {
      note(await caller.fetch(received, upstream));
      return;
    }
    const hop = note(await caller.hop(received, upstream));
    const token = tokenOf(hop);
    const atMs = performance.now();
    const { status, requestId, headers } = await caller.call(token, upstream);
    const tookMs = performance.now() - atMs;
    calls.push({ upstream, status, requestId, atMs, tookMs, retryAfter: headers['retry-after'] });
  }

  /** Works until `during` is over; what was called meanwhile. */
  async function underLoad(during: () => Promise<void>): Promise<readonly Attempt[]> {
    const [begin, beginExchanges] = [calls.length, exchanges.length];
    let running = true;
    const worker = async (number: number) => {
      const received = tokenOf(note(await caller.received(`person-${number}`)));
      for (let round = number; running; round += 1) {
        await once(received, round);
        await pause(40);
      }
    };
    const workers = Promise.all(Array.from({ length: WORKERS }, (_, number) => worker(number)));
    try {
      await Promise.race([Promise.all([pause(500), during()]), workers]);
    } finally {
      running = false;
      await workers;
    }
    for (const { outcome, detail } of exchanges.slice(beginExchanges)) expect(outcome, detail).not.toBe('other');
    return calls.slice(begin);
  }

  const untilAllWork = async (sinceMs: number) => {
    for (const name of UPSTREAMS)
      await expect
        .poll(() => calls.some((one) => one.upstream === name && one.atMs > sinceMs && one.status === 200), {
          timeout: 60_000,
          interval: 100,
        })
        .toBe(true);
  };
  const statusesOf = (attempts: readonly Attempt[]) => [...new Set(attempts.map(({ status }) => status))].sort();
  /** Of calls that were not answered by the upstream, in the words of the log. */
  const reasonsOf = (attempts: readonly Attempt[]) =>
    attempts.flatMap(({ status, requestId }) =>
      status === 200 ? [] : [log.find((line) => line.includes(requestId)) ?? `${status} without a line`],
    );
  const readyz = async () => (await (await fetch(`${company.cambist.adminUrl}/readyz`)).json()) as object;

  test('sealed: refused at once with the reason, nothing stale is used, and all works again after the unseal', async () => {
    let [sealedMs, unsealingMs] = [0, 0];
    const attempts = await underLoad(async () => {
      await pause(1_000);
      await vault.root('PUT', 'sys/seal');
      sealedMs = performance.now();
      await expect
        .poll(readyz, { timeout: 15_000 })
        .toEqual({ status: 'ready', degraded: [{ name: 'vault', reason: 'is sealed' }] });
      // Longer than a key is kept.
      await pause(Math.max(0, sealedMs + 8_000 - performance.now()));
      unsealingMs = performance.now();
      await vault.ask('PUT', 'sys/unseal', { body: { key: vault.unsealKey } });
      await untilAllWork(performance.now());
      await pause(500);
    });
    expect(statusesOf(attempts)).toEqual([200, 503]);
    for (const { tookMs } of attempts) expect(tookMs).toBeLessThan(LONGEST_MS);

    // A lease at once, a key after the seconds that it is kept: not one call more. A token of an upstream is no secret of
    // Vault, but the secret that it was had with is read anew as well.
    const while_ = (upstream: UpstreamName, afterMs: number) =>
      attempts.filter(
        (one) => one.upstream === upstream && one.atMs > sealedMs + afterMs && one.atMs + one.tookMs < unsealingMs,
      );
    for (const [upstream, afterMs] of [
      ['orders', 100],
      ['github', 5_100],
      ['calendar', 5_100],
    ] as const) {
      expect(while_(upstream, afterMs).length, upstream).toBeGreaterThan(0);
      expect(statusesOf(while_(upstream, afterMs)), upstream).toEqual([503]);
    }
    const refused = attempts.filter(({ status }) => status === 503);
    for (const { requestId, retryAfter } of refused) {
      expect(Number(retryAfter)).toBeGreaterThan(0);
      const line = log.find((one) => one.includes(requestId)) ?? '';
      expect(line).toContain('"dependency":"vault"');
      expect(line).toMatch(/is sealed|left alone for a moment \(sealed\)/);
    }
    await expect.poll(readyz, { timeout: 15_000 }).toEqual({ status: 'ready' });
    const numbers = parseExposition(await (await fetch(`${company.cambist.adminUrl}/metrics`)).text());
    expect(numbers.value('cambist_vault_duration_seconds_count', { outcome: 'sealed' })).toBeGreaterThan(0);
    expect(numbers.value('cambist_egress_calls_total', { outcome: 'failed', reason: 'vault' })).toBe(refused.length);
    expect(numbers.value('cambist_vault_breaker', { state: 'closed' })).toBe(1);
  }, 120_000);

  test('our token revoked: one new login, and no call fails; leases that are alive go on', async () => {
    const logins = () => log.filter((line) => line.includes('logged in to vault')).length;
    let [before, roles] = [0, 0];
    const attempts = await underLoad(async () => {
      await pause(500);
      before = logins();
      roles = (await company.roles()).length;
      for (const accessor of await tokensOfCambist(vault))
        await vault.root('POST', 'auth/token/revoke-accessor', { accessor });
      await expect.poll(logins, { timeout: 10_000 }).toBe(before + 1);
      const sinceMs = performance.now();
      await untilAllWork(sinceMs);
      // None of them was a child of the token.
      expect((await company.roles()).length).toBeGreaterThanOrEqual(roles);
    });
    expect(reasonsOf(attempts)).toEqual([]);
    expect(logins()).toBe(before + 1);
  });

  test('our token expires again and again: renewed, then replaced at its maximum, and no call fails', async () => {
    const role = (life: object) =>
      vault.root('POST', 'auth/approle/role/cambist', { token_policies: ['cambist'], ...life });
    const revokeAll = async () => {
      for (const accessor of await tokensOfCambist(vault))
        await vault.root('POST', 'auth/token/revoke-accessor', { accessor });
    };
    // Two that died within seconds would be taken for a Vault whose tokens are all dead.
    await pause(5_000);
    await role({ token_ttl: '2s', token_max_ttl: '5s' });
    const attempts = await underLoad(async () => {
      await revokeAll();
      await pause(12_000);
    });
    expect(reasonsOf(attempts)).toEqual([]);
    await role({ token_ttl: '20m', token_max_ttl: '24h' });
    await pause(5_000);
    await revokeAll();
  }, 60_000);

  test('leases revoked underneath: a call gets a new one and is repeated, so no caller sees it', async () => {
    // A token that has its lease already, and uses it again and again.
    const received = tokenOf(note(await caller.received('holder')));
    const token = tokenOf(note(await caller.hop(received, 'orders')));
    const call = async () => {
      const atMs = performance.now();
      const { status, requestId, headers } = await caller.call(token, 'orders');
      const tookMs = performance.now() - atMs;
      calls.push({ upstream: 'orders', status, requestId, atMs, tookMs, retryAfter: headers['retry-after'] });
      return { status, requestId };
    };
    expect((await call()).status).toBe(200);
    let after: Awaited<ReturnType<typeof call>> | undefined;
    const attempts = await underLoad(async () => {
      await pause(300);
      await vault.root('PUT', 'sys/leases/revoke-prefix/database/creds/cambist-orders');
      await pause(200);
      after = await call();
      await untilAllWork(performance.now());
    });
    expect(after?.status).toBe(200);
    const closed = (await company.cambist.records(after?.requestId ?? '')).find(({ body }) => body.kind === 'closed');
    expect(closed?.body).toMatchObject({ repeated: true, status: 200 });
    expect(reasonsOf(attempts)).toEqual([]);
  });

  test('a key that is rotated is used within the seconds of the cache; where the old one is dead, at the next call', async () => {
    let [graceMs, lastMs, deadMs, version] = [0, 0, 0, 0];
    const attempts = await underLoad(async () => {
      // Both are good for a while, as vendors do it.
      company.keys.add('key-2');
      await company.rotate('key-2');
      graceMs = performance.now();
      await pause(6_000);
      // And one that is dead at once.
      lastMs = performance.now();
      company.keys.add('key-3');
      version = await company.rotate('key-3');
      company.keys.clear();
      company.keys.add('key-3');
      deadMs = performance.now();
      await untilAllWork(deadMs);
    });
    expect(reasonsOf(attempts)).toEqual([]);
    const versions = async (fromMs: number, toMs: number) => {
      const found = attempts.filter(
        ({ upstream, atMs, tookMs }) => upstream === 'github' && atMs > fromMs && atMs + tookMs < toMs,
      );
      expect(found.length).toBeGreaterThan(0);
      const records = await Promise.all(found.map(({ requestId }) => company.cambist.records(requestId)));
      const closed = records.flat().filter(({ body }) => body.kind === 'closed');
      return new Set(closed.map(({ body }) => (body as { credential?: { version: string } }).credential?.version));
    };
    expect(await versions(graceMs + 5_000, lastMs)).toEqual(new Set([String(version - 1)]));
    expect(await versions(deadMs, Infinity)).toEqual(new Set([String(version)]));
  });

  test('in the end the books agree, and no lease is left', async () => {
    await company.cambist.disable('client', 'server-a');
    await expect.poll(() => company.leases(), { timeout: 60_000, interval: 500 }).toEqual([]);
    await expect.poll(() => company.roles(), { timeout: 20_000, interval: 500 }).toEqual([]);
    const books = await openBooks(company.cambist, exchanges);
    expect(disagreements(books)).toEqual([]);
    expect(disagreementsOfCalls(books, calls)).toEqual([]);
    expect(calls.filter(({ status }) => status === 200).length).toBeGreaterThan(100);
    // Tokens and leases of Vault, keys, the secret of a client: in no line of the log, in no record.
    const recorded = [...books.records.values()].map((own) => JSON.stringify(own)).join('\n');
    for (const [where, text] of [
      ['the log', log.join('\n')],
      ['the records', recorded],
    ] as const)
      expect(
        text.match(/hvs\.|key-\d|calendar-client-secret|calendar-token|"password":"[A-Za-z0-9]/g),
        where,
      ).toBeNull();
  }, 120_000);
}

async function tokensOfCambist(vault: TestVault): Promise<string[]> {
  const { data } = (await vault.root('GET', 'auth/token/accessors?list=true')) as { data: { keys: string[] } };
  const found: string[] = [];
  for (const accessor of data.keys) {
    const { body } = await vault.ask('POST', 'auth/token/lookup-accessor', {
      token: vault.rootToken,
      body: { accessor },
    });
    if ((body['data'] as { path?: string } | undefined)?.path === 'auth/approle/login') found.push(accessor);
  }
  return found;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
