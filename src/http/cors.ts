/**
 * What scripts of other web sites may read (Fetch standard, "CORS protocol"): the public documents, by GET, without
 * credentials. Endpoints that take a credential (token, introspection, revocation) never say any of this, so that no
 * page in somebody's browser can use them and read the answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** On every answer with a public document. `ETag` is not readable by scripts unless it is named. */
export const READABLE_BY_SCRIPTS: Readonly<Record<string, string>> = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'ETag',
};

/** What MCP clients add to a request for metadata, and what polls a document; never `Authorization`. */
const ALLOWED_HEADERS = 'Accept, If-None-Match, MCP-Protocol-Version';
/** Browsers keep an answer for two hours at most. */
const MAX_AGE_SECONDS = 7200;

/** Does a browser ask whether it may ask? A bare OPTIONS is not that. */
export function isPreflight(request: IncomingMessage): boolean {
  return request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined;
}

export function answerPreflight(response: ServerResponse): void {
  response.writeHead(204, {
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Allow-Methods': 'GET',
    'Access-Control-Allow-Headers': ALLOWED_HEADERS,
    'Access-Control-Max-Age': String(MAX_AGE_SECONDS),
  });
  response.end();
}
