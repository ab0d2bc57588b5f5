/**
 * The grammar of names and URIs of registered objects, shared by every noun.
 */
import { z } from 'zod';
import { canonicalTarget } from '../core/uri.ts';

const CONTROLS_REFUSED = 'must not hold control characters or halves of surrogate pairs';

/** A free string of one line: no control characters, which would forge lines of output, and no lone surrogates. */
export function line(lengthMax: number) {
  return z
    .string()
    .max(lengthMax)
    .refine((text) => !/[\p{Cc}\p{Surrogate}]/u.test(text), CONTROLS_REFUSED);
}

/** Free text of several lines: of the control characters, line breaks and tabs only. */
export function freeText(lengthMax: number) {
  return z
    .string()
    .max(lengthMax)
    .refine((text) => !/(?![\t\n\r])\p{Cc}|\p{Surrogate}/u.test(text), CONTROLS_REFUSED);
}

/** Names of objects: also client ids, so no colon (a colon separates a trusted issuer's short name from its `sub`). */
export const objectName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'must be 1 to 63 letters, digits, ".", "_" or "-", and start with a letter or digit',
  );

/** A limit of its own; 0 would be a way of disabling that nothing shows. */
export const requestsPerMinute = z.number().int().min(1).max(1_000_000_000).optional();

/** A scope token (RFC 6749 §3.3), without characters that would need escapes in policies. */
export const scopeName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:/*-]{0,127}$/,
    'must be 1 to 128 letters, digits or "._:/*-", and start with a letter or digit',
  );

/** A target URI as it is written in configuration; kept as written, compared in its canonical form. */
export const targetUri = line(2048).refine(
  (uri) => canonicalTarget(uri) !== undefined,
  'must be an absolute URI without a fragment, user name or white space',
);

/** https anywhere; http only where the object is marked `internal` and the host is loopback (checked by its noun). */
export const remoteUrl = line(2048).refine(
  (uri) => URL.canParse(uri) && /^https?:\/\//.test(uri) && !uri.includes('#'),
  'must be an http(s) URL without a fragment',
);
