/**
 * `cambist secret` over a real service and the local socket of an embedded server: what is stored, said and recorded, and
 * that no value is in anything that comes back.
 */
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { runChecks } from '../../../src/admin/doctor/findings.ts';
import { secretChecks } from '../../../src/admin/doctor/secret-checks.ts';
import { createOperations } from '../../../src/admin/operations.ts';
import type { Operations, OperationsParts } from '../../../src/admin/operations.ts';
import type { CliParts } from '../../../src/cli/context.ts';
import { localOperations } from '../../../src/cli/local-client.ts';
import { runCli } from '../../../src/cli/program.ts';
import { createLogger } from '../../../src/core/log.ts';
import { serveLocal } from '../../../src/http/local.ts';
import type { LocalServer } from '../../../src/http/local.ts';
import { createEnvelope } from '../../../src/store/envelope.ts';
import { createEmbeddedSecrets } from '../../../src/store/secrets.ts';
import { TEST_KEY, startCambist } from '../../support/cambist.ts';
import type { TestCambist } from '../../support/cambist.ts';

const UPSTREAM = (name: string, path: string, more = '') => `
  - name: ${name}
    base_url: https://api.example.com
    scopes: {all: everything}
    callers: [agent]
    requests: [{methods: ['*'], path: /**, scopes: [all]}]
    credential: {kind: static, store: embedded, path: '${path}', field: token}${more}`;
const OBJECTS = `
clients: [{id: agent, auth: [client_secret_basic]}]
upstreams: ${UPSTREAM('github', 'github/bot')}${UPSTREAM('gitlab', 'gitlab/{client}')}${UPSTREAM('notes', 'people/{subject}/notes')}`;
const CANARY = 'canary-8d21f4';

let cambist: TestCambist;
let folder: string;
let local: LocalServer;
let operations: Operations;
/** Everything that was printed, by every command of this file. */
let printed = '';

beforeAll(async () => {
  cambist = await startCambist({ objects: OBJECTS });
  folder = mkdtempSync(join(tmpdir(), 'cambist-secret-'));
  mkdirSync(join(folder, 'd'), { mode: 0o700 });
  const socketPath = join(folder, 'd', 'cambist.sock');
  const { service } = cambist;
  const served = createOperations({
    ...service,
    keys: service.keyParts,
    revocation: service.revocationParts,
    secrets: service.secretParts,
    upkeep: {} as OperationsParts['upkeep'],
    ownIssuer: cambist.issuer,
    demoRefusedBecause: undefined,
    author: 'local:test',
  });
  local = await serveLocal({ socketPath, operations: served, logger: createLogger('silent') });
  operations = localOperations(socketPath);
});
afterAll(async () => {
  await local.close();
  await cambist.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await cambist.database.query('DELETE FROM secret');
});

async function run(line: string, stdin = '', over: Partial<CliParts> = {}) {
  let out = '';
  let err = '';
  const parts = {
    version: '1.2.3',
    env: {},
    cwd: folder,
    out: (text: string) => (out += text),
    err: (text: string) => (err += text),
    readStdin: () => Promise.resolve(stdin),
    openOperations: () => Promise.resolve({ operations, close: () => Promise.resolve() }),
    ...over,
  } as unknown as CliParts;
  const code = await runCli(['secret', ...line.split(' ').filter(Boolean)], parts);
  printed += out + err;
  return { code, out, err };
}
const stored = () => createEmbeddedSecrets(cambist.database, createEnvelope(TEST_KEY));
const valuesAt = async (path: string) => (await stored().read(path))?.fields;
async function lastRecord() {
  const [row] = await cambist.database.query<{ request_id: string; text: string }>(
    `SELECT request_id, convert_from(canonical, 'UTF8') AS text FROM audit_record ORDER BY recorded_at DESC, id DESC LIMIT 1`,
  );
  const [found] = await cambist.records(row!.request_id);
  return { ...found!, text: row!.text, requestId: row!.request_id };
}

