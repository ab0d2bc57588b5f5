/**
 * The key-encryption key of the embedded engine: a file beside the data folder, never in it, that only its owner can
 * read. Made once. Refuses a file that others can read, one of the wrong size, and to make a second key for data that
 * a first one encrypted: with it, every signing key and every personal field in that data would be lost in silence.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { ConfigFault } from '../admin/fault.ts';
import { KEY_BYTES, decodeKey } from './sections/encryption.ts';
import type { EmbeddedSettings } from './settle.ts';

export interface EmbeddedKey {
  readonly key: Uint8Array;
  /** True when it was made just now: say so, loudly, with `keyFile`. */
  readonly created: boolean;
}

/** Makes the folder (0700) if there is none; a fault when it is there and others may enter it. */
export function prepareFolder({ folder }: EmbeddedSettings): ConfigFault[] {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { mode, uid } = statSync(folder);
    if (uid !== process.getuid?.() && process.getuid !== undefined)
      return [{ file: folder, path: '', message: 'belongs to another user', fix: 'choose another data_dir' }];
    if ((mode & 0o077) === 0) return [];
    return [{ file: folder, path: '', message: 'can be entered by other users', fix: `chmod 700 ${folder}` }];
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unusable';
    return [{ file: folder, path: '', message: `cannot be used: ${reason}`, fix: 'choose another data_dir' }];
  }
}

/** Reads the key, or makes it when there is neither a key nor data. The folder must have been prepared. */
export function embeddedKey({ keyFile, dataFolder }: EmbeddedSettings): EmbeddedKey | ConfigFault[] {
  if (existsSync(keyFile)) return readKey(keyFile);
  if (existsSync(dataFolder) && readdirSync(dataFolder).length > 0)
    return [
      {
        file: keyFile,
        path: '',
        message: `is gone, and ${dataFolder} is encrypted with it`,
        fix: `put the key file back (or set key_encryption.transit, where the key was at Vault), or remove ${dataFolder} to start anew without its data`,
      },
    ];
  const key = randomBytes(KEY_BYTES);
  // wx: of two processes that start at once, one fails here instead of sealing with a key that is not in the file.
  const file = openSync(keyFile, 'wx', 0o600);
  try {
    writeSync(file, `${key.toString('base64')}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return { key: new Uint8Array(key), created: true };
}

function readKey(keyFile: string): EmbeddedKey | ConfigFault[] {
  const file = openSync(keyFile, 'r');
  try {
    if ((fstatSync(file).mode & 0o077) !== 0)
      return [{ file: keyFile, path: '', message: 'can be read by other users', fix: `chmod 600 ${keyFile}` }];
    const key = decodeKey(readFileSync(file, 'utf8').trim());
    if (typeof key === 'string') return [{ file: keyFile, path: '', message: key, fix: 'put the right key file back' }];
    return { key, created: false };
  } finally {
    closeSync(file);
  }
}
