/**
 * The admin listener: what operators and their tools read, apart from what callers reach. Nothing of the public listener
 * is here, and nothing here sends CORS headers.
 */
import type { RequestHandler } from 'express';
import { isLoopbackAddress } from '../net/addresses.ts';
import type { Readiness } from '../status/readiness.ts';
import { healthRoutes } from './health.ts';
import type { Application, Route } from './listener.ts';

export interface AdminServerParts {
  readonly readiness: Readiness;
  /** The numbers of this node, in the exposition format of Prometheus. */
  metrics(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Every route of the admin listener. `openapi.yaml` says the same. */
export function adminRoutes(parts: AdminServerParts): readonly Route[] {
  const metrics: RequestHandler = async (_, response) => {
    const { contentType, body } = await parts.metrics();
    response.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' });
    // Not `set`, which would put a charset of its own after the version of the format.
    response.setHeader('Content-Type', contentType);
    response.end(body);
  };
  return [
    ...healthRoutes(parts.readiness, { withReasons: true }),
    { method: 'get', path: '/metrics', handler: metrics },
  ];
}

/** `localhost` or an address, with or without a port. */
const NAMES_A_MACHINE = /^(localhost|\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/;

/**
 * On loopback, a request for any other host name comes from a page whose name was made to point here (DNS rebinding):
 * to the browser it would be of the same origin. RFC 9110 §15.5.20.
 */
export function guardLoopback(application: Application, host: string): Application {
  if (host !== 'localhost' && !isLoopbackAddress(host)) return application;
  return (request, response) => {
    if (NAMES_A_MACHINE.test(request.headers.host ?? 'localhost')) application(request, response);
    else response.writeHead(421).end();
  };
}
