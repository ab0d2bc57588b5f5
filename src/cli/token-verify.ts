/**
 * Holds a token against the keys that its issuer publishes: signature, issuer, times, audience. Owns what `decode
 * --verify` says; whether the issuer is to be trusted at all is the reader's to know, and is said with the verdict.
 */
import { systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';
import { SIGNATURE_ALGORITHMS } from '../core/protocol.ts';
import { createFetcher } from '../net/fetcher.ts';
import { checkTimes, readAudience, readString } from '../tokens/claims.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import { verifySignature } from '../tokens/verify.ts';
import { fetchKeys, fetchMetadata, isSafeUrl } from './issuer-metadata.ts';
import { describeFault } from './token-view.ts';

export interface Verdict {
  readonly valid: boolean;
  readonly why: string;
}

/** Throws when the issuer cannot be asked: that says nothing about the token. */
export async function verifyToken(
  jwt: UnverifiedJwt,
  expected: { readonly issuer?: string; readonly audience?: string },
  nowSeconds: number,
): Promise<Verdict> {
  const iss = readString(jwt.unverifiedClaims, 'iss');
  if (isFault(iss)) return invalid(iss);
  if (expected.issuer !== undefined && iss !== expected.issuer) return invalid(fault('issuer_mismatch', 'iss'));
  if (!isSafeUrl(iss)) return { valid: false, why: 'its issuer is no URL that keys could be fetched from' };

  const fetcher = createFetcher({ clock: systemClock, logger: createLogger('silent') });
  // An address that only the token names must be public: the token may be anybody's.
  const named = expected.issuer !== undefined;
  try {
    const keys = await fetchKeys(await fetchMetadata(iss, fetcher, named), fetcher, named);
    const verified = await verifySignature(jwt, keys, SIGNATURE_ALGORITHMS);
    if (isFault(verified)) return invalid(verified);
    const times = checkTimes(verified.claims, { nowSeconds, requireIat: false });
    if (isFault(times)) return invalid(times);
    if (expected.audience !== undefined) {
      const audience = readAudience(verified.claims);
      if (isFault(audience)) return invalid(audience);
      if (!audience.includes(expected.audience)) return invalid(fault('audience_mismatch', 'aud'));
    }
  } finally {
    await fetcher.close();
  }
  const trust = named ? '' : '; whether to believe that issuer is yours to say (--issuer)';
  return { valid: true, why: `signed by ${iss}, and in time${trust}` };
}

function invalid(found: Fault): Verdict {
  return { valid: false, why: describeFault(found) };
}
