/**
 * `housekeeping`: how often what has expired is removed, and how long audit records are kept. Records are kept for ever
 * unless the file says otherwise: what is removed cannot be had back.
 */
import { z } from 'zod';

/** The database refuses fewer days too. */
const AUDIT_RETENTION_DAYS_MIN = 30;

export const housekeepingSection = z.strictObject({
  interval_seconds: z
    .number()
    .int()
    .min(1)
    .max(3600)
    .default(60)
    .describe('Seconds between two removals of expired marks, tokens, revocations and counters, about'),
  audit_retention_days: z
    .number()
    .int()
    .min(AUDIT_RETENTION_DAYS_MIN)
    .max(36_500)
    .optional()
    .describe('Days for which audit records are kept, by whole months; absent = for ever'),
});
