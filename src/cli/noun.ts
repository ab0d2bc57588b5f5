/**
 * The commands that every kind of object has alike: add, list, show, disable, enable, rm.
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { ListedEntry, Operations } from '../admin/operations.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import { addAddCommand } from './add.ts';
import type { AddText } from './add.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { table } from './output.ts';

const PAGE_ENTRIES = 500;

export interface NounText<K extends Kind> extends AddText {
  readonly kind: K;
  /** What an object of this kind is, for the help. */
  readonly about: string;
  /** What disabling one does, for the help. */
  readonly disabling: string;
  readonly columns: Readonly<Record<string, (spec: Specs[K]) => string>>;
}

/** Adds the noun with its common commands; returns it for those that it has alone. */
export function addNounCommand<K extends Kind>(program: Command, context: CliContext, text: NounText<K>): Command {
  const noun = program.command(text.kind).description(text.about);
  addAddCommand(noun, context, text);
  addListCommand(noun, context, text);
  addShowCommand(noun, context, text);
  addSwitchCommand(noun, context, text, 'disable');
  addSwitchCommand(noun, context, text, 'enable');
  addRemoveCommand(noun, context, text);
  return noun;
}

function addListCommand<K extends Kind>(noun: Command, context: CliContext, text: NounText<K>): void {
  const { kind } = text;
  noun
    .command('list')
    .description(`list every ${kind}`)
    .addOption(new Option('--limit <n>', 'list at most so many').argParser(positiveInteger))
    .addHelpText('after', `\nExamples:\n  cambist ${kind} list\n  cambist ${kind} list --json`)
    .action(async (options: { limit?: number }, command: Command) => {
      const entries = await context.withOperations(command, (operations) => collect(operations, kind, options.limit));
      context.print(command, entries, () => describeList(entries, text));
    });
}

function addShowCommand<K extends Kind>(noun: Command, context: CliContext, text: NounText<K>): void {
  const { kind, argument, example } = text;
  noun
    .command('show')
    .argument(`<${argument}>`)
    .description(`show one ${kind} as it would stand in a file of objects`)
    .addHelpText(
      'after',
      `
Fields that are as the defaults say are left out; with --json all of them are there. What is shown can be taken back:

Examples:
  cambist ${kind} show ${example}
  cambist ${kind} show ${example} > ${kind}.yaml     # change it there, then
  cambist ${kind} add -f ${kind}.yaml --replace`,
    )
    .action(async (name: string, _options: unknown, command: Command) => {
      const entry = await context.withOperations(command, async (operations) =>
        valueOf(await operations.show({ kind, name })),
      );
      const { exportYaml } = await import('../admin/export.ts');
      context.print(command, entry, () => exportYaml([entry]).trimEnd());
    });
}

function addSwitchCommand<K extends Kind>(
  noun: Command,
  context: CliContext,
  { kind, argument, example, disabling }: NounText<K>,
  verb: 'disable' | 'enable',
): void {
  const disabled = verb === 'disable';
  noun
    .command(verb)
    .argument(`<${argument}>`)
    .description(disabled ? disabling : `enable ${article(kind)} ${kind} that was disabled`)
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

function addRemoveCommand<K extends Kind>(
  noun: Command,
  context: CliContext,
  { kind, argument, example }: NounText<K>,
): void {
  noun
    .command('rm')
    .argument(`<${argument}>`)
    .description(`remove ${article(kind)} ${kind} that nothing else needs`)
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `
Refused where other objects need it: they are named. It asks first; where there is no terminal to ask at, --yes is
needed. To stop something at once and keep what is known of it, use disable.

Examples:
  cambist ${kind} rm ${example}
  cambist ${kind} rm ${example} --yes`,
    )
    .action(async (name: string, options: { yes?: boolean }, command: Command) => {
      const { ask } = context.parts;
      if (options.yes !== true && ask === undefined)
        throw new CliFailure(EXIT.usage, 'usage', 'there is no terminal to ask at: say --yes if it is meant');
      const removed = await context.withOperations(command, async (operations) => {
        const planned = valueOf(await operations.remove({ kind, name, dryRun: true }));
        for (const warning of planned.warnings) context.note(command, `warning: ${warning}`);
        if (options.yes !== true && !/^y(es)?$/i.test((await ask?.(`Remove ${kind} ${name}? [y/N] `)) ?? ''))
          return undefined;
        return valueOf(await operations.remove({ kind, name, dryRun: false }));
      });
      if (removed === undefined) throw new CliFailure(EXIT.failed, 'not_confirmed', 'nothing was changed');
      context.print(command, { kind, name, removed: true, ...removed }, () => `Removed ${kind} ${name}.`);
    });
}

async function collect(operations: Operations, kind: Kind, limit = Infinity): Promise<ListedEntry[]> {
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
  if (entries.length === 0)
    return `There is no ${kind} yet. Enter one with: cambist ${kind} add --help, or many with: cambist apply -f FILE`;
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

function positiveInteger(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('It must be a whole number above 0.');
}

function article(kind: Kind): string {
  return /^[aeiou]/.test(kind) ? 'an' : 'a';
}
