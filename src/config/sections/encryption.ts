/**
 * `key_encryption_key` and `previous_key_encryption_keys`: the one key under which signing keys and personal fields lie encrypted in the database. 32
 * bytes that we never make up for a shared database: two nodes with different ones would each be blind to the other's
 * rows.
 */
import { z } from 'zod';

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
