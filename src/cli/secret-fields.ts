/**
 * The values of a secret as a command is given them: from standard input, from files, or typed unseen at a terminal; never
 * from the command line. Nothing that is said here repeats a value.
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { readSecret, refusedSecretOption } from './secret-input.ts';

export interface FieldOptions {
  readonly field?: readonly string[];
  readonly file?: string;
  readonly jsonFields?: boolean;
}

const DEFAULT_FIELD = 'value';
const INSTEAD = 'standard input, --file or --field NAME=file:PATH';

/** The options by which values are given, and those that people would try. */
export function addFieldOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--field <name[=file:path]>',
        `a field, with the file that holds its value; without one it comes from standard input (default: ${DEFAULT_FIELD})`,
      ).argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]),
    )
    .option('--file <file>', 'the file that holds the value of the one field; - is standard input')
    .option('--json-fields', 'read a JSON object of fields and values from standard input')
    .addOption(refusedSecretOption('--value', 'a value', INSTEAD))
    .addOption(refusedSecretOption('--secret', 'a secret', INSTEAD))
    .addOption(refusedSecretOption('--password', 'a password', INSTEAD));
}

/** Values by field. */
export async function readFields(
  { field, file, jsonFields }: FieldOptions,
  context: CliContext,
  command: Command,
): Promise<Record<string, string>> {
  if (jsonFields === true) {
    if (field !== undefined || file !== undefined)
      throw usage('--json-fields has the fields in its input: leave --field and --file away');
    return parseFields(await context.parts.readStdin());
  }
  const named = (field ?? [DEFAULT_FIELD]).map(parseField);
  const names = named.map(({ name }) => name);
  if (new Set(names).size < names.length) throw usage('a field is named twice');
  if (file !== undefined && (named.length > 1 || named[0]?.source !== undefined))
    throw usage('--file holds the value of one field: with several, say --field NAME=file:PATH');
  const sources = named.map(({ name, source = file }) => ({ name, source }));
  const { askHidden } = context.parts;
  const piped = sources.filter(({ source }) => source === '-' || (source === undefined && askHidden === undefined));
  if (piped.length > 1)
    throw usage('standard input holds one value: give the others as --field NAME=file:PATH, or all with --json-fields');
  const values: [string, string][] = [];
  for (const { name, source } of sources) {
    const typed =
      source === undefined && askHidden !== undefined
        ? (await askHidden(`Value of ${name} (is not shown): `)).trim()
        : await readSecret(source ?? '-', `the value of field ${name}`, context, command);
    values.push([name, typed]);
  }
  return Object.fromEntries(values);
}

/** Of `NAME=VALUE`, repeated. */
export function parseTags(tags: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    tags.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw usage('a tag is NAME=VALUE, such as cambist_owner=corp:alice');
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function parseField(text: string): { readonly name: string; readonly source?: string } {
  const at = text.indexOf('=');
  if (at === -1) return { name: text };
  const source = text.slice(at + 1);
  if (source.startsWith('file:')) return { name: text.slice(0, at), source: source.slice('file:'.length) };
  throw new CliFailure(
    EXIT.usage,
    'secret_on_command_line',
    `a field is NAME or NAME=file:PATH. If what stands after the "=" is a value, count it as known to others now: the list of processes and the history of the shell show it. Use ${INSTEAD}`,
  );
}

/** The message of the parser quotes what it read, so it stays behind. */
function parseFields(text: string): Record<string, string> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw usage('standard input is not JSON: --json-fields needs an object such as {"user": "…", "password": "…"}');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw usage('--json-fields needs a JSON object: fields and their values');
  const fields = Object.entries(parsed as Record<string, unknown>);
  if (fields.length === 0) throw usage('--json-fields needs at least one field');
  return Object.fromEntries(
    fields.map(([name, value]) => {
      if (typeof value !== 'string') throw usage(`the value of field ${name} is no string: write it in quotes`);
      return [name, value];
    }),
  );
}

function usage(message: string): CliFailure {
  return new CliFailure(EXIT.usage, 'usage', message);
}
