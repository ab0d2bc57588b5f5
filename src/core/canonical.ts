/**
 * Canonical JSON (RFC 8785): one text per value, whatever the order of members. Records are stored in it, and a token
 * without `jti` is told apart by it.
 */
import canonicalizeModule from 'canonicalize';

// A CommonJS module whose types name a default export that it does not have at run time: the function is the module.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

/** The canonical text; throws on values that JSON has no form for. */
export function canonicalJson(value: object): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('only JSON has a canonical form');
  return text;
}
