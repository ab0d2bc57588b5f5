/**
 * `cambist diff`: what differs between files of objects and what is registered, field by field. Changes nothing. Ends
 * like `diff`: 0 for no difference, 1 for differences, 2 for trouble, so that a script can tell drift from failure.
 */
import type { Command } from 'commander';
import type { Plan, PlannedChange } from '../admin/apply.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count, failureOf } from './failure.ts';
import { readObjectsTexts } from './objects-input.ts';

interface DiffOptions {
  readonly file: readonly string[];
  readonly prune?: boolean;
}

export function addDiffCommand(program: Command, context: CliContext): void {
  program
    .command('diff')
    .description('show how registered objects differ from files; changes nothing')
    .requiredOption('-f, --file <file...>', 'YAML files, judged together; - is standard input')
    .option('--prune', 'count also what earlier applies made and these files no longer name')
    .addHelpText(
      'after',
      `
A line that begins with - is as registered, one with + as the files say. Applying the files makes the two alike.
Exit codes: 0 no difference, 1 differences, 2 trouble (faults in the files, no database).

Examples:
  cambist diff -f objects.yaml
  cambist diff -f objects.yaml --prune || notify "somebody changed something by hand"`,
    )
    .action(async (options: DiffOptions, command: Command) => {
      const plan = await planOf(options, command, context).catch((error: unknown) => {
        const { code, message, faults, details, cause } = failureOf(error);
        const failure = new CliFailure(EXIT.usage, code, message, faults, details);
        failure.cause = cause;
        throw failure;
      });
      const differing = plan.create.length + plan.update.length + plan.remove.length;
      const { create, update, remove } = plan;
      context.print(command, { differing, create, update, remove }, () =>
        differing === 0 ? 'No difference.' : describe(plan),
      );
      if (differing > 0)
        throw new CliFailure(
          EXIT.failed,
          'objects_differ',
          `${count(differing, 'object')} ${differing === 1 ? 'differs' : 'differ'}`,
        );
    });
}

async function planOf({ file, prune }: DiffOptions, command: Command, context: CliContext): Promise<Plan> {
  const texts = await readObjectsTexts(file, context.parts);
  return context.withOperations(command, async (operations) =>
    valueOf(await operations.plan({ texts, prune: prune === true })),
  );
}

function describe({ create, update, remove }: Plan): string {
  return [
    ...remove.map(({ kind, name }) => [`- ${kind} ${name}`]),
    ...create.map((change) => [`+ ${change.kind} ${change.name}`, ...describeFields(withoutEmpty(change))]),
    ...update.map((change) => [`  ${change.kind} ${change.name}`, ...describeFields(change)]),
  ]
    .flat()
    .join('\n');
}

/** What is new says enough by what it has. */
function withoutEmpty(change: PlannedChange): PlannedChange {
  return { ...change, changes: change.changes.filter(({ after }) => after !== false && !isEmptyList(after)) };
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function describeFields({ changes }: PlannedChange): string[] {
  return changes.flatMap(({ path, before, after }) => {
    const [was, is] = [linesOf(before), linesOf(after)];
    if (was.length <= 1 && is.length <= 1)
      return [...was.map((line) => `-   ${path}: ${line}`), ...is.map((line) => `+   ${path}: ${line}`)];
    return [`    ${path}:`, ...differingLines(was, is).map((line) => line.replace(/^(.)/, '$1     '))];
  });
}

/** A text of several lines by its lines; anything else as JSON; what is not there has no line. */
function linesOf(value: unknown): string[] {
  if (value === null) return [];
  if (typeof value === 'string' && value.includes('\n')) return value.trimEnd().split('\n');
  return [JSON.stringify(value)];
}

const CONTEXT_LINES = 2;

/** The lines between what two texts have alike at their ends, with a little of that around them. */
function differingLines(was: readonly string[], is: readonly string[]): string[] {
  const shortest = Math.min(was.length, is.length);
  let head = 0;
  while (head < shortest && was[head] === is[head]) head++;
  let tail = 0;
  while (tail < shortest - head && was.at(-1 - tail) === is.at(-1 - tail)) tail++;
  const same = (lines: readonly string[]) => lines.map((line) => ` ${line}`);
  return [
    ...same(was.slice(Math.max(0, head - CONTEXT_LINES), head)),
    ...was.slice(head, was.length - tail).map((line) => `-${line}`),
    ...is.slice(head, is.length - tail).map((line) => `+${line}`),
    ...same(was.slice(was.length - tail, was.length - tail + CONTEXT_LINES)),
  ];
}
