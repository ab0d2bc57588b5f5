/** `upstream`: what is kept of credentials while they are used; in memory only. */
import { z } from 'zod';

export const upstreamSection = z.strictObject({
  credential_cache_seconds: z
    .number()
    .int()
    .min(0)
    .max(60)
    .default(5)
    .describe(
      'How long a secret is injected before it is read again: a rotated one takes effect within it; 0 = never kept',
    ),
});
