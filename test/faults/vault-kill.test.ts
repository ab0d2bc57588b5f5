/**
 * F5 with a node that dies: killed (SIGKILL) in the middle of making leases for calls and fetches, again and again, beside
 * another node on the same PostgreSQL and the same Vault. What each step of a lease leaves behind is in
 * test/secrets/vault-leases.test.ts; here it is the whole service, and its books.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tokenOf } from '../http/asking.ts';
import { spawnCambist } from '../support/cambist.ts';
import type { SpawnedCambist } from '../support/cambist.ts';
import { withPostgres } from '../support/databases.ts';
import { claimsOf } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { createCaller, startVaultCompany } from '../support/vault-company.ts';
import type { VaultCompany } from '../support/vault-company.ts';
import { withVaultPlugin } from '../support/vault.ts';
import { disagreements, openBooks } from './ledger.ts';
import type { Seen } from './ledger.ts';

const KILLS = 3;
const WORKERS = 6;

withPostgres('a node on PostgreSQL', () => {
  withVaultPlugin('postgresql-database-plugin', 'and a real Vault', (start) => {
    test('killed while it makes leases: every answer has its record, and no lease is left', async () => {
      const vault = await start();
      const company = await startVaultCompany(vault);
      onTestFinished(() => company.stop());
      const exchanges: Seen[] = [];
      /** Request ids, in their order, for each worker at each node. */
      const answered: (readonly string[])[] = [];
      for (let kills = 0; kills < KILLS; kills += 1) {
        const node = await spawnBeside(company);
        const load = startLoad(company, node, exchanges);
        await expect.poll(() => load.answered.flat().length, { timeout: 30_000 }).toBeGreaterThan(20);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
        node.kill();
        await node.ended;
        answered.push(...(await load.ended));
      }
      expect((await company.roles()).length).toBeGreaterThan(0);

      await company.cambist.disable('client', 'server-a');
      // A minute passes before a lease that nobody finished making is taken for one of a dead node.
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await company.database.query("UPDATE lease SET created_at = created_at - interval '60 seconds'");
      await expect.poll(() => company.leases(), { timeout: 60_000, interval: 500 }).toEqual([]);
      const atVault = () =>
        vault.ask('GET', 'sys/leases/lookup/database/creds/cambist-orders?list=true', { token: vault.rootToken });
      await expect.poll(async () => (await atVault()).status, { timeout: 60_000, interval: 500 }).toBe(404);
      // Vault gives up what it was making when the connection broke, and can leave a role of which it knows nothing.
      const cutRequests = KILLS * WORKERS;
      expect((await company.roles()).length).toBeLessThanOrEqual(cutRequests);

      const books = await openBooks(company.cambist, exchanges);
      expect(disagreements(books)).toEqual([]);
      // A call that was answered is opened and closed. The record of its end follows the answer: the last one of a worker
      // may have been cut from it by the kill, as is the call of which no answer came; nobody is left to close those.
      const kindsOf = (id: string) => (books.records.get(id) ?? []).map(({ kind }) => kind).join(', ');
      for (const calls of answered) {
        for (const call of calls.slice(0, -1)) expect(kindsOf(call)).toBe('opened, closed');
        for (const call of calls.slice(-1)) expect(['opened', 'opened, closed']).toContain(kindsOf(call));
      }
      const unclosed = [...books.records.keys()].filter((id) => kindsOf(id) === 'opened');
      expect(unclosed.length).toBeLessThanOrEqual(KILLS * WORKERS);
    }, 180_000);
  });
});

/** Another node of the same service, as a process of its own. */
async function spawnBeside({ settings, cluster, cambist }: VaultCompany): Promise<SpawnedCambist> {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-vault-kill-'));
  const { login } = settings;
  if (login.method !== 'approle' || !('value' in login.secretId)) throw new Error('the company logs in by AppRole');
  const config = join(folder, 'cambist.yaml');
  writeFileSync(
    config,
    JSON.stringify({
      vault: {
        address: settings.address,
        lease_token_role: settings.leaseTokenRole,
        login: { method: 'approle', role_id: login.roleId },
      },
      limits: { subject_per_minute: null, client_per_minute: null },
    }),
  );
  const node = await spawnCambist({
    databaseUrl: cluster.url,
    issuer: cambist.issuer,
    folder,
    env: { CAMBIST_CONFIG: config, CAMBIST_VAULT_SECRET_ID: login.secretId.value, CAMBIST_LOG_LEVEL: 'warn' },
  });
  onTestFinished(() => {
    node.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  return node;
}

/** Works at one node until it is gone. */
function startLoad({ cambist, corp }: VaultCompany, node: SpawnedCambist, exchanges: Seen[]) {
  const caller = createCaller(
    { url: node.url, issuer: cambist.issuer, secretOf: (client) => cambist.secretOf(client) },
    corp,
  );
  const answered = Array.from({ length: WORKERS }, (): string[] => []);

  async function noted(asked: Promise<TokenAnswer>): Promise<string> {
    let answer: TokenAnswer;
    try {
      answer = await asked;
    } catch (error) {
      exchanges.push({ outcome: 'cut', requestId: undefined, jti: undefined });
      throw error;
    }
    const requestId = answer.headers.get('cambist-request-id') ?? undefined;
    const { jti } = claimsOf(tokenOf(answer)) as { jti?: string };
    exchanges.push({ outcome: 'issued', requestId, jti });
    return String(answer.body.access_token);
  }

  async function work(own: string[], number: number): Promise<void> {
    try {
      const received = await noted(caller.received(`person-${number}`));
      for (;;) {
        await noted(caller.fetch(received, 'orders'));
        const token = await noted(caller.hop(received, 'orders'));
        const answer = await caller.call(token, 'orders').catch(() => undefined);
        if (answer === undefined || answer.cut) continue;
        if (answer.status === 200) own.push(answer.requestId);
        else throw new Error(`${answer.status} ${answer.body.toString()}`);
      }
    } catch (error) {
      // It is gone.
      if (!/fetch failed|terminated|other side closed/.test(String(error))) throw error;
    }
  }

  const ended = Promise.all(answered.map(work)).then(() => answered);
  // Looked at by the test once the node is gone.
  ended.catch(() => undefined);
  return { answered, ended };
}
