/**
 * The revocation document, read: which tokens are dead although they verify. Pure; the caller checked its signature with
 * the keys of this purpose. A document that says something which is not understood here is refused whole, because a part
 * of it that were skipped could be the one that matters.
 */
import type { Clock } from '../core/clock.ts';
import { nowSeconds } from '../core/clock.ts';
import { FUTURE_TOLERANCE_SECONDS, checkTimes } from '../tokens/claims.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import { REVOCATION_KINDS, canonicalResource, predicateKey } from '../tokens/revocation.ts';
import type { Predicate } from '../tokens/revocation.ts';
import { isJsonObject } from '../tokens/strict-json.ts';
import type { VerifiedJwt } from '../tokens/verify.ts';

/** JOSE `typ` of the document. */
export const TYP_REVOCATIONS = 'cambist-revocations+jwt';

const MAX_LIFETIME_SECONDS = 3600;

export interface RevocationDocument {
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
  /** By `predicateKey`. */
  readonly predicates: ReadonlyMap<string, Predicate>;
}

/** Reads a document that is valid now; faults name the member. */
export function readRevocationDocument(
  verified: VerifiedJwt,
  expected: { readonly issuer: string; readonly clock: Clock },
): RevocationDocument | Fault {
  const { header, claims } = verified;
  if (header.typ !== TYP_REVOCATIONS) return fault('type_not_allowed', 'typ');
  if (claims.iss !== expected.issuer) return fault('issuer_mismatch', 'iss');
  const times = checkTimes(claims, {
    nowSeconds: nowSeconds(expected.clock),
    maxLifetimeSeconds: MAX_LIFETIME_SECONDS,
    requireIat: true,
  });
  if (isFault(times)) return times;
  if (times.iat === undefined) return fault('claim_missing', 'iat');
  if (!isList(claims.tokens)) return fault('claim_invalid', 'tokens');
  if (!isList(claims.predicates)) return fault('claim_invalid', 'predicates');

  const predicates = new Map<string, Predicate>();
  for (const value of claims.tokens) {
    if (typeof value !== 'string' || value === '') return fault('claim_invalid', 'tokens');
    addPredicate(predicates, { kind: 'token', value, issuedUntilSeconds: null });
  }
  for (const member of claims.predicates) {
    const predicate = readPredicate(member);
    if (predicate === undefined) return fault('claim_invalid', 'predicates');
    addPredicate(predicates, predicate);
  }
  return { issuedAtSeconds: times.iat, expiresAtSeconds: times.exp, predicates };
}

/** What either of two documents of one second kills: nobody can say which of them was made first. */
export function mergeDocuments(a: RevocationDocument, b: RevocationDocument): RevocationDocument {
  const predicates = new Map(a.predicates);
  for (const predicate of b.predicates.values()) addPredicate(predicates, predicate);
  return { ...b, predicates };
}

/**
 * May tokens be judged by it now? Not when it is too old by its own word or by ours, and not when the clock stands before
 * the time at which it was had: then its age is not known.
 */
export function isCurrent(
  document: RevocationDocument,
  at: { readonly nowMs: number; readonly receivedMs: number; readonly maxAgeSeconds: number },
): boolean {
  const now = at.nowMs / 1000;
  return (
    now >= at.receivedMs / 1000 - FUTURE_TOLERANCE_SECONDS &&
    document.issuedAtSeconds <= now + FUTURE_TOLERANCE_SECONDS &&
    now - document.issuedAtSeconds <= at.maxAgeSeconds &&
    now < document.expiresAtSeconds
  );
}

function readPredicate(member: unknown): Predicate | undefined {
  if (!isJsonObject(member)) return undefined;
  const { kind, value = '', issued_until: until = null } = member;
  const known = REVOCATION_KINDS.find((name) => name === kind);
  if (known === undefined || typeof value !== 'string' || (value === '') !== (known === 'all')) return undefined;
  if (until !== null && !Number.isSafeInteger(until)) return undefined;
  return {
    kind: known,
    value: known === 'resource' ? canonicalResource(value) : value,
    issuedUntilSeconds: until as number | null,
  };
}

/** Of two that hit the same, the one that hits more. */
function addPredicate(predicates: Map<string, Predicate>, predicate: Predicate): void {
  const key = predicateKey(predicate);
  const known = predicates.get(key)?.issuedUntilSeconds;
  const until = predicate.issuedUntilSeconds;
  if (known === undefined || until === null || (known !== null && until > known)) predicates.set(key, predicate);
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}
