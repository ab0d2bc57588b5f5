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
    .describe('How often expired marks, tokens, revocations and counters are removed'),
  audit_retention_days: z
    .number()
    .int()
    .min(AUDIT_RETENTION_DAYS_MIN)
    .max(36_500)
    .optional()
    .describe('Months of audit records that are older than this are removed; absent = kept for ever'),
});