test.each(['', 'set', 'rotate', 'list', 'show', 'rm'])('%s teaches with an example', async (verb) => {
  const { code, out } = await run(`${verb} --help`);
  expect(code).toBe(0);
  expect(out).toMatch(/Examples?:\n {2}(cambist secret|echo)/);
});

test('set takes a value from standard input, without the line break at its end, and tells only names', async () => {
  expect(await run('set github/bot --field token', `${CANARY}\n`)).toEqual({
    code: 0,
    out: 'Set token of github/bot, now at version 1.\n',
    err: '',
  });
  expect(await valuesAt('github/bot')).toEqual({ token: CANARY });
  expect((await cambist.service.secretParts.store.read('github/bot'))?.version).toBe(1);
});

test('set takes values from files, from a JSON object, and typed unseen where somebody sits', async () => {
  writeFileSync(join(folder, 'user.txt'), 'ann\n', { mode: 0o600 });
  writeFileSync(join(folder, 'key.txt'), `${CANARY}-1\n`, { mode: 0o600 });
  expect((await run('set a --field user=file:user.txt --field key=file:key.txt')).code).toBe(0);
  expect((await run('set b --json-fields', `{"user": " ann ", "key": "${CANARY}-2"}`)).code).toBe(0);
  expect((await run('set c --file key.txt')).code).toBe(0);
  const asked: string[] = [];
  const askHidden = (question: string) => Promise.resolve((asked.push(question), `${CANARY}-3`));
  expect((await run('set d --field x --field y', '', { askHidden })).code).toBe(0);
  expect(await valuesAt('a')).toEqual({ user: 'ann', key: `${CANARY}-1` });
  expect(await valuesAt('b')).toEqual({ user: ' ann ', key: `${CANARY}-2` });
  expect(await valuesAt('c')).toEqual({ value: `${CANARY}-1` });
  expect(await valuesAt('d')).toEqual({ x: `${CANARY}-3`, y: `${CANARY}-3` });
  expect(asked).toEqual(['Value of x (is not shown): ', 'Value of y (is not shown): ']);
});

test('set keeps the fields and tags that are not named, and with --replace nothing', async () => {
  await run('set erp --field user --tag cambist_owner=corp:ann', 'ann');
  expect((await run('set erp --field password', CANARY)).out).toContain('version 2');
  expect(await valuesAt('erp')).toEqual({ user: 'ann', password: CANARY });
  expect((await run('set erp --tags-only --tag cambist_audience=erp')).out).toBe(
    'Set tags of erp, now at version 3.\n',
  );
  const shown = JSON.parse((await run('show erp --json')).out);
  expect(shown).toMatchObject({
    fields: ['password', 'user'],
    version: 3,
    tags: { cambist_owner: 'corp:ann', cambist_audience: 'erp' },
    upstreams: [],
  });
  await run('set erp --replace --field key', CANARY);
  expect(await stored().read('erp')).toEqual({ version: 4, fields: { key: CANARY }, tags: {} });
});

test.each([
  ['set p --value canary-8d21f4', 2, 'is not taken from the command line'],
  ['set p --secret=canary-8d21f4', 2, 'is not taken from the command line'],
  ['rotate p --password canary-8d21f4', 2, 'is not taken from the command line'],
  ['set p --field token=canary-8d21f4', 2, 'count it as known to others'],
  ['set p canary-8d21f4', 2, 'too many arguments'],
  ['set p --field a --field b', 2, 'standard input holds one value'],
  ['set p --field a --field a', 2, 'named twice'],
  ['set p --field a --field b --file x', 2, '--file holds the value of one field'],
  ['set p --json-fields --field a', 2, 'leave --field and --file away'],
  ['set p --json-fields', 2, 'not JSON'],
  ['set p --field a=file:nowhere', 2, 'cannot be read'],
  ['set p --tags-only', 2, 'needs a --tag'],
  ['set p --tags-only --tag a=b', 1, 'needs a field'],
  ['set p --tag nothing', 2, 'NAME=VALUE'],
  ['set p --tag Bad=x', 1, 'a tag is NAME=VALUE'],
  ['set a/../b', 1, 'the path must be segments'],
  ['set a//b', 1, 'the path must be segments'],
  ['set people/{subject}/x', 1, 'no placeholders'],
  ['list --limit 0', 2, 'whole number'],
])('%s is refused in words, and no value is repeated', async (line, code, words) => {
  const ran = await run(line, 'canary-8d21f4');
  expect(ran).toMatchObject({ code, out: '', err: expect.stringContaining(words) });
  expect(ran.err).not.toContain(CANARY);
  expect(await stored().list({ limit: 1 })).toEqual([]);
});

