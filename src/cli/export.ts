/**
 * `cambist export`: every registered object as a file that `apply` takes back without a change.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { count } from './failure.ts';
import { openPrivateFile } from './private-file.ts';

export function addExportCommand(program: Command, context: CliContext): void {
  program
    .command('export')
    .description('write every registered object as a file of objects')
    .option(
      '--out <file>',
      'write it to this file, which must not exist (0600: it names people), instead of printing it',
    )
    .option('--force', 'replace the file if it exists')
    .addHelpText(
      'after',
      `
cambist apply takes the file back and changes nothing. The same objects make the same text, so that it can be kept under
version control. Secrets and keys are not objects and never in it; subjects are, by their names. All of it is of one
moment. With --json, objects are printed as cambist list --json prints them.

Examples:
  cambist export --out objects.yaml
  cambist export | cambist --config other.yaml diff -f -`,
    )
    .action(async (options: { out?: string; force?: boolean }, command: Command) => {
      const path = options.out === undefined ? undefined : resolve(context.parts.cwd, options.out);
      const file = path === undefined ? undefined : openPrivateFile(path, options.force === true);
      try {
        const { objects } = await context.withOperations(command, async (operations) =>
          valueOf(await operations.exportObjects({})),
        );
        const { exportYaml } = await import('../admin/export.ts');
        const text = exportYaml(objects);
        file?.commit(text);
        if (path !== undefined)
          context.print(
            command,
            { out: path, objects: objects.length },
            () => `Wrote ${count(objects.length, 'object')} to ${path}.`,
          );
        else if (context.isJson(command)) context.print(command, objects, () => '');
        else context.parts.out(text);
      } catch (error) {
        file?.abandon();
        throw error;
      }
    });
}
