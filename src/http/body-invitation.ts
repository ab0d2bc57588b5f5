/**
 * Callers that ask before they send a body (`Expect: 100-continue`) are told to when it is read, and not at all where the
 * answer is known without it (RFC 9110 §10.1.1). Node tells all of them to, at once.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

interface Waiting {
  readonly response: ServerResponse;
  readonly keepAlive: boolean;
}

const waiting = new WeakMap<IncomingMessage, Waiting>();

export function letCallersWait(server: Server): void {
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    waiting.set(request, { response, keepAlive: response.shouldKeepAlive });
    // Whether a body follows an answer that came first is up to the caller: what comes next could be either.
    response.shouldKeepAlive = false;
    server.emit('request', request, response);
  });
}

/** Whoever reads a body says so first. */
export function inviteBody(request: IncomingMessage): void {
  const caller = waiting.get(request);
  if (caller === undefined) return;
  waiting.delete(request);
  caller.response.shouldKeepAlive = caller.keepAlive;
  caller.response.writeContinue();
}
