/**
 * CORS as browsers do it: scripts of any web site may read the public documents, and none of them may use an endpoint
 * that takes a credential and read its answer.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { routes } from '../../src/http/server.ts';
import type { ServerParts } from '../../src/http/server.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';

const ORIGIN = 'https://inspector.example';
const table = routes({ issuer: 'http://127.0.0.1:1', grantTypes: [], openapi: '' } as unknown as ServerParts);
const DOCUMENTS = table.filter(({ cors }) => cors).map(({ path }) => path);
const OTHERS = table.filter(({ cors }) => !cors).map(({ path }) => path);

let cambist: TestCambist;
beforeAll(async () => {
  cambist = await startCambist({ objects: '' });
});
afterAll(() => cambist.stop());

function corsHeaders(response: Response): Record<string, string> {
  return Object.fromEntries([...response.headers].filter(([name]) => name.startsWith('access-control-')));
}

it('the public documents are metadata, keys and the description of the API, and no POST is among them', () => {
  expect(DOCUMENTS).toEqual(
    expect.arrayContaining([
      '/oauth2/jwks',
      '/.well-known/oauth-authorization-server',
      '/.well-known/openid-configuration',
      '/openapi.yaml',
    ]),
  );
  expect(OTHERS).toContain('/oauth2/token');
  expect(table.filter(({ method, cors }) => method === 'post' && cors)).toEqual([]);
});

it.each(DOCUMENTS)('%s: the preflight of an MCP client in a browser, and then its GET', async (path) => {
  const preflight = await fetch(cambist.url + path, {
    method: 'OPTIONS',
    headers: {
      origin: ORIGIN,
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'mcp-protocol-version',
    },
  });
  expect(preflight.status).toBe(204);
  expect(await preflight.text()).toBe('');
  const allowed = corsHeaders(preflight);
  expect(allowed).toMatchObject({
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET',
    'access-control-max-age': '7200',
  });
  const names = allowed['access-control-allow-headers']!.toLowerCase().split(/, */);
  expect(names).toContain('mcp-protocol-version');
  expect(names).not.toContain('authorization');
  expect(names).not.toContain('*');

  const answer = await fetch(cambist.url + path, { headers: { origin: ORIGIN, 'mcp-protocol-version': '2025-06-18' } });
  await answer.text();
  expect(answer.status).toBe(200);
  expect(corsHeaders(answer)).toEqual({
    'access-control-allow-origin': '*',
    'access-control-expose-headers': 'ETag',
  });
});

it.each(OTHERS)('%s says nothing of CORS, to a preflight or to a request', async (path) => {
  for (const method of ['OPTIONS', 'GET', 'POST']) {
    const response = await fetch(cambist.url + path, {
      method,
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization',
      },
    });
    await response.text();
    expect(corsHeaders(response)).toEqual({});
    if (method === 'OPTIONS') expect(response.status).toBe(405);
  }
});

it('nothing on the admin listener says anything of CORS', async () => {
  for (const path of ['/healthz', '/readyz', '/metrics'])
    for (const method of ['OPTIONS', 'GET']) {
      const response = await fetch(cambist.adminUrl + path, {
        method,
        headers: { origin: ORIGIN, 'access-control-request-method': 'GET' },
      });
      await response.text();
      expect(corsHeaders(response)).toEqual({});
    }
});

it('an OPTIONS that is no preflight is another method like any other', async () => {
  const response = await fetch(`${cambist.url}/oauth2/jwks`, { method: 'OPTIONS' });
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
});
