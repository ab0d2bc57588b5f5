/** What a process uses, as Linux tells it in /proc; elsewhere nothing is told. */
import { readFileSync } from 'node:fs';

/** `USER_HZ`, which Linux fixes for what it tells. */
const TICKS_PER_SECOND = 100;
const LOOK_EVERY_MS = 100;

export interface Usage {
  readonly cpuMs: number;
  /** Resident, at its most and at the end, in bytes. */
  readonly peakBytes: number;
  readonly bytes: number;
}

/** Watches a process while `work` goes on. `undefined` where there is no /proc. */
export async function watchUsage<T>(
  pid: number | undefined,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly usage: Usage | undefined }> {
  const before = look(pid);
  let peakBytes = before?.bytes ?? 0;
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, look(pid)?.bytes ?? 0);
  }, LOOK_EVERY_MS);
  try {
    const result = await work();
    const after = look(pid);
    if (before === undefined || after === undefined) return { result, usage: undefined };
    const { cpuMs, bytes } = after;
    return { result, usage: { cpuMs: cpuMs - before.cpuMs, peakBytes: Math.max(peakBytes, bytes), bytes } };
  } finally {
    clearInterval(timer);
  }
}

function look(pid: number | undefined): { readonly cpuMs: number; readonly bytes: number } | undefined {
  try {
    // proc(5): what follows the name, which may hold anything, begins with field 3.
    const fields =
      readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8')
        .split(') ')
        .at(-1)
        ?.split(' ') ?? [];
    const ticks = Number(fields[11]) + Number(fields[12]);
    const [, kilobytes = '0'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid ?? 0}/status`, 'utf8')) ?? [];
    return { cpuMs: (ticks / TICKS_PER_SECOND) * 1000, bytes: Number(kilobytes) * 1024 };
  } catch {
    return undefined;
  }
}
