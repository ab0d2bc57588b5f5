/**
 * What one request commits: the values that `exchange/` builds and `commits.ts` carries into the database.
 */
import type { RecordRow } from '../audit/record.ts';

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

/** All that one answer stands on: committed whole, or not at all. */
export interface Commitment {
  readonly marks: readonly ReplayMark[];
  readonly issued?: IssuedRow;
  readonly record: RecordRow;
}
