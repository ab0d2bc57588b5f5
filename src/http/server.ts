/**
 * The public listener: token endpoint, keys, metadata. Bounded in time and size; nothing in a request's path or
 * headers opens anything that is not in this table.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as NetServer } from 'node:net';
import express from 'express';
import type { Express, NextFunction, Request, Response } from 'express';
import type { Logger } from '../core/log.ts';
import { PATHS } from '../core/protocol.ts';
import { JWKS_MAX_AGE_SECONDS, metadata, metadataPaths, NO_SIGN_IN_PAGE } from './discovery.ts';
import { createTokenEndpoint } from './token-endpoint.ts';
import type { TokenEndpointParts } from './token-endpoint.ts';

/** Bounds of every request; Node's defaults are 60 s and 300 s. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 15_000;
/** How late a time-out may be noticed; Node looks every 30 s by default. */
const TIMEOUT_CHECK_MS = 1_000;
/** Longer than the 60 s of common proxies, so that it is they who end an idle connection. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 10_000;

export interface ServerParts extends TokenEndpointParts {
  readonly issuer: string;
  readonly logger: Logger;
  readonly grantTypes: readonly string[];
  jwks(): unknown;
  /** Text of openapi.yaml. */
  readonly openapi: string;
}

/** Every route of the public listener: method, path below the issuer's own path, handler. `openapi.yaml` says the same. */
export function routes(
  parts: ServerParts,
): readonly { readonly method: 'get' | 'post'; readonly path: string; readonly handler: express.RequestHandler }[] {
  const document = JSON.stringify(metadata(parts.issuer, parts.grantTypes));
  const base = new URL(parts.issuer).pathname.replace(/\/$/, '');
  const cached = `public, max-age=${String(JWKS_MAX_AGE_SECONDS)}`;
  const readable = (response: Response, type: string) =>
    response.set({
      'Content-Type': type,
      'Cache-Control': cached,
      'X-Content-Type-Options': 'nosniff',
      'Access-Control-Allow-Origin': '*',
    });
  const token = createTokenEndpoint(parts);
  return [
    { method: 'post', path: base + PATHS.token, handler: token },
    {
      method: 'get',
      path: base + PATHS.jwks,
      handler: (_, response) => void readable(response, 'application/jwk-set+json').end(JSON.stringify(parts.jwks())),
    },
    ...metadataPaths(parts.issuer).map((path) => ({
      method: 'get' as const,
      path,
      handler: (_: Request, response: Response) => void readable(response, 'application/json').end(document),
    })),
    {
      method: 'get',
      path: base + PATHS.openapi,
      handler: (_, response) => void readable(response, 'application/yaml').end(parts.openapi),
    },
    {
      method: 'get',
      path: base + PATHS.authorize,
      handler: (_, response) =>
        void response
          .status(501)
          .set({
            'Content-Type': 'text/html; charset=utf-8',
            'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
          })
          .end(NO_SIGN_IN_PAGE),
    },
  ];
}

function createApp(parts: ServerParts): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  app.enable('strict routing');
  app.enable('case sensitive routing');
  for (const { method, path, handler } of routes(parts)) {
    app[method](literal(path), handler);
    // A known path with another method: the token endpoint says so as OAuth does, the others as HTTP does.
    if (method === 'post') app.all(literal(path), handler);
    else app.all(literal(path), (_, response) => void response.status(405).set('Allow', 'GET, HEAD').end());
  }
  app.use((_: Request, response: Response) => void response.status(404).end());
  // Express shows stacks and bodies of what it did not expect; nobody outside sees either.
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    parts.logger.error({ err: error }, 'a request failed before it was answered');
    if (response.headersSent) next(error);
    else response.status(500).end();
  });
  return app;
}

/** A path as Express matches it, with nothing in it a pattern. */
function literal(path: string): string {
  return path.replace(/[{}()[\]+?!:*\\]/g, '\\$&');
}

/** A server that is ready to listen. */
export function createPublicServer(parts: ServerParts): Server {
  const app = createApp(parts) as (request: IncomingMessage, response: ServerResponse) => void;
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    app,
  );
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

/** How long a caller with an open connection is given to send its next request and be told that it is the last. */
const LAST_REQUEST_MS = 2_000;
const ACCEPT_QUEUED_MS = 250;

/**
 * Stops accepting, lets what is in flight finish, and closes. An open connection is not closed under a request that is
 * on its way: answers say `Connection: close` from here on, and only what stays idle is closed after a while.
 */
export async function drainServer(server: Server, timeoutMs: number): Promise<void> {
  if (!server.listening) return;
  server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
    response.setHeader('Connection', 'close');
  });
  // Connections that the operating system has accepted for us, and we not yet from it, would be reset.
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_QUEUED_MS));
  // Not http's own `close`, which closes idle connections at once.
  const closed = new Promise<void>((resolve) =>
    NetServer.prototype.close.call(server, () => {
      resolve();
    }),
  );
  const sweep = setInterval(() => {
    if (performance.now() - startedMs > LAST_REQUEST_MS) server.closeIdleConnections();
  }, 100);
  const startedMs = performance.now();
  const cut = setTimeout(() => {
    server.closeAllConnections();
  }, timeoutMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
  // Ends the timer with which http looks for slow requests.
  server.close();
}
