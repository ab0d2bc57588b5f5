/**
 * `/healthz` and `/readyz`. Alive = the event loop answers: a database that is down must not make an orchestrator restart
 * every node. Ready = this node can do its work now; everybody may read which checks fail, the admin listener says why.
 * Degraded = ready, but something that all nodes share does not work: it must not take every node out of service.
 */
import type { RequestHandler, Response } from 'express';
import type { Readiness } from '../status/readiness.ts';
import type { Route } from './listener.ts';

/** `withReasons` on the admin listener only. */
export function healthRoutes(readiness: Readiness, { withReasons }: { readonly withReasons: boolean }): Route[] {
  const ready: RequestHandler = (_, response) => {
    const failing = readiness.failing();
    if (failing.length === 0) {
      const degraded = readiness.degraded().map(({ name, reason }) => ({ name, ...(withReasons ? { reason } : {}) }));
      send(response, 200, { status: 'ready', ...(degraded.length > 0 ? { degraded } : {}) });
      return;
    }
    const checks = failing.map(({ name, reason }) => ({ name, ok: false, ...(withReasons ? { reason } : {}) }));
    send(response, 503, { status: 'not_ready', checks });
  };
  const alive: RequestHandler = (_, response) => {
    send(response, 200, { status: 'ok' });
  };
  return [
    { method: 'get', path: '/healthz', handler: alive },
    { method: 'get', path: '/readyz', handler: ready },
  ];
}

function send(response: Response, status: number, body: object): void {
  response
    .status(status)
    .set({ 'Content-Type': 'application/json', 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' })
    .end(JSON.stringify(body));
}
