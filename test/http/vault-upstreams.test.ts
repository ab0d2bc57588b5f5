/** The whole service with a real Vault: every kind of credential, injected and fetched, with the policies of deploy/vault. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { withPostgres } from '../support/databases.ts';
import { closedRecord } from '../support/egress.ts';
import { tokenOf } from './asking.ts';
import { createCaller, logsIn, startVaultCompany } from '../support/vault-company.ts';
import type { UpstreamName, VaultCompany } from '../support/vault-company.ts';
import { withVaultPlugin } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

withPostgres('upstreams of a whole service', () => {
  withVaultPlugin('postgresql-database-plugin', 'and a real Vault', (start) => {
    let vault: TestVault;
    let company: VaultCompany;
    let caller: ReturnType<typeof createCaller>;
    let received: string;
    beforeAll(async () => {
      vault = await start();
      company = await startVaultCompany(vault);
      caller = createCaller(company.cambist, company.corp);
      received = tokenOf(await caller.received());
    });
    afterAll(() => company.stop());

    const recordOf = (requestId: string | null) => company.cambist.records(requestId ?? '');

    test.each<[UpstreamName, object]>([
      ['github', { kind: 'static', store: 'vault', path: 'upstreams/github', version: '1' }],
      ['orders', { kind: 'dynamic', store: 'vault', path: 'database/creds/cambist-orders' }],
      ['calendar', { kind: 'oauth_client_credentials', store: 'vault', path: 'upstreams/calendar', version: '1' }],
    ])(
      '%s is called through the egress with what Vault has or makes, and both records say which',
      async (name, mark) => {
        const token = tokenOf(await caller.hop(received, name));
        company.upstream.arrived.length = 0;
        const answer = await caller.call(token, name);
        expect(answer.status, answer.body.toString()).toBe(200);
        expect(JSON.stringify(company.upstream.arrived)).not.toContain(token);
        expect(await closedRecord(company.cambist, answer.requestId)).toMatchObject({
          ended: 'done',
          status: 200,
          repeated: false,
          credential: mark,
        });
        const [opened] = (await recordOf(answer.requestId)).filter(({ body }) => body.kind === 'opened');
        expect(opened?.body).toMatchObject({
          upstream: name,
          act: ['client:server-a', 'client:agent'],
          credential: mark,
        });
      },
    );

    test('a lease is fetched: a role that PostgreSQL lets in, until the token it was fetched with is revoked', async () => {
      const own = tokenOf(await caller.received('bob'));
      const answer = await caller.fetch(own, 'orders');
      expect(answer.status, answer.text).toBe(200);
      expect(answer.body).toMatchObject({ token_type: 'N_A' });
      expect(answer.body.expires_in).toBeLessThanOrEqual(300);
      const { username, password } = JSON.parse(answer.body.access_token as string) as Record<string, string>;
      expect(await logsIn(company.cluster, username!, password!)).toBe(true);
      const revoked = await fetch(`${company.cambist.url}/oauth2/revoke`, {
        method: 'POST',
        headers: {
          authorization: `Basic ${Buffer.from(`agent:${company.cambist.secretOf('agent')}`).toString('base64')}`,
        },
        body: new URLSearchParams({ token: own }),
      });
      expect(revoked.status).toBe(200);
      await expect
        .poll(() => logsIn(company.cluster, username!, password!), { timeout: 10_000, interval: 100 })
        .toBe(false);
    });

    test('a token of the upstream is fetched; a static key is not, and nobody learns why but the operator', async () => {
      const fetched = await caller.fetch(received, 'calendar');
      expect(fetched.body.access_token).toMatch(/^calendar-token-/);
      const refused = await caller.fetch(received, 'github');
      expect([refused.status, refused.body.error]).toEqual([400, 'invalid_target']);
      expect(refused.text).not.toContain('key-1');
      const [record] = await recordOf(refused.headers.get('cambist-request-id'));
      expect(record?.body).toMatchObject({ refusal: { reason: 'credential_not_fetchable' } });
    });

    test('what is missing, and what the policy of Vault forbids, is told to the operator with its path', async () => {
      const about = async (path: string, field = 'token') => {
        const [github] = (JSON.parse(company.objects) as { upstreams: [Record<string, unknown>] }).upstreams;
        const credential = { kind: 'static', store: 'vault', path, field };
        await company.cambist.apply(JSON.stringify({ upstreams: [{ ...github, credential }] }));
        const answer = await caller.call(tokenOf(await caller.hop(received, 'github')), 'github');
        expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([502, { error: 'bad_gateway' }]);
        expect(answer.body.toString()).not.toContain(path);
        const [record] = await recordOf(answer.requestId);
        return (record?.body as { refusal?: unknown }).refusal;
      };
      expect(await about('upstreams/nowhere')).toEqual({
        reason: 'credential_missing',
        detail: { upstream: 'github', store: 'vault', path: 'upstreams/nowhere', missing: 'secret' },
      });
      expect(await about('upstreams/github', 'nothing')).toMatchObject({
        reason: 'credential_missing',
        detail: { path: 'upstreams/github', field: 'nothing', missing: 'field' },
      });
      expect(await about('others/github')).toMatchObject({
        reason: 'credential_forbidden',
        detail: { path: 'others/github' },
      });
      await company.cambist.apply(company.objects);
      expect((await caller.call(tokenOf(await caller.hop(received, 'github')), 'github')).status).toBe(200);
    });

    test('with the policies of deploy/vault Cambist can do what it needs, and nothing else', async () => {
      const { data } = (await vault.root('GET', 'auth/approle/role/cambist/role-id')) as { data: { role_id: string } };
      const { data: made } = (await vault.root('POST', 'auth/approle/role/cambist/secret-id', {})) as {
        data: { secret_id: string };
      };
      const login = await vault.ask('POST', 'auth/approle/login', {
        body: { role_id: data.role_id, secret_id: made.secret_id },
      });
      const token = (login.body['auth'] as { client_token: string }).client_token;
      const statusOf = async (method: string, path: string, body?: object, as = token) =>
        (await vault.ask(method, path, { token: as, ...(body === undefined ? {} : { body }) })).status;
      for (const [method, path, body] of [
        ['GET', 'database/creds/cambist-orders'],
        ['GET', 'secret/data/others'],
        ['GET', 'secret/metadata/upstreams?list=true'],
        ['POST', 'secret/data/upstreams/github', { data: { token: 'mine' } }],
        ['DELETE', 'secret/data/upstreams/github'],
        ['POST', 'auth/token/create', { policies: ['cambist'] }],
        ['POST', 'auth/token/create/cambist-lease', { policies: ['root'] }],
        ['POST', 'auth/token/create/cambist-lease', { policies: ['cambist'] }],
        ['GET', 'sys/mounts'],
        ['GET', 'sys/policies/acl/cambist'],
        ['GET', 'auth/token/accessors?list=true'],
        ['PUT', 'sys/seal'],
      ] as const)
        expect([400, 403], `${method} ${path}`).toContain(await statusOf(method, path, body));
      // And what holds a lease can do no more than have it.
      const holder = await vault.ask('POST', 'auth/token/create/cambist-lease', { token, body: { ttl: '60s' } });
      const held = holder.body['auth'] as { client_token: string; token_policies: string[] };
      expect(held.token_policies).toEqual(['cambist-lease', 'default']);
      expect(await statusOf('GET', 'database/creds/cambist-orders', undefined, held.client_token)).toBe(200);
      expect(await statusOf('GET', 'secret/data/upstreams/github', undefined, held.client_token)).toBe(403);
      await vault.root('POST', 'auth/token/revoke', { token: held.client_token });
    });
  });
});
