/**
 * A real PostgreSQL for tests: a cluster of its own in a temporary folder, on a free loopback port, with the durability
 * settings that it ships with. It is stopped and removed when its test ends, and also when the test process is killed:
 * a guard waits for the end of its standard input.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../conformance/targets/process.ts';

export interface PostgresCluster {
  /** Of its superuser, database `postgres`. */
  readonly url: string;
  /** Of the postmaster that runs now. */
  readonly postmasterPid: number;
  /**
   * Kills the postmaster with SIGKILL. Its backends finish their statement and end by themselves, unless they are killed
   * with it, as they would be if the machine went down.
   */
  kill9(options?: { readonly backends: boolean }): Promise<void>;
  /** Starts it again after `kill9`, and waits until it has recovered and answers. */
  restart(): Promise<void>;
  /** Stops the postmaster's process where it stands (SIGSTOP); `resume` lets it go on. */
  pauseAll(): void;
  resumeAll(): void;
  stop(): Promise<void>;
}

/** Folder of `initdb` and `postgres`, or `undefined` where there is none. */
export function findPostgresBinaries(): string | undefined {
  const versioned = (root: string, suffix: string) => {
    try {
      return readdirSync(root)
        .filter((entry) => /\d/.test(entry))
        .sort((a, b) => Number.parseInt(b.replace(/\D*/, ''), 10) - Number.parseInt(a.replace(/\D*/, ''), 10))
        .map((entry) => join(root, entry, suffix));
    } catch {
      return [];
    }
  };
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...versioned('/usr/lib/postgresql', 'bin'),
    '/usr/local/pgsql/bin',
    ...versioned('/opt/homebrew/opt', 'bin').filter((folder) => folder.includes('postgresql')),
    ...versioned('/usr/local/opt', 'bin').filter((folder) => folder.includes('postgresql')),
  ];
  return folders.find(
    (folder) => folder !== '' && ['initdb', 'postgres'].every((name) => isExecutable(join(folder, name))),
  );
}

/** PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`. */
function unprivileged(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) =>
      Number(spawnSync('id', [flag, user]).stdout.toString().trim() || NaN),
    );
    if (uid !== undefined && gid !== undefined && uid > 0 && gid > 0) return { uid, gid };
  }
  throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody');
}

/** Throws when no binaries are found. `settings` go to the server as `-c name=value`. */
export async function startPostgres(settings: readonly string[] = []): Promise<PostgresCluster> {
  const binaries = findPostgresBinaries();
  if (binaries === undefined) throw new Error('no PostgreSQL binaries were found');
  const user = unprivileged();
  const folder = mkdtempSync(join(tmpdir(), 'cambist-pg-'));
  const data = join(folder, 'data');
  const password = randomBytes(16).toString('hex');
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user !== undefined) for (const path of [folder, passwordFile]) chownSync(path, user.uid, user.gid);
  const guard = startGuard(folder, data, user);

  const made = spawnSync(
    join(binaries, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--locale=C', '-N'],
    { ...user, cwd: folder, encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);

  const port = await freePort();
  const url = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
  let server = startServer();

  function startServer(): ChildProcess {
    const given = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'shared_buffers=32MB', ...settings];
    const child = spawn(
      join(binaries ?? '', 'postgres'),
      ['-D', data, '-p', String(port), ...given.flatMap((s) => ['-c', s])],
      {
        ...user,
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    child.stderr.resume();
    return child;
  }

  async function untilReady(): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      // After a crash the old backends may still hold the shared memory for a moment: then it ends at once; start it again.
      if (server.exitCode !== null || server.signalCode !== null) server = startServer();
      try {
        await withClient(url, (client) => client.query('SELECT 1'));
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await pause(50);
      }
    }
  }

  function signalAll(signal: NodeJS.Signals): void {
    const table = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).stdout;
    const children = table
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number))
      .filter(([, parent]) => parent === server.pid)
      .map(([pid]) => pid ?? 0);
    for (const pid of [server.pid ?? 0, ...children].filter((one) => one > 0)) {
      try {
        process.kill(pid, signal);
      } catch {
        // It ended by itself.
      }
    }
  }

  await untilReady();
  return {
    url,
    get postmasterPid() {
      return server.pid ?? 0;
    },
    async kill9({ backends } = { backends: false }) {
      if (backends) signalAll('SIGKILL');
      else server.kill('SIGKILL');
      await ended(server);
    },
    restart: untilReady,
    pauseAll: () => {
      signalAll('SIGSTOP');
    },
    resumeAll: () => {
      signalAll('SIGCONT');
    },
    async stop() {
      server.kill('SIGINT');
      const late = setTimeout(() => server.kill('SIGQUIT'), 5000);
      await ended(server);
      clearTimeout(late);
      guard.stdin?.end();
      await ended(guard);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Ends the server and removes its folder when this process is gone, however it went. */
function startGuard(folder: string, data: string, user: { uid: number; gid: number } | undefined): ChildProcess {
  // Only a process whose command line names this very folder is ours to end: process ids are used again.
  const script =
    'cat >/dev/null; pid="$(head -n 1 "$1" 2>/dev/null)"; ' +
    'case "$(ps -o args= -p "${pid:-0}" 2>/dev/null)" in *"$2"*) kill -QUIT "$pid"; sleep 1;; esac; rm -rf "$2"';
  const guard = spawn('/bin/sh', ['-c', script, 'guard', join(data, 'postmaster.pid'), folder], {
    ...user,
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  (guard.stdin as unknown as { unref?: () => void }).unref?.();
  return guard;
}

/** Runs `work` with a connection of its own. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function ended(child: ChildProcess): Promise<void> {
  return hasEnded(child) ? Promise.resolve() : new Promise((resolve) => child.once('exit', () => resolve()));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
