/**
 * Attacks on the egress: a token that is not for this upstream or not this caller's, paths and headers that mean two
 * things, answers that say too much, names that point inwards, and a database that takes no record.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { callOver, closedRecord, issue, KEY, rawCall, startEgress } from '../support/egress.ts';
import type { Answered, EgressBench, TokenWish } from '../support/egress.ts';

let bench: EgressBench;
const port = () => Number(new URL(bench.cambist.url).port);
beforeAll(async () => {
  bench = await startEgress();
});
afterAll(() => bench.stop());
afterEach(() => {
  bench.upstream.answer(undefined);
  bench.upstream.arrived.length = 0;
});

/** Refused, with this reason in the record or, where nobody is known, in none; nothing reached the upstream. */
async function expectTurnedAway(answer: Answered, status: number, error: string, reason?: string): Promise<void> {
  expect(answer.status, answer.body.toString()).toBe(status);
  expect(JSON.parse(answer.body.toString()).error).toBe(error);
  expect(answer.headers['cambist-egress']).toBe('refused');
  expect(answer.headers['cache-control']).toBe('no-store');
  const recorded = (await bench.cambist.records(answer.requestId)).map(({ body }) => (body as any).refusal?.reason);
  expect(recorded).toEqual(reason === undefined ? [] : [reason]);
  expect(bench.upstream.arrived).toEqual([]);
}

