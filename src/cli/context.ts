/**
 * What every command needs: its settings, the operations (over the local socket of a running embedded server, or over
 * a database opened for this command), and where its output goes. What is heavy is loaded when a command runs, so that
 * help, completion and wrong usage are answered at once.
 */
import type { Command } from 'commander';
import type { Finding } from '../admin/doctor/findings.ts';
import type { Operations, Outcome } from '../admin/operations.ts';
import type { loadSettings } from '../config/settings.ts';
import type { Settings } from '../config/settings.ts';
import type { Rehearse } from '../exchange/rehearse.ts';
import type { MigrationPlan } from '../store/migrate.ts';
import type { RestoreSummary } from '../store/restore.ts';
import { problemFailure, settingsFailure } from './failure.ts';
import type { RestoreArguments } from './upkeep.ts';
import { printable } from './output.ts';

export interface OpenedOperations {
  readonly operations: Operations;
  close(): Promise<void>;
}

/** May the command make a database where there is none? One that only looks, or changes what must be there, may not. */
export type DatabaseAccess = 'existing' | 'create';

/** What the composition root gives to the command line. */
export interface CliParts {
  readonly version: string;
  /** How this program was started, to be typed again: `cambist`. */
  readonly invocation?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly readStdin: () => Promise<string>;
  /** Asks whoever sits at the terminal; absent where nobody does. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** Asks for a secret: what is typed is not shown. Absent where `ask` is. */
  readonly askHidden?: ((question: string) => Promise<string>) | undefined;
  /** Runs the server until it is told to stop. */
  serve(settings: Settings): Promise<void>;
  /** Opens the database of the settings for one command. */
  openOperations(settings: Settings, access: DatabaseAccess): Promise<OpenedOperations>;
  /** What can be found out with the database of the settings, when no server is asked; changes nothing. */
  examine(settings: Settings, onDone: (done: number, of: number) => void): Promise<readonly Finding[]>;
  restore(settings: Settings, args: RestoreArguments): Promise<RestoreSummary>;
  readonly migrations: {
    plan(settings: Settings): Promise<MigrationPlan>;
    up(settings: Settings): Promise<MigrationPlan>;
  };
  /** Decisions without a request, as the issuer of that URL would make them. */
  rehearse(issuer: string): Promise<Rehearse>;
}

export interface GlobalOptions {
  readonly config?: string;
  readonly json?: boolean;
}

export interface CliContext {
  readonly parts: CliParts;
  /** Loads what actions need; runs before any of them. */
  prepare(): Promise<void>;
  /** Throws CliFailure with every fault. */
  settings(command: Command): Settings;
  /** Refuses where there is no database yet, unless the command may make one. */
  withOperations<T>(
    command: Command,
    work: (operations: Operations) => Promise<T>,
    access?: DatabaseAccess,
  ): Promise<T>;
  /** Prints the value with `--json`, else the text. */
  print(command: Command, value: unknown, text: () => string): void;
  isJson(command: Command): boolean;
  /** A line for people beside the output, left out with `--json`. */
  note(command: Command, text: string): void;
}

export function createContext(parts: CliParts): CliContext {
  let load: typeof loadSettings | undefined;
  const isJson = (command: Command) => command.optsWithGlobals<GlobalOptions>().json === true;
  const settings = (command: Command) => {
    if (load === undefined) throw new Error('settings were asked for before an action ran');
    const { config } = command.optsWithGlobals<GlobalOptions>();
    const loaded = load({ configFile: config, env: parts.env, cwd: parts.cwd });
    if (Array.isArray(loaded)) throw settingsFailure(loaded);
    return loaded;
  };
  return {
    parts,
    async prepare() {
      load = (await import('../config/settings.ts')).loadSettings;
    },
    settings,
    isJson,
    print(command, value, text) {
      parts.out(`${isJson(command) ? JSON.stringify(value, null, 2) : printable(text())}\n`);
    },
    note(command, text) {
      if (!isJson(command)) parts.err(`${printable(text)}\n`);
    },
    async withOperations(command, work, access = 'existing') {
      const opened = await reachOperations(settings(command), parts, access);
      try {
        return await work(opened.operations);
      } finally {
        await opened.close();
      }
    },
  };
}

/** The embedded database has one process: where a server runs, it is asked; else this command is that process. */
async function reachOperations(settings: Settings, parts: CliParts, access: DatabaseAccess): Promise<OpenedOperations> {
  const { database } = settings;
  if (database.kind === 'embedded') {
    const { isSocketAlive } = await import('../http/local.ts');
    if (await isSocketAlive(database.socketPath)) {
      const { localOperations } = await import('./local-client.ts');
      return { operations: localOperations(database.socketPath), close: () => Promise.resolve() };
    }
  }
  return parts.openOperations(settings, access);
}

/** The value of an outcome; a problem ends the command. */
export function valueOf<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw problemFailure(outcome.problem);
}
