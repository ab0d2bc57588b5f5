/**
 * A little server over real sockets: metadata, keys, token endpoint, introspection, revocation and one MCP server. It is
 * correct unless faults are switched on, and exists so that the suite itself can be tested.
 */
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeKey } from '../../issuer/keys.ts';
import type { SigningKey } from '../../issuer/keys.ts';
import type { Json } from '../../wire/jwt.ts';
import { tokenEndpoint } from './exchange.ts';
import type { Fault } from './faults.ts';
import { protectedCall, resourceMetadata } from './resource.ts';
import { introspectionEndpoint, revocationEndpoint } from './status.ts';
import { broken, Refused } from './world.ts';
import type { Incoming, Reply, World } from './world.ts';

export const SECRETS = {
  agent: 'agent-secret-4711-agent',
  'tickets-server': 'tickets-secret-4711-tickets',
  other: 'other-secret-4711-other',
  idle: 'idle-secret-4711-idle',
} as const;

export const TICKETS = 'https://tickets.example/mcp';
export const CRM = 'https://crm.example/mcp';

export interface SmallServer {
  readonly issuer: string;
  close(): Promise<void>;
}

export interface SmallServerSettings {
  readonly trustedIssuer: string;
  /** Signs the assertions of the client `keyed`. */
  readonly clientKey: SigningKey;
  readonly faults?: readonly Fault[];
  /** Publishes metadata by OpenID Connect discovery only, and offers neither introspection nor revocation. */
  readonly modest?: boolean;
}

