/**
 * The status endpoints on the wire: introspection (RFC 7662), revocation (RFC 7009), and the revocation document with the
 * keys that verify it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request, Response } from 'express';
import type { Arrival } from '../core/arrival.ts';
import type { Logger } from '../core/log.ts';
import { PATHS } from '../core/protocol.ts';
import type { PublishedDocument } from '../status/revocation-document.ts';
import type { StatusAnswer } from '../status/status-road.ts';
import { READABLE_BY_SCRIPTS } from './cors.ts';
import { createFormEndpoint } from './form-endpoint.ts';
import type { FormEndpointParts } from './form-endpoint.ts';
import type { Route } from './listener.ts';
import { sendFailure, sendStatus } from './wire.ts';

/** Seconds for which the revocation document may be cached: less than a reader takes between two looks. */
const DOCUMENT_MAX_AGE_SECONDS = 1;

export interface StatusEndpointParts extends FormEndpointParts {
  introspect(arrival: Arrival): Promise<StatusAnswer>;
  revoke(arrival: Arrival): Promise<StatusAnswer>;
  revocations(): Promise<PublishedDocument>;
  revocationKeys(): Promise<unknown>;
}

/** The routes, below the issuer's own path. */
export function statusRoutes(parts: StatusEndpointParts, base: string, keysMaxAgeSeconds: number): readonly Route[] {
  const introspect = createFormEndpoint<StatusAnswer>(parts, {
    endpoint: 'introspection',
    travel: (arrival) => parts.introspect(arrival),
    outcomeOf: ({ body }) => (body?.['active'] === true ? 'active' : 'inactive'),
    send: sendStatus,
  });
  const revoke = createFormEndpoint<StatusAnswer>(parts, {
    endpoint: 'revocation',
    travel: (arrival) => parts.revoke(arrival),
    outcomeOf: () => 'done',
    send: sendStatus,
  });
  return [
    { method: 'post', path: base + PATHS.introspect, handler: introspect },
    { method: 'post', path: base + PATHS.revoke, handler: revoke },
    {
      method: 'get',
      path: base + PATHS.revocations,
      cors: true,
      handler: (request: Request, response: Response) => void sendDocument(parts, request, response, parts.logger),
    },
    {
      method: 'get',
      path: base + PATHS.revocationKeys,
      cors: true,
      handler: async (_, response) => {
        const keys = JSON.stringify(await parts.revocationKeys());
        response
          .set({
            'Content-Type': 'application/jwk-set+json',
            'Cache-Control': `public, max-age=${String(keysMaxAgeSeconds)}`,
            'X-Content-Type-Options': 'nosniff',
            ...READABLE_BY_SCRIPTS,
          })
          .end(keys);
      },
    },
  ];
}

async function sendDocument(
  parts: Pick<StatusEndpointParts, 'revocations'>,
  request: IncomingMessage,
  response: ServerResponse,
  logger: Logger,
): Promise<void> {
  try {
    const { jwt, etag } = await parts.revocations();
    // RFC 9110 §13.1.2; readers send back the one tag that they got.
    const known = request.headers['if-none-match'] === etag;
    response.writeHead(known ? 304 : 200, {
      ...(known ? {} : { 'Content-Type': 'application/jwt' }),
      'Cache-Control': `public, max-age=${String(DOCUMENT_MAX_AGE_SECONDS)}`,
      ETag: etag,
      'X-Content-Type-Options': 'nosniff',
      ...READABLE_BY_SCRIPTS,
    });
    response.end(known ? undefined : jwt);
  } catch (error) {
    logger.warn({ err: error }, 'the revocation document could not be made');
    sendFailure(response, error);
  }
}
