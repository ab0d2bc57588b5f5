/**
 * `cambist schema`: the JSON Schemas of the two kinds of file, for editors.
 */
import { Argument } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';

const SCHEMAS = {
  settings: async () => (await import('../config/schema.ts')).settingsJsonSchema(),
  objects: async () => (await import('../admin/objects-file.ts')).objectsJsonSchema(),
};

export function addSchemaCommand(program: Command, context: CliContext): void {
  program
    .command('schema')
    .description('print the JSON Schema of cambist.yaml (settings) or of files of objects (objects)')
    .addArgument(new Argument('<which>').choices(Object.keys(SCHEMAS)))
    .addHelpText(
      'after',
      `
Examples:
  cambist schema objects > objects.schema.json
  # then, as the first line of a file of objects:
  # yaml-language-server: $schema=objects.schema.json`,
    )
    .action(async (which: keyof typeof SCHEMAS) => {
      context.parts.out(`${JSON.stringify(await SCHEMAS[which](), null, 2)}\n`);
    });
}
