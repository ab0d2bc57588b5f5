/** deploy/vault on a real Vault: what its script makes is what the settings of deploy/compose.yaml need. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const FOLDER = fileURLToPath(new URL('../../deploy/vault/', import.meta.url));

withVault('deploy/vault', (start) => {
  async function setUp(vault: TestVault, cambist: TestCambist, script = './setup.sh'): Promise<void> {
    const home = mkdtempSync(join(tmpdir(), 'cambist-vault-setup-'));
    onTestFinished(() => {
      rmSync(home, { recursive: true });
    });
    // Where the container has them: the script finds the policies beside itself.
    for (const file of ['setup.sh', 'cambist.hcl', 'cambist-lease.hcl']) copyFileSync(FOLDER + file, join(home, file));
    mkdirSync(join(home, 'bin'));
    symlinkSync(vault.program ?? '', join(home, 'bin', 'vault'));
    await promisify(execFile)('/bin/sh', ['-euc', script], {
      cwd: home,
      env: {
        PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`,
        HOME: home,
        VAULT_ADDR: vault.address,
        VAULT_TOKEN: vault.rootToken,
        CAMBIST_ISSUER: cambist.issuer,
        CAMBIST_JWKS: `${cambist.url}/oauth2/jwks`,
      },
    });
  }

  test('lets Cambist in with a token of its own, to what upstreams need, as often as it is run', async ({ skip }) => {
    const vault = await start();
    onTestFinished(() => vault.stop());
    skip(vault.program === undefined, 'the Vault of the environment has no command line here');
    const compose = parse(readFileSync(`${FOLDER}../compose.yaml`, 'utf8')) as {
      configs: { settings: { content: string } };
    };
    const { vault: written } = parse(compose.configs.settings.content) as {
      vault: { login: { method: 'jwt'; role: string }; lease_token_role: string };
    };
    const settings: VaultSettings = {
      address: vault.address,
      namespace: undefined,
      caFile: undefined,
      kvMount: 'secret',
      login: { method: written.login.method, mount: 'jwt', role: written.login.role, audience: vault.address },
      subjectLogin: undefined,
      leaseTokenRole: written.lease_token_role,
      timeoutMs: 3_000,
    };
    const cambist = await startCambist({ objects: '', settings: { vault: settings } });
    onTestFinished(() => cambist.stop());
    const ready = async () => await (await fetch(`${cambist.url}/readyz`)).json();
    await expect.poll(ready).toEqual({ status: 'ready', degraded: [{ name: 'vault' }] });
    await setUp(vault, cambist);
    await setUp(vault, cambist);
    // Nobody restarts anything.
    await expect.poll(ready, { timeout: 15_000 }).toEqual({ status: 'ready' });

    await vault.root('POST', 'secret/data/upstreams/github', { data: { token: 'of-github' } });
    await vault.root('POST', 'secret/data/others', { data: { token: 'of-others' } });
    const { vault: adapter } = cambist.service.vault!;
    expect(await adapter.read({ mount: undefined, path: 'upstreams/github' })).toMatchObject({
      found: { fields: { token: 'of-github' } },
    });
    expect(await adapter.read({ mount: undefined, path: 'others' })).toEqual({ missing: 'forbidden' });
    const holder = await adapter.openHolder(60);
    const { data } = (await vault.root('POST', 'auth/token/lookup-accessor', { accessor: holder.accessor })) as {
      data: Record<string, unknown>;
    };
    expect(data).toMatchObject({ orphan: true, policies: ['cambist-lease', 'default'], explicit_max_ttl: 60 });
    await adapter.revokeHolder(holder.accessor);
  });
  test('the commands of docs/vault.md let in Cambist as itself, and as a person who then reads only their own', async ({
    skip,
  }) => {
    const vault = await start();
    onTestFinished(() => vault.stop());
    skip(vault.program === undefined, 'the Vault of the environment has no command line here');
    const settings = {
      address: vault.address,
      namespace: undefined,
      caFile: undefined,
      kvMount: 'secret',
      login: { method: 'jwt', mount: 'jwt', role: 'cambist', audience: vault.address } as const,
      subjectLogin: { mount: 'jwt', role: 'cambist-subject', audience: vault.address },
      leaseTokenRole: undefined,
      timeoutMs: 3_000,
    };
    const cambist = await startCambist({ objects: '', settings: { vault: settings } });
    onTestFinished(() => cambist.stop());
    const docs = readFileSync(`${FOLDER}../../docs/vault.md`, 'utf8');
    const blocks = (language: string) =>
      [...docs.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map(([, block = '']) => block);
    const commands = blocks('sh')
      .filter((block) => /^vault (auth|write auth\/jwt)/m.test(block))
      .join('\n')
      .replaceAll('https://sts.example.com', cambist.issuer)
      .replaceAll('https://vault.example.com:8200', vault.address);
    await setUp(vault, cambist, `vault policy write cambist cambist.hcl\n${commands}`);
    const { 'jwt/': method } = (await vault.root('GET', 'sys/auth')) as Record<string, { accessor: string }>;
    const [template = ''] = blocks('hcl');
    const policy = template.replaceAll('ACCESSOR', method?.accessor ?? '');
    await vault.root('PUT', 'sys/policies/acl/of-subjects', { policy });
    for (const path of ['upstreams/github', 'people/corp~3Aada', 'people/corp~3Abob'])
      await vault.root('POST', `secret/data/${path}`, { data: { token: 'x' } });
    const { vault: adapter, userOf } = cambist.service.vault!;
    const ada = userOf!({ subjectName: 'corp:ada' });
    const read = () => adapter.read({ mount: undefined, path: 'upstreams/github' }).catch(() => undefined);
    await expect.poll(read, { timeout: 5_000 }).toMatchObject({ found: {} });
    expect(await adapter.read({ mount: undefined, path: 'people/corp~3Aada' }, ada)).toMatchObject({ found: {} });
    expect(await adapter.read({ mount: undefined, path: 'people/corp~3Abob' }, ada)).toEqual({ missing: 'forbidden' });
    expect(await adapter.read({ mount: undefined, path: 'upstreams/github' }, ada)).toEqual({ missing: 'forbidden' });
  });
});
