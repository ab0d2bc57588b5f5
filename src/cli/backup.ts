/**
 * `cambist backup` and `cambist restore`: the whole of a Cambist in one file, and back. Restoring takes nothing back to
 * life: the help and the output say what died and what is as it was.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';

const PROGRESS_MS = 1000;

export function addBackupCommands(program: Command, context: CliContext): void {
  addBackupCommand(program, context);
  addRestoreCommand(program, context);
}

function addBackupCommand(program: Command, context: CliContext): void {
  program
    .command('backup')
    .description('write everything in the database to one file, as of one moment, while the service runs')
    .requiredOption('--out <file>', 'a file that is not there yet; made readable by you only')
    .addHelpText(
      'after',
      `
What is encrypted in the database is encrypted in the file. The key-encryption key is not in it: keep that key apart,
for as long as you keep the backup; without it the backup cannot be restored. The rest of the file (who may do what, and
audit records) is not encrypted.

Examples:
  cambist backup --out cambist-2026-11-23.backup
  cambist backup --json --out /var/backups/cambist.backup`,
    )
    .action(async (options: { out: string }, command: Command) => {
      const file = resolve(context.parts.cwd, options.out);
      const stopProgress = showSize(context, command, `${file}.partial`);
      const summary = await context
        .withOperations(command, async (operations) => valueOf(await operations.backup({ file })))
        .finally(stopProgress);
      const rows = Object.values(summary.rows).reduce((sum, of) => sum + of, 0);
      context.print(command, summary, () =>
        [
          `${file}: ${count(rows, 'row')} as of ${summary.taken_at}.`,
          'Without the key-encryption key it cannot be restored, and the key is not in it: keep the key, apart from it.',
        ].join('\n'),
      );
    });
}

/** The process that writes may be another one, so the growing file is what tells how far it is. */
function showSize(context: CliContext, command: Command, partial: string): () => void {
  const timer = setInterval(() => {
    const size = statSync(partial, { throwIfNoEntry: false })?.size;
    if (size !== undefined) context.note(command, `${(size / 1e6).toFixed(1)} MB written`);
  }, PROGRESS_MS);
  return () => {
    clearInterval(timer);
  };
}

function addRestoreCommand(program: Command, context: CliContext): void {
  program
    .command('restore')
    .description('put a backup into an empty database; what was valid before does not come back to life')
    .requiredOption('--in <file>', 'a file of cambist backup')
    .option('--replace', 'throw away everything that is in the database now, audit records included')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `
Stop every node first. The database must be migrated (cambist migrate up) and empty, its user must own the schema, and
the key-encryption key of the settings must be the one of the backup. The whole file is verified before anything is
changed, and everything is changed or nothing.

Afterwards every token, assertion and sign-in from before the restore is refused; people and agents sign in again.
What was changed after the backup was taken is gone, and that includes what was switched off: docs/runbooks/restore.md
says what to look at.

Examples:
  cambist restore --in cambist-2026-11-23.backup
  cambist restore --in cambist-2026-11-23.backup --replace`,
    )
    .action(async (options: { in: string; replace?: true; yes?: true }, command: Command) => {
      const settings = context.settings(command);
      const replace = options.replace === true;
      if (replace && options.yes !== true) await confirm(context);
      let saidAtMs = 0;
      const summary = await context.parts.restore(settings, {
        file: resolve(context.parts.cwd, options.in),
        replace,
        onProgress: (rows) => {
          if (performance.now() - saidAtMs < PROGRESS_MS) return;
          saidAtMs = performance.now();
          context.note(command, `${count(rows, 'row')} restored`);
        },
      });
      const rows = Object.values(summary.rows).reduce((sum, of) => sum + of, 0);
      const until = new Date(summary.revoked_until * 1000).toISOString();
      context.print(command, summary, () =>
        [
          `Restored ${count(rows, 'row')} as of ${summary.taken_at}; this is epoch ${summary.epoch}.`,
          `Refused from now on: every token and assertion issued up to ${until}; new ones are issued after that.`,
          `${count(summary.tainted_keys, 'signing key')} of the backup tainted: a node makes new ones when it starts.`,
          `What was changed after ${summary.taken_at} is gone. Before you start a node, or at once after it:`,
          '  objects      cambist apply your files again; disable again who was disabled since',
          '  secrets      cambist client secret list ID: those that were retired since are valid again',
        ].join('\n'),
      );
    });
}

async function confirm(context: CliContext): Promise<void> {
  const { ask } = context.parts;
  if (ask === undefined)
    throw new CliFailure(EXIT.usage, 'usage', 'there is no terminal to ask at: say --yes if it is meant');
  const answer = await ask('Everything in the database now, audit records included, is thrown away. Go on? [y/N] ');
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliFailure(EXIT.failed, 'not_confirmed', 'nothing was changed');
}
