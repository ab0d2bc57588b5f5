/**
 * The rows of signing keys. Which key signs and when is decided in `keys/`; here the database keeps the promise that a
 * purpose and algorithm never have two active keys, whatever nodes do at once.
 */
import type { Database } from './database.ts';

export type SigningKeyState = 'next' | 'active' | 'retired';

export interface NewSigningKey {
  readonly kid: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  /** Sealed by the caller, bound to `signing_key|<kid>|<purpose>`. */
  readonly sealedPrivate: Uint8Array;
}

export interface SigningKeyRow extends NewSigningKey {
  readonly purpose: string;
  readonly alg: string;
  readonly state: SigningKeyState;
  readonly createdAtSeconds: number;
  readonly activatedAtSeconds: number | null;
  /** When it stops being published. */
  readonly retireAtSeconds: number | null;
}

export interface SigningKeys {
  /** Every key of a purpose, oldest first, retired ones included. */
  list(purpose: string): Promise<readonly SigningKeyRow[]>;
  /** Makes `key` the active one unless there is an active one; returns whichever is active now. */
  insertIfNone(purpose: string, alg: string, key: NewSigningKey): Promise<SigningKeyRow>;
}

interface Row {
  kid: string;
  purpose: string;
  alg: string;
  state: SigningKeyState;
  public_jwk: Record<string, unknown>;
  sealed_private: Uint8Array;
  created_at: Date;
  activated_at: Date | null;
  retire_at: Date | null;
}

const COLUMNS = 'kid, purpose, alg, state, public_jwk, sealed_private, created_at, activated_at, retire_at';

export function createSigningKeys(db: Database): SigningKeys {
  return {
    async list(purpose) {
      const rows = await db.query<Row>(
        `SELECT ${COLUMNS} FROM signing_key WHERE purpose = $1 ORDER BY created_at, kid`,
        [purpose],
      );
      return rows.map(keyOf);
    },
    async insertIfNone(purpose, alg, key) {
      await db.query(
        `INSERT INTO signing_key (kid, purpose, alg, state, public_jwk, sealed_private, activated_at)
         SELECT $1, $2, $3, 'active', $4::jsonb, $5, now()
         WHERE NOT EXISTS (SELECT FROM signing_key WHERE purpose = $2 AND alg = $3 AND state = 'active')
         ON CONFLICT (purpose, alg) WHERE state = 'active' DO NOTHING`,
        [key.kid, purpose, alg, JSON.stringify(key.publicJwk), key.sealedPrivate],
      );
      // A statement of its own: its snapshot sees the winner of a race that the insert waited for.
      const [row] = await db.query<Row>(
        `SELECT ${COLUMNS} FROM signing_key WHERE purpose = $1 AND alg = $2 AND state = 'active'`,
        [purpose, alg],
      );
      if (row === undefined) throw new Error(`no active signing key for ${purpose} ${alg} after making one`);
      return keyOf(row);
    },
  };
}

function keyOf(row: Row): SigningKeyRow {
  return {
    kid: row.kid,
    purpose: row.purpose,
    alg: row.alg,
    state: row.state,
    publicJwk: row.public_jwk,
    sealedPrivate: row.sealed_private,
    createdAtSeconds: seconds(row.created_at),
    activatedAtSeconds: row.activated_at === null ? null : seconds(row.activated_at),
    retireAtSeconds: row.retire_at === null ? null : seconds(row.retire_at),
  };
}

function seconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
