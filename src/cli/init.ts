/**
 * `cambist init`: three files to start from (settings, objects, a key-encryption key) and what to do with them. Writes
 * all of them or none, and never over anything.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { STARTING_OBJECTS, startingSettings } from './init-files.ts';

const FILES = { settings: 'cambist.yaml', objects: 'objects.yaml', key: 'cambist.kek' } as const;
/** Where a Cambist without settings keeps its key. */
const FIRST_RUN_KEY = join('.cambist', 'kek');

export function addInitCommand(program: Command, context: CliContext): void {
  program
    .command('init')
    .description('write a settings file, a file of objects and a key to start from')
    .option('--out <folder>', 'where to write them (default: the working folder)')
    .addHelpText(
      'after',
      `
Writes cambist.yaml (settings, with comments), objects.yaml (an agent, a server, a policy), and cambist.kek (0600: the
key under which signing keys and personal fields lie encrypted). Never overwrites anything.

Examples:
  cambist init
  cambist init --out ./sts`,
    )
    .action((options: { out?: string }, command: Command) => {
      const { cwd } = context.parts;
      const folder = resolve(cwd, options.out ?? '.');
      const written = writeFiles(folder);
      const next = nextCommands(folder, cwd, context.parts.invocation ?? 'cambist');
      context.print(command, { written, next }, () =>
        [
          ...written.map((path) => `Wrote ${relative(cwd, path) || path}`),
          '',
          'Next, each as it stands here; the first one keeps its terminal:',
          ...next.map((line) => `  ${line}`),
          '',
          `Keep ${FILES.key} out of version control, and back it up apart from the data: without it the data cannot be read.`,
        ].join('\n'),
      );
    });
}

function writeFiles(folder: string): string[] {
  const adopted = existsSync(join(folder, FIRST_RUN_KEY));
  const contents: [path: string, text: string, mode: number][] = [
    [join(folder, FILES.settings), startingSettings(adopted ? FIRST_RUN_KEY : FILES.key), 0o644],
    [join(folder, FILES.objects), STARTING_OBJECTS, 0o644],
    // What ran here without settings has a key already, and its data can be read with no other.
    ...(adopted
      ? []
      : [[join(folder, FILES.key), `${randomBytes(32).toString('base64')}\n`, 0o600] as [string, string, number]]),
  ];
  const present = contents.filter(([path]) => existsSync(path)).map(([path]) => path);
  if (present.length > 0)
    throw new CliFailure(
      EXIT.failed,
      'file_exists',
      `nothing was written: ${present.join(', ')} ${present.length === 1 ? 'exists' : 'exist'} already; choose another folder with --out, or move ${present.length === 1 ? 'it' : 'them'} away`,
    );
  const written: string[] = [];
  try {
    mkdirSync(folder, { recursive: true });
    for (const [path, text, mode] of contents) {
      writeFileSync(path, text, { flag: 'wx', mode });
      written.push(path);
    }
  } catch (error) {
    for (const path of written) rmSync(path, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    throw new CliFailure(
      EXIT.failed,
      'file_unwritable',
      `nothing was written: ${folder} cannot be written to (${code ?? 'unknown'}); choose another folder with --out`,
    );
  }
  return written;
}

/** What can be typed next, as it stands. */
function nextCommands(folder: string, cwd: string, invocation: string): string[] {
  const here = (file: string) => quoted(relative(cwd, join(folder, file)));
  const config = folder === cwd ? '' : ` --config ${here(FILES.settings)}`;
  const secret = here('agent.secret');
  return [
    `${invocation} serve${config}`,
    `${invocation} apply -f ${here(FILES.objects)}${config}`,
    `${invocation} client secret agent --out ${secret}${config}`,
    `${invocation} exchange --client agent --secret-file ${secret} --resource https://notes.example.com/mcp${config}`,
  ];
}

/** A path as a shell reads it. */
function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
