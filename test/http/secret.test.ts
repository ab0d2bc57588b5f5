/**
 * `cambist secret` as a shell runs it, real processes against a running embedded server: what was set is used at once, and
 * a canary value is in no argument, output, log, file of the data folder or backup.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';
import { spawnCambist } from '../support/cambist.ts';
import type { SpawnedCambist } from '../support/cambist.ts';

const COMMAND = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const CANARY = 'canary-4be09d-Xy/+=';
const FORMS = [
  CANARY,
  Buffer.from(CANARY).toString('base64'),
  Buffer.from(CANARY).toString('base64url'),
  Buffer.from(CANARY).toString('hex'),
  encodeURIComponent(CANARY),
];

let server: SpawnedCambist;
let cwd: string;
let printed = '';

beforeAll(async () => {
  server = await spawnCambist({ env: { CAMBIST_LOG_LEVEL: 'trace' } });
  cwd = mkdtempSync(join(tmpdir(), 'cambist-secret-'));
}, 120_000);
afterAll(async () => {
  await server.stop();
  server.remove();
  rmSync(cwd, { recursive: true, force: true });
});

function cambist(line: string, stdin = ''): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const env = { ...cleanEnvironment(), CAMBIST_ISSUER: server.issuer, CAMBIST_DATA_DIR: join(server.folder, 'data') };
    const child = execFile(process.execPath, [COMMAND, ...line.split(' ')], { cwd, env }, (error, out, err) => {
      printed += out + err;
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
    });
    child.stdin?.end(stdin);
  });
}

/** Runs a command at a terminal of its own (`script`) and types the answer. */
function atTerminal(line: string, typed: string): Promise<string> {
  return new Promise((resolve) => {
    const env = { ...cleanEnvironment(), CAMBIST_ISSUER: server.issuer, CAMBIST_DATA_DIR: join(server.folder, 'data') };
    const command = `"${process.execPath}" "${COMMAND}" ${line}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { cwd, env });
    let shown = '';
    let asked = false;
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString();
      if (asked || !shown.includes('(is not shown)')) return;
      asked = true;
      // After the prompt the terminal is made silent; only then is typed.
      setTimeout(() => child.stdin.write(`${typed}\r`), 300);
    });
    child.once('exit', () => {
      resolve(shown);
    });
  });
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

test('a secret lives through set, rotate, list, backup and rm, and its values come out nowhere', async () => {
  expect(await cambist('secret set team/bot --field token', CANARY)).toEqual({
    code: 0,
    out: 'Set token of team/bot, now at version 1.\n',
    err: '',
  });
  writeFileSync(join(cwd, 'token.txt'), `${CANARY}-next\n`, { mode: 0o600 });
  expect((await cambist('secret rotate team/bot --field token=file:token.txt')).out).toContain('version 2');
  expect((await cambist('secret rotate team/bot --field token', `${CANARY}-next`)).err).toContain(
    'nothing was rotated',
  );
  expect((await cambist('secret list')).out).toContain('team/bot  token   2');
  expect((await cambist('doctor')).out).toContain('no upstream names it');
  expect((await cambist('secret set team/bad --json-fields', `{"a": ${CANARY}`)).code).toBe(2);
  const backup = join(cwd, 'backup.gz');
  expect((await cambist(`backup --out ${backup}`)).code).toBe(0);
  expect((await cambist('secret rm team/bot')).code).toBe(2);
  expect((await cambist('secret rm team/bot --yes')).out).toBe('Removed secret team/bot.\n');
  expect(JSON.parse((await cambist('secret list --json')).out)).toEqual([]);

  const texts = new Map([
    ['output', printed],
    ['log', readFileSync(server.logFile, 'latin1')],
    ['backup', gunzipSync(readFileSync(backup)).toString('latin1')],
    ...filesBelow(join(server.folder, 'data')).map((path): [string, string] => [path, readFileSync(path, 'latin1')]),
  ]);
  expect(texts.size).toBeGreaterThan(100);
  for (const [where, text] of texts) for (const form of FORMS) expect(text.includes(form), where).toBe(false);
  expect(texts.get('backup')).toContain('team/bot');
}, 120_000);

test.skipIf(process.platform !== 'linux')(
  'at a terminal it asks, and what is typed is not shown',
  async () => {
    const shown = await atTerminal('secret set typed/one --field token', CANARY);
    expect(shown).toContain('Value of token (is not shown):');
    expect(shown).toContain('Set token of typed/one, now at version 1.');
    expect(shown).not.toContain('canary');
    expect((await cambist('secret rotate typed/one --field token', CANARY)).err).toContain('nothing was rotated');
  },
  120_000,
);
