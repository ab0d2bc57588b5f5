/**
 * `cambist check`: settings and files of objects held against all rules that need no database. For CI, and for the
 * minute before a restart.
 */
import type { Command } from 'commander';
import type { ConfigFault } from '../admin/fault.ts';
import type { Settings } from '../config/settings.ts';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT, count } from './failure.ts';
import { readObjectsTexts } from './objects-input.ts';

/** Stands for our issuer where the settings do not say it: no object can have it. */
const NO_ISSUER = 'https://issuer.invalid';

export function addCheckCommand(program: Command, context: CliContext): void {
  program
    .command('check')
    .description('validate settings, and files of objects, without a database')
    .option('-f, --file <file...>', 'files of objects, judged together and by themselves; - is standard input')
    .addHelpText(
      'after',
      `
Settings are read as serve reads them, variables and named files included. In CI, where neither the database nor the key
is, variables stand in for both and are used for nothing:

Examples:
  cambist check
  cambist check --config /etc/cambist/cambist.yaml -f objects.yaml
  DATABASE_URL=postgres://ci CAMBIST_KEY_ENCRYPTION_KEY=$(openssl rand -base64 32) cambist check -f objects.yaml`,
    )
    .action(async (options: { file?: readonly string[] }, command: Command) => {
      const settings = settingsOrFaults(command, context);
      const faulty = Array.isArray(settings);
      const texts = await readObjectsTexts(options.file ?? [], context.parts);
      const checked =
        texts.length === 0
          ? undefined
          : await (
              await import('../admin/file-state.ts')
            ).checkFiles(texts, {
              ownIssuer: faulty ? NO_ISSUER : settings.issuer,
              demoRefusedBecause: faulty ? undefined : settings.demoRefusedBecause,
            });
      const objectFaults = Array.isArray(checked) ? checked : [];
      const faults = [...(faulty ? settings : []), ...objectFaults];
      if (faulty || faults.length > 0)
        throw new CliFailure(
          faulty ? EXIT.usage : EXIT.failed,
          faulty ? 'settings_invalid' : 'objects_invalid',
          count(faults.length, 'fault'),
          faults,
        );
      const plan = checked === undefined || Array.isArray(checked) ? undefined : checked.plan;
      const warnings = plan?.warnings ?? [];
      context.print(
        command,
        { valid: true, settings: summaryOf(settings), objects: plan?.create.length ?? 0, warnings },
        () =>
          [
            ...describe(settings),
            ...(plan === undefined ? [] : [`${count(plan.create.length, 'object')}, no fault.`]),
            ...warnings.map((warning) => `warning: ${warning}`),
          ].join('\n'),
      );
    });
}

function settingsOrFaults(command: Command, context: CliContext): Settings | ConfigFault[] {
  try {
    return context.settings(command);
  } catch (error) {
    if (error instanceof CliFailure && error.code === 'settings_invalid') return [...error.faults];
    throw error;
  }
}

/** What was understood, without anything that is secret. */
function summaryOf({ issuer, listen, database, nodeName }: Settings) {
  return { issuer, listen: `${listen.host}:${listen.port}`, database: database.kind, node_name: nodeName };
}

function describe(settings: Settings): string[] {
  const { issuer, listen, database, node_name: node } = summaryOf(settings);
  return [`Settings, no fault: issuer ${issuer}, listening on ${listen}, ${database} database, node ${node}.`];
}
