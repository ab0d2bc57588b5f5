/**
 * One key per person, found by a keyed index over (issuer, sub) and sealed at rest. What records say about a person is
 * sealed under that key (`audit/personal.ts`): deleting the row erases the person from every record, and not one stored
 * byte of a record changes.
 */
import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { v4 as newUuid } from 'uuid';
import type { PersonKey } from '../audit/personal.ts';
import type { Principal } from '../core/principal.ts';
import type { Database } from './database.ts';
import type { Envelope } from './envelope.ts';
import { groupLookups } from './grouping.ts';
import type { Instance } from './instance.ts';
import { hex } from './values.ts';

export interface PersonKeys {
  /** Makes the key if there is none; of several nodes that do, all get the same one. */
  keyFor(principal: Principal): Promise<PersonKey>;
  /** `undefined`: erased, or never there. Never from a cache; concurrent ones share a statement. */
  find(principal: Principal): Promise<PersonKey | undefined>;
  /** `undefined`: erased, or never there. Never from a cache. */
  open(ref: string): Promise<Uint8Array | undefined>;
  /** Deletes the key. `false` when there was none. Other nodes may seal under the dead key until their cache forgets it. */
  erase(principal: Principal): Promise<boolean>;
}

export interface PersonKeysOptions {
  readonly db: Database;
  readonly envelope: Envelope;
  readonly instance: Instance;
  readonly cachedMax?: number;
}

const CACHED_FOR_MS = 300_000;

interface Row {
  ref: string;
  blind_index: Uint8Array;
  sealed_key: Uint8Array;
}

export function createPersonKeys({ db, envelope, instance, cachedMax }: PersonKeysOptions): PersonKeys {
  const cache = new LRUCache<string, PersonKey>({ max: cachedMax ?? 20_000, ttl: CACHED_FOR_MS });
  let erasures = 0;

  const openRow = (row: Row): PersonKey => ({ ref: row.ref, key: envelope.open(row.sealed_key, aadOf(row.ref)) });

  const obtain = groupLookups(async (indexes: readonly string[]) => {
    const began = erasures;
    const rows = await findRows(db, indexes);
    const found = new Set(rows.map(({ blind_index }) => hex(blind_index)));
    const missing = indexes.filter((index) => !found.has(index));
    if (missing.length > 0) {
      await insertRows(db, envelope, missing);
      // A statement of its own: its snapshot sees the rows of whoever was first.
      rows.push(...(await findRows(db, missing)));
    }
    const keys = new Map(rows.map((row) => [hex(row.blind_index), openRow(row)]));
    // Not kept if somebody was erased meanwhile: it might be one of these.
    if (began === erasures) for (const [index, key] of keys) cache.set(index, key);
    return keys;
  });

  const findNow = groupLookups(
    async (indexes: readonly string[]) =>
      new Map((await findRows(db, indexes)).map((row) => [hex(row.blind_index), row])),
  );

  return {
    async keyFor(principal) {
      const index = hex(instance.blindIndex(principal));
      const key = cache.get(index) ?? (await obtain(index));
      if (key === undefined) throw new Error('the key of a person was made and is not there');
      return key;
    },
    async find(principal) {
      const row = await findNow(hex(instance.blindIndex(principal)));
      // Opened one by one: a row that was tampered with is the trouble of its person alone.
      return row === undefined ? undefined : openRow(row);
    },
    async open(ref) {
      const [row] = await db.query<Row>('SELECT ref, blind_index, sealed_key FROM person_key WHERE ref = $1', [ref]);
      return row === undefined ? undefined : openRow(row).key;
    },
    async erase(principal) {
      const index = instance.blindIndex(principal);
      const forget = () => {
        erasures++;
        cache.delete(hex(index));
      };
      forget();
      const erased = await db.query('DELETE FROM person_key WHERE blind_index = $1 RETURNING ref', [index]);
      forget();
      return erased.length > 0;
    },
  };
}

async function findRows(db: Database, indexes: readonly string[]): Promise<Row[]> {
  return db.query<Row>(
    `SELECT ref, blind_index, sealed_key FROM person_key
     WHERE blind_index = ANY (SELECT decode(given, 'hex') FROM unnest($1::text[]) AS given)`,
    [indexes],
    { name: 'person-keys-find' },
  );
}

/** Sorted, so that two nodes that make keys of the same persons cannot lock each other out. */
async function insertRows(db: Database, envelope: Envelope, indexes: readonly string[]): Promise<void> {
  const refs = indexes.map(() => newUuid());
  await db.query(
    `INSERT INTO person_key (ref, blind_index, sealed_key)
     SELECT ref, decode(blind_index, 'hex'), decode(sealed_key, 'hex')
     FROM unnest($1::uuid[], $2::text[], $3::text[]) AS given(ref, blind_index, sealed_key) ORDER BY blind_index
     ON CONFLICT DO NOTHING`,
    [refs, indexes, refs.map((ref) => hex(envelope.seal(randomBytes(32), aadOf(ref))))],
    { name: 'person-keys-insert' },
  );
}

const aadOf = (ref: string) => `person_key|${ref}|key`;
