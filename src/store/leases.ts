/**
 * The rows of leases that are, or may be, alive at Vault. A row is committed before Vault is asked, and goes when its
 * holder was ended there; which rows are due is judged here, by the database's clock and by what is registered and
 * revoked at that moment, so that any node can end the leases of any other. Nothing in a row is a secret.
 */
import type { Predicate } from '../tokens/revocation.ts';
import type { Database } from './database.ts';
import { digest, storable, textArray } from './values.ts';

export interface LeaseIntent {
  /** A UUID. */
  readonly id: string;
  readonly upstream: string;
  readonly clientId: string;
  /** What of its token a revocation can hit. */
  readonly facts: readonly Pick<Predicate, 'kind' | 'value'>[];
  /** NumericDate: the earliest that its token can have been issued at. */
  readonly tokenIssuedAtSeconds: number;
  /** Name that the subject would be registered under; `undefined` for a client. */
  readonly subjectName: string | undefined;
  readonly lifetimeSeconds: number;
}

export interface LeaseNumbers {
  /** Intended or held. */
  readonly alive: number;
  readonly ending: number;
  /** `undefined` where none is. */
  readonly oldestEndingSeconds: number | undefined;
}

/** A lease to be ended: without accessor there is nothing at Vault. */
export interface EndingLease {
  readonly id: string;
  readonly accessor: string | null;
}

export interface LeaseRows {
  /** Committed when this resolves. */
  intend(intent: LeaseIntent): Promise<void>;
  /** `false`: the row is not intended any more, or 30 s old, so there must be no lease. */
  noteAccessor(id: string, accessor: string): Promise<boolean>;
  /** The lease is there, and lives so long from now; `false` as before. */
  hold(id: string, lifetimeSeconds: number): Promise<boolean>;
  /** It is to be ended, and whoever calls this tries first. */
  beginEnd(id: string): Promise<void>;
  /** Its holder was ended. */
  remove(id: string): Promise<void>;
  /**
   * Marks as ending what stayed intended for 60 s, and of what is held that which expired or may not go on: its token was
   * revoked, somebody in it or the upstream was disabled or removed, its client is no caller of the upstream any more.
   * What is being made is left to whoever makes it: Vault registers a lease also under a holder that was revoked meanwhile,
   * and nothing ends it then. How many.
   */
  markDue(): Promise<number>;
  /** Leases to be ended, nobody else's for a while: 5 s at first, 30 s at most. */
  claimEnding(rowsMax: number): Promise<readonly EndingLease[]>;
  numbers(): Promise<LeaseNumbers>;
}

const INTEND = `
INSERT INTO lease (id, upstream, client_id, fact_kinds, fact_values, token_issued_at, subject_hash, state, expires_at)
VALUES ($1::uuid, $2, $3, $4::text::text[], $5::text::text[], $6, decode($7, 'hex'), 'intended',
  clock_timestamp() + $8 * interval '1 second')`;

const HASH_OF = (text: string) => `sha256(convert_to(${text}, 'UTF8'))`;
const MISSING = (kind: string, name: string) => `NOT EXISTS (SELECT FROM object
    WHERE object.kind = '${kind}' AND object.name_hash = ${HASH_OF(name)} AND NOT object.disabled)`;

