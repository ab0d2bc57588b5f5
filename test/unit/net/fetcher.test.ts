import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { createLogger } from '../../../src/core/log.ts';
import { Unavailable } from '../../../src/core/refusal.ts';
import { createFetcher, FetchFailed } from '../../../src/net/fetcher.ts';
import type { FetchOptions, Resolve } from '../../../src/net/fetcher.ts';
import { selfSigned } from './certificate.ts';

const CANARY = 'canary-7f3a';
const folder = mkdtempSync(join(tmpdir(), 'cambist-net-'));
const servers: (Server | TcpServer)[] = [];

async function listen(server: Server | TcpServer, host = '127.0.0.1'): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

/** A server that answers with `handler` and counts requests. */
async function serve(handler: RequestListener, host?: string) {
  const seen = { requests: 0, headers: {} as NodeJS.Dict<string | string[]> };
  const port = await listen(
    createServer((request, response) => {
      seen.requests += 1;
      seen.headers = request.headers;
      handler(request, response);
    }),
    host,
  );
  return { url: `http://127.0.0.1:${port}/jwks`, port, seen };
}

const json =
  (body: string | Uint8Array, headers: NodeJS.Dict<string> = {}): RequestListener =>
  (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(body);
  };

function fetcherWith(settings: { timeoutMs?: number; maxBytes?: number; resolve?: Resolve } = {}) {
  return createFetcher({ clock: systemClock, logger: createLogger('silent'), timeoutMs: 2000, ...settings });
}

const INTERNAL: FetchOptions = { internal: true };

/** How the fetch failed; fails the test if it did not, or if the failure shows anything that the server sent. */
async function failure(url: string, options: FetchOptions = INTERNAL, fetcher = fetcherWith()): Promise<FetchFailed> {
  const error: unknown = await fetcher.getJson(url, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FetchFailed);
  expect(error).toBeInstanceOf(Unavailable);
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(CANARY);
  return error as FetchFailed;
}

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(
    servers.splice(0).map(
      (server) =>
        new Promise((resolve) => {
          server.close(resolve);
          if ('closeAllConnections' in server) server.closeAllConnections();
        }),
    ),
  );
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('getJson', () => {
  it('reads a JSON document and how long it is fresh', async () => {
    const { url, seen } = await serve(json('{"keys":[]}', { 'cache-control': 'public, max-age=300' }));
    expect(await fetcherWith().getJson(url, INTERNAL)).toMatchObject({ body: { keys: [] }, maxAgeSeconds: 300 });
    expect(seen.headers['accept-encoding']).toBe('identity');
    expect(seen.headers.authorization).toBeUndefined();
  });

  it.each([
    [{}, undefined],
    [{ 'cache-control': 'max-age=0' }, 0],
    [{ 'cache-control': 'Max-Age=60, must-revalidate' }, 60],
    [{ 'cache-control': 'no-store, max-age=60' }, 0],
    [{ 'cache-control': 'no-cache' }, 0],
    [{ 'cache-control': 'max-age=60', age: '20' }, 40],
    [{ 'cache-control': 'max-age=60', age: '90' }, 0],
    [{ 'cache-control': 's-maxage=60' }, undefined],
    [{ 'cache-control': 'max-age=-1' }, undefined],
  ])('freshness of %j is %s', async (headers, expected) => {
    const { url } = await serve(json('{}', headers));
    expect((await fetcherWith().getJson(url, INTERNAL)).maxAgeSeconds).toBe(expected);
  });

  it.each(['application/json; charset=utf-8', 'application/jwk-set+json', 'Application/JSON', undefined])(
    'accepts the content type %s',
    async (type) => {
      const { url } = await serve((_request, response) => {
        response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end('{}');
      });
      expect((await fetcherWith().getJson(url, INTERNAL)).body).toEqual({});
    },
  );

  it.each(['text/html', 'text/plain', 'application/octet-stream', 'application/jsonp', 'text/json'])(
    'refuses the content type %s',
    async (type) => {
      const { url } = await serve(json('{}', { 'content-type': type }));
      expect((await failure(url)).code).toBe('not_json');
    },
  );

  it.each([
    ['an error page', `<html>${CANARY}</html>`],
    ['nothing', ''],
    ['a cut document', `{"keys":["${CANARY}"`],
    ['a duplicate key', '{"keys":[],"keys":[]}'],
    ['deep nesting', '['.repeat(50_000)],
    ['invalid UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ])('refuses what is not strict JSON: %s', async (_what, body) => {
    const { url } = await serve(json(body));
    expect((await failure(url)).code).toBe('not_json');
  });

  it.each([300, 301, 302, 303, 307, 308])('does not follow a redirect: %i (R21)', async (status) => {
    const target = await serve(json('{}'));
    const { url } = await serve((_request, response) => {
      response.writeHead(status, { location: target.url }).end();
    });
    expect((await failure(url)).code).toBe('redirect');
    expect(target.seen.requests).toBe(0);
  });

  it.each([201, 204, 206, 400, 401, 404, 429, 500, 503])('refuses status %i', async (status) => {
    const { url } = await serve((_request, response) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(status === 204 ? '' : `"${CANARY}"`);
    });
    expect(await failure(url)).toMatchObject({ code: 'status' });
  });
});

