/** The adapter against a real Vault: what it reads, how it logs in, and what it does when Vault says no. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { VaultUser } from '../../src/secrets/secret-store.ts';
import { VaultUnavailable } from '../../src/secrets/vault/fault.ts';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const POLICY = `
path "secret/data/mcp/*" { capabilities = ["read"] }
path "secret/data/denied" { capabilities = ["deny"] }
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }`;

withVault('Vault as a secret store', (start) => {
  let vault: TestVault;
  let folder: string;
  const put = (path: string, data: object) => vault.root('POST', `secret/data/${path}`, { data });

  beforeAll(async () => {
    vault = await start();
    folder = mkdtempSync(join(tmpdir(), 'cambist-vault-test-'));
    await vault.root('PUT', 'sys/policies/acl/cambist', { policy: POLICY });
    await put('mcp/github', { token: 'first', note: 'n', count: 3, on: true, nested: { a: 1 } });
  });
  afterAll(async () => {
    await vault.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const asRoot = () => openAdapter(vault, { login: { method: 'token', token: vault.rootToken } });
  const tokenOf = async (body: object) => {
    const { auth } = (await vault.root('POST', 'auth/token/create', body)) as {
      auth: { client_token: string; accessor: string };
    };
    return auth;
  };

  test('reads fields and version, and a rotated secret has a higher one', async () => {
    const adapter = asRoot();
    const read = () => adapter.read({ mount: undefined, path: 'mcp/github' });
    expect(await read()).toEqual({
      found: { version: 1, fields: { token: 'first', note: 'n', count: '3', on: 'true' }, tags: {} },
    });
    await put('mcp/github', { token: 'second' });
    expect(await read()).toEqual({ found: { version: 2, fields: { token: 'second' }, tags: {} } });
  });

  test('gives custom_metadata as tags, without a permission on metadata', async () => {
    await put('mcp/tagged', { token: 't' });
    await vault.root('POST', 'secret/metadata/mcp/tagged', {
      custom_metadata: { cambist_owner: 'corp:ada', cambist_audience: 'github' },
    });
    const { client_token: token } = await tokenOf({ policies: ['cambist'] });
    const adapter = openAdapter(vault, { login: { method: 'token', token } });
    const { found } = (await adapter.read({ mount: 'secret', path: 'mcp/tagged' })) as { found: { tags: unknown } };
    expect(found.tags).toEqual({ cambist_owner: 'corp:ada', cambist_audience: 'github' });
  });

  test('a deleted version, a destroyed one, and one that never was are absent', async () => {
    const adapter = asRoot();
    const read = (path: string) => adapter.read({ mount: undefined, path });
    await put('mcp/deleted', { token: 't' });
    await vault.root('DELETE', 'secret/data/mcp/deleted');
    await put('mcp/destroyed', { token: 't' });
    await vault.root('PUT', 'secret/destroy/mcp/destroyed', { versions: [1] });
    for (const path of ['mcp/deleted', 'mcp/destroyed', 'mcp/never', 'mcp/sys/health'])
      expect(await read(path), path).toEqual({ missing: 'absent' });
  });

  test('a policy that says no is forbidden, without a new login', async () => {
    const { client_token: token, accessor } = await tokenOf({ policies: ['cambist'] });
    const outcomes: string[] = [];
    const adapter = openAdapter(vault, { login: { method: 'token', token } }, { onAnswer: (o) => outcomes.push(o) });
    expect(await adapter.read({ mount: undefined, path: 'denied' })).toEqual({ missing: 'forbidden' });
    // Login by lookup, the read, and one look whether the token is alive.
    expect(outcomes).toEqual(['done', 'forbidden', 'done']);
    await vault.root('POST', 'auth/token/lookup-accessor', { accessor });
  });

  test('a KV v1 mount is a fault that says so, not a missing secret', async () => {
    await vault.root('POST', 'sys/mounts/old', { type: 'kv', options: { version: '1' } });
    await vault.root('POST', 'old/data/x', { token: 't' });
    const adapter = asRoot();
    await expect(adapter.read({ mount: 'old', path: 'x' })).rejects.toThrow('KV v2');
  });

  test('a path that could leave its place is never asked, and nothing is found there', async () => {
    const outcomes: string[] = [];
    const login = { method: 'token', token: vault.rootToken } as const;
    const adapter = openAdapter(vault, { login }, { onAnswer: (outcome) => outcomes.push(outcome) });
    for (const path of [
      '../../sys/mounts',
      'mcp/../../../sys/mounts',
      'mcp//x',
      'mcp/%2e%2e/x',
      'x?version=1',
      'x#y',
      '',
    ])
      expect(await adapter.read({ mount: undefined, path }), path).toEqual({ missing: 'absent' });
    expect(outcomes).toEqual([]);
  });

  test('AppRole: a secret id from a file, and a wrapped one that is opened once', async () => {
    await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
    await vault.root('POST', 'auth/approle/role/cambist', {
      token_policies: ['cambist'],
      token_ttl: '20m',
      token_max_ttl: '1h',
    });
    const { data: role } = (await vault.root('GET', 'auth/approle/role/cambist/role-id')) as {
      data: { role_id: string };
    };
    const { data: made } = (await vault.root('POST', 'auth/approle/role/cambist/secret-id', {})) as {
      data: { secret_id: string };
    };
    const file = join(folder, 'secret-id');
    writeFileSync(file, `${made.secret_id}\n`);
    const approle = { method: 'approle', mount: 'approle', roleId: role.role_id } as const;
    const plain = openAdapter(vault, { login: { ...approle, secretId: { file }, secretIdWrapped: false } });
    expect(await plain.read({ mount: undefined, path: 'mcp/github' })).toMatchObject({ found: {} });

    const wrap = (path: string, body: object) =>
      vault.ask('POST', path, { token: vault.rootToken, body, headers: { 'x-vault-wrap-ttl': '60s' } });
    const wrapped = await wrap('auth/approle/role/cambist/secret-id', {});
    const { token: wrapping } = wrapped.body['wrap_info'] as { token: string };
    const secretId = { value: wrapping };
    const opened = openAdapter(vault, { login: { ...approle, secretId, secretIdWrapped: true } });
    expect(await opened.read({ mount: undefined, path: 'mcp/github' })).toMatchObject({ found: {} });
    // Somebody opened it before us: an alarm, not another try.
    const second = openAdapter(vault, { login: { ...approle, secretId, secretIdWrapped: true } });
    await expect(second.logIn()).rejects.toThrow('treat it as stolen');
    // And one that was wrapped elsewhere is not even opened.
    const foreign = await wrap('sys/wrapping/wrap', { secret_id: made.secret_id });
    const { token: forged } = foreign.body['wrap_info'] as { token: string };
    const third = openAdapter(vault, { login: { ...approle, secretId: { value: forged }, secretIdWrapped: true } });
    await expect(third.logIn()).rejects.toThrow('replaced on its way');
  });

  test('AppRole: a wrong secret id is a refused login with the reason, and never the secret', async () => {
    const login = {
      method: 'approle',
      mount: 'approle',
      roleId: 'nobody',
      secretId: { value: 'canary-secret-id' },
      secretIdWrapped: false,
    } as const;
    const failure = await openAdapter(vault, { login })
      .logIn()
      .catch((error: unknown) => error as VaultUnavailable);
    expect(failure).toBeInstanceOf(VaultUnavailable);
    expect(failure).toMatchObject({ code: 'login_refused', dependency: 'vault' });
    expect(JSON.stringify({ ...(failure as object), message: (failure as Error).message })).not.toContain('canary');
  });

  test('a token file is read again when it is replaced', async () => {
    const first = await tokenOf({ policies: ['cambist'] });
    const second = await tokenOf({ policies: ['cambist'] });
    const file = join(folder, 'sink');
    writeFileSync(file, first.client_token);
    const adapter = openAdapter(vault, { login: { method: 'token_file', file } });
    expect(await adapter.read({ mount: undefined, path: 'mcp/github' })).toMatchObject({ found: {} });
    writeFileSync(`${file}.new`, second.client_token);
    renameSync(`${file}.new`, file);
    await vault.root('POST', 'auth/token/revoke-accessor', { accessor: first.accessor });
    expect(await adapter.read({ mount: undefined, path: 'mcp/github' })).toMatchObject({ found: {} });
  });

  test('a token that is revoked underneath is replaced by a new login, once for all who wait', async () => {
    const { data: role } = (await vault.root('GET', 'auth/approle/role/cambist/role-id')) as {
      data: { role_id: string };
    };
    const { data: made } = (await vault.root('POST', 'auth/approle/role/cambist/secret-id', {})) as {
      data: { secret_id: string };
    };
    const login = {
      method: 'approle',
      mount: 'approle',
      roleId: role.role_id,
      secretId: { value: made.secret_id },
      secretIdWrapped: false,
    } as const;
    const adapter = openAdapter(vault, { login });
    await adapter.logIn();
    const accessors = async () =>
      ((await vault.root('GET', 'auth/token/accessors?list=true')) as { data: { keys: string[] } }).data.keys;
    const before = new Set(await accessors());
    for (const accessor of before) {
      const { data } = (await vault.root('POST', 'auth/token/lookup-accessor', { accessor })) as {
        data: { path: string };
      };
      if (data.path === 'auth/approle/login') await vault.root('POST', 'auth/token/revoke-accessor', { accessor });
    }
    const reads = await Promise.all(
      Array.from({ length: 20 }, () => adapter.read({ mount: undefined, path: 'mcp/github' })),
    );
    expect(reads.every((read) => 'found' in read)).toBe(true);
    expect((await accessors()).filter((accessor) => !before.has(accessor))).toHaveLength(1);
  });

  test('sealed: fails closed with the reason at once, and works again once unsealed', async () => {
    if (vault.unsealKey === undefined) return;
    const own = await start();
    onTestFinished(() => own.stop());
    await own.root('POST', 'secret/data/x', { data: { a: 'b' } });
    const adapter = openAdapter(own, { login: { method: 'token', token: own.rootToken } });
    expect(await adapter.read({ mount: undefined, path: 'x' })).toMatchObject({ found: {} });
    await own.root('PUT', 'sys/seal');
    await expect(adapter.read({ mount: undefined, path: 'x' })).rejects.toMatchObject({
      dependency: 'vault',
      code: 'sealed',
    });
    expect(adapter.state().trouble).toBe('is sealed');
    await own.ask('PUT', 'sys/unseal', { body: { key: own.unsealKey } });
    await expect
      .poll(() => adapter.read({ mount: undefined, path: 'x' }).catch(() => undefined), { timeout: 20_000 })
      .toMatchObject({ found: {} });
    expect(adapter.state().trouble).toBeUndefined();
  });

  test('a login as a subject that the settings do not provide for is forbidden', async () => {
    const user: VaultUser = { key: 'k', assertion: () => Promise.resolve('a.b.c') };
    expect(await asRoot().read({ mount: undefined, path: 'mcp/github' }, user)).toEqual({ missing: 'forbidden' });
  });
});
