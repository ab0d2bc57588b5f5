/**
 * Forgeries of a token that is good: what an attacker who saw one, and knows the public keys, can make of it.
 */
import { createPublicKey } from 'node:crypto';
import type { JsonWebKey as NodeJwk } from 'node:crypto';
import type { JWK } from 'jose';
import { decodeJwt, hmacJwt, signJwt, unsignedJwt } from '../wire/jwt.ts';
import type { Json } from '../wire/jwt.ts';
import type { SigningKey } from './keys.ts';

/** A public key as PEM, the form in which it is mistaken for an HMAC secret. */
export function publicKeyPem(jwk: JWK): string {
  return createPublicKey({ key: jwk as NodeJwk, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString();
}

/** The token without signature, under several spellings of `none`. */
export function withoutSignature(token: string): string[] {
  const { header, claims } = parts(token);
  return ['none', 'None', 'nOnE'].map((alg) => unsignedJwt({ ...header, alg }, claims));
}

/** The token as it was, its signature cut off. */
export function signatureCut(token: string): string {
  return `${token.split('.').slice(0, 2).join('.')}.`;
}

/** The token signed with HMAC under the issuer's public key, in the two forms in which libraries take it. */
export function publicKeyAsSecret(token: string, jwk: JWK): string[] {
  const { header, claims } = parts(token);
  const pem = publicKeyPem(jwk);
  return [pem, pem.trim()].map((secret) => hmacJwt({ ...header, alg: 'HS256' }, claims, secret));
}

/** The token signed by the attacker, with header members that point to the attacker's key. */
export function attackerSigned(token: string, attacker: SigningKey, header: Json): string {
  const { claims, header: own } = parts(token);
  return signJwt({ ...own, ...header, alg: attacker.alg }, claims, attacker.privateKey);
}

/** The token with a `kid` that is an attack on whoever looks it up, signed with the key that the attack would yield. */
export function kidInjections(token: string): string[] {
  const { header, claims } = parts(token);
  return [
    hmacJwt({ ...header, alg: 'HS256', kid: '../../../../../../dev/null' }, claims, ''),
    hmacJwt({ ...header, alg: 'HS256', kid: "' UNION SELECT 'key" }, claims, 'key'),
    hmacJwt({ ...header, alg: 'HS256', kid: '/dev/null\u0000.pem' }, claims, ''),
  ];
}

/** The token signed with PS256 under an RSA key that is published for RS256 only. */
export function otherAlgorithm(header: Json, claims: Json, key: SigningKey): string {
  return signJwt({ ...header, alg: 'PS256' }, claims, key.privateKey);
}

/** The token in the flattened JSON serialization, which no JWT has (RFC 7519 §3). */
export function asJsonSerialization(token: string): string {
  const [header, payload, signature] = token.split('.');
  return JSON.stringify({ protected: header, payload, signature });
}

function parts(token: string): { header: Json; claims: Json } {
  const decoded = decodeJwt(token);
  if (decoded === undefined) throw new Error('only a JWT can be forged');
  return decoded;
}
