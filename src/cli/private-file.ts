/**
 * Files for what only their owner may read: secrets, tokens, keys. They are 0600 from their first moment and never take
 * the place of another file unasked.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { CliFailure, EXIT } from './failure.ts';

/** A file that is there already, empty, and gets its content once. */
export interface PrivateFile {
  commit(text: string): void;
  /** Removes the file, unless the text is in it. */
  abandon(): void;
}

/**
 * Opens the file (0600) before what goes into it is made: a secret that could not be written down would be lost, and
 * might have retired one that is in use. Never follows a link, never writes into what is there.
 */
export function openPrivateFile(path: string, replace: boolean): PrivateFile {
  const draft = replace ? `${path}.${randomUUID()}` : path;
  let file: number;
  try {
    file = openSync(draft, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new CliFailure(
        EXIT.failed,
        'file_exists',
        `${path} exists: choose another --out, or replace it with --force`,
      );
    throw new CliFailure(
      EXIT.failed,
      'file_unwritable',
      `${path} cannot be written: ${code ?? 'unknown'}; choose another --out`,
    );
  }
  let open = true;
  return {
    commit(text) {
      writeSync(file, text);
      fsyncSync(file);
      closeSync(file);
      open = false;
      if (replace) renameSync(draft, path);
    },
    abandon() {
      if (!open) return;
      closeSync(file);
      rmSync(draft, { force: true });
    },
  };
}
