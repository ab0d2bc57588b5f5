/**
 * Where the log goes: a file descriptor, written in the background. Whoever reads it may stall (a full pipe), fail (a
 * full disk) or be gone (a closed terminal): that costs lines, counted and said once it goes on, and never the service.
 * pino's own destination keeps lines without bound then, and at the end of the process tries again for ever.
 */
import { write, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** What is kept while it cannot be written. */
const KEPT_MAX_CHARS = 4_000_000;
const RETRY_MS = 100;
/** Longest wait for a reader that stalls while the process ends, as tries. */
const LAST_TRIES = 10;

/** Lines are written whole and in order; those that do not fit any more are lost. */
export function createLogDestination(fd: number, keptMaxChars = KEPT_MAX_CHARS): DestinationStream {
  let kept = '';
  let rest: Buffer = Buffer.alloc(0);
  let writing = false;
  let lost = 0;
  let flushesAtExit = false;

  function begin(): void {
    if (writing) return;
    if (rest.length === 0) {
      if (kept === '') return;
      rest = Buffer.from(kept);
      kept = '';
    }
    writing = true;
    write(fd, rest, 0, rest.length, null, (error, written) => {
      writing = false;
      if (error === null) {
        rest = rest.subarray(written);
        if (rest.length === 0) sayLost();
        begin();
      } else if (isBusy(error)) setTimeout(begin, RETRY_MS).unref();
      // Otherwise the next line is the next try.
    });
  }

  function sayLost(): void {
    if (lost === 0) return;
    const line = {
      level: 40,
      time: new Date().toISOString(),
      lost,
      msg: 'lines of the log were lost: nobody took them',
    };
    kept += `${JSON.stringify(line)}\n`;
    lost = 0;
  }

  function flush(): void {
    // What is being written is with the system already.
    let last = writing ? Buffer.from(kept) : Buffer.concat([rest, Buffer.from(kept)]);
    for (let tries = 0; last.length > 0 && tries < LAST_TRIES;)
      try {
        last = last.subarray(writeSync(fd, last));
      } catch (error) {
        if (!isBusy(error as NodeJS.ErrnoException)) return;
        tries += 1;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      }
  }

  return {
    write(line) {
      if (!flushesAtExit) {
        flushesAtExit = true;
        process.once('exit', flush);
      }
      if (kept.length + rest.length + line.length > keptMaxChars) lost += 1;
      else kept += line;
      begin();
    },
  };
}

function isBusy({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EAGAIN' || code === 'EBUSY';
}
