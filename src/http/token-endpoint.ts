/**
 * The token endpoint (RFC 6749 §3.2, RFC 8693 §2.1): the road, and its answers on the wire.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Road } from '../exchange/road.ts';
import { createFormEndpoint } from './form-endpoint.ts';
import type { FormEndpointParts } from './form-endpoint.ts';
import { sendAnswer } from './wire.ts';

export interface TokenEndpointParts extends FormEndpointParts {
  readonly road: Road;
}

export function createTokenEndpoint(
  parts: TokenEndpointParts,
): (request: IncomingMessage, response: ServerResponse) => void {
  return createFormEndpoint(parts, {
    endpoint: 'token',
    travel: parts.road,
    outcomeOf: () => 'issued',
    send: sendAnswer,
  });
}