describe('bounds (R21)', () => {
  it('reads a body of exactly the cap, and not a byte more', async () => {
    const { url } = await serve(json(`"${'x'.repeat(98)}"`));
    await fetcherWith({ maxBytes: 100 }).getJson(url, INTERNAL);
    expect((await failure(url, INTERNAL, fetcherWith({ maxBytes: 99 }))).code).toBe('too_large');
    expect((await failure(url, { ...INTERNAL, maxBytes: 99 })).code).toBe('too_large');
  });

  it('does not wait for a body that is announced as too large', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000000' }).flushHeaders();
    });
    expect((await failure(url)).code).toBe('too_large');
  });

  it('stops reading an endless body', async () => {
    let sent = 0;
    const { url } = await serve((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const write = () => {
        while (!request.socket.destroyed && response.write(' '.repeat(65_536))) sent += 65_536;
      };
      response.on('drain', write);
      write();
    });
    expect((await failure(url)).code).toBe('too_large');
    expect(sent).toBeLessThan(16_000_000);
  });

  it('refuses a gzip bomb without unpacking it', async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000, ' '));
    expect(bomb.length).toBeLessThan(262_144);
    const { url } = await serve(json(bomb, { 'content-encoding': 'gzip' }));
    expect((await failure(url)).code).toBe('encoding');
  });

  it('refuses headers beyond 16 KiB', async () => {
    const { url } = await serve(json('{}', { 'x-filler': CANARY.repeat(2000) }));
    expect((await failure(url)).code).toBe('connect');
  });

  it.each([
    ['a server that says nothing', () => undefined],
    [
      'a slow drip in the body',
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => {
          clearInterval(timer);
        });
      },
    ],
  ] satisfies [string, RequestListener][])('gives up on %s, at the total time', async (_what, handler) => {
    const { url } = await serve(handler);
    const startedMs = performance.now();
    expect((await failure(url, INTERNAL, fetcherWith({ timeoutMs: 200 }))).code).toBe('timeout');
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });

  it('gives up on a slow drip in the headers', async () => {
    const port = await listen(
      createTcpServer((socket) => {
        socket.write('HTTP/1.1 200 OK\r\n');
        const timer = setInterval(() => socket.write('x: y\r\n'), 20);
        socket.on('close', () => {
          clearInterval(timer);
        });
        socket.on('error', () => undefined);
      }),
    );
    const code = (await failure(`http://127.0.0.1:${port}/`, INTERNAL, fetcherWith({ timeoutMs: 200 }))).code;
    expect(code).toBe('timeout');
  });

  it('counts name resolution into the total time', async () => {
    const resolve = () => new Promise<string[]>(() => undefined);
    expect((await failure('https://slow.example/', INTERNAL, fetcherWith({ timeoutMs: 100, resolve }))).code).toBe(
      'timeout',
    );
  });

  it('says nothing of what an unreadable answer held', async () => {
    const port = await listen(
      createTcpServer((socket) =>
        socket
          .on('error', () => undefined)
          .resume()
          .end(`${CANARY}\r\n\r\n`),
      ),
    );
    expect((await failure(`http://127.0.0.1:${port}/`)).code).toBe('connect');
  });

  it('reports a refused and a cut connection, and a name that does not resolve', async () => {
    const port = await listen(createTcpServer((socket) => socket.destroy()));
    expect((await failure(`http://127.0.0.1:${port}/`)).code).toBe('connect');
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await failure(`http://127.0.0.1:${port}/`)).toMatchObject({
      code: 'connect',
      message: 'it could not be reached (ECONNREFUSED)',
    });
    const resolve = () => Promise.reject(Object.assign(new Error(CANARY), { code: 'ENOTFOUND' }));
    expect(await failure('https://gone.example/', INTERNAL, fetcherWith({ resolve }))).toMatchObject({
      code: 'connect',
      message: 'it could not be reached (ENOTFOUND)',
    });
  });
});

