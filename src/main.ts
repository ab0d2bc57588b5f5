#!/usr/bin/env node
/**
 * The process: gives the command line its parts. What is heavy (database, policies, server) is loaded by the command
 * that needs it.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { CliFailure, EXIT } from './cli/failure.ts';
import { runCli } from './cli/program.ts';
import type { CliParts } from './cli/program.ts';
import type { Settings } from './config/settings.ts';
import { systemClock } from './core/clock.ts';
import { endOnCrash } from './core/log/crash.ts';
import type { MigrationPlan } from './store/migrate.ts';

/** From `src/` and from `dist/src/` alike: the package's root has it. */
const PACKAGE = new URL(
  import.meta.url.includes('/dist/src/') ? '../../package.json' : '../package.json',
  import.meta.url,
);
const VERSION = (JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }).version;

/** Written by the build where it knew the commit. */
function versionText(): string {
  try {
    return `${VERSION} (${readFileSync(new URL('build-commit', import.meta.url), 'utf8').trim()})`;
  } catch {
    return VERSION;
  }
}

/** Where commands would make a database by looking at it. */
function refuseWithoutDatabase({ database }: Settings): void {
  if (database.kind !== 'embedded' || existsSync(database.dataFolder)) return;
  throw new CliFailure(
    EXIT.failed,
    'no_database',
    `there is no database yet in ${database.folder}: start with cambist serve or cambist init, or name your settings with --config`,
  );
}

/** Asks at the terminal; what is piped in is never taken for an answer. */
async function ask(question: string): Promise<string> {
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

/** Asks for a secret: what is typed, and edited, is not shown. */
async function askHidden(question: string): Promise<string> {
  const [{ createInterface }, { Writable }] = await Promise.all([import('node:readline'), import('node:stream')]);
  process.stderr.write(question);
  const unseen = new Writable({
    write: (_chunk, _encoding, done) => {
      done();
    },
  });
  const terminal = createInterface({ input: process.stdin, output: unseen, terminal: true, historySize: 0 });
  try {
    return await new Promise<string>((resolve, reject) => {
      terminal.once('line', resolve);
      terminal.once('SIGINT', () => {
        reject(new CliFailure(EXIT.failed, 'not_confirmed', 'broken off: nothing was changed'));
      });
      terminal.once('close', () => {
        reject(new CliFailure(EXIT.usage, 'usage', 'no value was typed'));
      });
    });
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}

/** How this program was started, to be typed again from the same folder. */
function invocation(): string {
  const script = process.argv[1] ?? 'cambist';
  return basename(script) === 'cambist' ? 'cambist' : `node ${relative(process.cwd(), script)}`;
}

async function migration(settings: Settings, direction: 'plan' | 'up'): Promise<MigrationPlan> {
  if (direction === 'plan') refuseWithoutDatabase(settings);
  const [{ withOwner }, { planMigrations, runMigrations }] = await Promise.all([
    import('./service.ts'),
    import('./store/migrate.ts'),
  ]);
  return withOwner(settings, direction === 'plan' ? planMigrations : runMigrations);
}

const parts: CliParts = {
  version: versionText(),
  invocation: invocation(),
  env: process.env,
  cwd: process.cwd(),
  out: (line) => process.stdout.write(line),
  err: (line) => process.stderr.write(line),
  readStdin: () => text(process.stdin),
  ask: process.stdin.isTTY && process.stderr.isTTY ? ask : undefined,
  askHidden: process.stdin.isTTY && process.stderr.isTTY ? askHidden : undefined,
  serve: async (settings) => (await import('./service.ts')).serve(settings, VERSION),
  openOperations: async (settings, access) => {
    if (access === 'existing') refuseWithoutDatabase(settings);
    const [{ openService }, { createLogger }] = await Promise.all([import('./service.ts'), import('./core/log.ts')]);
    return openService(settings, createLogger('error'));
  },
  examine: async (settings, onDone) => (await import('./cli/upkeep.ts')).examineDatabase(settings, onDone),
  restore: async (settings, args) => (await import('./cli/upkeep.ts')).restoreInto(settings, args),
  migrations: {
    plan: (settings) => migration(settings, 'plan'),
    up: (settings) => migration(settings, 'up'),
  },
  rehearse: async (issuer) => {
    const [{ createDecider }, { createRehearsal }, { createPolicyEngine }] = await Promise.all([
      import('./exchange/decision.ts'),
      import('./exchange/rehearse.ts'),
      import('./policy/engine.ts'),
    ]);
    return createRehearsal({ issuer, clock: systemClock, decide: createDecider(createPolicyEngine()) });
  },
};

/** Whoever read our output has had enough (`| head`): that is no fault. A disk that is full is one, and not ours. */
function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', ({ code = '' }: NodeJS.ErrnoException) => {
      if (code === 'EPIPE') process.exit();
      if (stream === process.stdout)
        process.stderr.write(`cambist: the output could not be written (${code}), so that some of it is missing\n`);
      process.exit(EXIT.failed);
    });
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  endOnCrash();
  endWithReader();
  process.exitCode = await runCli(process.argv.slice(2), parts);
}
