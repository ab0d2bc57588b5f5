/**
 * Text that a caller chose, on its way to a record or a log line. A name stands as it is, because shadow servers are
 * found by it; what is long or looks like a token or a key stands as its digest, because a caller can put one anywhere.
 */
import { createHash } from 'node:crypto';

const MAX_NAME_LENGTH = 256;
/** JSON in base64url begins so; names have no run of letters as long as a secret's. */
const SECRET_LIKE = /eyJ|[\w+-]{40,}/;

export function named(text: string): string {
  if (text.length <= MAX_NAME_LENGTH && !SECRET_LIKE.test(text)) return text;
  return `sha256:${createHash('sha256').update(text).digest('base64url')}`;
}
