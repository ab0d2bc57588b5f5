/**
 * Cambist as a shell runs it: the built command line as a child process, nothing imported from it. The demo runs it
 * this way, and so do tests that kill it.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The built program, whether this file runs built as well or from its source (in tests). */
const COMMAND = fileURLToPath(
  new URL(import.meta.url.includes('/dist/') ? '../../src/main.js' : '../../dist/src/main.js', import.meta.url),
);
const READY_TIMEOUT_MS = 60_000;
const DRAIN_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

export interface CambistProcess {
  readonly issuer: string;
  readonly url: string;
  readonly pid: number | undefined;
  /** Resolves when the process has ended by itself or by `stop`. */
  readonly ended: Promise<void>;
  /** Runs `cambist …` and gives its standard output; throws with its standard error when it fails. */
  command(...args: string[]): Promise<string>;
  /** SIGTERM: finishes what is in flight. */
  stop(): Promise<void>;
  readonly kill: () => void;
}

export interface CambistOptions {
  /** What its settings say: it is ready when its metadata say the same. */
  readonly issuer: string;
  /** Where it listens. */
  readonly url: string;
  /** All of its environment. */
  readonly env: NodeJS.ProcessEnv;
  /** Gets its output; written anew. */
  readonly logFile: string;
}

/** This process's environment without the settings of any Cambist in it. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(CAMBIST_|DATABASE_URL$)/.test(name)));
}

/** Starts `cambist serve` and resolves when it answers. Throws with the end of its log when it does not. */
export async function startCambist(options: CambistOptions): Promise<CambistProcess> {
  const { issuer, env } = options;
  const log = openSync(options.logFile, 'w', 0o600);
  // A process group of its own: Ctrl-C reaches the parent alone, which then lets it finish what is in flight.
  const child = spawn(process.execPath, [COMMAND, 'serve'], { env, stdio: ['ignore', log, log], detached: true });
  closeSync(log);
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.once('error', () => {
      resolve();
    });
  });
  if (!(await answers(child, options))) {
    child.kill('SIGKILL');
    throw new Error(`Cambist did not start. The end of ${options.logFile}:\n${lastLines(options.logFile)}`);
  }
  return {
    issuer,
    url: options.url,
    pid: child.pid,
    ended,
    command: async (...args) => {
      const { stdout } = await promisify(execFile)(process.execPath, [COMMAND, ...args], { env });
      return stdout;
    },
    stop: async () => {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), DRAIN_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    },
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}

async function answers(child: ChildProcess, { issuer, url }: CambistOptions): Promise<boolean> {
  const deadlineMs = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadlineMs && child.exitCode === null && child.signalCode === null) {
    try {
      const response = await fetch(`${url}/.well-known/oauth-authorization-server`);
      if (response.ok && ((await response.json()) as { issuer?: unknown }).issuer === issuer) return true;
    } catch {
      // not listening yet
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return false;
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-20).join('\n');
}
