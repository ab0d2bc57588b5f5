/**
 * The status endpoints on the wire: introspection (RFC 7662), revocation (RFC 7009), and the revocation document with the
 * keys that verify it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request, Response } from 'express';
import type { Arrival } from '../core/arrival.ts';
import { PATHS } from '../core/protocol.ts';
import type { PublishedDocument } from '../status/revocation-document.ts';
import type { StatusAnswer } from '../status/status-road.ts';
import { JWKS_MAX_AGE_SECONDS, JWKS_TYPE } from './discovery.ts';
import { createFormEndpoint } from './form-endpoint.ts';
import type { FormEndpointParts } from './form-endpoint.ts';
import type { Route } from './listener.ts';
import { sendDocument } from './public-document.ts';
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
export function statusRoutes(parts: StatusEndpointParts, base: string): readonly Route[] {
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
      handler: (request: Request, response: Response) => void sendRevocations(parts, request, response),
    },
    {
      method: 'get',
      path: base + PATHS.revocationKeys,
      cors: true,
      handler: async (request, response) => {
        const body = JSON.stringify(await parts.revocationKeys());
        sendDocument(request, response, { type: JWKS_TYPE, body, maxAgeSeconds: JWKS_MAX_AGE_SECONDS });
      },
    },
  ];
}

async function sendRevocations(
  parts: Pick<StatusEndpointParts, 'revocations' | 'logger'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const { jwt, etag } = await parts.revocations();
    sendDocument(request, response, {
      type: 'application/jwt',
      body: jwt,
      etag,
      maxAgeSeconds: DOCUMENT_MAX_AGE_SECONDS,
    });
  } catch (error) {
    parts.logger.warn({ err: error }, 'the revocation document could not be made');
    sendFailure(response, error);
  }
}
