/**
 * The two listeners: each has its own paths and none of the other's, tricks with paths open nothing (A11), and what
 * cannot be listened on ends the start with words that name the setting.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { selfSigned } from '../unit/net/certificate.ts';

let cambist: TestCambist;
beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
});
afterAll(() => cambist.stop());

/** Sends the path as it stands; `fetch` would tidy it up. */
function statusOf(base: string, path: string, method = 'GET', headers = {}): Promise<[number, string | undefined]> {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    ask({ hostname, port, path, method, headers }, (response) => {
      response.resume();
      resolve([response.statusCode ?? 0, response.headers.allow]);
    })
      .once('error', reject)
      .end();
  });
}

describe('the admin listener', () => {
  it.each(['/healthz', '/readyz', '/metrics'])('has %s, for GET and HEAD only', async (path) => {
    expect(await statusOf(cambist.adminUrl, path)).toEqual([200, undefined]);
    expect(await statusOf(cambist.adminUrl, path, 'HEAD')).toEqual([200, undefined]);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])
      expect(await statusOf(cambist.adminUrl, path, method)).toEqual([405, 'GET, HEAD']);
  });

  it.each<[string, number]>([
    ['127.0.0.1:8081', 200],
    ['localhost', 200],
    ['[::1]:8081', 200],
    ['rebound.example', 421],
    ['rebound.example:8081', 421],
    ['127.0.0.1.rebound.example', 421],
    ['localhost.rebound.example', 421],
  ])('on loopback answers a request for the host %s with %i (DNS rebinding)', async (host, status) => {
    expect((await statusOf(cambist.adminUrl, '/metrics', 'GET', { host }))[0]).toBe(status);
  });

  it.each([
    '/',
    '/oauth2/token',
    '/oauth2/jwks',
    '/oauth2/authorize',
    '/openapi.yaml',
    '/.well-known/oauth-authorization-server',
  ])('has nothing of the public one: %s', async (path) => {
    for (const method of ['GET', 'POST']) expect((await statusOf(cambist.adminUrl, path, method))[0]).toBe(404);
  });
});

describe('the public listener', () => {
  it('has health, and no metrics', async () => {
    expect(await statusOf(cambist.url, '/healthz')).toEqual([200, undefined]);
    expect(await statusOf(cambist.url, '/readyz')).toEqual([200, undefined]);
    expect(await statusOf(cambist.url, '/metrics')).toEqual([404, undefined]);
    expect(await statusOf(cambist.url, '/readyz', 'POST')).toEqual([405, 'GET, HEAD']);
  });
});

describe('A11 tricks open nothing', () => {
  const spellings = (path: string) => [
    `/${path}`,
    `${path}/`,
    `${path}/.`,
    `${path};x=1`,
    `${path}%00`,
    `${path}%2f`,
    `${path}.json`,
    `/x/..${path}`,
    `/x/..;${path}`,
    `/./${path.slice(1)}`,
    `/%2e${path}`,
    `/%2f${path.slice(1)}`,
    `/%${path.charCodeAt(1).toString(16)}${path.slice(2)}`,
    path.toUpperCase(),
    path.replace('/', '\\'),
  ];

  it.each(['/metrics', '/healthz', '/oauth2/jwks', '/oauth2/token'])(
    'spellings of %s are other paths',
    async (path) => {
      for (const base of [cambist.url, cambist.adminUrl])
        for (const spelling of spellings(path))
          expect([spelling, (await statusOf(base, spelling))[0]]).toEqual([spelling, expect.toBeOneOf([400, 404])]);
    },
  );

  it('the absolute form of a request leads to the same table', async () => {
    expect((await statusOf(cambist.url, `${cambist.adminUrl}/metrics`))[0]).toBe(404);
    expect((await statusOf(cambist.adminUrl, `${cambist.url}/oauth2/jwks`))[0]).toBe(404);
  });

  it.each(['host', 'x-forwarded-host', 'x-original-url', 'x-rewrite-url', 'x-forwarded-prefix', 'user-agent'])(
    'the header %s leads nowhere else',
    async (name) => {
      const value = name.endsWith('url') || name.endsWith('prefix') ? '/metrics' : new URL(cambist.adminUrl).host;
      expect((await statusOf(cambist.url, '/metrics', 'GET', { [name]: value }))[0]).toBe(404);
      expect((await statusOf(cambist.url, '/oauth2/jwks', 'GET', { [name]: value }))[0]).toBe(200);
    },
  );

  it('a method in a header is no method', async () => {
    const headers = { 'x-http-method-override': 'GET', 'x-method-override': 'GET' };
    expect((await statusOf(cambist.adminUrl, '/metrics', 'POST', headers))[0]).toBe(405);
  });
});

