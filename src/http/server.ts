/**
 * The public listener: token endpoint, keys, metadata, health. Nothing in a request's path or headers opens anything that
 * is not in this table.
 */
import type { Request, Response } from 'express';
import { PATHS } from '../core/protocol.ts';
import type { Readiness } from '../status/readiness.ts';
import { JWKS_MAX_AGE_SECONDS, JWKS_TYPE, metadata, metadataPaths, NO_SIGN_IN_PAGE } from './discovery.ts';
import { healthRoutes } from './health.ts';
import type { Route, Subtree } from './listener.ts';
import { sendDocument } from './public-document.ts';
import { statusRoutes } from './status-endpoints.ts';
import type { StatusEndpointParts } from './status-endpoints.ts';
import { createEgressEndpoint } from './egress.ts';
import type { EgressEndpointParts } from './egress.ts';
import { createTokenEndpoint } from './token-endpoint.ts';
import type { TokenEndpointParts } from './token-endpoint.ts';

export interface ServerParts extends TokenEndpointParts, StatusEndpointParts {
  readonly issuer: string;
  readonly readiness: Readiness;
  readonly grantTypes: readonly string[];
  jwks(): Promise<unknown>;
  /** Text of openapi.yaml. */
  readonly openapi: string;
}

/** Every route of the public listener. `openapi.yaml` says the same. */
export function routes(parts: ServerParts): readonly Route[] {
  const document = JSON.stringify(metadata(parts.issuer, parts.grantTypes));
  const base = new URL(parts.issuer).pathname.replace(/\/$/, '');
  const send = (request: Request, response: Response, type: string, body: string) => {
    sendDocument(request, response, { type, body, maxAgeSeconds: JWKS_MAX_AGE_SECONDS });
  };
  const token = createTokenEndpoint(parts);
  return [
    { method: 'post', path: base + PATHS.token, handler: token },
    ...statusRoutes(parts, base),
    {
      method: 'get',
      path: base + PATHS.jwks,
      cors: true,
      handler: async (request, response) => {
        send(request, response, JWKS_TYPE, JSON.stringify(await parts.jwks()));
      },
    },
    ...metadataPaths(parts.issuer).map((path) => ({
      method: 'get' as const,
      path,
      cors: true as const,
      handler: (request: Request, response: Response) => {
        send(request, response, 'application/json', document);
      },
    })),
    {
      method: 'get',
      path: base + PATHS.openapi,
      cors: true,
      handler: (request, response) => {
        send(request, response, 'application/yaml', parts.openapi);
      },
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
    // Of this node, not of the issuer: they do not follow the issuer's path.
    ...healthRoutes(parts.readiness, { withReasons: false }),
  ];
}

/** What is not a table of paths: everything below `/egress/`. `openapi.yaml` says the same. */
export function subtrees(parts: EgressEndpointParts): readonly Subtree[] {
  const egress = new URL(parts.issuer).pathname.replace(/\/$/, '') + PATHS.egress;
  return [{ below: `${egress}/`, handler: createEgressEndpoint(parts, egress) }];
}