describe('where it connects (R21)', () => {
  it.each([
    ['http://example.com/', { internal: false }],
    ['http://127.0.0.1/', { internal: false }],
    ['http://10.0.0.1/', INTERNAL],
    ['http://[::ffff:127.0.0.1]/', INTERNAL],
    ['http://0.0.0.0/', INTERNAL],
    ['ftp://127.0.0.1/', INTERNAL],
    ['file:///etc/passwd', INTERNAL],
    ['data:application/json,{}', INTERNAL],
    ['spiffe://prod.example', INTERNAL],
    [`https://user:${CANARY}@example.com/`, INTERNAL],
    [`https://${CANARY}@example.com/`, INTERNAL],
    [`https://:${CANARY}@example.com/`, INTERNAL],
    ['not a url', INTERNAL],
  ])('refuses the scheme: %s', async (url, options) => {
    expect((await failure(url, options)).code).toBe('scheme_refused');
  });

  it.each([
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    '017700000001',
    '127.0.0.1.',
    '①②⑦.0.0.1',
    '0',
    'localhost',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '10.0.0.1',
    '169.254.169.254',
    '2852039166',
  ])('refuses special addresses, however they are written: %s', async (host) => {
    const canary = await serve(json('{}'));
    expect((await failure(`https://${host}:${canary.port}/`, { internal: false })).code).toBe('address_refused');
    expect(canary.seen.requests).toBe(0);
  });

  it.each([
    ['a private address', ['10.0.0.1']],
    ['a private one beside a public one', ['93.184.216.34', '10.0.0.1']],
    ['a v4-mapped one', ['::ffff:10.0.0.1']],
  ])('refuses a name that resolves to %s', async (_what, addresses) => {
    const resolve = () => Promise.resolve(addresses);
    const options = { internal: false };
    expect((await failure('https://issuer.example/', options, fetcherWith({ resolve }))).code).toBe('address_refused');
  });

  it('refuses plain http for a name that resolves beyond loopback, internal or not', async () => {
    const resolve = () => Promise.resolve(['127.0.0.1', '10.0.0.1']);
    expect((await failure('http://issuer.example/', INTERNAL, fetcherWith({ resolve }))).code).toBe('scheme_refused');
  });

  it('refuses a name without addresses', async () => {
    const resolve = () => Promise.resolve([]);
    expect((await failure('https://issuer.example/', INTERNAL, fetcherWith({ resolve }))).code).toBe('connect');
  });

  it('resolves a name once and connects to the address that it checked (rebinding)', async () => {
    const checked = await serve(json('"checked"'), '127.0.0.1');
    const rebound = createServer(json('"rebound"'));
    servers.push(rebound);
    await new Promise<void>((resolve) => rebound.listen(checked.port, '127.0.0.2', resolve));
    const answers = [['127.0.0.1'], ['127.0.0.2']];
    const resolve = vi.fn(() => Promise.resolve(answers.shift() ?? []));
    const { body } = await fetcherWith({ resolve }).getJson(`http://issuer.example:${checked.port}/`, INTERNAL);
    expect(body).toBe('checked');
    expect(resolve).toHaveBeenCalledTimes(1);
  });

  it('resolves anew for the next fetch, so that no connection outlives its check', async () => {
    const { port } = await serve(json('1'));
    const resolve = vi.fn(() => Promise.resolve(['127.0.0.1']));
    const fetcher = fetcherWith({ resolve });
    await fetcher.getJson(`http://issuer.example:${port}/`, INTERNAL);
    resolve.mockResolvedValue(['10.0.0.1']);
    expect((await failure(`http://issuer.example:${port}/`, INTERNAL, fetcher)).code).toBe('scheme_refused');
  });

  it('never uses a proxy of the environment', async () => {
    const proxy = await serve(json('"proxy"'));
    const direct = await serve(json('"direct"'));
    for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'])
      vi.stubEnv(name, `http://127.0.0.1:${proxy.port}`);
    vi.stubEnv('NODE_USE_ENV_PROXY', '1');
    expect((await fetcherWith().getJson(direct.url, INTERNAL)).body).toBe('direct');
    expect(proxy.seen.requests).toBe(0);
  });
});

