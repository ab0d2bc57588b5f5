/**
 * The last line of a process that meets an error which nobody caught. Node itself would print everything that hangs on
 * such an error: of a library's, the request with its headers.
 */
import { writeSync } from 'node:fs';
import { loggable } from './loggable.ts';

/** From now on such an error is told as a line of the log, on standard error, and the process ends with code 1. */
export function endOnCrash(): void {
  process.on('uncaughtException', (error: unknown) => {
    try {
      writeSync(2, crashLine(error, new Date()));
    } catch {
      // Nobody reads any more.
    }
    process.exit(1);
  });
}

/** As the logger would write it at its highest level. */
export function crashLine(error: unknown, now: Date): string {
  const err = loggable(error);
  const msg = 'this is a bug of ours: an error was not caught, and the process ends';
  return `${JSON.stringify({ level: 60, time: now.toISOString(), err, msg })}\n`;
}
