/**
 * Client: a party registered here that authenticates at the token endpoint.
 */
import { z } from 'zod';
import { GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE, SIGNATURE_ALGORITHMS } from '../core/protocol.ts';
import { isLoopbackUrl } from '../core/uri.ts';
import { freeText, line, objectName, remoteUrl, requestsPerMinute } from './names.ts';

export const AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'workload_identity',
] as const;
export type AuthMethod = (typeof AUTH_METHODS)[number];

/** How a grant is written in configuration, and its `grant_type` on the wire. */
export const GRANT_NAMES = {
  client_credentials: GRANT_CLIENT_CREDENTIALS,
  token_exchange: GRANT_TOKEN_EXCHANGE,
} as const;

export const clientSpec = z
  .strictObject({
    id: objectName.describe('client_id'),
    name: line(200).optional(),
    description: freeText(1000).optional(),
    auth: z
      .array(z.enum(AUTH_METHODS))
      .min(1)
      .describe('The authentication methods that it may use, exactly one per request'),
    grants: z
      .array(z.enum(['client_credentials', 'token_exchange']))
      .min(1)
      .default(['client_credentials', 'token_exchange']),
    jwks: z.strictObject({ keys: z.array(z.record(z.string(), z.unknown())).min(1).max(20) }).optional(),
    jwks_uri: remoteUrl.optional(),
    internal: z.boolean().default(false).describe('jwks_uri may point to a private or loopback address'),
    algorithms: z.array(z.enum(SIGNATURE_ALGORITHMS)).min(1).default(['ES256', 'RS256', 'PS256', 'EdDSA']),
    token_endpoint_audience: z
      .boolean()
      .default(false)
      .describe(
        'Also accept the token endpoint as `aud` of its assertions (authlib sends that); weaker, shown as a warning',
      ),
    identities: z
      .array(z.strictObject({ issuer: objectName, sub: line(1024).min(1) }))
      .max(100)
      .default([])
      .describe('Workload identities that are this client: a trusted issuer by its short name and the exact sub'),
    allow_default_service_account: z
      .boolean()
      .default(false)
      .describe('Accept a Kubernetes service account named "default" among the identities'),
    groups: z.array(line(256).min(1)).max(100).default([]).describe('Groups for policies'),
    requests_per_minute: requestsPerMinute.describe(
      'Requests per minute at the token endpoint, over all nodes; absent = limits.client_per_minute of the settings',
    ),
    demo: z.boolean().default(false),
  })
  .superRefine((spec, context) => {
    const fault = (path: string, message: string) => {
      context.addIssue({ code: 'custom', path: [path], message });
    };
    const keyed = spec.jwks !== undefined || spec.jwks_uri !== undefined;
    if (spec.jwks !== undefined && spec.jwks_uri !== undefined) fault('jwks_uri', 'give jwks or jwks_uri, not both');
    if (spec.auth.includes('private_key_jwt') !== keyed)
      fault('auth', 'private_key_jwt and jwks (or jwks_uri) go together');
    if (spec.auth.includes('workload_identity') && spec.identities.length === 0)
      fault('identities', 'workload_identity needs at least one identity');
    if (spec.jwks_uri?.startsWith('http://') === true && !(spec.internal && isLoopbackUrl(spec.jwks_uri)))
      fault('jwks_uri', 'must be https (http only on loopback, with internal: true)');
    for (const identity of spec.identities)
      if (/^system:serviceaccount:[^:]+:default$/.test(identity.sub) && !spec.allow_default_service_account)
        fault(
          'identities',
          'every pod without an account of its own is "default": give the workload its own, or set allow_default_service_account',
        );
  });

export type Client = z.infer<typeof clientSpec>;