describe('whose token', () => {
  it.each<[string, TokenWish, number, string, string | undefined]>([
    ['for another upstream', { upstream: 'second' }, 401, 'invalid_token', 'egress_token_not_meant'],
    ['for a resource', { audience: 'https://notes.example/mcp' }, 401, 'invalid_token', 'egress_token_not_meant'],
    [
      'that an agent sent to the server',
      { clientId: 'agent', actors: ['agent'] },
      403,
      'insufficient_scope',
      'caller_not_listed',
    ],
    ['of an agent itself', { clientId: 'agent', actors: [] }, 403, 'insufficient_scope', 'caller_not_listed'],
    [
      'whose earlier actor is a caller',
      { actors: ['other-server', 'notes-server'] },
      403,
      'insufficient_scope',
      'caller_not_listed',
    ],
    ['asked for by a caller, for another actor', { actors: ['agent'] }, 403, 'insufficient_scope', 'caller_not_listed'],
    ['without the scope', { scope: 'api:admin' }, 403, 'insufficient_scope', 'egress_scope_missing'],
    ['that was never committed', { uncommitted: true }, 401, 'invalid_token', undefined],
    ['that has expired', { lifetimeSeconds: -5 }, 401, 'invalid_token', undefined],
  ])('%s is refused', async (_, wish, status, error, reason) => {
    const token = await bench.token(wish);
    await expectTurnedAway(await bench.call('/egress/api/v1/x', { token }), status, error, reason);
  });

  it('with an audience beside the right one is refused', async () => {
    const token = await bench.token({
      audience: [`${bench.cambist.issuer}/egress/api`, 'https://notes.example/mcp'],
    });
    await expectTurnedAway(
      await bench.call('/egress/api/v1/x', { token }),
      401,
      'invalid_token',
      'egress_token_not_meant',
    );
  });

  it('lets the actor of an actor through, and a client that acts for itself', async () => {
    const own = await bench.token({
      subject: { issuer: bench.cambist.issuer, sub: 'notes-server' },
      actors: [],
    });
    expect((await bench.call('/egress/api/v1/x', { token: own })).status).toBe(200);
    expect((await bench.call('/egress/api/v1/x')).status).toBe(200);
  });

  it('no token, two tokens and an unknown upstream are answered alike: 401', async () => {
    await expectTurnedAway(await bench.call('/egress/api/v1/x', { token: undefined }), 401, 'invalid_token');
    await expectTurnedAway(await bench.call('/egress/nothing/v1/x'), 401, 'invalid_token');
    const token = await bench.token();
    const twice = await rawCall(
      port(),
      `GET /egress/api/v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    expect(twice).toMatch(/^HTTP\/1\.1 (400|401) /);
    expect(bench.upstream.arrived).toEqual([]);
  });

  it('a token in a URL is neither forwarded nor recorded', async () => {
    const token = await bench.token();
    for (const path of [`/egress/api/v1/x?access_token=${token}`, `/egress/api/v1/${token}`]) {
      const answer = await bench.call(path, { token });
      await expectTurnedAway(answer, 400, 'invalid_request', 'egress_path_refused');
      const [record] = await bench.cambist.records(answer.requestId);
      expect(record?.persons[0]?.path).toMatch(/^\/v1\/[x*]$/);
      expect(JSON.stringify(record)).not.toContain(token);
    }
  });

  it.each<[string, 'client' | 'upstream' | 'issuer', string, number]>([
    ['the caller', 'client', 'notes-server', 401],
    ['an earlier actor', 'client', 'agent', 401],
    ['the upstream', 'upstream', 'api', 400],
    ['who vouched for the subject', 'issuer', 'corp', 401],
  ])('disabling %s ends it with the next call', async (_, kind, name, status) => {
    const token = await bench.token();
    await bench.cambist.disable(kind, name);
    try {
      expect((await bench.call('/egress/api/v1/x', { token })).status).toBe(status);
      expect(bench.upstream.arrived).toEqual([]);
    } finally {
      await bench.cambist.enable(kind, name);
    }
    expect((await bench.call('/egress/api/v1/x', { token })).status).toBe(200);
  });
});

describe('paths are matched exactly as they are forwarded', () => {
  it.each([
    '/egress/api/v1/../admin/x',
    '/egress/api/v1/%2e%2e/admin/x',
    '/egress/api/v1/a%2Fb',
    '/egress/api/v1/a%5Cb',
    '/egress/api/v1/a\\b',
    '/egress/api/v1//x',
    '/egress/api//v1/x',
    '/egress/api/v1/x;admin=1',
    '/egress/api/v1/%252e%252e/x',
    '/egress/api/v1/x#y',
    '/egress/api/v1/x?a=1#y',
    '/egress/api/v1/x?_method=DELETE',
    '/egress/api/admin/x',
    '/egress/api',
    '/egress/api:unknown/v1/x',
    '/egress//api/v1/x',
    '/egress/../oauth2/token',
    'http://127.0.0.1/egress/api/v1/x',
    '//egress/api/v1/x',
    '/EGRESS/api/v1/x',
    '/%65gress/api/v1/x',
  ])('%s reaches nothing', async (path) => {
    const token = await bench.token({ scope: 'api:use api:admin' });
    const answer = await rawCall(
      port(),
      `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 (400|401|403|404) /);
    expect(bench.upstream.arrived).toEqual([]);
  });

  it('what is allowed arrives byte for byte', async () => {
    const path = "/v1/a%20b/(c)/d,e@f:g=h+i/~j/'k'?q=%2Fx%20y&z=a/b?c";
    expect((await bench.call(`/egress/api${path}`)).status).toBe(200);
    expect(bench.upstream.arrived[0]?.url).toBe(`/base${path}`);
  });

  it.each(['TRACE', 'PROPFIND', 'M-SEARCH'])('method %s is refused', async (method) => {
    await expectTurnedAway(
      await bench.call('/egress/api/v1/x', { method }),
      403,
      'insufficient_scope',
      'egress_request_not_allowed',
    );
  });

  it('the wish of Java’s HTTP client for HTTP/2 is passed over, and not passed on', async () => {
    const wish = {
      connection: 'Upgrade, HTTP2-Settings',
      upgrade: 'h2c',
      'http2-settings': 'AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA',
    };
    const answer = await bench.call('/egress/api/v1/x', { headers: wish });
    expect(answer.status).toBe(200);
    const { headers } = bench.upstream.arrived[0]!;
    expect(headers['upgrade'] ?? headers['http2-settings']).toBeUndefined();
  });

  it('CONNECT, upgrades, two hosts, two lengths, length beside chunks and other codings reach nothing', async () => {
    const token = await bench.token();
    const authorization = `Host: x\r\nAuthorization: Bearer ${token}\r\n`;
    await rawCall(port(), `CONNECT /egress/api/v1/x HTTP/1.1\r\n${authorization}\r\n`, 500);
    const upgrade = await rawCall(
      port(),
      `GET /egress/api/v1/x HTTP/1.1\r\n${authorization}Connection: upgrade, close\r\nUpgrade: websocket\r\n\r\n`,
    );
    expect(upgrade).toMatch(/^HTTP\/1\.1 400 /);
    const smuggled = await rawCall(
      port(),
      `POST /egress/api/v1/x HTTP/1.1\r\n${authorization}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /egress/api/v1/y HTTP/1.1\r\n\r\n`,
    );
    expect(smuggled).toMatch(/^HTTP\/1\.1 400 /);
    const lengths = await rawCall(
      port(),
      `POST /egress/api/v1/x HTTP/1.1\r\n${authorization}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`,
    );
    expect(lengths).toMatch(/^HTTP\/1\.1 400 /);
    const hosts = await rawCall(port(), `GET /egress/api/v1/x HTTP/1.1\r\nHost: y\r\n${authorization}\r\n`);
    expect(hosts).toMatch(/^HTTP\/1\.1 400 /);
    const coded = await rawCall(
      port(),
      `POST /egress/api/v1/x HTTP/1.1\r\n${authorization}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    );
    expect(coded).toMatch(/^HTTP\/1\.1 501 /);
    expect(bench.upstream.arrived).toEqual([]);
  });
});

describe('a caller that asks before it sends its body (RFC 9110 §10.1.1)', () => {
  /** Status lines and headers of what came back, in order. */
  async function asking(head: string, body = ''): Promise<string[]> {
    const port = Number(new URL(bench.cambist.url).port);
    const lines = `${head}\r\nHost: x\r\nExpect: 100-continue\r\n\r\n${body}`;
    return (await rawCall(port, lines, 1_500)).split('\r\n');
  }
  const statuses = (lines: readonly string[]) => lines.filter((line) => line.startsWith('HTTP/1.1 '));
  const form = 'POST /oauth2/token HTTP/1.1\r\nContent-Length: 4\r\nContent-Type: ';

  it('is told to when it is known that somebody reads it', async () => {
    const call = `POST /egress/api/v1/x HTTP/1.1\r\nContent-Length: 3\r\nAuthorization: Bearer ${await bench.token()}`;
    const answer = await asking(call, 'abc');
    expect(statuses(answer)).toEqual(['HTTP/1.1 100 Continue', 'HTTP/1.1 200 OK']);
    expect(answer).toContain('Connection: keep-alive');
    expect(bench.upstream.arrived.map(({ body }) => body.toString())).toEqual(['abc']);
    const unread = await asking(call);
    expect(statuses(unread)).toEqual(['HTTP/1.1 100 Continue']);
    expect(statuses(await asking(`${form}application/x-www-form-urlencoded`, 'a=bc'))).toEqual([
      'HTTP/1.1 100 Continue',
      'HTTP/1.1 401 Unauthorized',
    ]);
  });

  it('is answered at once where its body changes nothing, and its connection ends: what comes next may be either', async () => {
    const refused = await asking(
      'POST /egress/api/v1/x HTTP/1.1\r\nContent-Length: 3\r\nAuthorization: Bearer no',
      'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
    );
    expect(statuses(refused)).toEqual(['HTTP/1.1 401 Unauthorized']);
    expect(refused).toContain('Connection: close');
    for (const [head, status] of [
      [`${form}application/json`, '400 Bad Request'],
      ['POST /oauth2/jwks HTTP/1.1\r\nContent-Length: 4', '405 Method Not Allowed'],
      ['POST /nothing HTTP/1.1\r\nContent-Length: 4', '404 Not Found'],
    ] as const) {
      const answer = await asking(head);
      expect(statuses(answer)).toEqual([`HTTP/1.1 ${status}`]);
      expect(answer).toContain('Connection: close');
    }
    expect(bench.upstream.arrived).toEqual([]);
  });
});

describe('headers', () => {
  it('of one connection, of cookies, of proxies, of ours and of the caller do not reach the upstream', async () => {
    const token = await bench.token();
    const dropped = {
      'proxy-authorization': 'Basic x',
      'keep-alive': 'timeout=5',
      te: 'trailers',
      cookie: 'a=b',
      forwarded: 'for=1.2.3.4',
      'x-forwarded-for': '1.2.3.4',
      'x-forwarded-host': 'evil.example',
      x_forwarded_for: '1.2.3.4',
      'x-real-ip': '1.2.3.4',
      'x-original-url': '/admin',
      'x-rewrite-url': '/admin',
      via: '1.1 x',
      'cambist-request-id': 'mine',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'x-mine': 'of this connection',
      'x-copy': `see ${token}`,
    };
    const answer = await bench.call('/egress/api/v1/x', {
      token,
      headers: {
        ...dropped,
        connection: 'close, X-Mine',
        'x-kept': 'yes',
        accept: 'text/plain',
        expect: '100-continue',
      },
    });
    expect(answer.status).toBe(200);
    const { headers } = bench.upstream.arrived[0]!;
    expect(Object.keys(headers).filter((name) => name in dropped)).toEqual([]);
    expect(headers).toMatchObject({
      'x-kept': ['yes'],
      accept: ['text/plain'],
      authorization: [`Bearer ${KEY}`],
    });
    expect(headers['expect']).toBeUndefined();
    expect(JSON.stringify(headers)).not.toContain(token);
  });

  it.each(['x-http-method-override', 'X-HTTP-Method', 'x_method_override'])('%s is refused', async (name) => {
    await expectTurnedAway(
      await bench.call('/egress/api/v1/x', { headers: { [name]: 'DELETE' } }),
      400,
      'invalid_request',
    );
  });

  it('of the answer: cookies, CORS and what is said about a host are dropped, the rest is handed back', async () => {
    bench.upstream.answer((_, response) => {
      response.writeHead(200, {
        'set-cookie': ['a=b', 'c=d'],
        'access-control-allow-origin': '*',
        'strict-transport-security': 'max-age=1',
        'alt-svc': 'h3=":443"',
        'cambist-request-id': 'theirs',
        connection: 'x-hop',
        'x-hop': '1',
        'x-rate': '7',
        link: ['<a>; rel=x', '<https://elsewhere.example/b>; rel=y'],
        'content-encoding': 'x-custom',
        'cache-control': 'max-age=60',
      });
      response.end('untouched');
    });
    const { headers, body, requestId } = await bench.call('/egress/api/v1/x');
    expect(Object.keys(headers)).not.toEqual(expect.arrayContaining(['set-cookie']));
    for (const name of ['set-cookie', 'access-control-allow-origin', 'strict-transport-security', 'alt-svc', 'x-hop'])
      expect(headers[name], name).toBeUndefined();
    expect(headers).toMatchObject({
      'x-rate': '7',
      'content-encoding': 'x-custom',
      'cache-control': 'max-age=60',
    });
    expect(headers['link']).toBe(
      `<${bench.cambist.issuer}/egress/api/v1/a>; rel=x, <https://elsewhere.example/b>; rel=y`,
    );
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect(body.toString()).toBe('untouched');
  });

  it('the key is taken out of headers and small texts that repeat it', async () => {
    const encoded = Buffer.from(KEY).toString('base64');
    bench.upstream.answer((_, response) => {
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': 100,
        'x-echo': `Bearer ${KEY}`,
      });
      response.end(JSON.stringify({ key: KEY, encoded }).padEnd(100));
    });
    const { headers, body } = await bench.call('/egress/api/v1/x');
    expect(headers['x-echo']).not.toContain(KEY);
    expect(body).toHaveLength(100);
    expect(body.toString()).not.toContain(KEY);
    expect(body.toString()).not.toContain(encoded.replace(/=+$/, ''));
  });
});