describe('TLS and local files', () => {
  const certificate = selfSigned(['issuer.example']);
  const caFile = join(folder, 'ca.pem');
  const bearerFile = join(folder, 'bearer');
  const resolve = () => Promise.resolve(['127.0.0.1']);
  let port: number;
  let authorization: string | undefined;
  let tls: Server;

  beforeAll(async () => {
    writeFileSync(caFile, certificate.cert);
    writeFileSync(bearerFile, `${CANARY}.a.b\n`);
    tls = createTlsServer(certificate, (request, response) => {
      ({ authorization } = request.headers);
      response.writeHead(200, { 'content-type': 'application/json' }).end('"tls"');
    });
    await new Promise<void>((done) => tls.listen(0, '127.0.0.1', done));
    ({ port } = tls.address() as AddressInfo);
  });
  afterAll(() => {
    tls.close();
  });

  it('trusts the authority of the CA file', async () => {
    const fetched = fetcherWith({ resolve }).getJson(`https://issuer.example:${port}/`, { ...INTERNAL, caFile });
    expect((await fetched).body).toBe('tls');
    expect((await fetcherWith().getJson(`https://127.0.0.1:${port}/`, { ...INTERNAL, caFile })).body).toBe('tls');
  });

  it('refuses an unknown authority, internal or not', async () => {
    expect((await failure(`https://issuer.example:${port}/`, INTERNAL, fetcherWith({ resolve }))).code).toBe('tls');
  });

  it('refuses a certificate for another name', async () => {
    const options = { ...INTERNAL, caFile };
    expect((await failure(`https://other.example:${port}/`, options, fetcherWith({ resolve }))).code).toBe('tls');
  });

  it('reports plain http on an https URL as a failure', async () => {
    const plain = await serve(json('{}'));
    expect((await failure(`https://127.0.0.1:${plain.port}/`)).code).toBe('tls');
    expect(plain.seen.requests).toBe(0);
  });

  it('sends the content of the bearer file, read at each fetch', async () => {
    const options = { ...INTERNAL, caFile, bearerFile };
    await fetcherWith().getJson(`https://127.0.0.1:${port}/`, options);
    expect(authorization).toBe(`Bearer ${CANARY}.a.b`);
    writeFileSync(bearerFile, 'ro.ta.ted');
    await fetcherWith().getJson(`https://127.0.0.1:${port}/`, options);
    expect(authorization).toBe('Bearer ro.ta.ted');
  });

  it.each([
    ['missing', undefined],
    ['empty', ''],
    ['not a token (a key, say)', `${CANARY}AAAA=`],
    ['more than one line', `${CANARY}\n${CANARY}`],
    ['beyond ASCII', `${CANARY}ä`],
    ['beyond 1 MiB', CANARY.repeat(100_000)],
  ])('refuses a bearer file that is unusable, without showing it: %s', async (what, content) => {
    const file = join(folder, what);
    if (content !== undefined) writeFileSync(file, content);
    const { url, seen } = await serve(json('{}'));
    expect((await failure(url, { ...INTERNAL, bearerFile: file })).code).toBe('local_file');
    expect(seen.requests).toBe(0);
  });

  it('reports a missing CA file', async () => {
    const options = { ...INTERNAL, caFile: join(folder, 'none') };
    expect((await failure(`https://127.0.0.1:${port}/`, options)).message).toContain('ENOENT');
  });
});

describe('close', () => {
  it('cuts what is in flight and refuses what comes later', async () => {
    const { url } = await serve(() => undefined);
    const fetcher = fetcherWith({ timeoutMs: 60_000 });
    const cut = failure(url, INTERNAL, fetcher);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const startedMs = performance.now();
    await fetcher.close();
    expect((await cut).code).toBe('closed');
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect((await failure(url, INTERNAL, fetcher)).code).toBe('closed');
  });
});
