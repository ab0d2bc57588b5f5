/**
 * `keys`: when signing keys change. A key is published for a while before it signs, so that every verifier that caches
 * our JWKS knows it when the first token comes.
 */
import { z } from 'zod';

/** Verifiers may keep the JWKS for 300 s; as long again for those that are late. */
const PUBLISH_AHEAD_MIN_SECONDS = 600;
const DAY_SECONDS = 86_400;

export const keysSection = z.strictObject({
  rotate_after_seconds: z
    .number()
    .int()
    .min(3600)
    .max(90 * DAY_SECONDS)
    .default(30 * DAY_SECONDS)
    .describe('How long a key signs before the next one does'),
  publish_ahead_seconds: z
    .number()
    .int()
    .min(PUBLISH_AHEAD_MIN_SECONDS)
    .max(30 * DAY_SECONDS)
    .default(DAY_SECONDS)
    .describe('How long a key is published before it signs; less than rotate_after_seconds'),
});