describe('redirects', () => {
  it.each([
    ['/base/v1/next?x=1', () => `${bench.cambist.issuer}/egress/api/v1/next?x=1`],
    ['next', () => `${bench.cambist.issuer}/egress/api/v1/next`],
    ['https://elsewhere.example/v1/x', () => 'https://elsewhere.example/v1/x'],
    ['/basement/v1/x', () => `${bench.upstream.url}/basement/v1/x`],
  ])('to %s is passed on and not followed', async (location, expected) => {
    bench.upstream.answer((_, response) => response.writeHead(302, { location }).end());
    const answer = await bench.call('/egress/api/v1/x');
    expect(answer.status).toBe(302);
    expect(answer.headers['location']).toBe(expected());
    expect(bench.upstream.arrived).toHaveLength(1);
  });
});

describe('links (RFC 8288)', () => {
  it.each([
    '<{upstream}/base/v1/x?page=2>; rel="next", <{upstream}/base/v1/x?page=9>; rel="last"',
    '</base/v1/x?page=2>; rel="next"; title="see <y>, or \\"<z>\\""',
    '<https://elsewhere.example/base/v1/x>; rel="next"',
    '<{upstream}/basement/v1/x>; rel="next"',
  ])('%s: what is below the base URL leads through the egress, the rest is untouched', async (link) => {
    const sent = link.replaceAll('{upstream}', bench.upstream.url);
    bench.upstream.answer((_, response) => response.writeHead(200, { link: sent }).end());
    const { headers } = await bench.call('/egress/api/v1/x?page=1');
    const through = `<${bench.cambist.issuer}/egress/api/v1/x`;
    expect(headers['link']).toBe(
      sent.replaceAll(`<${bench.upstream.url}/base/v1/x`, through).replaceAll('</base/v1/x', through),
    );
  });
});

