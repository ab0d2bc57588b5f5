/**
 * What one request commits: the values that the road builds and `commits.ts` carries into the database.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Predicate } from '../tokens/revocation.ts';

/** A value that may be used once, per purpose and issuer. */
export interface ReplayMark {
  readonly purpose: string;
  readonly issuer: string;
  readonly id: string;
  /** Kept at least until then: the value's own expiry plus the clock skew that is allowed. */
  readonly expiresAtSeconds: number;
  /** Recorded instead if the mark was there already; same id and time as the record it stands in for. */
  readonly lost: RecordRow;
}

/** The row of an issued token: that it is ours, and what it descends from. */
export interface IssuedRow {
  readonly jti: string;
  /** Identities of every token that it descends from: `jti` of ours, hashes of external ones. */
  readonly ancestors: readonly string[];
  /** `iss` of trusted issuers that vouched for somebody in it and are not named in it. */
  readonly vouchedBy: readonly string[];
  readonly subjectRef: string;
  readonly clientId: string;
  /** Client ids or refs of the whole chain, the current actor first. */
  readonly actors: readonly string[];
  readonly resources: readonly string[];
  readonly kid: string;
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
  /** What a later exchange has to know of its person, sealed under that person's key; null for a client. */
  readonly subjectClaims: string | null;
}

/** What is revoked from this commit on. Revoked twice, the wider of the two stands. */
export interface RevocationRow extends Pick<Predicate, 'kind' | 'value'> {
  /**
   * NumericDate, inclusive; `null` = whenever issued; `now` = up to the moment of the commit by the clock of the database,
   * and CLOCK_MARGIN_SECONDS more, because a node whose clock is ahead dates its tokens so.
   */
  readonly issuedUntil: number | null | 'now';
  /** After that long nothing that it kills can be alive any more. */
  readonly lifetimeSeconds: number;
}

/** All that one answer stands on: committed whole, or not at all. */
export interface Commitment {
  readonly marks: readonly ReplayMark[];
  readonly issued?: IssuedRow;
  readonly revocations?: readonly RevocationRow[];
  readonly record: RecordRow;
}
