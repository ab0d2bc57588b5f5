/**
 * The command line: one noun per file, put together here. Every command documents itself with examples; every command
 * takes `--json`; the exit code says whether to mend the command (2) or the world (1).
 */
import { Command, CommanderError } from 'commander';
import { addApplyCommand } from './apply.ts';
import { addBackupCommands } from './backup.ts';
import { addClientCommand } from './client.ts';
import { addCheckCommand } from './check.ts';
import { addCompletionCommand } from './completion.ts';
import { addDecodeCommand } from './decode.ts';
import { addDiffCommand } from './diff.ts';
import { addDoctorCommand } from './doctor.ts';
import { addExchangeCommand } from './exchange.ts';
import { addExportCommand } from './export.ts';
import { addInitCommand } from './init.ts';
import { addRoleCommand } from './role.ts';
import { createContext } from './context.ts';
import type { CliParts, GlobalOptions } from './context.ts';
import { addExplainCommand } from './explain.ts';
import { EXIT, failureLines, failureOf } from './failure.ts';
import { addIssuerCommand } from './issuer.ts';
import { addKeysCommand } from './keys.ts';
import { addMigrateCommand } from './migrate.ts';
import { printable } from './output.ts';
import { addPolicyCommand } from './policy.ts';
import { addResourceCommand } from './resource.ts';
import { addSchemaCommand } from './schema.ts';
import { addSecretCommand } from './secret.ts';
import { addServeCommand } from './serve.ts';
import { addSubjectCommand } from './subject.ts';
import { addTokenCommand } from './token.ts';
import { addUpstreamCommand } from './upstream.ts';

export type { CliParts } from './context.ts';

const HELP = `
Settings come from cambist.yaml (or --config FILE, or CAMBIST_CONFIG) and the environment; see docs/configuration.md.
Without any, Cambist runs on an embedded database in .cambist and listens on http://127.0.0.1:8080.

Examples:
  cambist init                                    files to start from, and what to do with them
  cambist serve                                   start the service
  cambist apply -f objects.yaml --dry-run         what would a file of objects change?
  cambist apply -f objects.yaml                   change it
  cambist client secret planner --out planner.secret
  cambist subject disable corp:alice              cut somebody off, with the next request
  cambist exchange --client planner --secret-file planner.secret --audience notes
  cambist explain 01890f3e-…                      why was this request permitted or refused?

Exit codes:
  0  done
  1  refused or failed: the message says what to change in the world
  2  wrong usage or settings: the message says what to change in the command or the file`;

/** The program with every command. */
function buildProgram(parts: CliParts, args: readonly string[]): Command {
  const program = new Command('cambist')
    .description('A token exchange service (RFC 8693) for agents and MCP servers')
    .version(parts.version, '--version', 'print the version')
    .option('--config <file>', 'settings file (default: cambist.yaml, if there is one)')
    .option('--json', 'print JSON for programs instead of text for people')
    .addHelpText('after', HELP)
    .showSuggestionAfterError(true)
    .showHelpAfterError(args.includes('--json') ? false : '(--help says more)')
    .exitOverride()
    .configureOutput({
      writeOut: parts.out,
      writeErr: parts.err,
      outputError: (text, write) => {
        write(args.includes('--json') ? usageJson(text) : text);
      },
    });
  const context = createContext(parts);
  program.hook('preAction', () => context.prepare());
  program.commandsGroup('Start and run:');
  addInitCommand(program, context);
  addServeCommand(program, context);
  addCheckCommand(program, context);
  addMigrateCommand(program, context);
  addDoctorCommand(program, context);
  addBackupCommands(program, context);
  program.commandsGroup('Objects, from files:');
  addApplyCommand(program, context);
  addDiffCommand(program, context);
  addExportCommand(program, context);
  program.commandsGroup('Objects, one by one:');
  addClientCommand(program, context);
  addIssuerCommand(program, context);
  addResourceCommand(program, context);
  addUpstreamCommand(program, context);
  addRoleCommand(program, context);
  addSubjectCommand(program, context);
  addPolicyCommand(program, context);
  program.commandsGroup('Tokens, keys and secrets:');
  addExchangeCommand(program, context);
  addDecodeCommand(program, context);
  addTokenCommand(program, context);
  addKeysCommand(program, context);
  addSecretCommand(program, context);
  program.commandsGroup('Questions:');
  addExplainCommand(program, context);
  addSchemaCommand(program, context);
  addCompletionCommand(program, context);
  program.helpCommand('help [command]', 'show the help of a command');
  return program;
}

/** A message of the parser in the form of every other failure. */
function usageJson(text: string): string {
  const message = text.replace(/^error: /, '').trim();
  return message === '' ? '' : `${JSON.stringify({ error: { code: 'usage', message, faults: [] } })}\n`;
}

/** Runs one command; `args` without the names of program and script. Returns the exit code, never throws. */
export async function runCli(args: readonly string[], parts: CliParts): Promise<number> {
  const program = buildProgram(parts, args);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const failure = failureOf(error);
    const { message, code, faults, details } = failure;
    if (program.opts<GlobalOptions>().json === true)
      parts.err(`${JSON.stringify({ error: { code, message, faults, ...details } })}\n`);
    else {
      const withStack = ['debug', 'trace'].includes(parts.env['CAMBIST_LOG_LEVEL'] ?? '');
      for (const line of failureLines(failure, withStack)) parts.err(`${printable(line)}\n`);
    }
    return failure.exitCode;
  }
}
