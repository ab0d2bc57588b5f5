/**
 * Which public keys of a JWK Set (RFC 7517) count. Owns the admission rules (R16); knows nothing of where the set came
 * from. A set that is malformed, or that shows any secret or private member, is refused whole: whoever published it has
 * lost control of it. A key of a kind that is not used here, or one that is weak, is left out.
 */
import { createPublicKey } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { SignatureAlgorithm } from '../core/protocol.ts';
import { MAX_KID_LENGTH } from './compact.ts';
import { fault } from './fault.ts';
import type { Fault } from './fault.ts';
import { isJsonObject } from './strict-json.ts';
import type { JsonObject } from './strict-json.ts';

/** Most keys in one set. */
export const MAX_KEYS = 20;

/** A public signature key that passed admission. */
export interface AdmittedKey {
  readonly kid: string | undefined;
  /** The algorithms that this key may verify: of one family, and exactly one if the key names its `alg`. */
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly key: KeyObject;
}

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
const RSA_ALGORITHMS: readonly SignatureAlgorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const CURVE_ALGORITHMS: ReadonlyMap<unknown, SignatureAlgorithm> = new Map([
  ['P-256', 'ES256'],
  ['P-384', 'ES384'],
  ['P-521', 'ES512'],
]);

/**
 * The keys of a JWK Set that may verify signatures.
 * @param options.uses accepted `use` values, default `sig`; a key without `use` counts only where `sig` does (a SPIFFE
 *   bundle's keys must say `jwt-svid`, and others of it are for X.509).
 */
export function admitJwks(
  document: unknown,
  options: { readonly uses?: readonly string[] } = {},
): readonly AdmittedKey[] | Fault {
  if (!isJsonObject(document) || !Array.isArray(document.keys)) return fault('malformed', 'keys');
  const members: readonly unknown[] = document.keys;
  if (members.length > MAX_KEYS) return fault('too_large', 'keys');
  const kids = new Set<string>();
  const admitted: AdmittedKey[] = [];
  for (const jwk of members) {
    if (!isJsonObject(jwk)) return fault('malformed', 'keys');
    const broken = faultOfMember(jwk, kids);
    if (broken !== undefined) return broken;
    const key = admitKey(jwk, options.uses ?? ['sig']);
    if (key !== undefined) admitted.push(key);
  }
  return admitted;
}

/** Why the whole set is refused because of this member, if it is. */
function faultOfMember(jwk: JsonObject, kids: Set<string>): Fault | undefined {
  if (typeof jwk.kty !== 'string') return fault('malformed', 'kty');
  if (jwk.kty === 'oct' || PRIVATE_MEMBERS.some((name) => Object.hasOwn(jwk, name)))
    return fault('malformed', 'private');
  const { kid } = jwk;
  if (kid === undefined) return undefined;
  if (typeof kid !== 'string' || kid === '' || kid.length > MAX_KID_LENGTH || kids.has(kid))
    return fault('malformed', 'kid');
  kids.add(kid);
  return undefined;
}

function admitKey(jwk: JsonObject, uses: readonly string[]): AdmittedKey | undefined {
  if (!uses.some((use) => use === (jwk.use ?? 'sig'))) return undefined;
  if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes('verify'))) return undefined;
  const algorithms = algorithmsOf(jwk);
  if (algorithms.length === 0) return undefined;
  let key: KeyObject;
  try {
    // Also proves that an EC point lies on its curve.
    key = createPublicKey({ key: publicMembers(jwk), format: 'jwk' });
  } catch {
    return undefined;
  }
  if (!isStrong(key)) return undefined;
  return { kid: jwk.kid as string | undefined, algorithms, key };
}

/** One key, one family of algorithms (RFC 8725 §3.1): an RSA key that names its `alg` verifies that one only. */
function algorithmsOf(jwk: JsonObject): readonly SignatureAlgorithm[] {
  const possible = possibleAlgorithms(jwk);
  return jwk.alg === undefined ? possible : possible.filter((alg) => alg === jwk.alg);
}

function possibleAlgorithms(jwk: JsonObject): readonly SignatureAlgorithm[] {
  if (jwk.kty === 'RSA') return RSA_ALGORITHMS;
  if (jwk.kty === 'OKP') return jwk.crv === 'Ed25519' ? ['EdDSA'] : [];
  const alg = jwk.kty === 'EC' ? CURVE_ALGORITHMS.get(jwk.crv) : undefined;
  return alg === undefined ? [] : [alg];
}

function publicMembers({ kty, n, e, crv, x, y }: JsonObject): JsonWebKey {
  return (kty === 'RSA' ? { kty, n, e } : { kty, crv, x, ...(kty === 'EC' && { y }) }) as JsonWebKey;
}

/** What `createPublicKey` takes but nobody should trust. */
function isStrong(key: KeyObject): boolean {
  const { n, x } = key.export({ format: 'jwk' });
  if (key.asymmetricKeyType === 'ed25519') return isStrongEd25519(Buffer.from(x ?? '', 'base64url'));
  if (key.asymmetricKeyType !== 'rsa') return true;
  const { modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  const isOdd = ((Buffer.from(n ?? '', 'base64url').at(-1) ?? 0) & 1) === 1;
  return isOdd && modulusLength >= 2048 && modulusLength <= 4096 && publicExponent === 65_537n;
}

const ED25519_PRIME = 2n ** 255n - 19n;
/** The y coordinates of the points of order 1, 2, 4 and 8: under such a key anybody can sign (RFC 8032 §8.7 warns). */
const ED25519_SMALL_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  ED25519_PRIME - 1n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
]);

function isStrongEd25519(encoded: Buffer): boolean {
  const y = BigInt(`0x${Buffer.from(encoded).reverse().toString('hex')}`) & (2n ** 255n - 1n);
  return y < ED25519_PRIME && !ED25519_SMALL_ORDER.has(y);
}
