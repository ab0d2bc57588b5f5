/**
 * `cambist keys` over a real service and a real embedded database, as a program would run it.
 */
import { mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKeyOperations } from '../../../src/admin/key-operations.ts';
import type { Operations } from '../../../src/admin/operations.ts';
import type { CliParts } from '../../../src/cli/context.ts';
import { localOperations } from '../../../src/cli/local-client.ts';
import { runCli } from '../../../src/cli/program.ts';
import { createLogger } from '../../../src/core/log.ts';
import { serveLocal } from '../../../src/http/local.ts';
import type { LocalServer } from '../../../src/http/local.ts';
import { startCambist } from '../../support/cambist.ts';
import type { TestCambist } from '../../support/cambist.ts';

let cambist: TestCambist;
let folder: string;
let local: LocalServer;
let operations: Operations;

// Over the local socket, so that what it takes and gives is tried as well.
beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
  folder = mkdtempSync(join(tmpdir(), 'cambist-keys-'));
  mkdirSync(join(folder, 'd'), { mode: 0o700 });
  const socketPath = join(folder, 'd', 'cambist.sock');
  const served = createKeyOperations({ ...cambist.service.keyParts, author: 'local:test' }) as Operations;
  local = await serveLocal({ socketPath, operations: served, logger: createLogger('silent') });
  operations = localOperations(socketPath);
});
afterAll(async () => {
  await local.close();
  await cambist.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function run(...args: string[]) {
  let out = '';
  let err = '';
  const parts = {
    version: '1.2.3',
    env: {},
    cwd: folder,
    out: (text: string) => (out += text),
    err: (text: string) => (err += text),
    openOperations: () => Promise.resolve({ operations, close: () => Promise.resolve() }),
  } as unknown as CliParts;
  const code = await runCli(['keys', ...args], parts);
  return { code, out, err };
}
interface Listed {
  readonly kid: string;
  readonly purpose: string;
  readonly algorithm: string;
  readonly state: string;
  readonly signs_at: string | null;
}
const list = async () => JSON.parse((await run('list', '--json')).out) as readonly Listed[];
const kidOf = async (state: string, purpose = 'access-token', algorithm = 'ES256') =>
  (await list()).find((key) => key.state === state && key.purpose === purpose && key.algorithm === algorithm)?.kid ??
  '';

test('every command teaches with an example', async () => {
  for (const command of ['', 'list', 'rotate', 'taint', 'rewrap']) {
    const { code, out } = await run(...command.split(' ').filter(Boolean), '--help');
    expect(code, command).toBe(0);
    expect(out, command).toMatch(/Examples?:\n {2}cambist keys/);
  }
});

test('list shows every key with its purpose and state, and nothing secret', async () => {
  const listed = await run('list');
  expect(listed.code).toBe(0);
  for (const word of ['KID', 'access-token', 'revocation-document', 'audit-checkpoint', 'ES256', 'RS256', 'EdDSA'])
    expect(listed.out).toContain(word);
  const keys = await list();
  expect(keys.map(({ state }) => state)).toEqual(['active', 'active', 'active', 'active']);
  expect(Object.keys(keys[0] ?? {}).sort()).toEqual([
    'activated_at',
    'algorithm',
    'created_at',
    'deleted_after',
    'kid',
    'purpose',
    'signs_at',
    'state',
  ]);
});

test('rotate publishes the next keys and says from when they sign; asked again it says the same', async () => {
  const { code, out } = await run('rotate', '--algorithm', 'ES256');
  expect(code).toBe(0);
  expect(out).toMatch(/^access-token ES256: \S+ is published and signs from \d{4}-/);
  expect((await run('rotate', '--algorithm', 'ES256')).out).toBe(out);
  const next = (await list()).filter(({ state }) => state === 'next');
  expect(next).toHaveLength(1);
  expect(Date.parse(next[0]?.signs_at ?? '') - Date.now()).toBeGreaterThan(86_000_000);
});

test('rotate --now waits until every node knows the key, then it signs', async () => {
  const [before, next] = [await kidOf('active'), await kidOf('next')];
  const { code, out, err } = await run('rotate', '--algorithm', 'ES256', '--now');
  expect({ code, out }).toEqual({ code: 0, out: `access-token ES256: ${next} is active.\n` });
  expect(err).toMatch(/signs in \d s/);
  expect(await kidOf('active')).toBe(next);
  expect(await kidOf('retired')).toBe(before);
  expect((await cambist.service.keys.ring.signing('access-token', 'ES256')).kid).toBe(next);
}, 70_000);

test('rotate refuses an algorithm that the purpose does not have, and an unknown purpose', async () => {
  const { code, err } = await run('rotate', '--algorithm', 'HS256');
  expect({ code, err }).toMatchObject({
    code: 1,
    err: expect.stringContaining('choose one of ES256, RS256') as string,
  });
  expect((await run('rotate', '--purpose', 'sessions')).code).toBe(2);
});

test('taint stops a key, says what replaced it, and is done once', async () => {
  const active = await kidOf('active');
  const { code, out } = await run('taint', active);
  expect(code).toBe(0);
  expect(out).toBe(`${active} is tainted. ${await kidOf('active')} signs from now on.\n`);
  expect(cambist.service.keys.ring.jwks('access-token').keys.map(({ kid }) => kid)).not.toContain(active);
  expect((await run('taint', active)).out).toBe(`${active} is tainted already.\n`);
  const unknown = await run('taint', 'nobody', '--json');
  expect(unknown.code).toBe(1);
  expect(JSON.parse(unknown.err)).toMatchObject({ error: { code: 'object_unknown' } });
});

test('rewrap says what is left: nothing here, exit code 0', async () => {
  const { code, out } = await run('rewrap', '--json');
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ rewrapped: 0, unreadable: 0, left: 0 });
  expect((await run('rewrap')).out).toMatch(/^Encrypted 0 values anew; 0 left under other keys.\n/);
});
