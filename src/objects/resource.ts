/**
 * Resource: a protected resource (RFC 8707, RFC 9728), an MCP server by its canonical URI.
 */
import { z } from 'zod';
import { freeText, objectName, requestsPerMinute, scopeName, targetUri } from './names.ts';

export const MAX_TOKEN_LIFETIME_SECONDS = 900;

const callEdge = z
  .strictObject({
    resource: objectName.optional().describe('The resource that may be called, by its name'),
    upstream: objectName.optional().describe('Or the upstream that may be called, by its name'),
    needs: z.array(scopeName).min(1).describe('Scopes here that the presented token must all have'),
    gives: z.array(scopeName).min(1).describe('Scopes there that can be asked for'),
  })
  .refine((edge) => (edge.resource === undefined) !== (edge.upstream === undefined), {
    error: 'must name a resource or an upstream, one of the two',
  });

export const resourceSpec = z
  .strictObject({
    name: objectName,
    uri: targetUri.describe('Canonical URI: the `aud` of its tokens'),
    aliases: z.array(targetUri).max(20).default([]),
    description: freeText(1000).optional(),
    scopes: z.record(scopeName, freeText(1000)).describe('Scopes and what each allows'),
    default_scopes: z.array(scopeName).default([]).describe('Asked for when a request names no scope'),
    served_by: z.array(objectName).default([]).describe('The clients that are this resource'),
    calls: z.array(callEdge).max(100).default([]),
    audience_group: objectName
      .optional()
      .describe('Resources of one group may share one token; their scope names must differ'),
    lifetime_seconds: z.number().int().min(10).max(MAX_TOKEN_LIFETIME_SECONDS).default(300),
    signing_algorithm: z.enum(['ES256', 'RS256']).default('ES256'),
    requests_per_minute: requestsPerMinute.describe(
      'Requests of one client for it per minute at the token endpoint, over all nodes; absent = limits.resource_per_minute of the settings',
    ),
    demo: z.boolean().default(false),
  })
  .superRefine((spec, context) => {
    spec.default_scopes.forEach((scope, index) => {
      if (!Object.hasOwn(spec.scopes, scope))
        context.addIssue({
          code: 'custom',
          path: ['default_scopes', index],
          message: `"${scope}" is not among scopes`,
        });
    });
    spec.calls.forEach((edge, index) => {
      edge.needs.forEach((scope, at) => {
        if (!Object.hasOwn(spec.scopes, scope))
          context.addIssue({
            code: 'custom',
            path: ['calls', index, 'needs', at],
            message: `"${scope}" is not among scopes`,
          });
      });
    });
  });

export type Resource = z.infer<typeof resourceSpec>;