test('values that are empty or too large are refused, and values of a JSON object that are no text', async () => {
  expect((await run('set p', ' \n')).err).toContain('is empty');
  expect((await run('set p --json-fields', '{"a": ""}')).err).toContain('the value of field a is empty');
  expect((await run('set p --json-fields', '{"a": 5}')).err).toContain('is no string');
  expect((await run('set p --json-fields', '["a"]')).err).toContain('needs a JSON object');
  const large = await operations.setSecret({ path: 'p', fields: { a: 'x'.repeat(65_537) }, tags: {}, replace: false });
  expect(large).toMatchObject({ ok: false, problem: { title: expect.stringContaining('65536 bytes') } });
});

test('rotate changes what is there, and refuses an absent secret, an absent field and the same value', async () => {
  await run('set github/bot --json-fields', '{"token": "first", "user": "bot"}');
  expect(await run('rotate nowhere --field token', CANARY)).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no secret nowhere: make it with cambist secret set nowhere'),
  });
  expect((await run('rotate github/bot --field other', CANARY)).err).toContain(
    'has no field other; there is token, user',
  );
  expect((await run('rotate github/bot --field token', 'first')).err).toContain('nothing was rotated');
  expect((await stored().read('github/bot'))?.version).toBe(1);
  expect((await run('rotate github/bot --field token', CANARY)).out).toBe(
    'Rotated token of github/bot, now at version 2.\n',
  );
  expect(await valuesAt('github/bot')).toEqual({ token: CANARY, user: 'bot' });
});

test('list shows every secret by path, page by page, and never a value', async () => {
  expect((await run('list')).out).toContain('There is no secret');
  for (const path of ['b', 'a', 'c']) await run(`set ${path} --field token --tag cambist_audience=github`, CANARY);
  const { out } = await run('list');
  expect(out.split('\n')[0]).toMatch(/^PATH +FIELDS +VERSION +CHANGED +TAGS$/);
  expect(out.split('\n')[1]).toMatch(/^a +token +1 +\d{4}-\S+Z +cambist_audience=github$/);
  expect(JSON.parse((await run('list --limit 1 --after a --json')).out)).toMatchObject([{ path: 'b' }]);
  expect(JSON.parse((await run('list --json')).out).map(({ path }: { path: string }) => path)).toEqual(['a', 'b', 'c']);
});

test('rm asks, refuses while an upstream names the path, and warns where one may use it', async () => {
  await run('set github/bot --field token', CANARY);
  await run('set people/alice/notes --field token', CANARY);
  expect(await run('rm github/bot --yes')).toMatchObject({
    code: 1,
    err: expect.stringContaining('upstream github takes its credential from github/bot'),
  });
  expect((await run('rm people/alice/notes')).code).toBe(2);
  const no = await run('rm people/alice/notes', '', { ask: () => Promise.resolve('n') });
  expect(no).toMatchObject({ code: 1, err: expect.stringContaining('nothing was changed') });
  expect(no.err).toContain('warning: upstream notes may take a credential from it');
  expect(await valuesAt('people/alice/notes')).toBeDefined();
  expect((await run('rm people/alice/notes --yes')).out).toBe('Removed secret people/alice/notes.\n');
  expect(await valuesAt('people/alice/notes')).toBeUndefined();
  expect((await run('rm people/alice/notes --yes')).err).toContain('there is no secret people/alice/notes');
  expect((await run('show people/alice/notes')).code).toBe(1);
});

