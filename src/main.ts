#!/usr/bin/env node
/**
 * The process: gives the command line its parts. What is heavy (database, policies, server) is loaded by the command
 * that needs it.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { runCli } from './cli/program.ts';
import type { CliParts } from './cli/program.ts';
import type { Settings } from './config/settings.ts';
import { systemClock } from './core/clock.ts';
import { createLogger } from './core/log.ts';
import type { MigrationPlan } from './store/migrate.ts';

/** From `src/` and from `dist/src/` alike: the package's root has it. */
const PACKAGE = new URL(
  import.meta.url.includes('/dist/src/') ? '../../package.json' : '../package.json',
  import.meta.url,
);
const VERSION = (JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }).version;

async function migration(settings: Settings, direction: 'plan' | 'up'): Promise<MigrationPlan> {
  const [{ withOwner }, { planMigrations, runMigrations }] = await Promise.all([
    import('./service.ts'),
    import('./store/migrate.ts'),
  ]);
  return withOwner(settings, direction === 'plan' ? planMigrations : runMigrations);
}

const parts: CliParts = {
  version: VERSION,
  env: process.env,
  cwd: process.cwd(),
  out: (line) => process.stdout.write(line),
  err: (line) => process.stderr.write(line),
  readStdin: () => text(process.stdin),
  serve: async (settings) => (await import('./service.ts')).serve(settings, VERSION),
  openOperations: async (settings) => (await import('./service.ts')).openService(settings, createLogger('error')),
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

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  process.exitCode = await runCli(process.argv.slice(2), parts);