describe('a key in the query', () => {
  it('is added, in no answer, and a parameter of that name is refused', async () => {
    await bench.cambist.apply(
      JSON.stringify({
        upstreams: [
          {
            name: 'by-query',
            base_url: bench.upstream.url,
            internal: true,
            scopes: { 'api:use': 'Use' },
            callers: ['notes-server'],
            requests: [{ methods: ['GET'], path: '/v1/*', scopes: ['api:use'] }],
            credential: {
              kind: 'static',
              store: 'embedded',
              path: 'apis/x',
              field: 'key',
            },
            inject: { kind: 'query', name: 'key', allow_query: true },
          },
        ],
      }),
    );
    bench.upstream.answer((request, response) => response.writeHead(302, { location: request.url }).end());
    const token = await bench.token({ upstream: 'by-query' });
    const answer = await bench.call('/egress/by-query/v1/x?a=1', { token });
    expect(bench.upstream.arrived[0]?.url).toBe(`/v1/x?a=1&key=${KEY}`);
    expect(answer.headers['location']).not.toContain(KEY);
    bench.upstream.arrived.length = 0;
    const own = await bench.call('/egress/by-query/v1/x?key=mine', { token });
    await expectTurnedAway(own, 403, 'insufficient_scope', 'egress_request_not_allowed');
  });
});

