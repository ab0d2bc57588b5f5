/**
 * One listening socket: plain HTTP or TLS, bounded in time, size and number, and how it ends without cutting anybody
 * off. What it answers is a table of routes; nothing in a request's path or headers opens what is not in its table.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Server as NetServer } from 'node:net';
import type { Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import express from 'express';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { Logger } from '../core/log.ts';
import { letCallersWait } from './body-invitation.ts';
import { answerPreflight, isPreflight } from './cors.ts';
import { followCertificate } from './tls.ts';
import type { CertificateFiles, CertificateFollower } from './tls.ts';

/** Bounds of every request; Node's defaults are 60 s and 300 s. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 15_000;
/** How late a time-out may be noticed; Node looks every 30 s by default. */
const TIMEOUT_CHECK_MS = 1_000;
/** Longer than the 60 s of common proxies, so that it is they who end an idle connection. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 10_000;

export interface Route {
  readonly method: 'get' | 'post';
  /** The whole path, literally. */
  readonly path: string;
  readonly handler: RequestHandler;
  /** A public document that scripts of any web site may read (Fetch standard, "CORS protocol"). */
  readonly cors?: true;
}

/** Everything below a path, whatever the method; its handler judges request targets as they came, and times its bodies. */
export interface Subtree {
  /** Ends with a slash; nothing decoded or normalized is compared with it. */
  readonly below: string;
  readonly handler: Application;
}

export type Application = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * What answers the requests of a listener: its subtrees, its routes, 405 for another method, 404 for everything else.
 * @param unhurried connections whose request is a subtree's, for as long as it is under way
 */
export function createApplication(
  routes: readonly Route[],
  logger: Logger,
  subtrees: readonly Subtree[] = [],
  unhurried: WeakSet<Socket> = new WeakSet(),
): Application {
  const table = createTable(routes, logger);
  return (request, response) => {
    const fault = ambiguityOf(request);
    if (fault !== undefined) {
      response.writeHead(fault, { Connection: 'close' }).end();
      return;
    }
    const subtree = subtrees.find(({ below }) => request.url?.startsWith(below) === true);
    if (subtree === undefined) {
      table(request, response);
      return;
    }
    const { socket } = request;
    unhurried.add(socket);
    response.once('close', () => unhurried.delete(socket));
    subtree.handler(request, response);
  };
}

/** What Node lets pass and two readers could read in two ways: the status that RFC 9112 wants for it (§3.2, §6.1). */
function ambiguityOf({ headersDistinct }: IncomingMessage): number | undefined {
  if ((headersDistinct.host?.length ?? 0) > 1) return 400;
  const codings = headersDistinct['transfer-encoding'];
  return codings === undefined || codings.join().toLowerCase() === 'chunked' ? undefined : 501;
}

function createTable(routes: readonly Route[], logger: Logger): Application {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  app.enable('strict routing');
  app.enable('case sensitive routing');
  for (const { method, path, handler, cors = false } of routes) {
    app[method](literal(path), handler);
    // A known path with another method: endpoints that are POSTed to say so as OAuth does, the others as HTTP does.
    if (method === 'post') app.all(literal(path), handler);
    else
      app.all(literal(path), (request, response) => {
        if (cors && isPreflight(request)) answerPreflight(response);
        else response.status(405).set('Allow', 'GET, HEAD').end();
      });
  }
  app.use((_: Request, response: Response) => void response.status(404).end());
  // Express shows stacks and bodies of what it did not expect; nobody outside sees either.
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    logger.error({ err: error }, 'a request failed before it was answered');
    if (response.headersSent) next(error);
    else response.status(500).end();
  });
  return app as Application;
}

/** A path as Express matches it, with nothing in it a pattern. */
function literal(path: string): string {
  return path.replace(/[{}()[\]+?!:*\\]/g, '\\$&');
}

export interface ListenerOptions {
  readonly host: string;
  /** 0 = a free one. */
  readonly port: number;
  /** Absent = plain HTTP. */
  readonly tls?: CertificateFiles | undefined;
  /** Connections whose request may take as long as its handler lets it (`createApplication`). */
  readonly unhurried?: WeakSet<Socket>;
  readonly logger: Logger;
}

