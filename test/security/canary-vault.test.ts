/**
 * Nothing that a real Vault says comes out of the built program: whatever Vault answered or was shown (its audit device
 * tells it unhashed) is searched for in everything that comes out, through calls, fetches, and a Vault that is slow, sealed,
 * that forbids, that forgot us, or that lacks what it is asked for.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createStageCaller } from '../support/canary/caller.ts';
import type { StageCaller } from '../support/canary/caller.ts';
import { createCanaries } from '../support/canary/canaries.ts';
import { BEHAVIOURS, startEchoingUpstream } from '../support/canary/echoing-upstream.ts';
import { startStage } from '../support/canary/stage.ts';
import type { Stage } from '../support/canary/stage.ts';
import { startEchoingTokenEndpoint } from '../support/canary/token-endpoint.ts';
import type { EchoingTokenEndpoint } from '../support/canary/token-endpoint.ts';
import { withPostgres } from '../support/databases.ts';
import type { TestUpstream } from '../support/egress.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { startPostgres } from '../support/postgres-cluster.ts';
import type { PostgresCluster } from '../support/postgres-cluster.ts';
import { ALPHA, objectsOf, prepareVault, UPSTREAMS } from '../support/vault-company.ts';
import { withVaultPlugin } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';
import { startWireTap } from '../support/wire-tap.ts';
import type { WireTap } from '../support/wire-tap.ts';

withPostgres('canaries in the built program', () => {
  withVaultPlugin('postgresql-database-plugin', 'with a real Vault', (start) => {
    const canaries = createCanaries();
    const github = canaries.make('key github');
    const calendar = canaries.make('client secret calendar');
    let vault: TestVault;
    /** Between Cambist and Vault. */
    let wire: WireTap;
    let orders: PostgresCluster;
    let corp: JwksIssuer;
    let api: TestUpstream;
    let tokens: EchoingTokenEndpoint;
    let stage: Stage;
    let caller: StageCaller;
    let accessToken = '';
    /** What became of things, for a look at whether there was anything to leak. */
    const statuses: Record<string, number[]> = {};
    let said: string[] = [];
    const called: string[] = [];
    const folder = mkdtempSync(join(tmpdir(), 'cambist-canary-vault-'));
    const auditLog = join(folder, 'audit.log');

    beforeAll(async () => {
      vault = await start();
      [orders, corp, wire] = await Promise.all([startPostgres(), startJwksIssuer(), startWireTap()]);
      wire.leadTo(Number(new URL(vault.address).port));
      api = await startEchoingUpstream((name) =>
        name === 'github' ? github : name === 'calendar' ? accessToken : passwordSentTo(api),
      );
      tokens = await startEchoingTokenEndpoint(() => (accessToken = canaries.make('access token')), calendar);
      await vault.root('PUT', 'sys/audit/file', { type: 'file', options: { file_path: auditLog, log_raw: 'true' } });
      await begin();
      const received = await caller.received(ALPHA);
      await callEverything(received);
      await troubles(received);
      await commands();
      // For the last export of spans and numbers.
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await stage.gather();
      said = plantWhatVaultSaid();
    }, 240_000);
    afterAll(async () => {
      await Promise.all([stage.stop(), orders.stop(), corp.stop(), api.stop(), tokens.stop(), wire.stop()]);
      await vault.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    async function begin(): Promise<void> {
      const { login } = await prepareVault(vault, orders, { github, calendar });
      if (login.method !== 'approle' || !('value' in login.secretId)) throw new Error('the company logs in by AppRole');
      canaries.plant('AppRole secret id', login.secretId.value);
      const config = join(folder, 'cambist.yaml');
      const section = { login: { method: 'approle', role_id: login.roleId }, lease_token_role: 'cambist-lease' };
      writeFileSync(config, JSON.stringify({ vault: { ...section, timeout_ms: 1000 } }));
      stage = await startStage(canaries, {
        VAULT_ADDR: wire.url,
        CAMBIST_VAULT_SECRET_ID: login.secretId.value,
        CAMBIST_CONFIG: config,
      });
      const objects = JSON.parse(objectsOf(corp.issuer, api.url, `${tokens.url}/good`)) as { upstreams: object[] };
      const upstreams = objects.upstreams.map((one) => ({ ...one, timeout_ms: 400, idle_timeout_ms: 400 }));
      stage.ownFile('objects.json', JSON.stringify({ ...objects, upstreams }));
      expect(await stage.command('apply -f objects.json')).toMatchObject({ code: 0 });
      caller = await createStageCaller(stage, corp);
    }

    const call = async (received: string, name: string, path: string) => {
      const { status, headers } = await caller.call(received, name, path);
      (statuses[name] ??= []).push(status);
      if (path === 'echo') called.push(String(headers['cambist-request-id']));
    };
    const fetchAll = (received: string) => Promise.all(UPSTREAMS.map((name) => caller.fetch(received, name)));

    async function callEverything(received: string): Promise<void> {
      await Promise.all(
        UPSTREAMS.map(async (name) => {
          for (const behaviour of BEHAVIOURS) await call(received, name, behaviour);
        }),
      );
      const [fetchedKey, lease, token] = await fetchAll(received);
      expect([fetchedKey?.status, lease?.status, token?.status]).toEqual([400, 200, 200]);
    }

    async function troubles(received: string): Promise<void> {
      const again = async (trouble: string) => {
        for (const name of UPSTREAMS) {
          const { status } = await caller.call(received, name, 'fine');
          (statuses[trouble] ??= []).push(status);
        }
        await fetchAll(received);
        await stage.command('doctor');
      };
      // What is kept for a few seconds must be over each time.
      const forgotten = () => new Promise((resolve) => setTimeout(resolve, 5_500));
      await forgotten();
      const letGo = wire.holdAnswers();
      await again('slow');
      // What was asked for is answered now, when nobody waits for it any more.
      letGo();
      while ((await caller.call(received, 'github', 'fine')).status !== 200)
        await new Promise((next) => setTimeout(next, 500));
      await forgotten();
      await vault.root('PUT', 'sys/seal');
      await again('sealed');
      await vault.ask('PUT', 'sys/unseal', { body: { key: vault.unsealKey } });
      while ((await vault.ask('GET', 'sys/health')).status !== 200) await new Promise((next) => setTimeout(next, 50));
      await forgotten();
      await vault.root('DELETE', 'secret/metadata/upstreams/github');
      await vault.root('POST', 'secret/data/upstreams/calendar', { data: { another: canaries.make('other field') } });
      await vault.root('PUT', 'sys/policies/acl/cambist-lease', { policy: '# nothing' });
      await again('lacking');
      await forgotten();
      await vault.root('PUT', 'sys/policies/acl/cambist', { policy: '# nothing' });
      await again('forbidden');
    }

    async function commands(): Promise<void> {
      for (const path of ['/metrics', '/readyz'])
        await stage.sinks.ask('answers of the admin listener', `${stage.cambist.adminUrl}${path}`);
      const planted = canaries.make('wrong secret id');
      const lines = ['export', 'upstream show github', '--json doctor', 'backup --out backup.gz'];
      lines.push(...called.map((id) => `explain ${id}`));
      await Promise.all(lines.map((line) => stage.command(line)));
      const withWrong = { env: { CAMBIST_VAULT_SECRET_ID: planted } };
      await Promise.all(['doctor', '--json doctor', 'secret list'].map((line) => stage.command(line, withWrong)));
    }

    /** Tokens, secret ids, passwords and values, each where Vault's audit device says that it went by. */
    function plantWhatVaultSaid(): string[] {
      const lines = readFileSync(auditLog, 'utf8').trim().split('\n');
      const found = new Set<string>();
      for (const line of lines)
        JSON.stringify(JSON.parse(line), (key, value: unknown) => {
          if (/^(client_token|password|secret_id|token)$/.test(key) && typeof value === 'string' && value.length >= 12)
            found.add(value);
          return value;
        });
      found.delete(github);
      for (const [index, secret] of [...found].entries()) canaries.plant(`said by Vault ${index}`, secret);
      return [...found];
    }

    it('the ground is what it should be: credentials arrived, troubles came, Vault told much', () => {
      const arrived = canaries.found(JSON.stringify(api.arrived.map(({ url, headers }) => [url, headers])));
      for (const name of ['key github (', 'access token (', 'said by Vault'])
        expect(arrived).toContainEqual(expect.stringContaining(name));
      for (const name of UPSTREAMS)
        expect(new Set(statuses[name]), name).toEqual(new Set([200, 302, 401, 403, 500, 502, 503, 504]));
      // What has no right to make a lease is told from a lease that Vault refuses: that is a fault of the whole Cambist.
      expect(statuses).toMatchObject({
        slow: [503, 503, 503],
        sealed: [503, 503, 503],
        lacking: [502, 502, 502],
        forbidden: [502, 503, 502],
      });
      expect(said.length).toBeGreaterThan(10);
      expect(said.some((secret) => secret.startsWith('hvs.'))).toBe(true);
    });

    it('no secret comes out anywhere', () => {
      expect(stage.sinks.leaks()).toEqual([]);
    });
  });
});

/** Of the Basic pair that came last. */
function passwordSentTo(api: TestUpstream): string {
  const [authorization = ''] =
    api.arrived.findLast(({ url }) => url.startsWith('/orders/'))?.headers['authorization'] ?? [];
  return Buffer.from(authorization.replace(/^Basic /, ''), 'base64')
    .toString()
    .replace(/^[^:]*:/, '');
}
