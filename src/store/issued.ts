/**
 * The rows of issued tokens: that we issued it, and what it descends from. A token that has no row was never committed,
 * whatever its signature says.
 */
import type { Database } from './database.ts';
import { groupLookups } from './grouping.ts';

export interface IssuedRecord {
  readonly ancestors: readonly string[];
  /** `iss` of trusted issuers that vouched for somebody in it and are not named in it. */
  readonly vouchedBy: readonly string[];
  /** The ref of a person, or `client:<id>`. */
  readonly subjectRef: string;
  /** Sealed under the key of its person; null for a client. */
  readonly subjectClaims: string | null;
}

export interface IssuedTokens {
  /** By `jti`, whose issuer must have been found to be us. `undefined`: no such token was ever issued. */
  find(jti: string): Promise<IssuedRecord | undefined>;
  /** What it was issued for; of something that we did not issue, `undefined`. */
  resourcesOf(jti: string): Promise<readonly string[] | undefined>;
}

const JTI_MAX_CHARS = 256;

export function createIssuedTokens(db: Database): IssuedTokens {
  const find = groupLookups(async (jtis: readonly string[]) => {
    const rows = await db.query<{
      jti: string;
      ancestors: string[];
      vouched_by: string[];
      subject_ref: string;
      subject_claims: string | null;
    }>(
      'SELECT jti, ancestors, vouched_by, subject_ref, subject_claims FROM issued_token WHERE jti = ANY($1::text[])',
      [jtis],
      {
        name: 'issued-find',
      },
    );
    return new Map(
      rows.map(({ jti, ancestors, vouched_by: vouchedBy, subject_ref: subjectRef, subject_claims: subjectClaims }) => [
        jti,
        { ancestors, vouchedBy, subjectRef, subjectClaims },
      ]),
    );
  });
  const isJti = (jti: string) => jti.length <= JTI_MAX_CHARS && !jti.includes('\0');
  return {
    find: (jti) => (isJti(jti) ? find(jti) : Promise.resolve(undefined)),
    async resourcesOf(jti) {
      if (!isJti(jti)) return undefined;
      const rows = await db.query<{ resources: string[] }>(
        'SELECT resources FROM issued_token WHERE jti = $1::text',
        [jti],
        { name: 'issued-resources' },
      );
      return rows[0]?.resources;
    },
  };
}