export interface Listener {
  readonly address: AddressInfo;
  /** Present where TLS is spoken. */
  readonly certificate: CertificateFollower | undefined;
  /** Stops accepting, lets what is in flight finish, for so long at most, and closes. */
  drain(timeoutMs: number): Promise<void>;
}

/** Listens. Throws CertificateRefused for a certificate that cannot be used, and what `listen` of Node throws. */
export async function openListener(application: Application, options: ListenerOptions): Promise<Listener> {
  const { host, port, tls, logger } = options;
  const bounds = {
    maxHeaderSize: MAX_HEADER_BYTES,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
  };
  const certificate = tls === undefined ? undefined : followCertificate(tls, logger);
  const server =
    certificate === undefined
      ? createServer(bounds, application)
      : createTlsServer({ ...bounds, ...certificate.options() }, application);
  server.maxConnections = MAX_CONNECTIONS;
  letCallersWait(server);
  const address = await bind(server, host, port);
  if (options.unhurried !== undefined) exempt(server, options.unhurried);
  // What the system refuses later (no file descriptor left for a connection) must not end the process.
  server.on('error', (error) => {
    logger.warn({ code: (error as NodeJS.ErrnoException).code, port: address.port }, 'a connection was not accepted');
  });
  certificate?.start(server);
  return {
    address,
    certificate,
    drain: async (timeoutMs) => {
      certificate?.stop();
      await drain(server, timeoutMs);
    },
  };
}

/**
 * Node ends a connection whose request takes too long to arrive. Where a handler times the body itself, that is not its
 * business; everything else is answered as Node answers it where nobody listens.
 */
function exempt(server: Server, unhurried: WeakSet<Socket>): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
    if (late && unhurried.has(socket)) return;
    const answering = (socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage;
    if (socket.writable && answering?.headersSent !== true) {
      const status = late
        ? '408 Request Timeout'
        : error.code === 'HPE_HEADER_OVERFLOW'
          ? '431 Request Header Fields Too Large'
          : '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    }
    socket.destroySoon();
  });
}

function bind(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server.address() as AddressInfo);
    });
  });
}

/** How long a caller with an open connection is given to send its next request and be told that it is the last. */
const LAST_REQUEST_MS = 2_000;
/** How long callers that are on their way are still taken. */
const ACCEPT_MS = 250;

/**
 * An open connection is not closed under a request that is on its way: answers say `Connection: close` from here on, and
 * only what stays idle is closed after a while.
 */
async function drain(server: Server, timeoutMs: number): Promise<void> {
  if (!server.listening) return;
  server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
    response.setHeader('Connection', 'close');
  });
  const startedMs = performance.now();
  await acceptQueued(server, timeoutMs / 2);
  // Not http's own `close`, which closes idle connections at once.
  const closed = new Promise<void>((resolve) =>
    NetServer.prototype.close.call(server, () => {
      resolve();
    }),
  );
  const sweep = setInterval(() => {
    if (performance.now() - closingMs > LAST_REQUEST_MS)
      void afterReading().then(() => {
        server.closeIdleConnections();
      });
  }, 100);
  const closingMs = performance.now();
  const cut = setTimeout(
    () => {
      server.closeAllConnections();
    },
    timeoutMs - (performance.now() - startedMs),
  );
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
  // Ends the timer with which http looks for slow requests.
  server.close();
}

/**
 * Connections that the operating system has accepted for us, and we not yet from it, would be reset. Node takes one of
 * them in each turn of its loop: the queue is empty once a turn brings none.
 * @param mostMs where callers never cease to come
 */
async function acceptQueued(server: Server, mostMs: number): Promise<void> {
  let taken = true;
  const note = () => {
    taken = true;
  };
  server.on('connection', note);
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_MS));
  while (taken && performance.now() - startedMs < mostMs) {
    taken = false;
    await afterReading();
  }
  server.off('connection', note);
}

/**
 * Timers that are late, as on a machine under load, run before what has come meanwhile is read: this resolves after it.
 */
function afterReading(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
