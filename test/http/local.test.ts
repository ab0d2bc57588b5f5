import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createOperations } from '../../src/admin/operations.ts';
import type { Operations, OperationsParts } from '../../src/admin/operations.ts';
import { callLocal, localOperations } from '../../src/cli/local-client.ts';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import { LOCAL_BODY_MAX_BYTES, LocalSocketRefused, isSocketAlive, serveLocal } from '../../src/http/local.ts';
import type { LocalServer } from '../../src/http/local.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { COMPANY } from '../unit/admin/memory-store.ts';

const logger = createLogger('silent');
const texts = (text: string) => [{ file: 'objects.yaml', text }];

let cambist: TestCambist;
let operations: Operations;
let root: string;
let socketPath: string;
let server: LocalServer | undefined;

beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
  const { service } = cambist;
  operations = createOperations({
    objects: service.objects,
    clientSecrets: service.clientSecrets,
    keys: service.keyParts,
    upkeep: {} as OperationsParts['upkeep'],
    revocation: service.revocationParts,
    secrets: service.secretParts,
    records: service.records,
    openPersons: (row) => service.openPersons(row),
    prepareChange: (persons) => service.prepareChange(persons),
    ownIssuer: cambist.issuer,
    demoRefusedBecause: undefined,
    author: 'local:test',
  });
});
afterAll(() => cambist.stop());

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cambist-local-'));
  mkdirSync(join(root, 'd'), { mode: 0o700 });
  socketPath = join(root, 'd', 'cambist.sock');
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(root, { recursive: true, force: true });
});

async function serve(over: Operations = operations): Promise<void> {
  server = await serveLocal({ socketPath, operations: over, logger });
}

function post(
  path: string,
  body: string | Buffer,
  method = 'POST',
): Promise<{ status: number; type: string; body: any }> {
  return new Promise((done, fail) => {
    const call = request({ socketPath, path, method, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('end', () => {
        done({ status: response.statusCode!, type: response.headers['content-type']!, body: JSON.parse(text) });
      });
    });
    call.once('error', fail);
    call.end(body);
  });
}

describe('the socket', () => {
  test('is 0600 in a folder that is 0700, whatever the umask, and the umask stays as it was', async () => {
    const before = process.umask(0o000);
    try {
      await serve();
      expect(statSync(socketPath).mode & 0o777).toBe(0o600);
      expect(process.umask(0o000)).toBe(0o000);
    } finally {
      process.umask(before);
    }
  });

  test('is refused in a folder that others can enter', async () => {
    chmodSync(join(root, 'd'), 0o711);
    await expect(serve()).rejects.toThrow(/can be entered by other users\. Run: chmod 700/);
    expect(existsSync(socketPath)).toBe(false);
  });

  test('of a living server is refused and stays; when that one closes, it is gone', async () => {
    await serve();
    await expect(serveLocal({ socketPath, operations, logger })).rejects.toThrow(LocalSocketRefused);
    expect(await isSocketAlive(socketPath)).toBe(true);
    await server?.close();
    server = undefined;
    expect(existsSync(socketPath)).toBe(false);
  });

  test('of a process that was killed is replaced', async () => {
    const script = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((up) => child.stdout.once('data', up));
    const gone = new Promise((exited) => child.once('exit', exited));
    child.kill('SIGKILL');
    await gone;
    expect(existsSync(socketPath)).toBe(true);
    expect(await isSocketAlive(socketPath)).toBe(false);
    await serve();
    expect(await isSocketAlive(socketPath)).toBe(true);
  });

  test('never takes the place of something that is not a socket', async () => {
    writeFileSync(socketPath, 'precious');
    await expect(serve()).rejects.toThrow('is not a socket');
    expect(statSync(socketPath).size).toBe(8);
  });

  test('that would have too long a path is refused with the setting to change', async () => {
    socketPath = join(root, 'x'.repeat(120), 'cambist.sock');
    await expect(serve()).rejects.toThrow('choose a shorter data_dir');
  });

  test('answers only on itself: nothing else listens', async () => {
    await serve();
    expect(await isSocketAlive(`${socketPath}2`)).toBe(false);
  });
});

