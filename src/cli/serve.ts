/**
 * `cambist serve`: starts the service and stays until it is told to stop.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';

export function addServeCommand(program: Command, context: CliContext): void {
  program
    .command('serve')
    .description('start the service; SIGINT or SIGTERM drains and stops it')
    .addHelpText(
      'after',
      `
Without settings it runs on an embedded database in .cambist, for a first look and small set-ups.
With DATABASE_URL it runs on PostgreSQL and needs CAMBIST_ISSUER and CAMBIST_KEY_ENCRYPTION_KEY.

Examples:
  cambist serve
  cambist serve --config /etc/cambist/cambist.yaml`,
    )
    .action(async (_options: unknown, command: Command) => {
      await context.parts.serve(context.settings(command));
    });
}
