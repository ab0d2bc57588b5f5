/**
 * The ring of our signing keys as this node has it in memory: what signs, what verifies, what is published. Made keys
 * and their steps are in the database (`rotation.ts`); here they are loaded whole, at once, whenever they have changed.
 * Private keys are opened only here, and only those that may sign. A tainted key is in none of the three.
 */
import type { KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import type { Clock } from '../core/clock.ts';
import { shareNext } from '../store/grouping.ts';
import type { Envelope } from '../store/envelope.ts';
import type { KeySlot, SigningKeyRow, SigningKeys } from '../store/signing-keys.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { PURPOSE_NAMES } from './purposes.ts';
import type { AlgorithmOf, KeyPurpose } from './purposes.ts';
import { openPrivateKey } from './slots.ts';

/** After a look for an unknown key the database is left alone for this long. */
const RELOAD_COOL_DOWN_MS = 1000;

/** A key that may sign. */
export interface RingKey<A extends string = string> {
  readonly kid: string;
  readonly alg: A;
  readonly privateKey: KeyObject;
}

export interface KeyRing {
  /** The key that signs now. */
  signing<P extends KeyPurpose>(purpose: P, algorithm: AlgorithmOf<P>): Promise<RingKey<AlgorithmOf<P>>>;
  /** Has this slot a key that signs? */
  has(slot: KeySlot): boolean;
  /** The public keys of access tokens; looks in the database when `kid` is not among them, once a second at most. */
  verification(kid: string | undefined): Promise<readonly AdmittedKey[]>;
  /** The JWKS to publish (RFC 7517 §5): public members only, of this purpose only. */
  jwks(purpose: KeyPurpose): { readonly keys: readonly JWK[] };
  /** Every key as it was loaded last, tainted ones too. */
  list(): readonly SigningKeyRow[];
  /** Loads the keys by a statement that begins after this call. */
  reload(): Promise<void>;
}

interface Published {
  readonly jwks: { readonly keys: readonly JWK[] };
  readonly admitted: readonly AdmittedKey[];
  readonly signing: ReadonlyMap<string, RingKey>;
}

interface Loaded {
  readonly rows: readonly SigningKeyRow[];
  readonly purposes: ReadonlyMap<KeyPurpose, Published>;
}

/** Loads the keys. Every slot must have an active one already (`KeyRotation.ensureFirst`). */
export async function openKeyRing(parts: {
  readonly store: Pick<SigningKeys, 'list'>;
  readonly envelope: Envelope;
  readonly clock: Clock;
}): Promise<KeyRing> {
  const { store, envelope, clock } = parts;
  let loaded = load((await store.list()).rows, envelope);
  let lookedAtMs = clock.nowMs();
  const reload = shareNext(async () => {
    loaded = load((await store.list()).rows, envelope);
  });
  const published = (purpose: KeyPurpose): Published => {
    const found = loaded.purposes.get(purpose);
    if (found === undefined) throw new Error(`there are no ${purpose} keys`);
    return found;
  };

  return {
    signing: async <P extends KeyPurpose>(purpose: P, algorithm: AlgorithmOf<P>) => {
      const key = published(purpose).signing.get(algorithm);
      if (key === undefined) throw new Error(`no active ${algorithm} key for ${purpose}`);
      return Promise.resolve({ ...key, alg: algorithm });
    },
    has: ({ purpose, algorithm }) =>
      PURPOSE_NAMES.some((name) => name === purpose && published(name).signing.has(algorithm)),
    verification: async (kid) => {
      const known = kid !== undefined && published('access-token').admitted.some((key) => key.kid === kid);
      if (!known && clock.nowMs() - lookedAtMs >= RELOAD_COOL_DOWN_MS) {
        lookedAtMs = clock.nowMs();
        await reload();
      }
      return published('access-token').admitted;
    },
    jwks: (purpose) => published(purpose).jwks,
    list: () => loaded.rows,
    reload,
  };
}

function load(rows: readonly SigningKeyRow[], envelope: Envelope): Loaded {
  return { rows, purposes: new Map(PURPOSE_NAMES.map((purpose) => [purpose, loadPurpose(purpose, rows, envelope)])) };
}

function loadPurpose(purpose: KeyPurpose, all: readonly SigningKeyRow[], envelope: Envelope): Published {
  // A retired key stays until its row is deleted: until then there may be tokens that it signed.
  const rows = all.filter((row) => row.purpose === purpose && row.state !== 'tainted');
  const jwks = { keys: rows.map((row) => row.publicJwk as JWK) };
  const admitted = admitJwks(jwks);
  if (isFault(admitted)) throw new Error(`our own published keys are not admissible: ${admitted.code}`);
  const signing = new Map<string, RingKey>();
  for (const { kid, state, algorithm, sealedPrivate } of rows)
    if (state === 'active' && sealedPrivate !== null)
      signing.set(algorithm, {
        kid,
        alg: algorithm,
        privateKey: openPrivateKey(kid, purpose, sealedPrivate, envelope),
      });
  return { jwks, admitted, signing };
}
