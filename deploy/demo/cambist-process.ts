/**
 * Cambist as the demo runs it: the built command line as a child process, nothing imported from it. What works here
 * works the same from a shell.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const COMMAND = 'dist/src/main.js';
const READY_TIMEOUT_MS = 60_000;
const DRAIN_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

export interface CambistProcess {
  readonly issuer: string;
  /** Resolves when the process has ended by itself or by `stop`. */
  readonly ended: Promise<void>;
  /** Runs `cambist …` and gives its standard output; throws with its standard error when it fails. */
  command(...args: string[]): Promise<string>;
  /** SIGTERM: finishes what is in flight. */
  stop(): Promise<void>;
  readonly kill: () => void;
}

export interface CambistOptions {
  readonly port: number;
  readonly configFile: string;
  readonly logFile: string;
}

/** Starts `cambist serve` and resolves when it answers. Throws with the end of its log when it does not. */
export async function startCambist(options: CambistOptions): Promise<CambistProcess> {
  const issuer = `http://127.0.0.1:${options.port}`;
  const env = demoEnvironment(options.configFile);
  const log = openSync(options.logFile, 'w', 0o600);
  // A process group of its own: Ctrl-C reaches the demo alone, which then lets it finish what is in flight.
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
  if (!(await answers(child, issuer))) {
    child.kill('SIGKILL');
    throw new Error(`Cambist did not start. The end of ${options.logFile}:\n${lastLines(options.logFile)}`);
  }
  return {
    issuer,
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

/** Settings that the shell may hold for another Cambist must not reach this one. */
function demoEnvironment(configFile: string): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(CAMBIST_|DATABASE_URL$)/.test(name));
  return { ...Object.fromEntries(inherited), CAMBIST_CONFIG: configFile };
}

async function answers(child: ChildProcess, issuer: string): Promise<boolean> {
  const deadlineMs = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadlineMs && child.exitCode === null && child.signalCode === null) {
    try {
      const response = await fetch(`${issuer}/.well-known/oauth-authorization-server`);
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
