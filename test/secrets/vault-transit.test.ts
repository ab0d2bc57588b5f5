/** A Transit key of a real Vault as what wraps our root key, with a policy that gives exactly what is needed. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TransitRefused } from '../../src/secrets/vault/transit.ts';
import { WrongKeyEncryptionKey } from '../../src/store/envelope.ts';
import { openAdapter } from '../support/vault-adapter.ts';
import { withVault } from '../support/vault.ts';
import type { TestVault } from '../support/vault.ts';

const PLACE = { mount: 'transit', key: 'cambist' };
const POLICY = readFileSync(new URL('../../deploy/vault/cambist-transit.hcl', import.meta.url), 'utf8');

withVault('a Transit key', (start) => {
  let vault: TestVault;
  let token: string;
  beforeAll(async () => {
    vault = await start();
    await vault.root('POST', 'sys/mounts/transit', { type: 'transit' });
    await vault.root('POST', 'transit/keys/cambist', {});
    await vault.root('PUT', 'sys/policies/acl/cambist-transit', { policy: POLICY });
    token = await tokenWith(['cambist-transit']);
  });
  afterAll(() => vault.stop());

  async function tokenWith(policies: readonly string[]): Promise<string> {
    const { auth } = (await vault.root('POST', 'auth/token/create', { policies })) as {
      auth: { client_token: string };
    };
    return auth.client_token;
  }
  const transit = (place = PLACE, as = token) =>
    openAdapter(vault, { login: { method: 'token', token: as } }).transit(place);

  test('the policy of deploy/vault is enough to wrap and unwrap, and for nothing else', async () => {
    const key = new Uint8Array(randomBytes(32));
    const wrapped = await transit().wrap(key, 'row-a');
    expect(wrapped).toMatch(/^vault:v\d+:/);
    expect(await transit().unwrap(wrapped, 'row-a')).toEqual(key);
    for (const [method, path] of [
      ['POST', 'transit/keys/another'],
      ['POST', 'transit/encrypt/another'],
      ['POST', 'transit/keys/cambist/rotate'],
      ['POST', 'transit/keys/cambist/config'],
      ['GET', 'transit/export/encryption-key/cambist'],
      ['DELETE', 'transit/keys/cambist'],
    ] as const)
      expect(
        await vault.ask(method, path, { token, ...(method === 'POST' ? { body: { plaintext: 'AAAA' } } : {}) }),
        path,
      ).toMatchObject({
        status: 403,
      });
  });

  test.each([
    ['a plain key', 'cambist', {}],
    ['a derived key', 'derived', { derived: true }],
  ])('%s opens what it wrapped only where it is bound to the same row', async (_, key, body) => {
    await vault.root('POST', `transit/keys/${key}`, body);
    const wrapper = transit({ mount: 'transit', key }, vault.rootToken);
    const wrapped = await wrapper.wrap(randomBytes(32), 'row-a');
    await expect(wrapper.unwrap(wrapped, 'row-b')).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
    const { data } = (await vault
      .root('POST', `transit/decrypt/${key}`, { ciphertext: wrapped, context: Buffer.from('row-a').toString('base64') })
      .catch(() => ({ data: undefined }))) as { data: unknown };
    expect(data).toBeUndefined();
  });

  test('another key, and what was altered, are a wrong key-encryption key in the same words', async () => {
    await vault.root('POST', 'transit/keys/other', {});
    const wrapped = await transit().wrap(randomBytes(32), 'row');
    const other = transit({ mount: 'transit', key: 'other' }, vault.rootToken);
    for (const open of [
      () => other.unwrap(wrapped, 'row'),
      () => transit().unwrap(`${wrapped.slice(0, 12)}AAAA`, 'row'),
    ]) {
      const opening = open();
      await expect(opening).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
      await expect(opening).rejects.toThrow(
        /is not the one.*There is no way to read the keys of this database without it/s,
      );
    }
  });

  test('a name that is misspelt makes no key at Vault, whatever the policy allows', async () => {
    const wrapping = transit({ mount: 'transit', key: 'cambits' }, vault.rootToken).wrap(randomBytes(32), 'row');
    await expect(wrapping).rejects.toBeInstanceOf(TransitRefused);
    await expect(wrapping).rejects.toThrow(/no Transit key transit\/cambits: .*vault write -f transit\/keys\/cambits/);
    expect(await vault.ask('GET', 'transit/keys/cambits', { token: vault.rootToken })).toMatchObject({ status: 404 });
    await expect(transit({ mount: 'nowhere', key: 'x' }, vault.rootToken).wrap(randomBytes(32), 'row')).rejects.toThrow(
      /vault secrets enable -path=nowhere transit/,
    );
  });

  test('what the policy does not allow is said with the line that is missing', async () => {
    await vault.root('PUT', 'sys/policies/acl/half', { policy: POLICY.replace(/.*decrypt.*/, '') });
    const [half, none] = [await tokenWith(['half']), await tokenWith(['default'])];
    const wrapped = await transit(PLACE, half).wrap(randomBytes(32), 'row');
    await expect(transit(PLACE, half).unwrap(wrapped, 'row')).rejects.toThrow(
      'path "transit/decrypt/cambist" { capabilities = ["update"] }',
    );
    await expect(transit(PLACE, none).wrap(randomBytes(32), 'row')).rejects.toThrow(
      'path "transit/keys/cambist" { capabilities = ["read"] }',
    );
  });

  test.each(['rsa-2048', 'ecdsa-p256', 'ed25519'])(
    'a key of type %s, which binds nothing, is refused',
    async (type) => {
      await vault.root('POST', `transit/keys/${type}`, { type });
      await expect(
        transit({ mount: 'transit', key: type }, vault.rootToken).wrap(randomBytes(32), 'row'),
      ).rejects.toThrow(/aes256-gcm96/);
    },
  );

  test('after a rotation the newest version wraps, the older ones open; below min_decryption_version none does, in clear words', async () => {
    await vault.root('POST', 'transit/keys/turning', {});
    const wrapper = transit({ mount: 'transit', key: 'turning' }, vault.rootToken);
    const key = new Uint8Array(randomBytes(32));
    const first = await wrapper.wrap(key, 'row');
    await vault.root('POST', 'transit/keys/turning/rotate', {});
    const second = await wrapper.wrap(key, 'row');
    expect([first, second].map((wrapped) => wrapper.versionOf(wrapped))).toEqual([1, 2]);
    expect(await wrapper.unwrap(first, 'row')).toEqual(key);
    await vault.root('POST', 'transit/keys/turning/config', { min_decryption_version: 2 });
    expect(await wrapper.unwrap(second, 'row')).toEqual(key);
    await expect(wrapper.unwrap(first, 'row')).rejects.toThrow(/min_decryption_version.*lower it.*keys rewrap/);
  });
});
