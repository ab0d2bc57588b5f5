/**
 * Client secrets: made here, shown once, stored as a hash. 256 random bits need no slow hash: there is nothing to guess.
 * At most two are valid at a time, so that a client can change over. Making or retiring one counts as a change of the
 * client, so that it is in force with the next request on every node; its audit record is part of its transaction.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { v7 as newUuid } from 'uuid';
import type { RecordRow } from '../audit/record.ts';
import type { ChangeFeed } from './change-feed.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database, Queryable } from './database.ts';
import { nextVersion, ObjectMissing } from './object-changes.ts';
import { digest, hex } from './values.ts';
import { createVersionedCache } from './versioned-cache.ts';
import type { LookupResult } from './versioned-cache.ts';

const VALID_MAX = 2;
const CACHED_CLIENTS_MAX = 50_000;
const CACHED_BYTES_MAX = 16_000_000;

export interface NewClientSecret {
  /** To be shown once: it cannot be read again. */
  readonly secret: string;
  readonly id: string;
  /** Ids of the secrets that stopped working because of this one. */
  readonly retired: readonly string[];
}

export interface ClientSecretRow {
  readonly id: string;
  readonly createdAtMs: number;
  readonly retiredAtMs: number | null;
}

/** What a change did to the secrets of a client, by their ids. */
export interface SecretsChanged {
  /** The new version of the state. */
  readonly version: number;
  readonly added?: string;
  readonly retired: readonly string[];
}

export interface SecretsChangeOptions {
  /** Who did it, for the history. */
  readonly author?: string;
  /** Builds the audit record; where it cannot be written, nothing is changed. */
  readonly record?: (changed: SecretsChanged) => RecordRow;
}

export interface ClientSecrets {
  /** Throws ObjectMissing. A third one retires the oldest at once. */
  add(clientId: string, options?: SecretsChangeOptions): Promise<NewClientSecret>;
  /**
   * Retires one secret, or all with `undefined`; returns the ids of those that were valid until now. Where none was,
   * nothing is changed and nothing recorded. Throws ObjectMissing.
   */
  retire(clientId: string, secretId: string | undefined, options?: SecretsChangeOptions): Promise<readonly string[]>;
  list(clientId: string): Promise<readonly ClientSecretRow[]>;
  /** Constant time in the secret. As new as the last `current()` of the object store whose feed this follows. */
  verify(clientId: string, secret: string): Promise<boolean>;
}

/** Without a feed nothing is cached; `onLookup` is told of every look into the cache. */
export function createClientSecrets(
  db: Database,
  feed?: ChangeFeed,
  onLookup?: (result: LookupResult) => void,
): ClientSecrets {
  const cache = createVersionedCache({
    entriesMax: CACHED_CLIENTS_MAX,
    bytesMax: CACHED_BYTES_MAX,
    bytesOf: (hashes: readonly Uint8Array[]) => hashes.length * 150,
    fetch: (hashes) => fetchHashes(db, hashes),
    onLookup,
  });
  feed?.follow({
    forget: (changes) => {
      cache.forget(changes.flatMap(({ kind, name }) => (kind === 'client' ? [hex(digest(name))] : [])));
    },
    forgetAll: () => {
      cache.forgetAll();
    },
  });

  async function validHashes(clientId: string): Promise<readonly Uint8Array[]> {
    const key = hex(digest(clientId));
    return (feed === undefined ? (await fetchHashes(db, [key])).get(key) : await cache.get(key)) ?? [];
  }

  return {
    add: (clientId, options) => db.transaction((q) => addSecret(q, clientId, options ?? {})),
    retire: (clientId, secretId, options) => db.transaction((q) => retireSecrets(q, clientId, secretId, options ?? {})),
    async list(clientId) {
      const rows = await db.query<{ id: string; created_at: Date; retired_at: Date | null }>(
        'SELECT id, created_at, retired_at FROM client_secret WHERE client_hash = $1 ORDER BY created_at, id',
        [digest(clientId)],
      );
      return rows.map(({ id, created_at, retired_at }) => ({
        id,
        createdAtMs: created_at.getTime(),
        retiredAtMs: retired_at?.getTime() ?? null,
      }));
    },
    async verify(clientId, secret) {
      const given = digest(secret);
      const hashes = await validHashes(clientId);
      let matched = false;
      // Always as many comparisons, whichever matches and however many there are.
      for (let place = 0; place < VALID_MAX; place++) {
        const hash = hashes[place];
        const equal = timingSafeEqual(given, hash ?? NO_HASH);
        matched = (equal && hash !== undefined) || matched;
      }
      return matched;
    },
  };
}

