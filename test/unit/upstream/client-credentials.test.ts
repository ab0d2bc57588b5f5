/** Tokens of an upstream's token endpoint, asked for over HTTP: once for all, kept to shortly before their expiry. */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { createLogger } from '../../../src/core/log.ts';
import { createFetcher } from '../../../src/net/fetcher.ts';
import { createCredentials } from '../../../src/upstream/credentials.ts';
import {
  granted,
  memoryStore,
  standingClock,
  START_SECONDS,
  unleased,
  upstream,
  useOf,
} from './credentials-in-memory.ts';

interface Asked {
  readonly method: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly form: Record<string, string>;
}

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A token endpoint; `answer` is told how often it was asked before. */
async function endpoint(answer: (response: ServerResponse, asked: Asked, count: number) => void) {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
      const one = { method: request.method, headers: request.headers, form };
      asked.push(one);
      answer(response, one, asked.length - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => new Promise((resolve) => server.close(resolve).closeAllConnections()));
  const { port } = server.address() as AddressInfo;
  const store = memoryStore();
  store.put('oauth/crm', { client_secret: 's1' });
  const clock = standingClock();
  const fetcher = createFetcher({ clock: systemClock, logger: createLogger('silent'), timeoutMs: 500 });
  closing.push(() => fetcher.close());
  const credentials = createCredentials({
    stores: { embedded: store, vault: undefined },
    clock,
    cacheSeconds: 5,
    ...unleased,
    fetcher,
  });
  const source = {
    kind: 'oauth_client_credentials',
    store: 'embedded',
    path: 'oauth/crm',
    token_url: `http://127.0.0.1:${port}/token`,
    client_id: 'cambist',
    field: 'client_secret',
  };
  return {
    asked,
    store,
    clock,
    credentials,
    use: (more: object = {}, of: object = {}) => useOf(upstream({ ...source, ...more }, { internal: true, ...of })),
  };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const issue = (response: ServerResponse, _: Asked, count: number) => {
  json(response, 200, { access_token: `t${count}`, token_type: 'Bearer', expires_in: 3600 });
};

test('asks with Basic and only with what is configured', async () => {
  const { asked, credentials, use, store } = await endpoint(issue);
  store.put('oauth/crm', { client_secret: 'p:ä ss/+' });
  const got = await granted(
    credentials.obtain(
      use({ client_id: 'a:b', scope: 'read write', audience: 'api', resource: 'https://api.example' }),
    ),
  );
  expect(got).toMatchObject({
    secret: 't0',
    fields: { access_token: 't0' },
    expiresAtSeconds: START_SECONDS + 3600,
    mark: { kind: 'oauth_client_credentials', path: 'oauth/crm', version: '2' },
  });
  expect(asked).toMatchObject([
    {
      method: 'POST',
      form: { grant_type: 'client_credentials', scope: 'read write', audience: 'api', resource: 'https://api.example' },
    },
  ]);
  expect(Object.keys(asked[0]?.form ?? {})).not.toContain('client_secret');
  // RFC 6749 §2.3.1
  const pair = Buffer.from((asked[0]?.headers.authorization ?? '').slice(6), 'base64').toString();
  expect(pair).toBe('a%3Ab:p%3A%C3%A4+ss%2F%2B');
});

test('asks with the form where that is configured', async () => {
  const { asked, credentials, use } = await endpoint(issue);
  await granted(credentials.obtain(use({ auth: 'client_secret_post' })));
  expect(asked).toMatchObject([
    { form: { grant_type: 'client_credentials', client_id: 'cambist', client_secret: 's1' } },
  ]);
  expect(asked[0]?.headers.authorization).toBeUndefined();
});

test('asks once for many, keeps the token until shortly before it expires', async () => {
  const { asked, clock, credentials, use } = await endpoint(issue);
  await Promise.all(Array.from({ length: 30 }, () => granted(credentials.obtain(use()))));
  expect(asked).toHaveLength(1);
  clock.forward(3569);
  expect((await granted(credentials.obtain(use()))).secret).toBe('t0');
  clock.forward(1);
  expect((await granted(credentials.obtain(use()))).secret).toBe('t1');
});

test.each<[string, unknown, number]>([
  ['says nothing', undefined, 60],
  ['is no number', '3600', 60],
  ['is below zero', -1, 60],
  ['is zero', 0, 0],
  ['is short', 9.9, 9],
  ['is absurd', 1e12, 86_400],
])('expires_in %s', async (_, expiresIn, seconds) => {
  const { credentials, use } = await endpoint((response) => {
    json(response, 200, { access_token: 't', token_type: 'bearer', expires_in: expiresIn });
  });
  expect((await granted(credentials.obtain(use()))).expiresAtSeconds).toBe(START_SECONDS + seconds);
});

test('a rejected token is asked for anew, not the one that came since', async () => {
  const { asked, clock, credentials, use } = await endpoint(issue);
  const first = await granted(credentials.obtain(use()));
  credentials.reject(use(), first);
  const second = await granted(credentials.obtain(use()));
  expect(second.secret).toBe('t1');
  clock.forward(2);
  credentials.reject(use(), first);
  expect((await granted(credentials.obtain(use()))).secret).toBe('t1');
  expect(asked).toHaveLength(2);
});

test('a rotated client secret: the refusal of the old one is not the end', async () => {
  const { asked, clock, credentials, use, store } = await endpoint((response, { form }, count) => {
    if (form['client_secret'] === 's2') issue(response, { method: '', headers: {}, form }, count);
    else json(response, 401, { error: 'invalid_client' });
  });
  const post = { auth: 'client_secret_post' };
  expect(await credentials.obtain(use(post))).toMatchObject({
    reason: 'credential_refused',
    detail: { status: 401, error: 'invalid_client', path: 'oauth/crm' },
  });
  // Read again, found to be the same, and not tried a second time.
  expect(store.reads).toHaveLength(2);
  expect(asked).toHaveLength(1);
  clock.forward(2);
  store.put('oauth/crm', { client_secret: 's2' });
  expect(await granted(credentials.obtain(use(post)))).toMatchObject({ secret: 't2', mark: { version: '2' } });
  expect(asked.map(({ form }) => form['client_secret'])).toEqual(['s1', 's1', 's2']);
});

test('a token does not outlive the secret that it was had with', async () => {
  const { asked, clock, credentials, use, store } = await endpoint(issue);
  await granted(credentials.obtain(use()));
  store.remove('oauth/crm');
  store.put('oauth/crm', { client_secret: 's2' });
  clock.forward(6);
  expect((await granted(credentials.obtain(use()))).mark.version).toBe('1');
  expect(asked).toHaveLength(2);
  store.remove('oauth/crm');
  clock.forward(6);
  expect(await credentials.obtain(use())).toMatchObject({ reason: 'credential_missing' });
});

test.each<[string, number, unknown, string]>([
  ['a code of the RFC', 400, { error: 'invalid_scope' }, 'invalid_scope'],
  ['a text of its own', 400, { error: 'canary-text' }, 'other'],
  ['no JSON', 403, 'no', 'other'],
  ['an odd type', 400, { error: ['invalid_client'] }, 'other'],
])('refused with %s', async (_, status, body, error) => {
  const { credentials, use } = await endpoint((response) => {
    json(response, status, body);
  });
  const refused = await credentials.obtain(use());
  expect(refused).toMatchObject({ reason: 'credential_refused', detail: { status, error } });
  expect(JSON.stringify(refused)).not.toMatch(/canary|s1/);
});

test.each<[string, (response: ServerResponse) => void]>([
  ['500', (response) => json(response, 500, { error: 'canary' })],
  ['503', (response) => json(response, 503, {})],
  ['429', (response) => json(response, 429, {})],
  ['a redirect', (response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
  ['201', (response) => json(response, 201, { access_token: 'canary', token_type: 'bearer' })],
  ['no answer', () => undefined],
  ['a page', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>canary')],
  ['a list', (response) => json(response, 200, ['canary'])],
  ['another token type', (response) => json(response, 200, { access_token: 'canary', token_type: 'mac' })],
  ['no token type', (response) => json(response, 200, { access_token: 'canary' })],
  ['no token', (response) => json(response, 200, { token_type: 'bearer' })],
  [
    'a token with a line break',
    (response) => json(response, 200, { access_token: 'canary\r\nx', token_type: 'bearer' }),
  ],
  ['a token that is a number', (response) => json(response, 200, { access_token: 1, token_type: 'bearer' })],
  ['too much', (response) => json(response, 200, { access_token: 'canary'.repeat(20_000), token_type: 'bearer' })],
])('an endpoint that answers with %s is unavailable, and nothing of its answer is told', async (_, answer) => {
  const { credentials, use } = await endpoint(answer);
  const error: unknown = await credentials.obtain(use()).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: 'Unavailable', dependency: 'upstream github' });
  expect(String(error)).not.toContain('canary');
  // Nothing of the failure is kept.
  await expect(credentials.obtain(use())).rejects.toThrow();
});

test('an endpoint that is not public is not asked, unless the upstream is internal', async () => {
  const { asked, credentials, use } = await endpoint(issue);
  const { upstream: of, ...rest } = use();
  const spec = { ...of.spec, internal: false };
  await expect(credentials.obtain({ ...rest, upstream: { ...of, spec } })).rejects.toMatchObject({
    dependency: 'upstream github',
  });
  expect(asked).toHaveLength(0);
});
