/**
 * `cambist schema`: the JSON Schemas of the two kinds of file, for editors.
 */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { objectsJsonSchema } from '../admin/objects-file.ts';
import { settingsJsonSchema } from '../config/schema.ts';
import type { CliContext } from './context.ts';

const SCHEMAS = { settings: settingsJsonSchema, objects: objectsJsonSchema };

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
    .action((which: keyof typeof SCHEMAS) => {
      context.parts.out(`${JSON.stringify(SCHEMAS[which](), null, 2)}\n`);
    });
}
