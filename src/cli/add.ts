/**
 * `add` of every noun: one object from a file, from standard input, or from flags for the fields that people type. It is
 * held against the same rules as a file that is applied, and never replaces what is there unless told to.
 */
import type { Command } from 'commander';
import type { Plan } from '../admin/apply.ts';
import type { ObjectsText } from '../admin/objects-file.ts';
import type { Kind } from '../objects/kinds.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, problemFailure } from './failure.ts';
import { blameFlags, givenFlags, objectOfFlags, optionOf } from './object-flags.ts';
import type { FieldFlag } from './object-flags.ts';
import { readObjectsTexts } from './objects-input.ts';

/** What a noun says about its `add`. */
export interface AddText {
  readonly kind: Kind;
  /** How one is named, as in `ISSUER:SUB`. */
  readonly argument: string;
  readonly example: string;
  readonly fields: readonly FieldFlag[];
  /** The fields that the argument stands for. */
  readonly naming: (argument: string) => Readonly<Record<string, unknown>>;
  /** Lines for the help, each a whole command. */
  readonly addExamples: readonly string[];
  /** What to do next, once it is there. */
  readonly next?: (name: string, options: Readonly<Record<string, unknown>>) => string | undefined;
}

interface AddOptions extends Readonly<Record<string, unknown>> {
  readonly file?: string;
  readonly replace?: boolean;
  readonly disabled?: boolean;
}

export function addAddCommand(noun: Command, context: CliContext, text: AddText): void {
  const { kind, argument, fields } = text;
  const add = noun
    .command('add')
    .argument(`[${argument}]`)
    .description(`enter one ${kind}, from flags or from a file`)
    .option(
      '-f, --file <file>',
      `the ${kind} in YAML: its fields, or a file of objects with just this one; - is standard input`,
    );
  for (const field of fields) add.addOption(optionOf(field));
  add
    .option('--disabled', 'enter it disabled')
    .option('--replace', 'change the one of that name, which then is as given here and not a mixture of both')
    .addHelpText(
      'after',
      `
Held against the same rules as apply: every fault is shown at once, and nothing is changed unless all is well. In force
with the next request. Fields that have no flag go into a file (-f); see cambist schema objects.

Examples:
${text.addExamples.map((example) => `  ${example}`).join('\n')}`,
    )
    .action(async (name: string | undefined, options: AddOptions, command: Command) => {
      const given = await textOf(name, options, text, context);
      const outcome = await context.withOperations(
        command,
        (operations) => operations.put({ kind, text: given, replace: options.replace === true }),
        'create',
      );
      if (!outcome.ok) {
        const { problem } = outcome;
        if (options.file !== undefined || problem.faults === undefined) throw problemFailure(problem);
        const namedBy = Object.keys(text.naming(''));
        const faults = blameFlags(problem.faults, fields, `cambist ${kind} add`, argument, namedBy);
        throw problemFailure({ ...problem, faults });
      }
      const { plan, version } = outcome.value;
      const action = plan.create.length > 0 ? 'added' : plan.update.length > 0 ? 'replaced' : 'unchanged';
      const result = { kind, name: outcome.value.name, action, version, warnings: plan.warnings };
      context.print(command, result, () => describe(result, plan));
      const next = action === 'added' ? text.next?.(result.name, options) : undefined;
      if (next !== undefined) context.note(command, next);
    });
}

async function textOf(
  name: string | undefined,
  options: AddOptions,
  { kind, argument, fields, naming }: AddText,
  context: CliContext,
): Promise<ObjectsText> {
  const usage = (message: string) => new CliFailure(EXIT.usage, 'usage', message);
  const { file } = options;
  const { cwd } = context.parts;
  if (file === undefined) {
    if (name === undefined) throw usage(`name the ${kind} (${argument}), or give a file that holds it (-f)`);
    const object = objectOfFlags(naming(name), fields, options, cwd);
    const disabled = options.disabled === true ? { disabled: true } : {};
    return { file: 'flags', text: JSON.stringify({ ...object, ...disabled }) };
  }
  const [extra] = givenFlags(fields, options);
  if (name !== undefined || extra !== undefined || options.disabled === true)
    throw usage(
      `give either a file or flags: ${extra?.flags.split(' ')[0] ?? (name === undefined ? '--disabled' : `"${name}"`)} stands beside -f`,
    );
  const [text] = await readObjectsTexts([file], context.parts);
  if (text === undefined) throw new Error('a file that was named was not read');
  return text;
}

function describe({ kind, name, action }: { kind: Kind; name: string; action: string }, plan: Plan): string {
  const said =
    action === 'unchanged'
      ? `${kind} ${name} is as given already.`
      : `${action === 'added' ? 'Added' : 'Replaced'} ${kind} ${name}. In force with the next request.`;
  return [said, ...plan.warnings.map((warning) => `warning: ${warning}`)].join('\n');
}