export async function startSmallServer(settings: SmallServerSettings): Promise<SmallServer> {
  const server = createServer((request, response) => {
    void answer(world, settings.modest === true, request).then(({ status, body, headers }) => {
      response.writeHead(status, headers);
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const faults = new Set(settings.faults);
  const secretParty = (id: keyof typeof SECRETS, mayExchange = true) => ({ id, secret: SECRETS[id], mayExchange });
  const world: World = {
    issuer,
    faults,
    trustedIssuer: settings.trustedIssuer,
    parties: [
      secretParty('agent'),
      secretParty('tickets-server'),
      secretParty('other'),
      secretParty('idle', false),
      { id: 'keyed', key: settings.clientKey, mayExchange: true },
    ],
    resources: [
      {
        uri: TICKETS,
        server: 'tickets-server',
        scopes: ['tickets:read', 'tickets:write'],
        denied: ['tickets:delete'],
        calls: [CRM],
      },
      { uri: CRM, server: 'crm-server', scopes: ['crm:read'], denied: [], calls: [] },
    ],
    key: await makeKey('ES256'),
    hiddenKey: await makeKey('ES256'),
    keys: new Map(),
    seenAssertions: new Set(),
    revoked: new Set(),
    issuedTo: new Map(),
  };
  return {
    issuer,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}

async function answer(world: World, modest: boolean, request: IncomingMessage): Promise<Reply> {
  const url = new URL(request.url ?? '/', world.issuer);
  const body = await textOf(request);
  const contentType = request.headers['content-type'] ?? '';
  const incoming: Incoming = {
    method: request.method ?? 'GET',
    headers: {
      authorization: request.headers.authorization,
      host: request.headers.host,
      forwarded: forwardedHost(request),
    },
    query: url.searchParams,
    form: formOf(contentType, body),
    contentType,
  };
  return decorate(world, url.pathname, body, await route(world, modest, url, incoming));
}

const forwardedHost = (request: IncomingMessage) => {
  const given = request.headers['x-forwarded-host'];
  return typeof given === 'string' ? given : undefined;
};

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

function formOf(contentType: string, body: string): URLSearchParams {
  if (!contentType.startsWith('application/json')) return new URLSearchParams(body);
  try {
    return new URLSearchParams(JSON.parse(body) as Record<string, string>);
  } catch {
    return new URLSearchParams();
  }
}

async function route(world: World, modest: boolean, url: URL, incoming: Incoming): Promise<Reply> {
  const metadataUrl = `${world.issuer}/.well-known/oauth-protected-resource/mcp`;
  try {
    switch (url.pathname) {
      case '/.well-known/oauth-authorization-server':
        if (broken(world, 'metadata-crashes')) return { status: 500, body: {} };
        return modest ? notFound() : metadata(world, modest, incoming);
      case '/.well-known/openid-configuration':
        return metadata(world, modest, incoming);
      case '/jwks':
        return jwks(world);
      case '/token':
        return await tokenEndpoint(world, incoming);
      case '/introspect':
        return await introspectionEndpoint(world, incoming);
      case '/revoke':
        return await revocationEndpoint(world, incoming);
      case '/.well-known/oauth-protected-resource/mcp':
        return resourceMetadata(world, `${world.issuer}/mcp`);
      case '/mcp':
        return await protectedCall(world, incoming, metadataUrl, TICKETS);
      default:
        return notFound();
    }
  } catch (error) {
    if (error instanceof Refused)
      return {
        status: error.status,
        body: { error: error.code, error_description: error.description },
        headers: error.headers,
      };
    return { status: 500, body: { error: 'server_error' } };
  }
}

const notFound = (): Reply => ({ status: 404, body: { error: 'not_found' } });

function metadata(world: World, modest: boolean, incoming: Incoming): Reply {
  if (broken(world, 'metadata-missing')) return notFound();
  const { issuer } = world;
  const host = incoming.headers['forwarded'];
  const base = host !== undefined && broken(world, 'host-believed') ? `https://${host}` : issuer;
  const methods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
  const document: Json = {
    issuer: broken(world, 'metadata-other-issuer') ? `${issuer}/` : base,
    token_endpoint: `${base}/token`,
    jwks_uri: `${base}/jwks`,
    authorization_endpoint: `${base}/authorize`,
    response_types_supported: ['code'],
    grant_types_supported: [
      'authorization_code',
      'client_credentials',
      'urn:ietf:params:oauth:grant-type:token-exchange',
    ],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: methods,
    token_endpoint_auth_signing_alg_values_supported: ['ES256'],
    client_id_metadata_document_supported: true,
    ...(modest ? {} : { introspection_endpoint: `${base}/introspect`, revocation_endpoint: `${base}/revoke` }),
  };
  const faults: [Fault, Json][] = [
    ['metadata-no-response-types', { response_types_supported: undefined }],
    ['metadata-no-grants', { grant_types_supported: ['client_credentials'] }],
    ['metadata-no-algorithms', { token_endpoint_auth_signing_alg_values_supported: undefined }],
    ['metadata-alg-none', { token_endpoint_auth_signing_alg_values_supported: ['ES256', 'none'] }],
    ['metadata-empty-list', { scopes_supported: [] }],
    ['metadata-http-endpoint', { registration_endpoint: 'http://small.example/register' }],
    ['metadata-no-pkce', { code_challenge_methods_supported: undefined }],
    ['metadata-implicit', { response_types_supported: ['code', 'token'] }],
    ['metadata-password', { grant_types_supported: [...(document['grant_types_supported'] as string[]), 'password'] }],
    ['metadata-no-client-documents', { client_id_metadata_document_supported: undefined }],
    ['metadata-post-only', { token_endpoint_auth_methods_supported: ['client_secret_post'] }],
    ['metadata-issuer-query', { issuer: `${issuer}?tenant=1` }],
    ['metadata-no-token-endpoint', { token_endpoint: undefined }],
    ['metadata-no-code-endpoint', { authorization_endpoint: undefined }],
  ];
  for (const [fault, change] of faults) if (broken(world, fault)) Object.assign(document, change);
  return { status: 200, body: document };
}

function jwks(world: World): Reply {
  const key: Json = { ...world.key.publicJwk };
  if (broken(world, 'jwks-private')) key['d'] = 'AAAA';
  if (broken(world, 'jwks-no-kid')) key['kid'] = undefined;
  return { status: 200, body: { keys: broken(world, 'jwks-empty') ? [] : [key] } };
}

/** Headers and manners of answers, and the faults that are about nothing else. */
function decorate(world: World, path: string, sent: string, reply: Reply): Reply {
  const headers: Record<string, string> = { 'content-type': 'application/json', ...reply.headers };
  let { status, body } = reply;
  const failed = status >= 400;
  if (path === '/token') {
    if (!broken(world, 'cacheable')) headers['cache-control'] = 'no-store';
    if (!broken(world, 'no-pragma')) headers['pragma'] = 'no-cache';
    if (!failed && broken(world, 'answer-is-text')) headers['content-type'] = 'text/plain';
    if (failed && broken(world, 'error-is-text')) headers['content-type'] = 'text/plain';
    if (status === 400 && broken(world, 'error-status')) status = 403;
    if (failed && broken(world, 'error-characters')) body = { ...(body as Json), error_description: 'it is "wrong"' };
    if (failed && broken(world, 'echo'))
      body = { ...(body as Json), error_description: decodeURIComponentSafely(sent) };
    const injected = /X-Suite-Injected: 1/.exec(decodeURIComponentSafely(sent));
    if (injected !== null && broken(world, 'header-injection')) headers['x-suite-injected'] = '1';
    if (broken(world, 'refuses-everything')) {
      status = 400;
      body = { error: 'invalid_request' };
    }
    if (sent === '%' && broken(world, 'garbage-crashes')) status = 500;
  }
  if (path === '/introspect' && !failed && broken(world, 'introspect-is-text')) headers['content-type'] = 'text/plain';
  if (path.includes('openid') || path.includes('authorization-server'))
    if (broken(world, 'metadata-is-text')) headers['content-type'] = 'text/plain';
  return { status, body: status === 204 ? '' : body, headers };
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}