describe('operations over the socket', () => {
  test('apply, list, show, disable, secret, and the records of all of them', async () => {
    await serve();
    const over = localOperations(socketPath);
    const planned = await over.plan({ texts: texts(COMPANY), prune: false });
    expect(planned.ok && planned.value.create).toHaveLength(9);
    const stateVersion = planned.ok ? planned.value.stateVersion : -1;
    const applied = await over.apply({ texts: texts(COMPANY), prune: false, expectVersion: stateVersion });
    expect(applied).toMatchObject({ ok: true, value: { version: stateVersion + 1 } });
    expect(await over.apply({ texts: texts(COMPANY), prune: false })).toMatchObject({
      ok: true,
      value: { version: stateVersion + 1, plan: { create: [], update: [] } },
    });

    const first = await over.list({ kind: 'client', limit: 2 });
    expect(first).toMatchObject({ ok: true, value: { next: 'notes-server' } });
    const second = await over.list({ kind: 'client', limit: 2, after: 'notes-server' });
    expect(second).toMatchObject({ ok: true, value: { next: null, objects: [{ name: 'planner', origin: 'apply' }] } });
    expect(await over.show({ kind: 'resource', name: 'notes' })).toMatchObject({
      ok: true,
      value: { spec: { uri: 'https://notes.example.com/mcp' } },
    });

    expect(await over.setDisabled({ kind: 'client', name: 'planner', disabled: true })).toEqual({
      ok: true,
      value: { changed: true },
    });
    expect(await over.setDisabled({ kind: 'client', name: 'planner', disabled: true })).toEqual({
      ok: true,
      value: { changed: false },
    });
    expect((await (await cambist.service.objects.current()).get('client', 'planner'))?.disabled).toBe(true);

    const made = await over.addClientSecret({ clientId: 'planner' });
    const secret = made.ok ? made.value.secret : '';
    expect(await cambist.service.clientSecrets.verify('planner', secret)).toBe(true);

    const changes = await changedRecords();
    expect(changes.map(({ change }) => change.changes.map((each: any) => each.action))).toEqual([
      Array.from({ length: 9 }, () => 'create'),
      ['disable'],
      ['add_secret'],
    ]);
    expect(changes[0]?.change).toMatchObject({
      author: 'local:test',
      origin: 'apply',
      state_version: stateVersion + 1,
    });
    expect(JSON.stringify(changes)).not.toContain(secret);
  });

  test('R23: a subject stands in no record of a change in clear; the sealed person says who it was', async () => {
    await serve();
    const over = localOperations(socketPath);
    expect(await over.setDisabled({ kind: 'subject', name: 'corp:mallory@example.com', disabled: true })).toEqual({
      ok: true,
      value: { changed: true },
    });
    expect((await (await cambist.service.objects.current()).get('subject', 'corp:mallory@example.com'))?.disabled).toBe(
      true,
    );
    const [last] = (await changedRecords()).slice(-1);
    expect(last?.change.changes).toEqual([{ action: 'disable', kind: 'subject', person: 0 }]);
    expect(JSON.stringify(last)).not.toContain('mallory');
    const found = await over.recordsByRequestId({ requestId: last?.request_id });
    expect(found.ok && found.value[0]?.persons).toMatchObject([
      { iss: 'https://login.example.com', sub: 'mallory@example.com' },
    ]);
  });

  test('R23: the record of a policy has the digest of its text, which may name persons; the history has the text', async () => {
    await serve();
    const over = localOperations(socketPath);
    const policy = (who: string) =>
      texts(
        JSON.stringify({
          policies: [
            {
              id: 'personal',
              cedar: `permit (principal, action == Action::"access", resource) when { context.subject.sub == "${who}" };`,
            },
          ],
        }),
      );
    const digest = (text: string) => `sha256:${createHash('sha256').update(text).digest('base64url')}`;
    const fieldsOf = async () =>
      (await changedRecords()).at(-1).change.changes[0].fields.filter(({ path }: any) => path === 'cedar');
    const text = async () => (await (await cambist.service.objects.current()).get('policy', 'personal'))!.spec.cedar;
    expect(await over.apply({ texts: policy('trudy'), prune: false })).toMatchObject({ ok: true });
    const before = digest(await text());
    expect(await fieldsOf()).toEqual([{ path: 'cedar', before: null, after: before }]);
    expect(await over.apply({ texts: policy('ursula'), prune: false })).toMatchObject({ ok: true });
    expect(await fieldsOf()).toEqual([{ path: 'cedar', before, after: digest(await text()) }]);
    expect(JSON.stringify(await changedRecords())).not.toMatch(/trudy|ursula/);
    const history = await cambist.database.query<{ spec: { cedar: string } }>(
      `SELECT spec FROM object_change WHERE kind = 'policy' AND name = 'personal' ORDER BY version`,
    );
    expect(history.map(({ spec }) => /"(trudy|ursula)"/.exec(spec.cedar)?.[1])).toEqual(['trudy', 'ursula']);
  });

  test('a subject that is registered in one apply with its issuer is sealed under the URL of that issuer', async () => {
    await serve();
    const over = localOperations(socketPath);
    const file =
      'issuers: [{name: late, issuer: "https://late.example.com", token_types: {jwt: {}}}]\nsubjects: [{issuer: late, sub: wendy}]';
    expect(await over.apply({ texts: texts(file), prune: false })).toMatchObject({ ok: true });
    const last = (await changedRecords()).at(-1);
    const found = await over.recordsByRequestId({ requestId: last.request_id });
    expect(found.ok && found.value[0]?.persons).toMatchObject([{ iss: 'https://late.example.com', sub: 'wendy' }]);
  });

  test('nothing changes when the record of the change cannot be built; then it works and is recorded', async () => {
    const { service } = cambist;
    const broken = createOperations({
      objects: service.objects,
      clientSecrets: service.clientSecrets,
      keys: service.keyParts,
      upkeep: {} as OperationsParts['upkeep'],
      revocation: service.revocationParts,
      secrets: service.secretParts,
      records: service.records,
      openPersons: (row) => service.openPersons(row),
      prepareChange: () =>
        Promise.resolve(() => {
          throw new Unavailable('database', 'no record today');
        }),
      ownIssuer: cambist.issuer,
      demoRefusedBecause: undefined,
      author: 'local:test',
    });
    await serve(broken);
    const over = localOperations(socketPath);
    const changes: ((by: Operations) => Promise<{ ok: boolean }>)[] = [
      (by) => by.apply({ texts: texts('roles: [{name: unrecorded}]'), prune: false }),
      (by) => by.setDisabled({ kind: 'role', name: 'staff', disabled: false }),
      (by) => by.setDisabled({ kind: 'client', name: 'files-server', disabled: true }),
      (by) => by.addClientSecret({ clientId: 'planner' }),
      (by) => by.retireClientSecrets({ clientId: 'planner' }),
    ];
    await operations.setDisabled({ kind: 'role', name: 'staff', disabled: true });
    const { version } = (await service.objects.current()).state;
    const secrets = await service.clientSecrets.list('planner');
    const records = (await changedRecords()).length;
    for (const change of changes) await expect(change(over)).rejects.toThrow('no record today');
    expect((await service.objects.current()).state.version).toBe(version);
    expect(await service.clientSecrets.list('planner')).toEqual(secrets);
    expect(await changedRecords()).toHaveLength(records);
    expect(await (await service.objects.current()).get('role', 'unrecorded')).toBeUndefined();
    for (const change of changes) expect(await change(operations)).toMatchObject({ ok: true });
    expect((await service.objects.current()).state.version).toBe(version + changes.length);
    expect(await changedRecords()).toHaveLength(records + changes.length);
  });

  test('client secrets are listed by id, and one that is retired is refused with the next request', async () => {
    await serve();
    const over = localOperations(socketPath);
    await over.retireClientSecrets({ clientId: 'notes-server' });
    const secrets: string[] = [];
    for (let made = 0; made < 2; made++) {
      const outcome = await over.addClientSecret({ clientId: 'notes-server' });
      secrets.push(outcome.ok ? outcome.value.secret : '');
    }
    // Who authenticates is refused for what is asked, who does not for that.
    const errors = () =>
      Promise.all(
        secrets.map(async (secret) => {
          const form = { grant_type: 'client_credentials', resource: 'https://nowhere.example.com' };
          return (await cambist.token(form, { basic: ['notes-server', secret] })).body.error;
        }),
      );
    expect(await errors()).toEqual(['invalid_target', 'invalid_target']);
    const listed = await over.listClientSecrets({ clientId: 'notes-server' });
    const ids = listed.ok ? listed.value.secrets.map(({ id }) => id) : [];
    expect(ids).toHaveLength(2);
    expect(JSON.stringify(listed)).not.toMatch(new RegExp(secrets.join('|')));
    const secretId = ids[0]!;
    expect(await over.retireClientSecrets({ clientId: 'notes-server', secretId })).toEqual({
      ok: true,
      value: { retired: [secretId] },
    });
    expect(await errors()).toEqual(['invalid_client', 'invalid_target']);
    expect(await over.listClientSecrets({ clientId: 'notes-server' })).toMatchObject({
      value: {
        secrets: [
          { id: secretId, retired_at: expect.stringMatching(/Z$/) },
          { id: ids[1], retired_at: null },
        ],
      },
    });
    expect(await over.retireClientSecrets({ clientId: 'notes-server', secretId })).toEqual({
      ok: true,
      value: { retired: [] },
    });
    expect(await over.retireClientSecrets({ clientId: 'notes-server' })).toEqual({
      ok: true,
      value: { retired: [ids[1]] },
    });
    expect(await errors()).toEqual(['invalid_client', 'invalid_client']);
    expect((await changedRecords()).slice(-2).map(({ change }) => change)).toMatchObject(
      ids.map((id) => ({ changes: [{ action: 'retire_secret', name: 'notes-server' }], secrets_retired: [id] })),
    );
  });

  test('a plan that was overtaken is not carried out', async () => {
    await serve();
    const over = localOperations(socketPath);
    const file = texts('roles: [{name: late}]');
    const planned = await over.plan({ texts: file, prune: false });
    await over.setDisabled({ kind: 'role', name: 'staff', disabled: true });
    const expectVersion = planned.ok ? planned.value.stateVersion : -1;
    expect(await over.apply({ texts: file, prune: false, expectVersion })).toMatchObject({
      ok: false,
      problem: { code: 'state_moved' },
    });
    expect(await over.show({ kind: 'role', name: 'late' })).toMatchObject({
      ok: false,
      problem: { code: 'object_unknown' },
    });
  });

  test('faults of files arrive as they were found', async () => {
    await serve();
    const answer = await callLocal(socketPath, 'plan', { texts: texts('roles: [{nam: x}]'), prune: false });
    expect(answer).toMatchObject({
      ok: false,
      problem: {
        code: 'objects_invalid',
        faults: [{ file: 'objects.yaml', position: { line: 1 } }, { position: { line: 1, column: 10 } }],
      },
    });
  });

  test('what is not there is said by name', async () => {
    await serve();
    const over = localOperations(socketPath);
    expect(await over.addClientSecret({ clientId: 'nobody' })).toMatchObject({
      problem: { code: 'object_unknown', title: 'there is no client nobody' },
    });
    for (const operation of ['listClientSecrets', 'retireClientSecrets'] as const)
      expect(await over[operation]({ clientId: 'nobody' })).toMatchObject({ problem: { code: 'object_unknown' } });
    expect(await over.retireClientSecrets({ clientId: 'planner', secretId: 'x' })).toMatchObject({
      problem: { code: 'object_unknown', title: 'client planner has no secret x' },
    });
    expect(await over.setDisabled({ kind: 'subject', name: 'nowhere:bob', disabled: true })).toMatchObject({
      problem: { title: 'there is no issuer nowhere' },
    });
    expect(await over.setDisabled({ kind: 'subject', name: 'corp:nobody', disabled: false })).toMatchObject({
      problem: { code: 'object_unknown' },
    });
  });
});

