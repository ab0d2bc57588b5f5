/**
 * JSON Web Tokens by hand: read without trust, and written with every fault that a scenario needs, so also
 * signed by hand: a JOSE library would rightly refuse to make most of them.
 */
import { constants, createHmac, createPublicKey, sign, verify } from 'node:crypto';
import type { JsonWebKey as NodeJwk, KeyObject, SignKeyObjectInput, VerifyKeyObjectInput } from 'node:crypto';
import { isRecord } from './http.ts';

export type Json = Record<string, unknown>;

export interface DecodedJwt {
  readonly header: Json;
  readonly claims: Json;
  readonly signature: string;
}

/** Header and claims of a compact JWT, unverified; `undefined` for anything else. */
export function decodeJwt(token: string): DecodedJwt | undefined {
  const parts = token.split('.');
  if (parts.length !== 3) return undefined;
  const [header, claims] = [readPart(parts[0]), readPart(parts[1])];
  if (header === undefined || claims === undefined) return undefined;
  return { header, claims, signature: parts[2] ?? '' };
}

function readPart(part: string | undefined): Json | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part ?? '', 'base64url').toString('utf8'));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const encodePart = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A JWT with an empty signature, whatever its header says. */
export function unsignedJwt(header: Json, claims: Json): string {
  return `${encodePart(header)}.${encodePart(claims)}.`;
}

/** A JWT signed with HMAC-SHA256 under bytes that are no secret: a public key. */
export function hmacJwt(header: Json, claims: Json, secret: string | Buffer): string {
  const input = `${encodePart(header)}.${encodePart(claims)}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

/** A JWT with an honest signature over any header and claims at all, which a JOSE library would refuse to make. */
export function signJwt(header: Json & { alg: string }, claims: Json, key: KeyObject): string {
  const input = `${encodePart(header)}.${encodePart(claims)}`;
  const { alg } = header;
  const options: SignKeyObjectInput = {
    key,
    dsaEncoding: 'ieee-p1363',
    ...(alg.startsWith('PS') ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {}),
  };
  const signature = sign(alg === 'EdDSA' ? null : 'sha256', Buffer.from(input), options);
  return `${input}.${signature.toString('base64url')}`;
}

/** Whether a JWT's signature verifies under a public key, by the algorithm that its header names. */
export function verifiesWith(token: string, jwk: Json): boolean {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const alg = String(decodeJwt(token)?.header['alg']);
  const hash = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`;
  if (!/^(?:EdDSA|[REP]S(?:256|384|512))$/.test(alg)) return false;
  try {
    const key = createPublicKey({ key: publicMembers(jwk), format: 'jwk' });
    const options: VerifyKeyObjectInput = {
      key,
      dsaEncoding: 'ieee-p1363',
      ...(alg.startsWith('PS') ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {}),
    };
    return verify(hash, Buffer.from(`${header}.${payload}`), options, Buffer.from(signature, 'base64url'));
  } catch {
    return false;
  }
}

function publicMembers(jwk: Json): NodeJwk {
  const { kty, crv, x, y, n, e } = jwk;
  return Object.fromEntries(Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined));
}

/** The token with other claims under the old signature. */
export function tampered(token: string, claims: Json): string {
  const [header, , signature] = token.split('.');
  return `${header ?? ''}.${encodePart(claims)}.${signature ?? ''}`;
}

/** Current time as NumericDate. */
export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** `aud` as a list, whichever of its two forms it has (RFC 7519 §4.1.3). */
export function audiences(claims: Json): string[] {
  const { aud } = claims;
  if (typeof aud === 'string') return [aud];
  return Array.isArray(aud) ? aud.filter((value): value is string => typeof value === 'string') : [];
}

/** Values of a space-separated scope. */
export function scopeValues(scope: unknown): string[] {
  return typeof scope === 'string' ? scope.split(' ').filter((value) => value !== '') : [];
}
