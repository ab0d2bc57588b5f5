/**
 * Programs that are started to be tested: a free port, the end of waiting, an orderly stop.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const READY_TIMEOUT_MS = 60_000;

/** The checkout that a module belongs to, whether it runs built or from its source. */
export function checkout(moduleUrl: string): string {
  let folder = dirname(fileURLToPath(moduleUrl));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

export interface Program {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** File that gets its output; written anew. */
  readonly log: string;
}

export function startLogged({ program, args, env, cwd, log }: Program): ChildProcess {
  const output = openSync(log, 'w', 0o600);
  const child = spawn(program, args, { env, cwd, stdio: ['ignore', output, output] });
  closeSync(output);
  return child;
}

/**
 * A free loopback port below the range from which the system gives ports to everybody: nothing else takes it between
 * this look and its use.
 */
export async function freePort(): Promise<number> {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once('error', () => {
      resolve(false);
    });
    server.listen(port, '127.0.0.1', () => {
      resolve(true);
    });
  });
  if (!free) return freePort();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves when something answers at the address; throws with the program's log when it ended or takes too long. */
export async function untilAnswers(
  url: string,
  child: ChildProcess,
  logFile: string,
  timeoutMs = READY_TIMEOUT_MS,
): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (Date.now() < deadlineMs && child.exitCode === null) {
    try {
      if ((await fetch(url)).status < 500) return;
      throw new Error('not ready');
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error(`nothing answers at ${url}:\n${readFileSync(logFile, 'utf8')}`);
}

/** SIGTERM to the program alone, and waits for its end. */
export async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child?.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}
