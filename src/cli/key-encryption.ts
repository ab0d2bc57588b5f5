/**
 * The keys of the settings for commands that open no service: they look, or restore. No key is made, and none at Vault.
 */
import { existsSync } from 'node:fs';
import { embeddedKey } from '../config/embedded-key.ts';
import type { Settings } from '../config/settings.ts';
import { openVaultExamination } from '../secrets/vault/examination.ts';
import { openExisting } from '../store/root-keys.ts';
import type { KeyEncryptionKeys, WrappedRootKey } from '../store/root-keys.ts';
import type { Envelope } from '../store/envelope.ts';

/** Why there is no key, and what to do. */
export interface KeyFault {
  readonly message: string;
  readonly fix: string;
}

/** The first one seals. */
export function keysOf({
  database,
  keyEncryptionKey,
  previousKeyEncryptionKeys,
}: Settings): KeyEncryptionKeys | KeyFault {
  if (keyEncryptionKey !== undefined) return [keyEncryptionKey, ...previousKeyEncryptionKeys];
  if (database.kind !== 'embedded') throw new Error('settings for PostgreSQL without a key-encryption key');
  if (!existsSync(database.keyFile))
    return {
      message: `the key-encryption key ${database.keyFile} is not there`,
      fix: 'put it back: it is not in a backup, and what is sealed under it cannot be read without it',
    };
  const found = embeddedKey(database);
  if (!Array.isArray(found)) return [found.key, ...previousKeyEncryptionKeys];
  const [fault] = found;
  return { message: `${fault?.file ?? ''} ${fault?.message ?? ''}`, fix: fault?.fix ?? 'put the right key file back' };
}

/**
 * The envelope over root keys that are there; `undefined` where the settings have no key for any of them. Throws what
 * Vault throws. `neededId`: of the key under which all is sealed.
 */
export async function openKeys(
  settings: Settings,
  keys: KeyEncryptionKeys,
  rootKeys: readonly WrappedRootKey[],
  neededId: string | undefined,
): Promise<Envelope | undefined> {
  const { vault } = settings;
  const examination = vault === undefined ? undefined : openVaultExamination({ settings: vault });
  try {
    const opened = await openExisting(rootKeys, keys, neededId, (place) => {
      if (examination === undefined) throw new Error('a Transit key without a Vault');
      return examination.transit(place);
    });
    return opened?.envelope;
  } finally {
    await examination?.close();
  }
}
