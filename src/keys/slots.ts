/**
 * Which slots for keys there are and how a key is made: a slot is a purpose and an algorithm, and has one active key.
 * Private halves leave this file sealed, and are opened only here, bound to their row and purpose.
 */
import { createPrivateKey, generateKeyPair } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { calculateJwkThumbprint } from 'jose';
import type { JWK } from 'jose';
import type { Envelope } from '../store/envelope.ts';
import type { KeySlot, NewSigningKey } from '../store/signing-keys.ts';
import { KEY_PURPOSES, PURPOSE_NAMES } from './purposes.ts';
import type { KeyPurpose } from './purposes.ts';

/** The slots of these purposes; of all, without. */
export function slotsOf(purposes: readonly KeyPurpose[] = PURPOSE_NAMES): readonly KeySlot[] {
  return purposes.flatMap((purpose) => KEY_PURPOSES[purpose].map((algorithm) => ({ purpose, algorithm })));
}

const generate = promisify(generateKeyPair);

/** Makes a key pair beside the event loop, its private half sealed. `kid` is its thumbprint (RFC 7638). */
export async function makeKey({ purpose, algorithm }: KeySlot, envelope: Envelope): Promise<NewSigningKey> {
  const { privateKey, publicKey } = await generatePair(algorithm);
  const bare = publicKey.export({ format: 'jwk' }) as JWK;
  const kid = await calculateJwkThumbprint(bare);
  return {
    kid,
    purpose,
    algorithm,
    publicJwk: { ...bare, kid, alg: algorithm, use: 'sig' },
    sealedPrivate: envelope.seal(privateKey.export({ format: 'der', type: 'pkcs8' }), aadOf(kid, purpose)),
  };
}

function generatePair(algorithm: string): Promise<{ privateKey: KeyObject; publicKey: KeyObject }> {
  switch (algorithm) {
    case 'ES256':
      return generate('ec', { namedCurve: 'P-256' });
    case 'RS256':
      return generate('rsa', { modulusLength: 2048 });
    case 'EdDSA':
      return generate('ed25519', undefined);
    default:
      throw new Error(`no keys are made for ${algorithm}`);
  }
}

/** Opens a private half; throws where it was sealed for another row or purpose. */
export function openPrivateKey(kid: string, purpose: string, sealed: Uint8Array, envelope: Envelope): KeyObject {
  const der = Buffer.from(envelope.open(sealed, aadOf(kid, purpose)));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

/** What a sealed private key is bound to: two rows swapped do not open. */
function aadOf(kid: string, purpose: string): string {
  return `signing_key|${kid}|${purpose}`;
}
