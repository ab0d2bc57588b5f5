/**
 * Secrets and tokens that a command is given: from files and standard input, never from the command line, where the list
 * of processes and the history of the shell show them.
 */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';

const SECRET_MAX_BYTES = 64 * 1024;

/** What a file (or `-`, standard input) holds, without white space at its ends. */
export async function readSecret(file: string, what: string, context: CliContext, command: Command): Promise<string> {
  if (looksSecret(file)) throw onCommandLine(what);
  const text = file === '-' ? await context.parts.readStdin() : readFile(resolve(context.parts.cwd, file), file, what);
  if (file !== '-' && isShared(resolve(context.parts.cwd, file)))
    context.note(command, `warning: ${file} can be read by other users; run: chmod 600 ${file}`);
  const trimmed = text.trim();
  if (trimmed === '')
    throw new CliFailure(
      EXIT.usage,
      'usage',
      `${file === '-' ? 'standard input' : file} is empty: it must hold ${what}`,
    );
  if (trimmed.length > SECRET_MAX_BYTES)
    throw new CliFailure(EXIT.usage, 'usage', `${file === '-' ? 'standard input' : file} is too large to be ${what}`);
  return trimmed;
}

/** A token or a secret of ours where the name of a file should be. */
function looksSecret(text: string): boolean {
  return /^(cbs_|ey[A-Za-z0-9_-]{10,}\.)/.test(text);
}

function onCommandLine(what: string): CliFailure {
  return new CliFailure(
    EXIT.usage,
    'secret_on_command_line',
    `give a file that holds ${what} (or -), not ${what} itself: the list of processes and the history of the shell show it. Count it as known to others now`,
  );
}

function readFile(path: string, named: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliFailure(
      EXIT.usage,
      'file_unreadable',
      `${named} cannot be read (${code ?? 'unknown'}): name a file that holds ${what}`,
    );
  }
}

function isShared(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && (found.mode & 0o044) !== 0;
}

/** An option that people would try, and that is refused in words; what was typed with it is not repeated. */
export function refusedSecretOption(flags: string, what: string, instead: string): Option {
  return new Option(`${flags} [refused]`).hideHelp().argParser(() => {
    throw new CliFailure(
      EXIT.usage,
      'secret_on_command_line',
      `${what} is not taken from the command line, where the list of processes and the history of the shell show it: use ${instead}. Count this one as known to others now`,
    );
  });
}
