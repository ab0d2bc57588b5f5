/**
 * The rows of issued tokens: that we issued it, and what it descends from. A token that has no row was never committed,
 * whatever its signature says.
 */
import type { Database } from './database.ts';
import { groupLookups } from './grouping.ts';

export interface IssuedRecord {
  readonly ancestors: readonly string[];
  /** The ref of a person, or `client:<id>`. */
  readonly subjectRef: string;
  /** Sealed under the key of its person; null for a client. */
  readonly subjectClaims: string | null;
}

export interface IssuedTokens {
  /** By `jti`, whose issuer must have been found to be us. `undefined`: no such token was ever issued. */
  find(jti: string): Promise<IssuedRecord | undefined>;
}

const JTI_MAX_CHARS = 256;

export function createIssuedTokens(db: Database): IssuedTokens {
  const find = groupLookups(async (jtis: readonly string[]) => {
    const rows = await db.query<{
      jti: string;
      ancestors: string[];
      subject_ref: string;
      subject_claims: string | null;
    }>('SELECT jti, ancestors, subject_ref, subject_claims FROM issued_token WHERE jti = ANY($1::text[])', [jtis], {
      name: 'issued-find',
    });
    return new Map(
      rows.map(({ jti, ancestors, subject_ref: subjectRef, subject_claims: subjectClaims }) => [
        jti,
        { ancestors, subjectRef, subjectClaims },
      ]),
    );
  });
  return {
    find: (jti) => (jti.length > JTI_MAX_CHARS || jti.includes('\0') ? Promise.resolve(undefined) : find(jti)),
  };
}
