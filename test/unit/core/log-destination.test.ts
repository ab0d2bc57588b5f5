/** The log's way out, on real file descriptors: a pipe that nobody reads for a while, and a disk that is full. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogDestination } from '../../../src/core/log/destination.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-log-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const lineOf = (number: number) => `${JSON.stringify({ number, filling: 'x'.repeat(1000) })}\n`;

it('keeps what a reader that stalls does not take, up to a bound, in order; the rest is lost and counted', async () => {
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const destination = createLogDestination(fd, 200_000);
  const sent = 1000;
  for (let number = 0; number < sent; number++) destination.write(lineOf(number));

  let text = '';
  const buffer = Buffer.alloc(65_536);
  const read = () => {
    try {
      text += buffer.toString('utf8', 0, readSync(fd, buffer));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
    return text;
  };
  await expect.poll(read, { timeout: 10_000 }).toContain('lines of the log were lost');
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { number?: number; lost?: number });
  const numbers = lines.flatMap(({ number }) => number ?? []);
  expect(numbers).toEqual(numbers.map((_, index) => index));
  expect(numbers.length).toBeGreaterThan(150);
  expect(numbers.length).toBeLessThan(300);
  expect(lines.find(({ lost }) => lost !== undefined)?.lost).toBe(sent - numbers.length);
  closeSync(fd);
});

it('goes on after a line that could not be written', async () => {
  const full = openSync('/dev/full', 'w');
  const destination = createLogDestination(full);
  for (let number = 0; number < 5; number++) {
    destination.write(lineOf(number));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  closeSync(full);

  const path = join(folder, 'log');
  const file = openSync(path, 'w');
  const works = createLogDestination(file);
  works.write('one\n');
  works.write('two\n');
  await expect.poll(() => readFileSync(path, 'utf8')).toBe('one\ntwo\n');
  closeSync(file);
});
