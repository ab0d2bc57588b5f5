/**
 * One process per embedded data folder: two would destroy it. A lock file beside the folder names the process that holds
 * it; the lock of a process that is no more is taken over, so that a crash does not need a hand.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { randomUUID } from 'node:crypto';

export interface DataFolderLock {
  release(): void;
}

/** The data folder is in use by another process. */
export class DataFolderInUse extends Error {
  override readonly name = 'DataFolderInUse';
}

interface Holder {
  readonly pid: number;
  /** When that process started, where the system tells: process ids are used again, in containers always the same. */
  readonly started: string | null;
  readonly nonce: string;
}

const ATTEMPTS = 5;

/** Throws DataFolderInUse when another living process (or this one) has the folder. */
export function lockDataFolder(dataDir: string): DataFolderLock {
  const path = `${dataDir.replace(/[/\\]+$/, '')}.lock`;
  const mine: Holder = { pid: process.pid, started: startOf(process.pid), nonce: randomUUID() };
  const draft = `${path}.${mine.nonce}`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(draft, JSON.stringify(mine), { mode: 0o600, flag: 'wx' });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (linked(draft, path))
        return {
          release: () => {
            releaseLock(path, mine);
          },
        };
      const holder = readHolder(path);
      if (holder === undefined) continue;
      if (isAlive(holder))
        throw new DataFolderInUse(
          `the data folder ${dataDir} is in use by process ${holder.pid}. Stop that process, or talk to it: ` +
            'an embedded database has one process at a time.',
        );
      removeStale(path, holder);
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw new DataFolderInUse(`the lock ${path} could not be had: other processes are starting on the same data folder`);
}

/** A hard link is made whole or not at all, so that nobody ever reads half a lock. */
function linked(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    const { pid, started, nonce } = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>;
    return { pid: Number(pid), started: started ?? null, nonce: String(nonce) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) throw new DataFolderInUse(`the lock ${path} is not one of ours: remove it`);
    throw error;
  }
}

/** Renames first and looks at what it got: of two that take over, one may have got the other's new lock. */
function removeStale(path: string, stale: Holder): void {
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (readHolder(aside)?.nonce !== stale.nonce) linked(aside, path);
  rmSync(aside, { force: true });
}

function releaseLock(path: string, mine: Holder): void {
  if (readHolder(path)?.nonce === mine.nonce) rmSync(path, { force: true });
}

function isAlive({ pid, started }: Holder): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startOf(pid);
  return started === null || now === null || now === started;
}

/** Boot id and start time of a process (Linux: proc(5), `stat` field 22); `null` where the system has no such files. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${afterName[19] ?? ''}`;
  } catch {
    return null;
  }
}
