/**
 * `cambist migrate`: what the database lacks, and bringing it there.
 */
import type { Command } from 'commander';
import type { MigrationPlan } from '../store/migrate.ts';
import type { CliContext } from './context.ts';

export function addMigrateCommand(program: Command, context: CliContext): void {
  const migrate = program.command('migrate').description('bring the database to the version of this program');
  migrate
    .command('plan')
    .description('show the migrations that are missing; changes nothing')
    .addHelpText('after', '\nExample:\n  cambist migrate plan --config /etc/cambist/cambist.yaml')
    .action(async (_options: unknown, command: Command) => {
      const plan = await context.parts.migrations.plan(context.settings(command));
      context.print(command, plan, () => describe(plan, 'missing'));
    });
  migrate
    .command('up')
    .description('run the migrations that are missing, all or none; safe to run twice or from two nodes')
    .addHelpText(
      'after',
      '\nThe database user must own the schema; the service itself runs under a role that may do less.\n\nExample:\n  cambist migrate up',
    )
    .action(async (_options: unknown, command: Command) => {
      const plan = await context.parts.migrations.up(context.settings(command));
      context.print(command, plan, () => describe(plan, 'done'));
    });
}

function describe({ current, target, pending }: MigrationPlan, word: string): string {
  if (pending.length === 0) return `The database is at version ${current}, which is what this program needs.`;
  const lines = pending.map(({ version, name }) => `  ${version} ${name} (${word})`);
  return [`Version ${current} to ${target}:`, ...lines].join('\n');
}