const NO_HASH = Buffer.alloc(32);

async function addSecret(
  q: Queryable,
  clientId: string,
  { author, record }: SecretsChangeOptions,
): Promise<NewClientSecret> {
  const version = await touchClient(q, clientId, author);
  const secret = `cbs_${randomBytes(32).toString('base64url')}`;
  const id = newUuid();
  const retiredRows = await q.query<{ id: string }>(
    `UPDATE client_secret SET retired_at = clock_timestamp()
     WHERE client_hash = $1 AND retired_at IS NULL AND id NOT IN (
       SELECT id FROM client_secret WHERE client_hash = $1 AND retired_at IS NULL
       ORDER BY created_at DESC, id DESC LIMIT $2
     ) RETURNING id`,
    [digest(clientId), VALID_MAX - 1],
  );
  await q.query('INSERT INTO client_secret (id, client_hash, client, hash) VALUES ($1, $2, $3, $4)', [
    id,
    digest(clientId),
    clientId,
    digest(secret),
  ]);
  const retired = retiredRows.map((row) => row.id);
  if (record !== undefined) await insertChangeRecord(q, record({ version, added: id, retired }));
  return { secret, id, retired };
}

async function retireSecrets(
  q: Queryable,
  clientId: string,
  secretId: string | undefined,
  { author, record }: SecretsChangeOptions,
): Promise<readonly string[]> {
  // The lock of all changes before any row, as whoever adds one takes them: else the two could lock each other out.
  await q.query('SELECT version FROM state FOR UPDATE');
  const found = await q.query(`SELECT FROM object WHERE kind = 'client' AND name_hash = $1`, [digest(clientId)]);
  if (found.length === 0) throw new ObjectMissing('client', clientId);
  const rows = await q.query<{ id: string }>(
    `UPDATE client_secret SET retired_at = clock_timestamp()
     WHERE client_hash = $1 AND ($2::text IS NULL OR id::text = $2::text) AND retired_at IS NULL RETURNING id`,
    [digest(clientId), secretId ?? null],
  );
  const retired = rows.map(({ id }) => id).sort();
  if (retired.length === 0) return retired;
  const version = await touchClient(q, clientId, author);
  if (record !== undefined) await insertChangeRecord(q, record({ version, retired }));
  return retired;
}

/** Writes a change of the client without changing it, under the lock of all changes. Throws ObjectMissing. */
async function touchClient(q: Queryable, clientId: string, author = 'cambist'): Promise<number> {
  const version = await nextVersion(q);
  const touched = await q.query(
    `INSERT INTO object_change (version, kind, name_hash, name, spec, disabled, removed, action, author)
     SELECT $1, kind, name_hash, name, spec, disabled, false, 'secret', $2 FROM object
     WHERE kind = 'client' AND name_hash = $3 RETURNING version`,
    [version, author, digest(clientId)],
  );
  if (touched.length === 0) throw new ObjectMissing('client', clientId);
  return version;
}

async function fetchHashes(
  db: Database,
  clientHashes: readonly string[],
): Promise<ReadonlyMap<string, readonly Uint8Array[]>> {
  const rows = await db.query<{ client: string; hash: Uint8Array }>(
    `SELECT encode(client_hash, 'hex') AS client, hash FROM client_secret
     WHERE client_hash = ANY (SELECT decode(given, 'hex') FROM unnest($1::text[]) AS given) AND retired_at IS NULL
     ORDER BY created_at DESC, id DESC`,
    [clientHashes],
    { name: 'client-secret-hashes' },
  );
  const found = new Map<string, Uint8Array[]>();
  for (const { client, hash } of rows) found.set(client, [...(found.get(client) ?? []), hash]);
  return found;
}
