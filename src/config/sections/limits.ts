/**
 * `limits`: how much callers may ask for. A limit of 0 would be an outage that looks like a setting, so it is refused;
 * no limit at all is written out, as `null`.
 */
import { z } from 'zod';
import { DEFAULT_LIMITS } from '../../limits/bounds.ts';

const MAX_PER_MINUTE = 1_000_000_000;

const perMinute = (preset: number | null) =>
  z.number().int().min(1, 'must be at least 1; for no limit write null').max(MAX_PER_MINUTE).nullable().default(preset);

export const limitsSection = z.strictObject({
  client_per_minute: perMinute(DEFAULT_LIMITS.clientPerMinute).describe(
    'Requests per minute of one client at the token endpoint, over all nodes; null = no limit',
  ),
  subject_per_minute: perMinute(DEFAULT_LIMITS.subjectPerMinute).describe(
    'Requests per minute for one subject at the token endpoint, over all nodes; null = no limit',
  ),
  resource_per_minute: perMinute(DEFAULT_LIMITS.resourcePerMinute).describe(
    'Requests per minute of one client for one resource at the token endpoint, over all nodes; null = no limit',
  ),
  status_per_minute: perMinute(DEFAULT_LIMITS.statusPerMinute).describe(
    'Requests per minute of one client at introspection and revocation, over all nodes; null = no limit',
  ),
  failed_authentications_per_minute: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(DEFAULT_LIMITS.failedAuthenticationsPerMinute)
    .describe(
      'Failed authentications per minute from one address for one client, per node; ten times that per address',
    ),
  requests_under_way_max: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(DEFAULT_LIMITS.requestsUnderWayMax)
    .describe('Most requests that one node works on at a time; what comes beyond is answered 503'),
  egress_calls_max: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(DEFAULT_LIMITS.egressCallsMax)
    .describe('Most calls to upstreams that are open on one node at a time; what comes beyond is answered 503'),
  egress_calls_per_client_max: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(DEFAULT_LIMITS.egressCallsPerClientMax)
    .describe('Most calls to upstreams of one client that are open on one node; what comes beyond is answered 429'),
});
