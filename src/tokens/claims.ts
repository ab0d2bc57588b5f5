/**
 * Checks on single claims, the same for every kind of token: times (RFC 7519 §4.1.4–6, R15), audience, strings, and the
 * identity of a token. Owns what JWT libraries leave open: times are safe integers, `exp` is required and has no
 * leeway, and a token's identity does not depend on how its string was written.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../core/canonical.ts';
import { fault } from './fault.ts';
import type { Fault } from './fault.ts';
import { isJsonObject } from './strict-json.ts';
import type { JsonObject } from './strict-json.ts';

/** How far ahead of our clock `iat` and `nbf` may be, inclusive. */
export const FUTURE_TOLERANCE_SECONDS = 10;
const MAX_AUDIENCES = 100;

export interface TokenTimes {
  readonly exp: number;
  readonly iat: number | undefined;
  readonly nbf: number | undefined;
}

/** The times of a token that is valid now. Expired from the second `exp` on; the lifetime cap is inclusive. */
export function checkTimes(
  claims: JsonObject,
  rules: {
    readonly nowSeconds: number;
    /** Longest exp − iat; exp − now for a token without `iat`. */
    readonly maxLifetimeSeconds?: number;
    readonly requireIat: boolean;
  },
): TokenTimes | Fault {
  const now = rules.nowSeconds;
  const latestStart = now + FUTURE_TOLERANCE_SECONDS;
  const { exp, iat, nbf } = claims;
  if (exp === undefined) return fault('claim_missing', 'exp');
  if (!isNumericDate(exp)) return fault('claim_invalid', 'exp');
  if (iat === undefined && rules.requireIat) return fault('claim_missing', 'iat');
  if (iat !== undefined && !isNumericDate(iat)) return fault('claim_invalid', 'iat');
  if (nbf !== undefined && !isNumericDate(nbf)) return fault('claim_invalid', 'nbf');
  if (now >= exp) return fault('expired', 'exp');
  if (iat !== undefined && iat > latestStart) return fault('issued_in_future', 'iat');
  if (nbf !== undefined && nbf > latestStart) return fault('not_yet_valid', 'nbf');
  // Written so that a cap that is no number is kept by no token (A10).
  if (rules.maxLifetimeSeconds !== undefined && !(exp - (iat ?? now) <= rules.maxLifetimeSeconds))
    return fault('lifetime_too_long', 'exp');
  return { exp, iat, nbf };
}

/** A claim that must be a non-empty string. */
export function readString(claims: JsonObject, name: string): string | Fault {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  if (value === undefined) return fault('claim_missing', name);
  return typeof value === 'string' && value !== '' ? value : fault('claim_invalid', name);
}

/** `aud` (RFC 7519 §4.1.3) as a list: one string, or 1 to 100 distinct ones; none of them empty. */
export function readAudience(claims: JsonObject): readonly string[] | Fault {
  const { aud } = claims;
  if (aud === undefined) return fault('claim_missing', 'aud');
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (list.length === 0 || list.length > MAX_AUDIENCES || !list.every(isNonEmptyString))
    return fault('claim_invalid', 'aud');
  return new Set(list).size === list.length ? list : fault('claim_invalid', 'aud');
}

/**
 * What makes a token *this* token, whatever its string: (iss, jti), else its canonical claims (RFC 8785). For replay
 * marks, revocation and caches.
 */
export function tokenIdentity(iss: string, claims: JsonObject): string {
  const { jti } = claims;
  if (isNonEmptyString(jti)) return `jti:${sha256(JSON.stringify([iss, jti]))}`;
  return `claims:${sha256(canonicalJson(claims))}`;
}

/** A claim by name or path: an own member of exactly that name first (names may be URLs), else along the dots. */
export function claimAt(claims: JsonObject, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  if (!path.includes('.')) return undefined;
  let value: unknown = claims;
  for (const name of path.split('.')) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** NumericDate, restricted to whole seconds that a double holds exactly. */
function isNumericDate(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isNonEmptyString(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
