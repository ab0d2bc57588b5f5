/**
 * The rows of signing keys and the steps that they take, each one transaction: next → active → retired → gone, and
 * tainted from any of them. Which step is due is decided in `keys/`; what must never happen, whoever asks and whatever
 * several nodes do at once, is refused here: a purpose and algorithm with two active keys, a key that signs before every
 * node can know it, a private half that outlives its right to sign, a step without its audit record. All times are the
 * database's.
 */
import type { RecordRow } from '../audit/record.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database, Queryable } from './database.ts';

export type SigningKeyState = 'next' | 'active' | 'retired' | 'tainted';

/** Other nodes look for new keys every second: no key signs before it was published for so long. */
export const ACTIVATION_FLOOR_SECONDS = 5;
/** Longest life of a token (900 s), clocks of nodes that differ (60 s), requests in flight at the change (120 s). */
export const RETIRED_PUBLISHED_SECONDS = 1080;
/** Whoever has the key can sign on: the longest that a verifier keeps a JWKS that it cannot renew (24 h), and an hour. */
export const KEY_REVOKED_SECONDS = 90_000;
/** Verifiers refuse a JWKS of more than 20 keys; a taint must always find room for a replacement. */
const PUBLISHED_MAX = 16;

/** What has one key at a time. */
export interface KeySlot {
  readonly purpose: string;
  readonly algorithm: string;
}

export interface NewSigningKey extends KeySlot {
  readonly kid: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  /** Sealed by the caller, bound to `signing_key|<kid>|<purpose>`. */
  readonly sealedPrivate: Uint8Array;
}

export interface SigningKeyRow extends KeySlot {
  readonly kid: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  readonly state: SigningKeyState;
  /** `null` from the moment that it may not sign any more. */
  readonly sealedPrivate: Uint8Array | null;
  readonly createdAtMs: number;
  /** `null`: not known yet to be committed, and so not yet counted as published. */
  readonly publishedAtMs: number | null;
  readonly activatedAtMs: number | null;
  /** When a retired or tainted key may be deleted. */
  readonly retireAtMs: number | null;
  /** For how long it has to be published before it signs, where a command asked for that. */
  readonly aheadSeconds: number | null;
}

/** One step of one key, for the audit record. */
export interface KeyStep extends KeySlot {
  readonly action: 'publish_key' | 'activate_key' | 'retire_key' | 'taint_key' | 'delete_key';
  readonly kid: string;
}

/** Builds the record of steps that are taken in one transaction; where it cannot be written, none is taken. */
export type RecordKeySteps = (steps: readonly KeyStep[]) => RecordRow;

/** What came of an attempt to activate a key. */
export type Activation = 'activated' | 'too_early' | 'not_next';

export interface SigningKeys {
  /** Every key, oldest first, and the time of the database. */
  list(): Promise<{ readonly rows: readonly SigningKeyRow[]; readonly nowMs: number }>;
  /** Makes each key the active one of its slot, unless there is an active one. For the first start. */
  addFirst(keys: readonly NewSigningKey[], record: RecordKeySteps): Promise<void>;
  /** `false`: the slot has a next key already. Throws TooManyKeys. */
  addNext(key: NewSigningKey, record: RecordKeySteps): Promise<boolean>;
  /** Begins to count how long the next keys are published: those that are committed by now. */
  markPublished(): Promise<void>;
  /** Asks for the activation of a next key after it was published for so long, or sooner if that was asked before. */
  requestActivation(kid: string, aheadSeconds: number): Promise<void>;
  /** Activates a next key that was published for so long, and never sooner than the floor; retires the active one. */
  activate(kid: string, aheadSeconds: number, record: RecordKeySteps): Promise<Activation>;
  /**
   * Stops a key for good and revokes what it signed. An active one is replaced at once by the slot's next key, or by
   * `replacement`; throws ReplacementNeeded when there is neither. `undefined`: there is no such key.
   */
  taint(
    kid: string,
    replacement: NewSigningKey | undefined,
    record: RecordKeySteps,
  ): Promise<{ readonly changed: boolean; readonly replacedBy: string | undefined } | undefined>;
  /** Deletes the retired and tainted keys whose time has come. */
  deleteExpired(record: RecordKeySteps): Promise<void>;
}

/** The slot publishes as many keys as verifiers take. */
export class TooManyKeys extends Error {
  override readonly name = 'TooManyKeys';
}

/** An active key is to be tainted, and nothing is there to replace it. */
export class ReplacementNeeded extends Error {
  override readonly name = 'ReplacementNeeded';
}

class TooEarly extends Error {}

interface Row {
  kid: string;
  purpose: string;
  alg: string;
  state: SigningKeyState;
  public_jwk: Record<string, unknown>;
  sealed_private: Uint8Array | null;
  created_at: Date;
  published_at: Date | null;
  activated_at: Date | null;
  retire_at: Date | null;
  ahead_seconds: number | null;
}

