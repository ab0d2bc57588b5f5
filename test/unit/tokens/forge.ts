/**
 * Real keys and tokens for the tests, and the means to make tokens that no signing library would make.
 */
import { constants, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import { isFault } from '../../../src/tokens/fault.ts';
import type { Fault } from '../../../src/tokens/fault.ts';
import { admitJwks } from '../../../src/tokens/jwk.ts';
import type { AdmittedKey } from '../../../src/tokens/jwk.ts';

export interface TestKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** The public JWK, with `kid` and `use`. */
  readonly jwk: JsonWebKey;
}

function keyOf(pair: { privateKey: KeyObject; publicKey: KeyObject }, kid: string): TestKey {
  return { ...pair, jwk: { ...pair.publicKey.export({ format: 'jwk' }), kid, use: 'sig' } };
}

export function ecKey(kid: string, namedCurve = 'P-256'): TestKey {
  return keyOf(generateKeyPairSync('ec', { namedCurve }), kid);
}
export function rsaKey(kid: string, modulusLength = 2048, publicExponent = 65537): TestKey {
  return keyOf(generateKeyPairSync('rsa', { modulusLength, publicExponent }), kid);
}
export function edKey(kid: string): TestKey {
  return keyOf(generateKeyPairSync('ed25519'), kid);
}

export function base64url(value: string | Uint8Array): string {
  return Buffer.from(value).toString('base64url');
}

/** A compact token of these exact parts, signed over them by node:crypto. */
export function forge(header: unknown, claims: unknown, key: KeyObject | 'none' | Uint8Array): string {
  return forgeText(JSON.stringify(header), JSON.stringify(claims), key);
}

export function forgeText(
  header: string | Uint8Array,
  claims: string | Uint8Array,
  key: KeyObject | 'none' | Uint8Array,
) {
  const input = `${base64url(header)}.${base64url(claims)}`;
  if (key === 'none') return `${input}.`;
  return `${input}.${base64url(signature(String(header), input, key))}`;
}

function signature(header: string, input: string, key: KeyObject | Uint8Array): Uint8Array {
  const alg = /"alg":"([^"]*)"/.exec(header)?.[1] ?? '';
  const bytes = Buffer.from(input);
  if (key instanceof Uint8Array)
    return createHmac(`sha${alg.slice(2)}`, key)
      .update(bytes)
      .digest();
  if (key.asymmetricKeyType === 'ed25519') return sign(null, bytes, key);
  if (key.asymmetricKeyType === 'ec') return sign(hashOf(alg), bytes, { key, dsaEncoding: 'ieee-p1363' });
  if (!alg.startsWith('PS')) return sign(hashOf(alg), bytes, key);
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return sign(hashOf(alg), bytes, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
}

function hashOf(alg: string): string {
  return `sha${/\d{3}/.exec(alg)?.[0] ?? '256'}`;
}

export function admitted(...keys: readonly { jwk: JsonWebKey }[]): readonly AdmittedKey[] {
  return valid(admitJwks({ keys: keys.map(({ jwk }) => jwk) }));
}

/** The value, or a failing test that names the fault. */
export function valid<T>(value: T | Fault): T {
  if (isFault(value)) throw new Error(`unexpected fault ${value.code} ${value.claim ?? ''}`);
  return value;
}

/** `code` or `code claim` of a fault, `ok` for anything else. */
export function outcome(value: unknown): string {
  if (!isFault(value)) return 'ok';
  return value.claim === undefined ? value.code : `${value.code} ${value.claim}`;
}