describe('a start that cannot listen', () => {
  let folder: string;
  const occupied = createServer();
  let taken: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cambist-listen-'));
    await new Promise<void>((resolve) => occupied.listen(0, '127.0.0.1', resolve));
    taken = `127.0.0.1:${(occupied.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    await new Promise((resolve) => occupied.close(resolve));
    rmSync(folder, { recursive: true });
  });

  /** Exit code and standard error of the built program. */
  async function serve(env: Record<string, string>): Promise<[number | undefined, string]> {
    const main = join(import.meta.dirname, '../../dist/src/main.js');
    const free = `127.0.0.1:${await freePort()}`;
    const whole = {
      ...cleanEnvironment(),
      CAMBIST_LISTEN: free,
      CAMBIST_ADMIN_LISTEN: '127.0.0.1:0',
      CAMBIST_DATA_DIR: join(folder, 'data'),
      ...env,
    };
    return new Promise((resolve) => {
      execFile(process.execPath, [main, 'serve'], { env: whole, timeout: 60_000 }, (error, _, stderr) => {
        resolve([error === null ? 0 : (error.code as number | undefined), stderr]);
      });
    });
  }

  it.each([
    ['CAMBIST_LISTEN', 'listen'],
    ['CAMBIST_ADMIN_LISTEN', 'admin_listen'],
  ])(
    '%s names a port that is taken: exit 1, and "serving" was not said',
    async (variable, setting) => {
      const env: Record<string, string> = { CAMBIST_ISSUER: 'http://127.0.0.1:9999', [variable]: taken };
      const [code, stderr] = await serve(env);
      expect(stderr).toContain(
        `cannot listen on ${taken} (EADDRINUSE): something else listens there: stop it, or set ${setting}.port (${variable})`,
      );
      expect(code).toBe(1);
      expect(stderr).not.toContain('"serving"');
    },
    90_000,
  );

  it('an address of another machine: exit 1', async () => {
    const [code, stderr] = await serve({
      CAMBIST_ADMIN_LISTEN: '192.0.2.1:9999',
      CAMBIST_ADMIN_PLAIN_HTTP: 'behind_tls_proxy',
    });
    expect(stderr).toContain('set admin_listen.host to an address of this machine');
    expect(code).toBe(1);
  }, 90_000);

  it.each<[string, (cert: string, key: string) => void, string]>([
    ['missing', () => undefined, 'listen.tls.cert_file'],
    [
      'of two pairs',
      (cert, key) => {
        writeFileSync(cert, selfSigned(['localhost']).cert);
        writeFileSync(key, selfSigned(['localhost']).key);
      },
      'listen.tls.key_file',
    ],
  ])('TLS files that are %s: exit 2 with the setting and the fix, and no database was made', async (_, write, path) => {
    const here = mkdtempSync(join(folder, 'tls-'));
    const [cert, key] = [join(here, 'cert.pem'), join(here, 'key.pem')];
    write(cert, key);
    const data = join(here, 'data');
    const [code, stderr] = await serve({
      CAMBIST_TLS_CERT_FILE: cert,
      CAMBIST_TLS_KEY_FILE: key,
      CAMBIST_DATA_DIR: data,
    });
    expect(stderr).toMatch(new RegExp(`settings ${path.replaceAll('.', '\\.')}: .*; fix: `));
    expect(code).toBe(2);
    expect(() => rmSync(data, { recursive: true })).toThrow(/ENOENT/);
  });
});
