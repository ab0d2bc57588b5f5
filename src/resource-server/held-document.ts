/**
 * A revocation document at hand: indexed, with the time at which it was had. Pure. Owns when it may still be judged by:
 * not when it is too old by its own word or by ours, and not when the clock cannot say how old it is.
 */
import { FUTURE_TOLERANCE_SECONDS } from '../tokens/claims.ts';
import type { Predicate } from '../tokens/revocation.ts';
import { REVOCATIONS_LIFETIME_SECONDS, indexDocument } from '../tokens/revocation-document.ts';
import type { RevocationDocument } from '../tokens/revocation-document.ts';

export interface HeldDocument {
  readonly issuedAtSeconds: number;
  readonly receivedMs: number;
  /** By `predicateKey`. */
  readonly predicates: ReadonlyMap<string, Predicate>;
}

/** The document as it is held. */
export function hold(document: RevocationDocument, receivedMs: number): HeldDocument {
  return { issuedAtSeconds: document.iat, receivedMs, predicates: indexDocument(document) };
}

/** What either of two documents of one second kills: nobody can say which of them was made first. */
export function mergeHeld(a: HeldDocument, b: HeldDocument): HeldDocument {
  const predicates = new Map(a.predicates);
  for (const [key, predicate] of b.predicates) {
    const known = predicates.get(key)?.issuedUntilSeconds;
    const until = predicate.issuedUntilSeconds;
    if (known === undefined || until === null || (known !== null && until > known)) predicates.set(key, predicate);
  }
  return { ...b, predicates };
}

/** May tokens be judged by it now? */
export function isCurrent(
  { issuedAtSeconds, receivedMs }: HeldDocument,
  at: { readonly nowMs: number; readonly maxAgeSeconds: number },
): boolean {
  const now = at.nowMs / 1000;
  return (
    // A clock that was set back does not say how old anything is.
    now >= receivedMs / 1000 - FUTURE_TOLERANCE_SECONDS &&
    now - issuedAtSeconds <= at.maxAgeSeconds &&
    now - issuedAtSeconds < REVOCATIONS_LIFETIME_SECONDS
  );
}
