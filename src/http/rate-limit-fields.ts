/**
 * The `RateLimit-Policy` and `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-11, §3 and §4): lists of strings
 * with parameters (RFC 9651), one item per limit that applied. They name the kind of a limit, never whom it is about.
 */
import type { Standing } from '../limits/rates.ts';

const WINDOW_SECONDS = 60;

/** Both fields, or none where no limit applied. */
export function rateLimitFields(standings: readonly Standing[]): Readonly<Record<string, string>> {
  if (standings.length === 0) return {};
  return {
    'RateLimit-Policy': standings.map(({ limit, quota }) => `"${limit}";q=${quota};w=${WINDOW_SECONDS}`).join(', '),
    RateLimit: standings
      .map(({ limit, remaining, resetSeconds }) => `"${limit}";r=${remaining};t=${resetSeconds}`)
      .join(', '),
  };
}