test('every change has its record: path and fields in clear where an upstream names them, no value and no digest', async () => {
  await run('set github/bot --field token --tag cambist_owner=corp:canary-owner', CANARY);
  const { body, text } = await lastRecord();
  expect(body).toMatchObject({
    kind: 'changed',
    persons: [],
    change: {
      author: 'local:test',
      origin: 'command',
      changes: [
        { action: 'set', kind: 'secret', name: 'github/bot', fields: ['token'], tags: ['cambist_owner'], version: 1 },
      ],
    },
  });
  expect(text).not.toMatch(/canary|sha256|digest/);
  await run('rotate github/bot --field token', `${CANARY}-2`);
  expect((await lastRecord()).body).toMatchObject({ change: { changes: [{ action: 'rotate', version: 2 }] } });
  await run('set gitlab/agent --field token', CANARY);
  expect((await lastRecord()).body).toMatchObject({ change: { changes: [{ name: 'gitlab/agent' }] } });
});

test.each(['people/alice/notes', 'unused/alice'])(
  'a path that may name a person (%s) is sealed in its record, and explain shows it',
  async (path) => {
    for (const line of [`set ${path} --field token`, `rotate ${path} --field token`, `rm ${path} --yes`]) {
      await run(line, `${CANARY}-${line.length}`);
      const { body, text, persons, requestId } = await lastRecord();
      expect(text).not.toContain('alice');
      expect(body).toMatchObject({ change: { changes: [{ kind: 'secret', person: 0 }] } });
      expect(persons).toMatchObject([{ iss: 'urn:cambist:secret-path', sub: path }]);
      let out = '';
      const parts = {
        ...{ version: '1', env: {}, cwd: folder, err: () => undefined, out: (more: string) => (out += more) },
        openOperations: () => Promise.resolve({ operations, close: () => Promise.resolve() }),
      };
      await runCli(['explain', requestId], parts as unknown as CliParts);
      expect(out).toMatch(new RegExp(`secret +${path}\n`));
      expect(out).toContain(`action: ${line.split(' ')[0] === 'rm' ? 'remove' : line.split(' ')[0]}`);
    }
  },
);

test('doctor names what upstreams lack, what nobody uses, what is old and what does not open', async () => {
  const checks = async () => {
    const upstreams = await cambist.service.objects.list('upstream', { limit: 100 });
    const clock = { nowMs: () => Date.now() + 100 * 86_400_000 * (late ? 1 : 0) };
    return runChecks(secretChecks({ clock, upstreams, embeddedSecrets: stored() }));
  };
  let late = false;
  expect(await checks()).toEqual([
    {
      ...{ noun: 'upstream', name: 'github', health: 'failed', fix: 'cambist secret set github/bot --field token' },
      message: 'there is no secret github/bot: every request to it is refused',
    },
  ]);
  await run('set github/bot --field other', CANARY);
  expect(await checks()).toMatchObject([{ health: 'failed', message: 'its secret github/bot has no field token' }, {}]);
  await run('set github/bot --field token', CANARY);
  await run('set people/alice/notes --field token', CANARY);
  expect(await checks()).toMatchObject([{ noun: 'secret', health: 'ok', message: '2 kept, all of them used' }]);
  late = true;
  expect((await checks()).map(({ name, health }) => [name, health])).toEqual([
    ['github/bot', 'warning'],
    ['people/alice/notes', 'warning'],
  ]);
  late = false;
  await run('set unused --field token', CANARY);
  await cambist.database.query(`UPDATE secret SET version = 9 WHERE path = 'github/bot'`);
  expect(await checks()).toMatchObject([
    { name: 'github/bot', health: 'failed', message: expect.stringContaining('does not open') },
    { name: 'unused', health: 'warning', message: 'no upstream names it' },
  ]);
  expect((await run('list')).out).toContain('does not open: see cambist doctor');
  expect((await run('rotate github/bot --field token', CANARY)).err).toContain('set it anew with --replace');
  expect((await run('set github/bot --field token', CANARY)).err).toContain('--replace');
  expect((await run('set github/bot --field token --replace', CANARY)).out).toContain('version 10');
});

test('nothing that was printed holds a value', () => {
  expect(printed).not.toBe('');
  expect(printed).not.toContain(CANARY);
});
