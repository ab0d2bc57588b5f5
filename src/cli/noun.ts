/**
 * The commands that every kind of object has alike: list, show, disable, enable.
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import type { ListedEntry } from '../admin/operations.ts';
import { KINDS } from '../objects/kinds.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { table } from './output.ts';

const PAGE_ENTRIES = 500;

export interface NounText<K extends Kind> {
  readonly kind: K;
  /** What an object of this kind is, for the help. */
  readonly about: string;
  /** How one is named, as in `ISSUER:SUB`. */
  readonly argument: string;
  readonly example: string;
  /** What disabling one does, for the help. */
  readonly disabling: string;
  readonly columns: Readonly<Record<string, (spec: Specs[K]) => string>>;
}

/** Adds the noun with its common commands; returns it for those that it has alone. */
export function addNounCommand<K extends Kind>(program: Command, context: CliContext, text: NounText<K>): Command {
  const { kind, argument, example } = text;
  const noun = program.command(kind).description(text.about);
  noun
    .command('list')
    .description(`list every ${kind}`)
    .addOption(new Option('--limit <n>', 'list at most so many').argParser(positiveInteger))
    .addHelpText('after', `\nExamples:\n  cambist ${kind} list\n  cambist ${kind} list --json`)
    .action(async (options: { limit?: number }, command: Command) => {
      const entries = await context.withOperations(command, (operations) => collect(operations, kind, options.limit));
      context.print(command, entries, () => describeList(entries, text));
    });
  noun
    .command('show')
    .argument(`<${argument}>`)
    .description(`show one ${kind} as it would stand in a file of objects`)
    .addHelpText('after', `\nExample:\n  cambist ${kind} show ${example}`)
    .action(async (name: string, _options: unknown, command: Command) => {
      const entry = await context.withOperations(command, async (operations) =>
        valueOf(await operations.show({ kind, name })),
      );
      context.print(command, entry, () => describeOne(entry));
    });
  for (const verb of ['disable', 'enable'] as const) {
    const disabled = verb === 'disable';
    noun
      .command(verb)
      .argument(`<${argument}>`)
      .description(disabled ? text.disabling : `enable a ${kind} that was disabled`)
      .addHelpText(
        'after',
        `\nIn force with the next request, on every node.\n\nExample:\n  cambist ${kind} ${verb} ${example}`,
      )
      .action(async (name: string, _options: unknown, command: Command) => {
        const { changed } = await context.withOperations(command, async (operations) =>
          valueOf(await operations.setDisabled({ kind, name, disabled })),
        );
        const state = `${kind} ${name} is ${verb}d`;
        context.print(command, { kind, name, disabled, changed }, () => (changed ? `${state}.` : `${state} already.`));
      });
  }
  return noun;
}

type Lister = Parameters<Parameters<CliContext['withOperations']>[1]>[0];

async function collect(operations: Lister, kind: Kind, limit = Infinity): Promise<ListedEntry[]> {
  const entries: ListedEntry[] = [];
  let after: string | undefined;
  do {
    const page = valueOf(await operations.list({ kind, after, limit: Math.min(PAGE_ENTRIES, limit - entries.length) }));
    entries.push(...page.objects);
    after = page.next ?? undefined;
  } while (after !== undefined && entries.length < limit);
  return entries;
}

function describeList<K extends Kind>(entries: readonly ListedEntry[], { kind, columns }: NounText<K>): string {
  if (entries.length === 0) return `There is no ${kind} yet. Enter objects with: cambist apply -f FILE`;
  const cells = Object.values<(spec: Specs[K]) => string>(columns);
  return table(
    ['NAME', 'STATE', 'ORIGIN', ...Object.keys(columns)],
    entries.map(({ name, disabled, origin, spec }) => [
      name,
      disabled ? 'disabled' : 'enabled',
      origin ?? '',
      ...cells.map((cell) => cell(spec as Specs[K])),
    ]),
  );
}

function describeOne({ kind, disabled, spec }: ListedEntry): string {
  // The database keeps fields in an order of its own; parsing brings back the one that people write.
  const ordered = KINDS[kind].schema.safeParse(spec).data ?? spec;
  return stringify({ [KINDS[kind].plural]: [disabled ? { ...ordered, disabled } : ordered] }).trimEnd();
}

function positiveInteger(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new CliFailure(EXIT.usage, 'usage', `--limit must be a whole number above 0, not "${text}"`);
}
