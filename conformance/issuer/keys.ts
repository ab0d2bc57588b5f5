/**
 * Signing keys of the suite: of its own issuer, of the clients that sign assertions, and of the attacker. They can be
 * kept in a file, so that a target which was given the public half can be tested again.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createPrivateKey } from 'node:crypto';
import type { KeyObject, JsonWebKey as NodeJwk } from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';
import type { JWK } from 'jose';

export interface SigningKey {
  readonly alg: string;
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicJwk: JWK;
}

/** A new key for the algorithm; its `kid` is its thumbprint (RFC 7638). */
export async function makeKey(alg: string): Promise<SigningKey> {
  const pair = await generateKeyPair(alg, { extractable: true });
  return keyOf(await exportJWK(pair.privateKey), alg);
}

/** The key in a file; a missing file is made, readable by its owner only. */
export async function keyInFile(path: string, alg: string): Promise<SigningKey> {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true });
    const made = await generateKeyPair(alg, { extractable: true });
    const jwk: JWK = { ...(await exportJWK(made.privateKey)), alg };
    writeFileSync(path, `${JSON.stringify(jwk, null, 2)}\n`, { mode: 0o600 });
  }
  const jwk = JSON.parse(readFileSync(path, 'utf8')) as JWK;
  return keyOf(jwk, jwk.alg ?? alg);
}

async function keyOf(jwk: JWK, alg: string): Promise<SigningKey> {
  const kid = jwk.kid ?? (await calculateJwkThumbprint(jwk));
  const privateKey = createPrivateKey({ key: jwk as NodeJwk, format: 'jwk' });
  const { kty, crv, x, y, n, e } = jwk;
  const parts = Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined);
  return { alg, kid, privateKey, publicJwk: { ...Object.fromEntries(parts), kid, alg, use: 'sig' } };
}
