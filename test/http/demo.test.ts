/**
 * `npm start`, as it was built, in a folder of its own: what it shows, what it leaves on disk, that the lines it prints
 * work when pasted, and that Ctrl-C ends all of it.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const SCRIPT = `import('${new URL('../../dist/deploy/demo/main.js', import.meta.url).href}').then((demo) => demo.runDemo(process.argv.slice(1)))`;
const TIMEOUT_MS = 120_000;

let folder = '';
const started: Demo[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-demo-'));
  symlinkSync(new URL('../../dist', import.meta.url).pathname, join(folder, 'dist'));
});
afterAll(async () => {
  for (const { child, exit } of started) {
    child.kill('SIGINT');
    await exit;
  }
  rmSync(folder, { recursive: true });
});

interface Demo {
  readonly child: ChildProcess;
  output(): string;
  until(text: string): Promise<void>;
  readonly exit: Promise<number | null>;
}

function startDemo(...args: string[]): Demo {
  // The shell of whoever runs the tests may have settings for another Cambist.
  const env = {
    ...process.env,
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
    CAMBIST_ISSUER: 'https://x.example',
  };
  const child = spawn(process.execPath, ['-e', SCRIPT, '--', ...args], { cwd: folder, env });
  let output = '';
  const watchers: (() => void)[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
      for (const watcher of watchers) watcher();
    });
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  const demo: Demo = {
    child,
    output: () => output,
    exit,
    until: (text) =>
      new Promise((resolve, reject) => {
        const watcher = (): void => {
          if (output.includes(text)) resolve();
        };
        watchers.push(watcher);
        watcher();
        void exit.then(() => {
          reject(new Error(`the demo ended without saying "${text}":\n${output}`));
        });
      }),
  };
  started.push(demo);
  return demo;
}

function secretsOnDisk(): string[] {
  const place = join(folder, '.cambist/demo');
  const identities = JSON.parse(readFileSync(join(place, 'identities.json'), 'utf8'));
  const files = readdirSync(place).filter((name) => /\.(secret|id_token|key)$/.test(name));
  return [
    identities.adaPassword,
    identities.portalSecret,
    identities.cookieKey,
    identities.providerKey.d,
    ...files.map((name) => readFileSync(join(place, name), 'utf8').trim()),
  ];
}

describe('npm start', () => {
  it(
    'shows the exchange, the tool call, the denial with its reason, and the records, in at most 60 lines; --once ends it',
    async () => {
      const demo = startDemo('--once');
      expect(await demo.exit, demo.output()).toBe(0);
      const output = demo.output();
      for (const shown of ['HTTP 200', 'corp:ada', 'travel-agent', 'https://calendar.demo.example/mcp'])
        expect(output).toContain(shown);
      for (const shown of ['HTTP 400', 'invalid_target', 'notes-are-private']) expect(output).toContain(shown);
      for (const shown of ['tool "events" 09:30', 'demo/calendar-api, version 1', 'calendar-server, for travel-agent'])
        expect(output).toContain(shown);
      expect(output.split('\n').length).toBeLessThanOrEqual(60);
      expect(output, 'plain ASCII without a terminal').toMatch(/^[\x20-\x7e\n]*$/);
      for (const secret of secretsOnDisk()) expect(output).not.toContain(secret);
    },
    TIMEOUT_MS,
  );

  it('keeps its secrets to its owner', () => {
    expect(statSync(join(folder, '.cambist')).mode & 0o077).toBe(0);
    expect(statSync(join(folder, '.cambist/demo')).mode & 0o077).toBe(0);
    const place = join(folder, '.cambist/demo');
    for (const name of readdirSync(place)) expect(statSync(join(place, name)).mode & 0o077, name).toBe(0);
    expect(statSync(join(folder, '.cambist/kek')).mode & 0o077).toBe(0);
  });

  it(
    'starts again on the same data, prints lines that work when pasted, and ends with 0 on Ctrl-C, with nothing left behind',
    async () => {
      const demo = startDemo();
      await demo.until('Serving until Ctrl-C');
      const output = demo.output();
      expect(output).toContain('as left last time');
      for (const secret of secretsOnDisk()) expect(output).not.toContain(secret);

      const pasted = pastedCommands(output);
      expect(pasted.length).toBeGreaterThanOrEqual(3);
      const answers = pasted.map((command) => {
        const run = spawnSync('bash', ['-c', command], { cwd: folder, encoding: 'utf8' });
        expect(run.status, `${command}\n${run.stderr}`).toBe(0);
        return run.stdout;
      });
      expect(answers[0]).toMatch(/^HTTP\/1\.1 200[^]*"access_token"/);
      expect(answers[1]).toMatch(/^HTTP\/1\.1 400[^]*"invalid_target"/);
      expect(answers[2]).toContain('notes-are-private');
      expect(answers[3]).toMatch(
        /OPENED[^]*GET \/v1\/events at upstream calendar-api[^]*ada of [^]*CLOSED[^]*answered 200/,
      );
      expect(answers[3]).toMatch(/acting +client calendar-server, after client travel-agent/);

      const another = startDemo('--once');
      expect(await another.exit).toBe(1);
      expect(another.output()).toContain('already runs');

      const port = /Cambist at http:\/\/127\.0\.0\.1:(\d+)/.exec(output)?.[1] ?? '';
      demo.child.kill('SIGINT');
      expect(await demo.exit, demo.output()).toBe(0);
      await expect(fetch(`http://127.0.0.1:${port}/oauth2/jwks`)).rejects.toThrow();
    },
    TIMEOUT_MS,
  );
});

/** The indented commands after "Now you", continued lines joined. */
function pastedCommands(output: string): string[] {
  const lines = output.slice(output.indexOf('Now you')).replaceAll('\\\n', ' ').split('\n').slice(1);
  return lines.map((line) => line.trim()).filter((line) => /^(curl|node) /.test(line));
}