describe('bad input (RFC 9457 problems)', () => {
  test.each([
    ['another path', '/', '{}', 'POST', 404, 'operation_unknown'],
    ['an unknown operation', '/v1/drop', '{}', 'POST', 404, 'operation_unknown'],
    ['a name that every object has', '/v1/toString', '{}', 'POST', 404, 'operation_unknown'],
    ['another method', '/v1/show', '', 'GET', 405, 'method_not_allowed'],
    ['no JSON', '/v1/show', 'kind=role', 'POST', 400, 'argument_invalid'],
    ['a missing argument', '/v1/show', '{"kind":"role"}', 'POST', 400, 'argument_invalid'],
    ['an unknown argument', '/v1/show', '{"kind":"role","name":"a","x":1}', 'POST', 400, 'argument_invalid'],
    ['an unknown kind', '/v1/show', '{"kind":"secret","name":"a"}', 'POST', 400, 'argument_invalid'],
    ['too long a page', '/v1/list', '{"kind":"role","limit":1001}', 'POST', 400, 'argument_invalid'],
  ])('%s is refused', async (_, path, body, method, status, code) => {
    await serve();
    expect(await post(path, body, method)).toMatchObject({
      status,
      type: 'application/problem+json',
      body: { status, code },
    });
  });

  test('a body without end is refused at its bound, and the server goes on', async () => {
    await serve();
    const answer = await post('/v1/plan', Buffer.alloc(LOCAL_BODY_MAX_BYTES + 1, 0x20));
    expect(answer).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
    expect(await post('/v1/show', '{"kind":"role","name":"a"}')).toMatchObject({ status: 404 });
  });

  test('a database that is down is 503 and thrown as Unavailable; a bug is 500 and says nothing of itself', async () => {
    const failing = { ...operations, show: () => Promise.reject(new Unavailable('database', 'cannot be reached')) };
    await serve({ ...failing, list: () => Promise.reject(new Error('at 10.0.0.5 password=x')) });
    expect(await post('/v1/show', '{"kind":"role","name":"a"}')).toMatchObject({
      status: 503,
      body: { code: 'unavailable' },
    });
    await expect(callLocal(socketPath, 'show', { kind: 'role', name: 'a' })).rejects.toThrow(Unavailable);
    const bug = await post('/v1/list', '{"kind":"role","limit":1}');
    expect(bug).toMatchObject({ status: 500, body: { code: 'internal' } });
    expect(JSON.stringify(bug)).not.toContain('password');
  });
});

test('a socket where something else answers is not taken for ours', async () => {
  const stranger = createServer((socket) => socket.resume().end('hello'));
  await new Promise<void>((up) => stranger.listen(socketPath, up));
  await expect(callLocal(socketPath, 'show', { kind: 'role', name: 'a' })).rejects.toThrow(Unavailable);
  await new Promise((closed) => stranger.close(closed));
});

/** Changes of objects; those of the signing keys have tests of their own. */
async function changedRecords(): Promise<any[]> {
  const rows = await cambist.service.records.page({ kind: 'changed', order: 'oldest', limit: 100 });
  const records = rows.map(({ canonical }) => JSON.parse(new TextDecoder().decode(canonical)));
  return records.filter(({ change }) => change.origin !== 'schedule');
}