const MARK_DUE = `
UPDATE lease SET state = 'ending', ending_at = clock_timestamp(), retry_at = NULL WHERE id IN (
SELECT id FROM lease WHERE state = 'intended' AND created_at <= clock_timestamp() - interval '60 seconds'
  OR state = 'held' AND (
  expires_at <= clock_timestamp()
  OR EXISTS (SELECT FROM unnest(fact_kinds, fact_values) AS fact(kind, value) JOIN revocation USING (kind, value)
    WHERE revocation.expires_at > clock_timestamp()
      AND (revocation.issued_until IS NULL OR revocation.issued_until >= lease.token_issued_at))
  OR NOT EXISTS (SELECT FROM object WHERE object.kind = 'upstream' AND object.name_hash = ${HASH_OF('lease.upstream')}
    AND NOT object.disabled AND object.spec->'callers' ? lease.client_id)
  OR ${MISSING('client', 'lease.client_id')}
  OR EXISTS (SELECT FROM unnest(fact_kinds, fact_values) AS fact(kind, value)
    WHERE fact.kind = 'client' AND ${MISSING('client', 'fact.value')})
  OR EXISTS (SELECT FROM unnest(fact_kinds, fact_values) AS fact(kind, value)
    JOIN object_key ON fact.kind = 'issuer' AND object_key.namespace = 'iss' AND key_hash = ${HASH_OF('fact.value')}
    JOIN object ON object.kind = object_key.kind AND object.name_hash = object_key.name_hash AND object.disabled)
  OR EXISTS (SELECT FROM object
    WHERE object.kind = 'subject' AND object.name_hash = lease.subject_hash AND object.disabled)
) FOR UPDATE SKIP LOCKED) RETURNING id`;

const CLAIM = `
UPDATE lease SET attempts = attempts + 1,
  retry_at = clock_timestamp() + least(30, 5 * power(2, least(attempts, 4))) * (0.75 + random() / 2) * interval '1 second'
WHERE id IN (
  SELECT id FROM lease WHERE state = 'ending' AND (retry_at IS NULL OR retry_at <= clock_timestamp())
  ORDER BY retry_at NULLS FIRST LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING id, accessor`;

const NUMBERS = `
SELECT count(*) FILTER (WHERE state <> 'ending')::integer AS alive,
  count(*) FILTER (WHERE state = 'ending')::integer AS ending,
  extract(epoch FROM clock_timestamp() - min(ending_at))::float8 AS oldest FROM lease`;

export function createLeaseRows(db: Database): LeaseRows {
  const changed = async (statement: string, values: readonly unknown[]) =>
    (await db.query<{ id: string }>(`${statement} RETURNING id`, values)).length === 1;
  return {
    async intend({ id, upstream, clientId, facts, tokenIssuedAtSeconds, subjectName, lifetimeSeconds }) {
      await db.query(INTEND, [
        id,
        upstream,
        clientId,
        textArray(facts.map(({ kind }) => kind)),
        textArray(facts.map(({ value }) => storable(value, 2048))),
        tokenIssuedAtSeconds,
        subjectName === undefined ? null : digest(subjectName).toString('hex'),
        lifetimeSeconds,
      ]);
    },
    noteAccessor: (id, accessor) =>
      changed(
        `UPDATE lease SET accessor = $2 WHERE id = $1::uuid AND state = 'intended'
           AND created_at > clock_timestamp() - interval '30 seconds'`,
        [id, accessor],
      ),
    hold: (id, lifetimeSeconds) =>
      changed(
        `UPDATE lease SET state = 'held',
           expires_at = least(expires_at, clock_timestamp() + $2 * interval '1 second')
         WHERE id = $1::uuid AND state = 'intended'`,
        [id, lifetimeSeconds],
      ),
    async beginEnd(id) {
      await db.query(
        `UPDATE lease SET state = 'ending', ending_at = coalesce(ending_at, clock_timestamp()), attempts = attempts + 1,
           retry_at = clock_timestamp() + interval '5 seconds' WHERE id = $1::uuid`,
        [id],
      );
    },
    async remove(id) {
      await db.query("DELETE FROM lease WHERE id = $1::uuid AND state = 'ending'", [id]);
    },
    markDue: async () => (await db.query(MARK_DUE, [], { name: 'lease-mark-due' })).length,
    claimEnding: (rowsMax) => db.query<EndingLease>(CLAIM, [rowsMax], { name: 'lease-claim' }),
    async numbers() {
      const [row] = await db.query<{ alive: number; ending: number; oldest: number | null }>(NUMBERS, [], {
        name: 'lease-numbers',
      });
      const { alive = 0, ending = 0, oldest = null } = row ?? {};
      return { alive, ending, oldestEndingSeconds: oldest ?? undefined };
    },
  };
}
