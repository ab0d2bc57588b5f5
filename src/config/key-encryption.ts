/**
 * From well-formed settings to the keys that seal and open what lies in the database: 32 bytes, or a Transit key of Vault,
 * and exactly one of them seals. Refuses a login at Vault that would need what that key opens.
 */
import type { VaultSettings } from '../secrets/vault/settings.ts';
import type { KeyEncryptionKey, KeyPlace } from '../store/root-keys.ts';
import { placeName } from '../store/root-keys.ts';
import type { SettingsFile } from './schema.ts';
import { KEY_RECIPE, decodeKey } from './sections/encryption.ts';

type Fault = (path: string, message: string, fix: string, got?: string) => void;

export interface KeyEncryptionSettings {
  readonly keyEncryptionKey: KeyEncryptionKey | undefined;
  readonly previousKeyEncryptionKeys: readonly KeyEncryptionKey[];
}

export interface KeyEncryptionSurroundings {
  readonly vault: VaultSettings | undefined;
  /** What is wrong with `vault` was said already. */
  readonly vaultIsFaulty: boolean;
  /** With PostgreSQL nothing makes a key. */
  readonly shared: boolean;
}

/** What is wrong is told to `fault`. */
export function settleKeyEncryption(
  file: SettingsFile,
  around: KeyEncryptionSurroundings,
  fault: Fault,
): KeyEncryptionSettings {
  const { transit, previous_transit: previousTransit } = file.key_encryption;
  const key = localKeyOf(file, fault);
  if (key !== undefined && transit !== undefined)
    fault(
      'key_encryption_key',
      'is given, and so is key_encryption.transit: only one of them can seal',
      'to move to Transit, make it an entry of previous_key_encryption_keys; to move back, name the Transit key in key_encryption.previous_transit instead',
    );
  if (file.key_encryption_key === undefined && transit === undefined && around.shared)
    fault(
      'key_encryption_key',
      'is required with database.url, the same on every node',
      `make one with: ${KEY_RECIPE}; keep it in a file and set key_encryption_key: file:PATH, or CAMBIST_KEY_ENCRYPTION_KEY; or set key_encryption.transit`,
    );
  if (transit !== undefined && previousTransit !== undefined && placeName(transit) === placeName(previousTransit))
    fault('key_encryption.previous_transit', 'is the key of key_encryption.transit', 'remove it');
  checkVault('transit', transit, around, fault);
  checkVault('previous_transit', previousTransit, around, fault);
  return {
    keyEncryptionKey: transit ?? key,
    previousKeyEncryptionKeys: [
      ...previousKeysOf(file, fault),
      ...(previousTransit === undefined ? [] : [previousTransit]),
    ],
  };
}

function localKeyOf({ key_encryption_key: text }: SettingsFile, fault: Fault): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const key = decodeKey(text);
  if (typeof key !== 'string') return key;
  fault('key_encryption_key', key, `make one with: ${KEY_RECIPE}`);
  return undefined;
}

function checkVault(
  name: 'transit' | 'previous_transit',
  place: KeyPlace | undefined,
  { vault, vaultIsFaulty }: KeyEncryptionSurroundings,
  fault: Fault,
): void {
  if (place === undefined || vaultIsFaulty) return;
  if (vault === undefined)
    fault(
      `key_encryption.${name}`,
      'needs a Vault, and the settings have none',
      'set vault.address and vault.login, or remove it',
    );
  if (vault?.login.method === 'jwt')
    fault(
      `key_encryption.${name}`,
      'cannot be reached with vault.login.method jwt: the key that signs that login is itself opened by this one',
      'set vault.login.method to kubernetes, approle, token_file or token',
    );
}

function previousKeysOf(file: SettingsFile, fault: Fault): readonly Uint8Array[] {
  return file.previous_key_encryption_keys.flatMap((text, index) => {
    const key = decodeKey(text);
    if (typeof key !== 'string') return [key];
    fault('previous_key_encryption_keys', `entry ${index + 1} ${key}`, 'give the key as it was, or remove it');
    return [];
  });
}