const COLUMNS = `kid, purpose, alg, state, public_jwk, sealed_private, created_at, published_at, activated_at, retire_at,
  ahead_seconds`;

export function createSigningKeys(db: Database): SigningKeys {
  return {
    async list() {
      const rows = await db.query<Row & { now: Date }>(
        `SELECT ${COLUMNS}, clock_timestamp() AS now FROM signing_key ORDER BY created_at, kid`,
      );
      return { rows: rows.map(keyOf), nowMs: rows[0]?.now.getTime() ?? 0 };
    },
    addFirst: (keys, record) =>
      changeKeys(db, record, async (q, steps) => {
        for (const key of keys)
          if (await insert(q, key, 'active')) steps.push(stepOf('publish_key', key), stepOf('activate_key', key));
      }),
    addNext: (key, record) =>
      changeKeys(db, record, async (q, steps) => {
        const [count] = await q.query<{ published: number }>(
          `SELECT count(*)::int AS published FROM signing_key WHERE purpose = $1 AND state <> 'tainted'`,
          [key.purpose],
        );
        if ((count?.published ?? 0) >= PUBLISHED_MAX) throw new TooManyKeys(tooManyKeys(key.purpose));
        const added = await insert(q, key, 'next');
        if (added) steps.push(stepOf('publish_key', key));
        return added;
      }),
    async markPublished() {
      // A statement of its own: it sees only rows that are committed, and takes the time after it has looked.
      await db.query(
        `UPDATE signing_key SET published_at = clock_timestamp() WHERE state = 'next' AND published_at IS NULL`,
      );
    },
    async requestActivation(kid, aheadSeconds) {
      await db.query(
        `UPDATE signing_key SET ahead_seconds = least(coalesce(ahead_seconds, $2::int), $2::int)
         WHERE kid = $1 AND state = 'next'`,
        [kid, aheadSeconds],
      );
    },
    activate: (kid, aheadSeconds, record) => activateKey(db, kid, aheadSeconds, record),
    taint: (kid, replacement, record) => taintKey(db, kid, replacement, record),
    deleteExpired: (record) =>
      changeKeys(db, record, async (q, steps) => {
        const rows = await q.query<Row>(
          `DELETE FROM signing_key WHERE state IN ('retired', 'tainted') AND retire_at <= clock_timestamp()
           RETURNING ${COLUMNS}`,
        );
        steps.push(...rows.map((row) => stepOf('delete_key', keyOf(row))));
      }),
  };
}

function tooManyKeys(purpose: string): string {
  return (
    `${PUBLISHED_MAX} ${purpose} keys are published, and verifiers take no more than 20. ` +
    `Wait: a retired key is deleted ${RETIRED_PUBLISHED_SECONDS / 60} minutes after it was replaced`
  );
}

/** One change of keys at a time; the counter that makes every node reload and the record are part of it. */
function changeKeys<T>(
  db: Database,
  record: RecordKeySteps,
  work: (q: Queryable, steps: KeyStep[]) => Promise<T>,
): Promise<T> {
  return db.transaction(async (q) => {
    await q.query(`SELECT pg_advisory_xact_lock(hashtext('cambist signing keys'), hashtext(current_schema()))`);
    const steps: KeyStep[] = [];
    const result = await work(q, steps);
    if (steps.length === 0) return result;
    const row = record(steps);
    await revokeTainted(q, steps, row.id);
    await q.query('UPDATE state SET keys = keys + 1');
    await insertChangeRecord(q, row);
    return result;
  });
}

/** Only access tokens are looked up among revocations; keys of other purposes just vanish from their JWKS. */
async function revokeTainted(q: Queryable, steps: readonly KeyStep[], recordId: string): Promise<void> {
  for (const { action, purpose, kid } of steps) {
    if (action !== 'taint_key' || purpose !== 'access-token') continue;
    const [row] = await q.query<{ expires_at: string }>(
      `INSERT INTO revocation (kind, value, issued_until, expires_at, record_id)
       VALUES ('key', $1, NULL, clock_timestamp() + make_interval(secs => ${KEY_REVOKED_SECONDS}), $2)
       ON CONFLICT (kind, value) DO UPDATE SET issued_until = NULL, expires_at = excluded.expires_at, record_id = $2
       RETURNING expires_at::text`,
      [kid, recordId],
    );
    await q.query(
      `UPDATE state SET revocations = revocations + 1,
         revoked_until = greatest(coalesce(revoked_until, '-infinity'), $1::timestamptz)`,
      [row?.expires_at],
    );
  }
}

