/**
 * Signature verification: the only place where an unverified token becomes a verified one. Owns the choice of key and
 * algorithm (RFC 8725 §3.1, R11): the algorithm must be in the caller's allow-list *and* be the key's own, and nothing
 * in the token can widen either. jose does the cryptography; what jose is lax about was refused by `decodeCompact`.
 */
import { compactVerify, errors } from 'jose';
import { SIGNATURE_ALGORITHMS } from '../core/protocol.ts';
import type { SignatureAlgorithm } from '../core/protocol.ts';
import type { UnverifiedJwt } from './compact.ts';
import { fault, isFault } from './fault.ts';
import type { Fault } from './fault.ts';
import type { AdmittedKey } from './jwk.ts';
import type { JsonObject } from './strict-json.ts';

declare const VERIFIED: unique symbol;

/** A token whose signature was checked; its claims are the signer's words, not yet checked for their meaning. */
export interface VerifiedJwt {
  readonly [VERIFIED]: true;
  readonly header: UnverifiedJwt['header'];
  readonly claims: JsonObject;
}

/** Checks the signature; faults `algorithm_not_allowed`, `key_unknown` or `signature_invalid`. */
export async function verifySignature(
  jwt: UnverifiedJwt,
  keys: readonly AdmittedKey[],
  algorithms: readonly SignatureAlgorithm[],
): Promise<VerifiedJwt | Fault> {
  const alg = SIGNATURE_ALGORITHMS.find((known) => known === jwt.header.alg);
  if (alg === undefined || !algorithms.includes(alg)) return fault('algorithm_not_allowed');
  const key = selectKey(jwt.header.kid, alg, keys);
  if (isFault(key)) return key;
  try {
    await compactVerify(jwt.raw, key.key, { algorithms: [alg] });
  } catch (error) {
    if (error instanceof errors.JOSEError) return fault('signature_invalid');
    throw error;
  }
  return { header: jwt.header, claims: jwt.unverifiedClaims } as VerifiedJwt;
}

/** The key that `kid` names; without `kid`, the one key that fits the algorithm if there is exactly one. */
function selectKey(
  kid: string | undefined,
  alg: SignatureAlgorithm,
  keys: readonly AdmittedKey[],
): AdmittedKey | Fault {
  if (kid !== undefined) {
    const named = keys.find((key) => key.kid === kid);
    if (named === undefined) return fault('key_unknown', 'kid');
    return named.algorithms.includes(alg) ? named : fault('algorithm_not_allowed');
  }
  const fitting = keys.filter((key) => key.algorithms.includes(alg));
  const [only] = fitting;
  return only !== undefined && fitting.length === 1 ? only : fault('key_unknown');
}
