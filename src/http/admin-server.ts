/**
 * The admin listener: what operators and their tools read, apart from what callers reach. Nothing of the public listener
 * is here, and nothing here sends CORS headers.
 */
import type { RequestHandler } from 'express';
import type { Logger } from '../core/log.ts';
import type { Readiness } from '../status/readiness.ts';
import { healthRoutes } from './health.ts';
import type { Route } from './listener.ts';

export interface AdminServerParts {
  readonly readiness: Readiness;
  readonly logger: Logger;
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
