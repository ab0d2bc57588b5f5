/**
 * `cambist apply`: shows what files of objects would change, then changes it. What was shown is what is done: when the
 * state moves in between, the plan is made and shown again.
 */
import type { Command } from 'commander';
import type { Plan, PlannedChange } from '../admin/apply.ts';
import type { ObjectsText } from '../admin/objects-file.ts';
import type { Operations } from '../admin/operations.ts';
import { valueOf } from './context.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { offlineOptions, readObjectsTexts } from './objects-input.ts';

const REPLANS_MAX = 5;

interface ApplyOptions {
  readonly file: readonly string[];
  readonly prune?: boolean;
  readonly dryRun?: boolean;
  readonly check?: boolean;
  readonly issuer?: string;
}

export function addApplyCommand(program: Command, context: CliContext): void {
  program
    .command('apply')
    .description('enter objects (issuers, clients, resources, upstreams, roles, subjects, policies) from files')
    .requiredOption('-f, --file <file...>', 'YAML files, judged together; - is standard input')
    .option('--prune', 'also remove what earlier applies made and these files no longer name')
    .option('--dry-run', 'show the plan and change nothing')
    .option('--check', 'validate the files by themselves, without a database')
    .option('--issuer <url>', 'with --check: our own issuer URL, instead of reading the settings')
    .addHelpText(
      'after',
      `
Files are validated whole: every fault is shown at once, with its line and its fix, and nothing is changed unless all
is well. Applying the same files again changes nothing. Objects that the files do not name stay as they are, unless
--prune is given. Client secrets are never in files: see cambist client secret --help.

Examples:
  cambist apply -f objects.yaml --dry-run
  cambist apply -f objects.yaml
  cambist apply -f issuers.yaml -f clients.yaml --prune
  cambist apply -f objects.yaml --check --issuer https://sts.example.com     # in CI, without a database`,
    )
    .action(async (options: ApplyOptions, command: Command) => {
      const texts = await readObjectsTexts(options.file, context.parts);
      if (options.check === true) {
        await checkOnly(texts, options, command, context);
        return;
      }
      await context.withOperations(
        command,
        (operations) => planAndApply(texts, options, operations, command, context),
        options.dryRun === true ? 'existing' : 'create',
      );
    });
}

async function checkOnly(
  texts: readonly ObjectsText[],
  options: ApplyOptions,
  command: Command,
  context: CliContext,
): Promise<void> {
  // Loads the policy engine, which no other way of this command needs.
  const { checkFiles } = await import('../admin/file-state.ts');
  const checked = await checkFiles(texts, offlineOptions(command, context, options.issuer));
  if (Array.isArray(checked))
    throw new CliFailure(EXIT.failed, 'objects_invalid', count(checked.length, 'fault'), checked);
  const { create, warnings } = checked.plan;
  context.print(command, { valid: true, objects: create.length, warnings }, () =>
    [`${count(create.length, 'object')}, no fault.`, ...warnings.map((warning) => `warning: ${warning}`)].join('\n'),
  );
}

async function planAndApply(
  texts: readonly ObjectsText[],
  options: ApplyOptions,
  operations: Operations,
  command: Command,
  context: CliContext,
): Promise<void> {
  const prune = options.prune === true;
  for (let attempt = 1; ; attempt++) {
    const plan = valueOf(await operations.plan({ texts, prune }));
    context.note(command, describePlan(plan));
    if (options.dryRun === true) {
      context.print(command, { applied: false, plan }, () => 'Nothing was changed (--dry-run).');
      return;
    }
    const outcome = await operations.apply({ texts, prune, expectVersion: plan.stateVersion });
    if (!outcome.ok && outcome.problem.code === 'state_moved' && attempt < REPLANS_MAX) {
      context.note(command, 'Somebody changed something meanwhile: planning again.');
      continue;
    }
    const { version } = valueOf(outcome);
    const changes = plan.create.length + plan.update.length + plan.remove.length;
    context.print(command, { applied: true, version, plan }, () =>
      changes === 0 ? 'Nothing to change.' : `Applied ${count(changes, 'change')}. In force with the next request.`,
    );
    return;
  }
}

function describePlan(plan: Plan): string {
  const lines = [
    ...plan.create.map(({ kind, name }) => `  + ${kind} ${name}`),
    ...plan.update.flatMap((change) => [`  ~ ${change.kind} ${change.name}`, ...describeFields(change)]),
    ...plan.remove.map(({ kind, name }) => `  - ${kind} ${name}`),
  ];
  const { create, update, remove, unchanged, warnings } = plan;
  const sum = `Plan: ${create.length} to create, ${update.length} to update, ${remove.length} to remove, ${unchanged.length} unchanged.`;
  return [sum, ...lines, ...warnings.map((warning) => `warning: ${warning}`)].join('\n');
}

function describeFields({ changes }: PlannedChange): string[] {
  return changes.map(({ path, before, after }) => `      ${path}: ${shorten(before)} → ${shorten(after)}`);
}

const SHOWN_CHARACTERS_MAX = 120;

function shorten(value: unknown): string {
  const text = value === null ? 'absent' : JSON.stringify(value);
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}…`;
}
