/**
 * `openapi.yaml` and the server hold each other: every route is described and every described path is a route, and every
 * answer of a small run over real sockets is one that the document describes, its headers and body included.
 */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adminRoutes } from '../../src/http/admin-server.ts';
import type { AdminServerParts } from '../../src/http/admin-server.ts';
import type { EgressEndpointParts } from '../../src/http/egress.ts';
import { routes, subtrees } from '../../src/http/server.ts';
import type { ServerParts } from '../../src/http/server.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { setKey } from '../support/fetching.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { basicHeader } from '../support/token-client.ts';

const document = parse(readFileSync('openapi.yaml', 'utf8'));
const described = Object.entries<Record<string, any>>(document.paths).flatMap(([path, item]) =>
  Object.keys(item).flatMap((method) => (method === 'parameters' ? [] : `${method} ${path}`)),
);

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const NOTES = 'https://notes.example/mcp';

let corp: JwksIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  corp = await startJwksIssuer();
  cambist = await startCambist({
    objects: `
issuers: [{ name: corp, issuer: '${corp.issuer}', internal: true }]
clients:
  - { id: agent, auth: [client_secret_basic, client_secret_post] }
  - { id: narrow, auth: [client_secret_basic], grants: [client_credentials] }
  - { id: limited, auth: [client_secret_basic], requests_per_minute: 1 }
resources: [{ name: notes, uri: '${NOTES}', scopes: { 'notes:read': Read }, default_scopes: ['notes:read'], served_by: [narrow] }]
upstreams:
  - name: keys
    base_url: https://api.example
    scopes: { 'keys:use': Use }
    default_scopes: ['keys:use']
    callers: [agent]
    requests: [{ methods: [GET], path: '/**', scopes: ['keys:use'] }]
    credential: { kind: static, store: embedded, path: apis/keys, field: key, allow_fetch: true }
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`,
  });
  await setKey(cambist);
});
afterAll(async () => {
  await cambist.stop();
  await corp.stop();
});

