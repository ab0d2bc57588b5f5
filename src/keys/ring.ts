/**
 * The ring of our signing keys: made on first start, one per algorithm, published before anything is signed with it.
 * Private keys lie sealed in the database and are opened into memory only here.
 */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import type { JWK } from 'jose';
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Envelope } from '../store/envelope.ts';
import type { SigningKeyRow, SigningKeys } from '../store/signing-keys.ts';
import type { SigningKey } from '../tokens/access-token.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';

const PURPOSE = 'access-token';
export const RING_ALGORITHMS = ['ES256', 'RS256'] as const;
export type RingAlgorithm = (typeof RING_ALGORITHMS)[number];

/** After a look for an unknown key the database is left alone for this long. */
const RELOAD_COOL_DOWN_MS = 1000;

export interface KeyRing {
  /** The key that signs now. */
  signing(algorithm: RingAlgorithm): Promise<SigningKey>;
  /** Our public keys; looks in the database again when `kid` is not among them (another node may have made it). */
  verification(kid: string | undefined): Promise<readonly AdmittedKey[]>;
  /** The JWKS to publish (RFC 7517 §5): public members only. */
  jwks(): { readonly keys: readonly JWK[] };
}

interface Loaded {
  readonly signing: ReadonlyMap<RingAlgorithm, SigningKey>;
  readonly admitted: readonly AdmittedKey[];
  readonly jwks: { readonly keys: readonly JWK[] };
}

/** Makes the keys that are missing, loads them all, and hands out the ring. */
export async function openKeyRing(parts: {
  readonly store: SigningKeys;
  readonly envelope: Envelope;
  readonly clock: Clock;
  readonly logger: Logger;
}): Promise<KeyRing> {
  const { store, envelope, clock } = parts;
  for (const algorithm of RING_ALGORITHMS) await ensureKey(parts, algorithm);
  let loaded = load(await store.list(PURPOSE), envelope, clock);
  let lookedAtMs = clock.nowMs();

  return {
    signing: (algorithm) => {
      const key = loaded.signing.get(algorithm);
      return key === undefined ? Promise.reject(new Error(`no active ${algorithm} key`)) : Promise.resolve(key);
    },
    verification: async (kid) => {
      const known = kid !== undefined && loaded.admitted.some((key) => key.kid === kid);
      if (!known && clock.nowMs() - lookedAtMs >= RELOAD_COOL_DOWN_MS) {
        lookedAtMs = clock.nowMs();
        loaded = load(await store.list(PURPOSE), envelope, clock);
      }
      return loaded.admitted;
    },
    jwks: () => loaded.jwks,
  };
}

/** Two nodes may start at once: the first row wins, and both then load that one. */
async function ensureKey(
  parts: { store: SigningKeys; envelope: Envelope; logger: Logger },
  algorithm: RingAlgorithm,
): Promise<void> {
  const present = await parts.store.list(PURPOSE);
  if (present.some((row) => row.alg === algorithm && row.state === 'active')) return;
  const { privateKey, publicKey } =
    algorithm === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const bare = publicKey.export({ format: 'jwk' }) as JWK;
  const kid = await calculateJwkThumbprint(bare);
  const active = await parts.store.insertIfNone(PURPOSE, algorithm, {
    kid,
    publicJwk: { ...bare, kid, alg: algorithm, use: 'sig' },
    sealedPrivate: parts.envelope.seal(privateKey.export({ format: 'der', type: 'pkcs8' }), aad(kid)),
  });
  if (active.kid === kid) parts.logger.info({ kid, algorithm }, 'made a signing key');
}

function load(stored: readonly SigningKeyRow[], envelope: Envelope, clock: Clock): Loaded {
  // A retired key stays published until the last token that it signed has expired.
  const rows = stored.filter(
    ({ state, retireAtSeconds }) => state !== 'retired' || (retireAtSeconds ?? 0) > nowSeconds(clock),
  );
  const published = rows.map((row) => row.publicJwk as JWK);
  const admitted = admitJwks({ keys: published });
  if (isFault(admitted)) throw new Error(`our own published keys are not admissible: ${admitted.code}`);
  const signing = new Map<RingAlgorithm, SigningKey>();
  for (const row of rows) {
    if (row.state !== 'active') continue;
    const algorithm = RING_ALGORITHMS.find((name) => name === row.alg);
    if (algorithm === undefined) continue;
    const der = Buffer.from(envelope.open(row.sealedPrivate, aad(row.kid)));
    signing.set(algorithm, {
      kid: row.kid,
      alg: algorithm,
      privateKey: createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }),
    });
  }
  return { signing, admitted, jwks: { keys: published } };
}

/** What a sealed private key is bound to: two rows swapped do not open. */
function aad(kid: string): string {
  return `signing_key|${kid}|${PURPOSE}`;
}
