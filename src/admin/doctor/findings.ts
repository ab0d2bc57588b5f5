/**
 * What `cambist doctor` looks at, as checks: each of one noun, bounded in time, on its own, so that one that hangs or
 * breaks takes no other with it. A finding that is not well says what to do. Nothing here changes anything.
 */
import { Unavailable } from '../../core/refusal.ts';

export type Health = 'ok' | 'warning' | 'failed';

/** What a check found. */
export interface Finding {
  /** `database`, `issuer`, … */
  readonly noun: string;
  /** Which one of them, or which side of it: `corp`, `clock`. */
  readonly name: string;
  readonly health: Health;
  readonly message: string;
  /** What to do; always there unless it is well. */
  readonly fix?: string | undefined;
}

export type Found = Pick<Finding, 'health' | 'message' | 'fix'> & {
  /** Of which one, where a check looks at several. */
  readonly name?: string;
};

export interface Check {
  readonly noun: string;
  readonly name: string;
  /** No finding = nothing to say. */
  readonly run: () => Promise<readonly Found[]> | readonly Found[];
}

export function ok(message: string): Found {
  return { health: 'ok', message };
}

export function warning(message: string, fix: string, name?: string): Found {
  return { health: 'warning', message, fix, ...(name === undefined ? {} : { name }) };
}

export function failed(message: string, fix: string, name?: string): Found {
  return { health: 'failed', message, fix, ...(name === undefined ? {} : { name }) };
}

export const CHECK_TIMEOUT_MS = 10_000;
const AT_ONCE = 8;

/** Runs the checks, a few at a time; their findings come in the order of the checks. */
export async function runChecks(
  checks: readonly Check[],
  timeoutMs = CHECK_TIMEOUT_MS,
  onDone: (done: number, of: number) => void = () => undefined,
): Promise<Finding[]> {
  const findings: Finding[][] = checks.map(() => []);
  let next = 0;
  let done = 0;
  async function work(): Promise<void> {
    for (let index = next++; index < checks.length; index = next++) {
      const check = checks[index];
      if (check === undefined) return;
      const { noun, name } = check;
      const found = await runCheck(check, timeoutMs);
      findings[index] = found.map((one) => ({ noun, name, ...one }));
      onDone(++done, checks.length);
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, checks.length) }, work));
  return findings.flat();
}

async function runCheck(check: Check, timeoutMs: number): Promise<readonly Found[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly Found[]>((resolve) => {
    timer = setTimeout(() => {
      resolve([
        failed(`no answer within ${timeoutMs / 1000} s`, 'look at the network and at the load of the other side'),
      ]);
    }, timeoutMs);
  });
  try {
    return await Promise.race([(async () => check.run())(), late]);
  } catch (error) {
    if (error instanceof Unavailable)
      return [
        failed(`${error.dependency}: ${error.message}`, 'see that it is up and can be reached from this machine'),
      ];
    const message = error instanceof Error ? error.message : String(error);
    return [failed(`the check itself failed: ${message}`, 'this is a bug of ours: report it with this message')];
  } finally {
    clearTimeout(timer);
  }
}
