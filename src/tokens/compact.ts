/**
 * A JWT in compact serialisation, taken apart but not believed (RFC 7515 §3.1, RFC 7519 §7.2, R12).
 *
 * Refuses what lenient parsers let through: JSON serialisations and JWE, other alphabets, base64url with stray bits
 * (two strings, one token), duplicate keys, deep nesting, oversize, critical extensions. Headers that carry or point to
 * keys (`jku`, `x5u`, `jwk`, `x5c`) have no reader anywhere in this code base (R14).
 */
import { fault } from './fault.ts';
import type { Fault } from './fault.ts';
import { isJsonObject, parseStrictJson } from './strict-json.ts';
import type { JsonObject } from './strict-json.ts';

/** Longest token that is read, in characters. */
export const MAX_TOKEN_LENGTH = 16_384;
/** Longest `kid` that is read, in characters. */
export const MAX_KID_LENGTH = 256;

/** A decoded JWT whose signature nobody has checked. Only `decodeCompact` makes it. */
export interface UnverifiedJwt {
  readonly raw: string;
  readonly header: JsonObject & { readonly alg: string; readonly kid?: string; readonly typ?: string };
  readonly unverifiedClaims: JsonObject;
}

// An empty signature part (`alg: none`) is not matched: such a token is malformed here.
const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;

/**
 * Takes a compact JWT apart; faults `malformed`, `too_large` or `critical_header`.
 * @param maxLength in characters; a document that we poll may be longer than a token that anybody sends
 */
export function decodeCompact(token: string, maxLength = MAX_TOKEN_LENGTH): UnverifiedJwt | Fault {
  if (token.length > maxLength) return fault('too_large');
  const parts = COMPACT.exec(token);
  if (parts === null) return fault('malformed');
  const [, headerPart = '', claimsPart = '', signaturePart = ''] = parts;
  if (decodePart(signaturePart) === undefined) return fault('malformed');

  const header = decodeObject(headerPart);
  if (header === undefined) return fault('malformed', 'header');
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string') return fault('malformed', 'alg');
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH)) return fault('malformed', 'kid');
  if (typ !== undefined && typeof typ !== 'string') return fault('malformed', 'typ');
  // No extension is understood here (RFC 7515 §4.1.11), b64 (RFC 7797 §6) included.
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) return fault('critical_header');

  const unverifiedClaims = decodeObject(claimsPart);
  if (unverifiedClaims === undefined) return fault('malformed', 'claims');
  return { raw: token, header: header as UnverifiedJwt['header'], unverifiedClaims };
}

/** `typ` as it is compared (RFC 7515 §4.1.9): lower case, without `application/`; empty where there is none. */
export function normalizeTyp(typ: string | undefined): string {
  return (typ ?? '').toLowerCase().replace(/^application\//, '');
}

function decodeObject(part: string): JsonObject | undefined {
  const bytes = decodePart(part);
  const value = bytes && parseStrictJson(bytes);
  return isJsonObject(value) ? value : undefined;
}

/** The bytes of a base64url part in its one canonical spelling (RFC 4648 §3.5: unused bits are zero). */
function decodePart(part: string): Uint8Array | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}