async function activateKey(
  db: Database,
  kid: string,
  aheadSeconds: number,
  record: RecordKeySteps,
): Promise<Activation> {
  try {
    return await changeKeys(db, record, async (q, steps): Promise<Activation> => {
      const key = await find(q, kid);
      if (key?.state !== 'next') return 'not_next';
      const retired = await q.query<Row>(
        `UPDATE signing_key SET state = 'retired', sealed_private = NULL, ahead_seconds = NULL,
           retire_at = clock_timestamp() + make_interval(secs => $3)
         WHERE purpose = $1 AND alg = $2 AND state = 'active' RETURNING ${COLUMNS}`,
        [key.purpose, key.algorithm, RETIRED_PUBLISHED_SECONDS],
      );
      const activated = await q.query(
        `UPDATE signing_key SET state = 'active', activated_at = clock_timestamp(), ahead_seconds = NULL
         WHERE kid = $1 AND state = 'next'
           AND published_at <= clock_timestamp() - make_interval(secs => greatest($2::int, ${ACTIVATION_FLOOR_SECONDS}))
         RETURNING kid`,
        [kid, aheadSeconds],
      );
      if (activated.length === 0) throw new TooEarly();
      steps.push(...retired.map((row) => stepOf('retire_key', keyOf(row))), stepOf('activate_key', key));
      return 'activated';
    });
  } catch (error) {
    if (error instanceof TooEarly) return 'too_early';
    throw error;
  }
}

function taintKey(
  db: Database,
  kid: string,
  replacement: NewSigningKey | undefined,
  record: RecordKeySteps,
): ReturnType<SigningKeys['taint']> {
  return changeKeys(db, record, async (q, steps) => {
    const key = await find(q, kid);
    if (key === undefined) return undefined;
    if (key.state === 'tainted') return { changed: false, replacedBy: undefined };
    await q.query(
      `UPDATE signing_key SET state = 'tainted', sealed_private = NULL, ahead_seconds = NULL,
         retire_at = clock_timestamp() + make_interval(secs => $2)
       WHERE kid = $1`,
      [kid, RETIRED_PUBLISHED_SECONDS],
    );
    steps.push(stepOf('taint_key', key));
    if (key.state !== 'active') return { changed: true, replacedBy: undefined };
    // However short the next key was published: a key that others hold is worse than one that some do not know yet.
    const [promoted] = await q.query<Row>(
      `UPDATE signing_key SET state = 'active', activated_at = clock_timestamp(), ahead_seconds = NULL
       WHERE purpose = $1 AND alg = $2 AND state = 'next' RETURNING ${COLUMNS}`,
      [key.purpose, key.algorithm],
    );
    if (promoted !== undefined) {
      steps.push(stepOf('activate_key', keyOf(promoted)));
      return { changed: true, replacedBy: promoted.kid };
    }
    if (replacement === undefined) throw new ReplacementNeeded();
    await insert(q, replacement, 'active');
    steps.push(stepOf('publish_key', replacement), stepOf('activate_key', replacement));
    return { changed: true, replacedBy: replacement.kid };
  });
}

async function find(q: Queryable, kid: string): Promise<SigningKeyRow | undefined> {
  const [row] = await q.query<Row>(`SELECT ${COLUMNS} FROM signing_key WHERE kid = $1 FOR UPDATE`, [kid]);
  return row === undefined ? undefined : keyOf(row);
}

/** `false`: the slot has one in this state already. */
async function insert(q: Queryable, key: NewSigningKey, state: 'next' | 'active'): Promise<boolean> {
  const since = state === 'active' ? 'at' : 'NULL::timestamptz';
  const inserted = await q.query(
    `INSERT INTO signing_key (kid, purpose, alg, state, public_jwk, sealed_private, created_at, published_at, activated_at)
     SELECT $1, $2, $3, '${state}', $4::jsonb, $5, at, ${since}, ${since} FROM clock_timestamp() AS at
     ON CONFLICT (purpose, alg) WHERE state = '${state}' DO NOTHING RETURNING kid`,
    [key.kid, key.purpose, key.algorithm, JSON.stringify(key.publicJwk), key.sealedPrivate],
  );
  return inserted.length > 0;
}

function stepOf(action: KeyStep['action'], { kid, purpose, algorithm }: KeySlot & { readonly kid: string }): KeyStep {
  return { action, kid, purpose, algorithm };
}

function keyOf(row: Row): SigningKeyRow {
  return {
    kid: row.kid,
    purpose: row.purpose,
    algorithm: row.alg,
    state: row.state,
    publicJwk: row.public_jwk,
    sealedPrivate: row.sealed_private,
    createdAtMs: row.created_at.getTime(),
    publishedAtMs: row.published_at?.getTime() ?? null,
    activatedAtMs: row.activated_at?.getTime() ?? null,
    retireAtMs: row.retire_at?.getTime() ?? null,
    aheadSeconds: row.ahead_seconds,
  };
}
