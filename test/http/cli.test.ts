/**
 * The command line as a shell runs it: real processes, over the local socket of a server and over a PostgreSQL database.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';
import { TEST_KEY } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { COMPANY } from '../unit/admin/memory-store.ts';

const COMMAND = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const TIMEOUT_MS = 240_000;
const NOTES = 'https://notes.example.com/mcp';

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

let cwd: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'cambist-cli-'));
  env = cleanEnvironment();
  writeFileSync(join(cwd, 'company.yaml'), COMPANY);
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
});

function execute(file: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(file, args, { cwd, env, encoding: 'utf8' }, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
    });
    child.stdin?.end();
  });
}

const cambist = (...args: string[]) => execute(process.execPath, [COMMAND, ...args]);
const shell = (line: string) => execute('sh', ['-c', line]);

/** Runs a server from a command line as it stands, until `stop`. */
async function serve(line: string): Promise<{ url: string; stop(): Promise<void> }> {
  const [port, adminPort] = [await freePort(), await freePort()];
  env = { ...env, CAMBIST_LISTEN: `127.0.0.1:${port}`, CAMBIST_ADMIN_LISTEN: `127.0.0.1:${adminPort}` };
  const child: ChildProcess = spawn('sh', ['-c', `exec ${line}`], { cwd, env, stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const url = `http://127.0.0.1:${port}`;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`);
    const answer = await fetch(`${url}/.well-known/oauth-authorization-server`).catch(() => undefined);
    if (answer?.ok === true) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    url,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

describe('a fresh folder', () => {
  test(
    'init says what to type next, and each of it works as it stands',
    async () => {
      const init = JSON.parse((await cambist('init', '--json')).out) as { next: string[] };
      const [start, apply, secret, exchange] = init.next;
      const server = await serve(start!);
      try {
        expect(await shell(apply!)).toMatchObject({ code: 0, out: expect.stringContaining('Applied 4 changes') });
        expect(await shell(secret!)).toMatchObject({ code: 0 });
        const asked = await shell(exchange!);
        expect(asked).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/^ISSUED {2}request /) });
        expect(asked.out).toContain('It may be used for: notes:read.');
        const requestId = /request ([\w-]+)/.exec(asked.out)?.[1];
        expect((await cambist('explain', requestId!)).out).toContain(
          'may the subject have it? yes, by agent-reads-notes',
        );
        expect((await cambist('diff', '-f', 'objects.yaml')).code).toBe(0);
      } finally {
        await server.stop();
      }
    },
    TIMEOUT_MS,
  );

  test(
    'commands that only look make no database there, and say how to begin',
    async () => {
      const looking = [
        ...[
          'client list',
          'export',
          'subject show a:b',
          'explain x',
          'migrate plan',
          'client disable x',
          'role rm x --yes',
        ],
        ...['apply -f company.yaml --dry-run', 'diff -f company.yaml', 'keys list'],
      ];
      const ran = await Promise.all(looking.map(async (line) => ({ line, ...(await cambist(...line.split(' '))) })));
      for (const { line, code, err } of ran) {
        expect(code, line).toBe(line.startsWith('diff') ? 2 : 1);
        expect(err, line).toContain('there is no database yet');
        expect(err, line).toContain('cambist serve or cambist init');
      }
      expect((await cambist('check', '-f', 'company.yaml')).code).toBe(0);
      expect(readdirSync(cwd)).toEqual(['company.yaml']);
      expect((await cambist('role', 'add', 'first')).code).toBe(0);
      expect((await cambist('role', 'list')).out).toContain('first  enabled  command');
    },
    TIMEOUT_MS,
  );

  test('--version says the version, and the commit where the build knew it; wrong usage exits with 2', async () => {
    expect((await cambist('--version')).out).toMatch(/^\d+\.\d+\.\d+( \([0-9a-f]{7,40}(-dirty)?\))?\n$/);
    expect(await cambist('clinet')).toMatchObject({ code: 2, err: expect.stringContaining('(Did you mean client?)') });
    expect(JSON.parse((await cambist('client', 'lst', '--json')).err)).toMatchObject({ error: { code: 'usage' } });
  });
});

/** One life of objects, the same wherever they live. */
async function liveThrough(): Promise<void> {
  expect((await cambist('apply', '-f', 'company.yaml')).code).toBe(0);
  const added = await cambist('client', 'add', 'indexer', '--auth', 'client_secret_basic', '--json');
  expect(JSON.parse(added.out)).toMatchObject({ action: 'added', name: 'indexer' });
  expect((await cambist('client', 'add', 'indexer', '--auth', 'client_secret_basic')).err).toContain(
    'change it with --replace',
  );
  expect((await cambist('subject', 'add', 'corp:bob', '--role', 'staff', '--disabled')).code).toBe(0);
  expect(
    (await cambist('resource', 'add', 'x', '--uri', NOTES, '--served-by', 'nobody', '--scope', 'a=b')).err,
  ).toContain('--uri: is taken by resource notes');
  expect((await cambist('client', 'secret', 'indexer', '--out', 's')).code).toBe(0);

  expect((await cambist('export', '--out', 'export.yaml')).code).toBe(0);
  const exported = readFileSync(join(cwd, 'export.yaml'), 'utf8');
  expect(exported).not.toContain(readFileSync(join(cwd, 's'), 'utf8'));
  expect(await cambist('diff', '-f', 'export.yaml')).toMatchObject({ code: 0, out: 'No difference.\n' });
  expect((await cambist('apply', '-f', 'export.yaml')).out).toBe('Nothing to change.\n');
  expect((await cambist('export')).out).toBe(exported);
  expect(await cambist('diff', '-f', 'company.yaml', '--prune')).toMatchObject({ code: 0 });

  expect(await cambist('role', 'rm', 'staff', '--yes')).toMatchObject({
    code: 1,
    err: expect.stringContaining('subject corp:alice roles[0]: needs role staff'),
  });
  expect((await cambist('subject', 'rm', 'corp:bob', '--yes')).err).toContain('would let them in again');
  expect((await cambist('client', 'rm', 'indexer')).code).toBe(2);
  expect((await cambist('client', 'rm', 'indexer', '--yes')).code).toBe(0);
  expect((await cambist('client', 'show', 'indexer')).err).toBe('cambist: there is no client indexer\n');
  // Who comes under that name later does not get its secrets.
  await cambist('client', 'add', 'indexer', '--auth', 'client_secret_basic');
  expect(JSON.parse((await cambist('client', 'secret', 'list', 'indexer', '--json')).out)).toEqual([]);
}

test(
  'objects are added, listed, exported and removed over the socket of a running server',
  async () => {
    const server = await serve(`"${process.execPath}" "${COMMAND}" serve`);
    try {
      await liveThrough();
    } finally {
      await server.stop();
    }
  },
  TIMEOUT_MS,
);

withPostgres('a PostgreSQL database', () => {
  let cluster: PostgresCluster;
  beforeAll(async () => {
    cluster = await startPostgres();
  }, TIMEOUT_MS);
  afterAll(() => cluster.stop());

  test(
    'objects are added, listed, exported and removed without a server',
    async () => {
      env = {
        ...env,
        DATABASE_URL: cluster.url,
        CAMBIST_ISSUER: 'https://sts.example.com',
        CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(TEST_KEY).toString('base64'),
      };
      expect((await cambist('client', 'list')).err).toContain('Run: cambist migrate up');
      expect((await cambist('migrate', 'up')).code).toBe(0);
      await liveThrough();
    },
    TIMEOUT_MS,
  );
});

describe('exchange and decode at a running server', () => {
  let issuer: OidcIssuer;
  let server: Awaited<ReturnType<typeof serve>>;
  beforeEach(async () => {
    issuer = await startOidcIssuer({ relyingParties: ['company-app'] });
    server = await serve(`"${process.execPath}" "${COMMAND}" serve`);
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const file = (name: string, text: string) => {
      writeFileSync(join(cwd, name), text, { mode: 0o600 });
    };
    file(
      'company.yaml',
      COMPANY.replace('issuer: https://login.example.com', `issuer: ${issuer.issuer}\n    internal: true`),
    );
    file('public.json', JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1' }] }));
    file('key.json', JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid: 'k1' }));
    file('key.pem', privateKey.export({ format: 'pem', type: 'pkcs8' }) as string);
    file('agents.cedar', 'permit (principal in Group::"agents", action == Action::"act", resource);');
    file('id.jwt', await issuer.idToken('ada'));
    for (const line of [
      'apply -f company.yaml',
      'client add planner --auth client_secret_basic --auth client_secret_post --group agents --replace',
      'client add robot --auth private_key_jwt --jwks-file public.json --group agents',
      'policy add agents --cedar-file agents.cedar',
      'client secret planner --out planner.secret',
    ]) {
      const ran = await cambist(...line.split(' '));
      expect(ran.code, ran.err).toBe(0);
    }
  }, TIMEOUT_MS);
  afterEach(async () => {
    await server.stop();
    await issuer.stop();
  });

  test(
    'shows the token in words, prints it only when asked, and explains by request id and jti',
    async () => {
      const ask = ['exchange', '--client', 'planner', '--secret-file', 'planner.secret', '--resource', NOTES];
      const person = ['--subject-token-file', 'id.jwt', '--subject-token-type', 'id_token'];
      const shown = await cambist(...ask, ...person, '--scope', 'notes:read', '--out', 'token.jwt');
      expect(shown.err).toBe('');
      expect(shown.out).toContain(`It is about corp:ada (ada of ${issuer.issuer}), says ${server.url}.`);
      expect(shown.out).toContain('planner acts for corp:ada.');
      const token = readFileSync(join(cwd, 'token.jwt'), 'utf8');
      expect(statSync(join(cwd, 'token.jwt')).mode & 0o777).toBe(0o600);
      expect(shown.out).not.toContain(token.split('.')[2]);
      expect((await cambist(...ask, ...person, '--raw')).out).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
      expect((await cambist(...ask, ...person, '--post')).code).toBe(0);

      const json = JSON.parse((await cambist(...ask, ...person, '--json')).out);
      expect(json).toMatchObject({
        token_type: 'Bearer',
        claims: { act: { sub: 'planner' } },
        header: { typ: 'at+jwt' },
      });
      expect(json.access_token).toBeUndefined();
      const byRequest = await cambist('explain', json.request_id);
      expect(byRequest.out).toContain(`subject     ada of ${issuer.issuer} (groups corp:staff, corp:engineering;`);
      expect(byRequest.out).toContain('acting      client planner\n');
      expect(byRequest.out).toContain('id_token of corp as subject token');
      expect((await cambist('explain', '--jti', json.claims.jti)).out).toBe(byRequest.out);

      expect(
        await cambist('decode', 'token.jwt', '--verify', '--issuer', server.url, '--audience', NOTES),
      ).toMatchObject({
        code: 0,
        out: expect.stringMatching(new RegExp(`^VALID: signed by ${server.url}`)),
      });
      writeFileSync(
        join(cwd, 'forged.jwt'),
        token.replace(
          /\.[^.]+\./,
          `.${Buffer.from(JSON.stringify({ iss: server.url, exp: 9e9 })).toString('base64url')}.`,
        ),
      );
      expect(await cambist('decode', 'forged.jwt', '--verify')).toMatchObject({
        code: 1,
        out: expect.stringMatching(/^INVALID: its signature does not match/),
      });
      expect((await cambist('decode', 'token.jwt', '--verify', '--audience', 'https://x')).out).toMatch(
        /^INVALID: it is meant for another audience/,
      );
    },
    TIMEOUT_MS,
  );

  test(
    'authenticates with a key, and says of a refusal which request to explain',
    async () => {
      const ask = ['exchange', '--client', 'robot', '--resource', NOTES];
      const refused = await cambist(...ask, '--key-file', 'key.json', '--scope', 'notes:write');
      expect(refused).toMatchObject({ code: 1, out: '' });
      const explained = await shell(
        refused.err.match(/cambist (explain [\w-]+)/)![1]!.replace(/^/, `"${process.execPath}" "${COMMAND}" `),
      );
      expect(explained.out).toContain('REFUSED  all_scopes_denied');
      expect(explained.out).toContain('client      robot, by private_key_jwt');
      const withPem = await cambist(...ask, '--key-file', 'key.pem', '--kid', 'k1', '--scope', 'nothing', '--json');
      expect(JSON.parse(withPem.err)).toMatchObject({
        error: { code: 'invalid_scope', status: 400, request_id: expect.any(String) },
      });
      const stranger = await cambist(...ask, '--secret-file', 'planner.secret');
      expect(stranger.err).toContain('stands in the log of the server');
    },
    TIMEOUT_MS,
  );
});
