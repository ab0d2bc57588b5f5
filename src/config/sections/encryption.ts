/**
 * `key_encryption_key`, `previous_key_encryption_keys` and `key_encryption`: the one key under which signing keys and
 * personal fields lie encrypted in the database. 32 bytes that we never make up for a shared database (two nodes with
 * different ones would each be blind to the other's rows), or a key of Vault's Transit engine.
 */
import { z } from 'zod';
import { secretPath } from '../../objects/upstream-templates.ts';

export const KEY_BYTES = 32;
/** The command that makes a good key; part of every fix. */
export const KEY_RECIPE = 'openssl rand -base64 32';

export const keyEncryptionKeySetting = z
  .string()
  .max(4096)
  .optional()
  .describe('32 bytes as base64, base64url or hex, through file:PATH or ${VARIABLE}; required with database.url');

export const previousKeysSetting = z
  .array(z.string().max(4096))
  .max(8)
  .default([])
  .describe(
    'Key-encryption keys that still open what they sealed, but seal nothing; for a change of key_encryption_key',
  );

const transitKey = z.strictObject({
  mount: secretPath.default('transit').describe('Mount of the Transit engine'),
  key: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be letters, digits, ".", "_" or "-"')
    .describe('Name of the key, of type aes256-gcm96'),
});

export const keyEncryptionSection = z.strictObject({
  transit: transitKey
    .optional()
    .describe('Key of the Transit engine of vault, instead of key_encryption_key; it never leaves Vault'),
  previous_transit: transitKey
    .optional()
    .describe('Transit key that still opens what it sealed, but seals nothing; for a change of the key'),
});

/** The key, or what is wrong with its text. Accepts exactly one spelling per encoding. */
export function decodeKey(text: string): Uint8Array | string {
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : decodeBase64(text);
  if (bytes?.length !== KEY_BYTES) return `must be ${KEY_BYTES} bytes as base64, base64url or hex`;
  if (new Set(bytes).size < 8) return 'is not random';
  return new Uint8Array(bytes);
}

function decodeBase64(text: string): Buffer | undefined {
  const bare = text.replace(/=+$/, '');
  const bytes = Buffer.from(bare, 'base64url');
  // Node ignores what it cannot decode: only text that it would write itself counts.
  const spellings = [bytes.toString('base64url'), bytes.toString('base64').replace(/=+$/, '')];
  return spellings.includes(bare) ? bytes : undefined;
}