it('a failure that does not say its length is looked at as far as that is bounded, and comes whole', async () => {
  const rest = 'x'.repeat(200_000);
  bench.upstream.answer((_, response) => {
    response.writeHead(503, { 'content-type': 'text/plain' }).write(`refused: ${KEY};`);
    setTimeout(() => response.end(rest), 20);
  });
  const { status, body } = await bench.call('/egress/api/v1/x');
  expect(status).toBe(503);
  expect(body.toString()).toBe(`refused: ${'*'.repeat(KEY.length)};${rest}`);
});

it('nothing is forwarded that is not recorded as opened', async () => {
  const token = await bench.token();
  const { database } = bench.cambist;
  const query = database.query.bind(database);
  let refusing = true;
  const fails = (text: string) => refusing && /INSERT INTO (audit_)?record/i.test(text);
  const broken = bench.cambist.database as { query: typeof query };
  broken.query = (text: string, ...rest: [never, never]) =>
    fails(text) ? Promise.reject(new Error('disk full')) : query(text, ...rest);
  try {
    const answer = await bench.call('/egress/api/v1/x', { token });
    expect(answer.status).toBe(503);
    expect(bench.upstream.arrived).toEqual([]);
    expect(bench.credentials.discarded).toContain(KEY);
  } finally {
    refusing = false;
    broken.query = query;
  }
  expect((await bench.call('/egress/api/v1/x', { token })).status).toBe(200);
});

describe('names that point inwards (R21)', () => {
  it.each<[string, readonly string[]]>([
    ['a private address', ['10.0.0.5']],
    ['loopback', ['127.0.0.1']],
    ['a public and a private one', ['93.184.216.34', '169.254.169.254']],
    ['loopback in an IPv6 form', ['::ffff:127.0.0.1']],
  ])('%s is not connected to', async (_, addresses) => {
    const inner = await startEgress({
      upstreamSpec: {
        base_url: 'https://api.example/base',
        more_urls: {},
        internal: false,
      },
      settings: { resolve: () => Promise.resolve(addresses) },
    });
    try {
      const token = await issue(inner.cambist);
      const answer = await callOver(`${inner.cambist.url}/egress/api/v1/x`, {
        token,
      });
      expect(answer.status).toBe(502);
      expect(answer.body.toString()).not.toMatch(/api\.example|10\.0|127\.0/);
      // Not that nobody answers there: it was not tried.
      expect(await closedRecord(inner.cambist, answer.requestId)).toMatchObject({ failure: 'address_refused' });
    } finally {
      await inner.stop();
    }
  });
});