it('describes every route, and nothing that is none', () => {
  const parts = { issuer: 'https://sts.example', grantTypes: [], openapi: '' } as unknown as ServerParts;
  const ofOperators = adminRoutes({} as AdminServerParts);
  const served = [...routes(parts), ...ofOperators].map(({ method, path }) => `${method} ${path}`);
  const [egress] = subtrees({ issuer: parts.issuer } as EgressEndpointParts);
  for (const method of ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'])
    served.push(`${method} ${egress?.below}{upstream}/{path}`);
  expect([...new Set(served)].sort()).toEqual([...described].sort());
});

it('is served as it stands in the repository', async () => {
  const response = await fetch(`${cambist.url}/openapi.yaml`);
  expect(await response.text()).toBe(readFileSync('openapi.yaml', 'utf8'));
});

it('describes the claims of the revocation document', async () => {
  await cambist.disable('client', 'limited');
  try {
    const [, payload = ''] = (await (await fetch(`${cambist.url}/oauth2/revocations`)).text()).split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    expect(claims.predicates).toEqual([{ kind: 'client', value: 'limited' }]);
    expect(validate({ $ref: '#/components/schemas/RevocationClaims' }, claims)).toEqual([]);
  } finally {
    await cambist.enable('client', 'limited');
  }
});

it('has examples of its own schemas', () => {
  const examples = Object.entries<any>(document.paths).flatMap(([path, item]) =>
    Object.values<any>(item).flatMap(({ requestBody, responses = {} }) =>
      [requestBody, ...Object.values<any>(responses)].flatMap((part) =>
        Object.values<any>(resolve(part)?.content ?? {}).flatMap(({ schema, examples: given = {} }) =>
          Object.entries<any>(given).map(([name, { value }]) => ({ path, name, schema, value })),
        ),
      ),
    ),
  );
  const [claims] = document.components.schemas.RevocationClaims.examples;
  const schema = { $ref: '#/components/schemas/RevocationClaims' };
  expect(examples.length).toBeGreaterThan(5);
  for (const { path, name, schema: its, value } of [...examples, { path: '', name: 'claims', schema, value: claims }])
    expect(validate(its, value), `${path} ${name}`).toEqual([]);
});

describe('an answer is one that the document describes', () => {
  const basic = (id = 'agent') => ({ authorization: basicHeader(id, cambist.secretOf(id)) });
  const exchanging = async (more: Record<string, string> = {}) => ({
    grant_type: EXCHANGE,
    subject_token: await corp.mint({ aud: cambist.issuer, sub: 'ada' }),
    subject_token_type: ID_TOKEN,
    resource: NOTES,
    ...more,
  });
  const issued = async () => {
    const answer = await cambist.token(await exchanging(), { basic: ['agent', cambist.secretOf('agent')] });
    return String(answer.body.access_token);
  };
  const wrong = (form: Record<string, string>) => ({ headers: { authorization: basicHeader('agent', 'x') }, form });
  interface Wish {
    readonly method?: string;
    readonly headers?: Record<string, string>;
    readonly form?: Record<string, string>;
    readonly body?: string;
  }

  it.each<[string, string, number, () => Wish | Promise<Wish>]>([
    ['an exchange', '/oauth2/token', 200, async () => ({ headers: basic(), form: await exchanging() })],
    [
      'an exchange for type jwt',
      '/oauth2/token',
      200,
      async () => ({
        headers: basic(),
        form: await exchanging({ requested_token_type: 'urn:ietf:params:oauth:token-type:jwt' }),
      }),
    ],
    [
      'an exchange for the credential of an upstream',
      '/oauth2/token',
      200,
      async () => ({
        headers: basic(),
        form: await exchanging({
          resource: `${cambist.issuer}/egress/keys`,
          requested_token_type: 'urn:cambist:params:oauth:token-type:credential',
        }),
      }),
    ],
    [
      'client_credentials by post',
      '/oauth2/token',
      200,
      () => ({
        form: {
          grant_type: 'client_credentials',
          client_id: 'agent',
          client_secret: cambist.secretOf('agent'),
          resource: NOTES,
        },
      }),
    ],
    [
      'an identity token',
      '/oauth2/token',
      200,
      () => ({ headers: basic(), form: { grant_type: 'client_credentials' } }),
    ],
    ['a bad scope', '/oauth2/token', 400, async () => ({ headers: basic(), form: await exchanging({ scope: 'x' }) })],
    [
      'a bad target',
      '/oauth2/token',
      400,
      async () => ({ headers: basic(), form: await exchanging({ resource: 'x' }) }),
    ],
    [
      'a bad token',
      '/oauth2/token',
      400,
      async () => ({ headers: basic(), form: await exchanging({ subject_token: 'x' }) }),
    ],
    ['an unknown grant', '/oauth2/token', 400, () => ({ headers: basic(), form: { grant_type: 'password' } })],
    [
      'a grant that it may not use',
      '/oauth2/token',
      400,
      async () => ({ headers: basic('narrow'), form: await exchanging() }),
    ],
    [
      'a wrong content type',
      '/oauth2/token',
      400,
      () => ({ headers: { 'content-type': 'application/json' }, body: '{}' }),
    ],
    ['a query', '/oauth2/token?grant_type=client_credentials', 400, () => ({ headers: basic(), form: {} })],
    ['no client', '/oauth2/token', 401, () => ({ form: { grant_type: 'client_credentials' } })],
    [
      'a wrong secret',
      '/oauth2/token',
      401,
      () => ({ headers: { authorization: basicHeader('agent', 'x') }, form: { grant_type: 'client_credentials' } }),
    ],
    [
      'a client that is over its limit',
      '/oauth2/token',
      429,
      async () => {
        const form = { grant_type: 'client_credentials' };
        const spend = () => cambist.token(form, { basic: ['limited', cambist.secretOf('limited')] });
        while ((await spend()).status !== 429);
        return { headers: basic('limited'), form };
      },
    ],
    ['GET', '/oauth2/token', 405, () => ({ method: 'GET' })],
    ['a form that is too large', '/oauth2/token', 413, () => ({ headers: basic(), body: `x=${'y'.repeat(40_000)}` })],
    [
      'introspection of a living token',
      '/oauth2/introspect',
      200,
      async () => ({ headers: basic('narrow'), form: { token: await issued() } }),
    ],
    [
      'introspection by another',
      '/oauth2/introspect',
      200,
      async () => ({ headers: basic(), form: { token: await issued() } }),
    ],
    ['introspection of nothing', '/oauth2/introspect', 400, () => ({ headers: basic(), form: {} })],
    ['introspection without a client', '/oauth2/introspect', 401, () => ({ form: { token: 'x' } })],
    ['GET at introspection', '/oauth2/introspect', 405, () => ({ method: 'GET' })],
    [
      'introspection with a form that is too large',
      '/oauth2/introspect',
      413,
      () => ({ headers: basic(), body: `x=${'y'.repeat(40_000)}` }),
    ],
    ['revocation', '/oauth2/revoke', 200, async () => ({ headers: basic(), form: { token: await issued() } })],
    [
      'revocation of another client’s token',
      '/oauth2/revoke',
      400,
      async () => ({ headers: basic('narrow'), form: { token: await issued() } }),
    ],
    ['revocation with a wrong secret', '/oauth2/revoke', 401, () => wrong({ token: 'x' })],
    ['GET at revocation', '/oauth2/revoke', 405, () => ({ method: 'GET' })],
    ['the revocation document', '/oauth2/revocations', 200, () => ({ method: 'GET' })],
    [
      'the revocation document that is known already',
      '/oauth2/revocations',
      304,
      async () => {
        const { headers } = await fetch(`${cambist.url}/oauth2/revocations`);
        return { method: 'GET', headers: { 'if-none-match': headers.get('etag') ?? '' } };
      },
    ],
    ['POST to the revocation document', '/oauth2/revocations', 405, () => ({ method: 'POST' })],
    ['the keys of the revocation document', '/oauth2/revocations/jwks', 200, () => ({ method: 'GET' })],
    ['the key set', '/oauth2/jwks', 200, () => ({ method: 'GET' })],
    [
      'the key set that is known already',
      '/oauth2/jwks',
      304,
      () => ({ method: 'GET', headers: { 'if-none-match': '*' } }),
    ],
    ['the metadata', '/.well-known/oauth-authorization-server', 200, () => ({ method: 'GET' })],
    ['the metadata under OpenID’s name', '/.well-known/openid-configuration', 200, () => ({ method: 'GET' })],
    ['the authorization endpoint', '/oauth2/authorize', 501, () => ({ method: 'GET' })],
    ['this document', '/openapi.yaml', 200, () => ({ method: 'GET' })],
    ['liveness', '/healthz', 200, () => ({ method: 'GET' })],
    ['readiness', '/readyz', 200, () => ({ method: 'GET' })],
    ['POST to readiness', '/readyz', 405, () => ({ method: 'POST' })],
    ['POST to the key set', '/oauth2/jwks', 405, () => ({ method: 'POST' })],
    ['DELETE of the metadata', '/.well-known/oauth-authorization-server', 405, () => ({ method: 'DELETE' })],
  ])('%s: %s %i', async (_, path, status, wish) => {
    const { method = 'POST', headers = {}, form, body } = await wish();
    const response = await fetch(cambist.url + path, {
      method,
      headers: {
        ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        ...(body?.startsWith('x=') === true ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
        ...headers,
      },
      ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
      ...(body === undefined ? {} : { body }),
    });
    expect(response.status).toBe(status);
    await expectDescribed(path.split('?')[0]!, response);
  });
});

/** Holds an answer against the one response that the document has for its path and status. */
async function expectDescribed(path: string, response: Response): Promise<void> {
  const [operation] = Object.values<any>(document.paths[path]);
  const described = resolve(
    operation.responses[response.status] ?? operation.responses[`${String(response.status)[0]}XX`],
  );
  expect(described, `${path} ${response.status} is not described`).toBeDefined();
  for (const [name, header] of Object.entries<any>(described.headers ?? {})) {
    const value = response.headers.get(name);
    // Present only when the header was used; only when a limit applied.
    if (['WWW-Authenticate', 'RateLimit', 'RateLimit-Policy'].includes(name) && value === null) continue;
    const { schema } = resolve(header);
    const read = schema.type === 'integer' && /^\d+$/.test(value ?? '') ? Number(value) : value;
    expect(validate(schema, read), `${path} ${name}: ${value}`).toEqual([]);
  }
  const text = await response.text();
  if (described.content === undefined) {
    expect(text).toBe('');
    return;
  }
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  expect(Object.keys(described.content)).toContain(type);
  const body = /json/.test(type) ? JSON.parse(text) : text;
  expect(validate(described.content[type].schema, body)).toEqual([]);
}

function resolve(node: any): any {
  const reference = node?.$ref as string | undefined;
  if (reference === undefined) return node;
  return reference
    .slice(2)
    .split('/')
    .reduce((at, key) => at[key], document);
}

function validate(schema: unknown, value: unknown): unknown[] {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
  ajv.addSchema({ ...document, $id: 'openapi' }, 'openapi');
  const rooted = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/'));
  ajv.validate(rooted, value);
  return ajv.errors ?? [];
}
