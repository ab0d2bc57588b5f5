/** TLS to Vault: whose certificate is taken, and what is said of one that is not. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { openAdapter } from '../support/vault-adapter.ts';
import { selfSigned } from '../unit/net/certificate.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-vault-tls-'));
  writeFileSync(join(folder, 'other.pem'), selfSigned(['localhost']).cert);
  writeFileSync(join(folder, 'junk.pem'), 'not a certificate');
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Answers a login, behind a certificate for these names. */
async function startTls(names: readonly string[]) {
  const asked: string[] = [];
  const pair = selfSigned([...names]);
  const server = createServer({ cert: pair.cert, key: pair.key }, (request, response) => {
    asked.push(String(request.headers['x-vault-token']));
    response.end(JSON.stringify({ data: { ttl: 3600, renewable: true } }));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const caFile = join(folder, `${names.join('-')}.pem`);
  writeFileSync(caFile, pair.cert);
  return { address: `https://localhost:${(server.address() as AddressInfo).port}`, caFile, asked };
}

const logIn = (address: string, caFile: string | undefined) =>
  openAdapter({ address }, { login: { method: 'token', token: 'canary-token' }, caFile, timeoutMs: 2_000 }).logIn();

test('the authority of the settings is trusted, and no other', async () => {
  const { address, caFile, asked } = await startTls(['localhost']);
  await logIn(address, caFile);
  expect(asked).toEqual(['canary-token']);
  for (const other of [undefined, join(folder, 'other.pem')])
    await expect(logIn(address, other), String(other)).rejects.toMatchObject({ code: 'tls' });
  expect(asked).toHaveLength(1);
});

test('a certificate for another name is not taken, whoever signed it', async () => {
  const { address, caFile, asked } = await startTls(['vault.example']);
  await expect(logIn(address, caFile)).rejects.toMatchObject({ code: 'tls' });
  expect(asked).toEqual([]);
});

test('an authority that is missing or no certificate is told by its file, and nothing is trusted instead', async () => {
  const { address, asked } = await startTls(['localhost']);
  await expect(logIn(address, join(folder, 'nowhere.pem'))).rejects.toThrow(
    /vault\.ca_file: .*nowhere\.pem cannot be read: ENOENT/,
  );
  await expect(logIn(address, join(folder, 'junk.pem'))).rejects.toThrow(/junk\.pem holds no certificate in PEM/);
  expect(asked).toEqual([]);
});

test('a node does not start with one, and says which setting it is', async () => {
  const config = join(folder, 'cambist.yaml');
  const vault = { address: 'https://localhost:1', ca_file: 'nowhere.pem', login: { method: 'jwt', role: 'r' } };
  writeFileSync(config, JSON.stringify({ vault }));
  const env = { PATH: process.env['PATH'], CAMBIST_CONFIG: config, CAMBIST_DATA_DIR: join(folder, 'data') };
  const { code, said } = await new Promise<{ code: unknown; said: string }>((resolve) => {
    execFile(process.execPath, [MAIN, 'serve'], { env, cwd: folder, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, said: stdout + stderr });
    });
  });
  expect(said).toMatch(/vault\.ca_file: .*nowhere\.pem cannot be read: ENOENT; fix: name the PEM file/);
  expect(code).toBe(2);
});
