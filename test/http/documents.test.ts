/** Public documents as whoever polls them finds them: bounded in age, and not sent twice (RFC 9110 §13.1.2). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';

const DOCUMENTS = [
  ['/oauth2/jwks', 'application/jwk-set+json'],
  ['/oauth2/revocations/jwks', 'application/jwk-set+json'],
  ['/.well-known/oauth-authorization-server', 'application/json'],
  ['/.well-known/openid-configuration', 'application/json'],
  ['/openapi.yaml', 'application/yaml'],
] as const;

let cambist: TestCambist;
beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
});
afterAll(() => cambist.stop());

it.each(DOCUMENTS)('%s is of type %s, and has a tag by which it is known', async (path, type) => {
  const ask = (tag?: string, method = 'GET') =>
    fetch(cambist.url + path, { method, headers: tag === undefined ? {} : { 'if-none-match': tag } });
  const first = await ask();
  const text = await first.text();
  const etag = first.headers.get('etag') ?? '';
  expect(etag).toMatch(/^"[\w-]{43}"$/);
  const headers = { etag, 'cache-control': 'public, max-age=300', 'x-content-type-options': 'nosniff' };
  const whole = { ...headers, 'content-type': type, 'content-length': String(Buffer.byteLength(text)) };
  expect(Object.fromEntries(first.headers)).toMatchObject(whole);
  for (const tag of [etag, `W/${etag}`, `"x", W/"y" ,W/${etag}`, '*']) {
    const known = await ask(tag);
    expect([known.status, await known.text()], tag).toEqual([304, '']);
    expect(Object.fromEntries(known.headers)).toMatchObject(headers);
    expect(known.headers.has('content-type')).toBe(false);
  }
  for (const tag of ['"x"', etag.slice(1, -1), `${etag.slice(0, -1)}x"`, '"*"']) {
    const other = await ask(tag);
    expect([other.status, await other.text()], tag).toEqual([200, text]);
  }
  const head = await ask(undefined, 'HEAD');
  expect([head.status, await head.text()]).toEqual([200, '']);
  expect(Object.fromEntries(head.headers)).toMatchObject(whole);
});
