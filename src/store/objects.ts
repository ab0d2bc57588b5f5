/**
 * Registered objects as every node sees them: read through bounded caches that are checked against the database once per
 * request (`change-feed.ts`), changed in one transaction (`object-changes.ts`).
 */
import type { Kind, ObjectKey, Specs, StoredObject } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import { createChangeFeed } from './change-feed.ts';
import type { ChangeFeed } from './change-feed.ts';
import type { Database } from './database.ts';
import { applyMutations } from './object-changes.ts';
import type { ChangeOptions, Mutation } from './object-changes.ts';
import { digest, hex, storable } from './values.ts';
import { createVersionedCache } from './versioned-cache.ts';
import type { LookupResult } from './versioned-cache.ts';

export { KeyTaken, ObjectMissing, StateMoved } from './object-changes.ts';
export type { ChangeOptions, Mutation } from './object-changes.ts';

export interface ListedObject<K extends Kind = Kind> extends StoredObject<K> {
  /** Who or what put it there last, as given to `change`. */
  readonly origin: string;
}

export interface ObjectStore {
  /** Reads that are at least as new as this call. Ask once per request and keep it for that request. */
  current(): Promise<ObjectReader>;
  /** All or nothing. Throws KeyTaken, StateMoved, ObjectMissing. */
  change(mutations: readonly Mutation[], options: ChangeOptions): Promise<{ readonly version: number }>;
  /** By name, from the database itself. `after`: name of the last one of the page before; `limit` at most 1000. */
  list<K extends Kind>(
    kind: K,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly ListedObject<K>[]>;
  /** Any object that is marked as belonging to the demo. */
  findDemo(): Promise<{ readonly kind: Kind; readonly name: string } | undefined>;
  listByOrigin(origin: string): Promise<readonly ListedObject[]>;
  /** Every spec that stood under this name, whether or not something does now; none where nothing ever did. */
  specsEver<K extends Kind>(kind: K, name: string): Promise<readonly Specs[K][]>;
  /** Names of those that have, or once had, this key. */
  namesEver(kind: Kind, key: ObjectKey): Promise<readonly string[]>;
  /** For further caches that follow the same changes. */
  readonly feed: ChangeFeed;
}

export interface ObjectStoreOptions {
  /** Bounds on each of three caches. */
  readonly cacheEntriesMax?: number;
  readonly cacheBytesMax?: number;
  readonly onLookup?: (cache: 'by_name' | 'by_key' | 'by_kind', result: LookupResult) => void;
}

interface Row {
  kind: Kind;
  name: string;
  spec: unknown;
  disabled: boolean;
  version: number;
  origin: string;
  bytes: number;
}

const COLUMNS = `object.kind, object.name, object.spec, object.disabled, object.version, object.origin,
  pg_column_size(object.spec) AS bytes`;

/** A spec takes about this many times its stored size in memory. */
const MEMORY_FACTOR = 4;

interface Sized<T> {
  readonly value: T;
  readonly bytes: number;
}

interface Place {
  readonly kind: Kind;
  readonly name: string;
}

export function createObjectStore(db: Database, options: ObjectStoreOptions = {}): ObjectStore {
  const feed = createChangeFeed(db);
  const entriesMax = options.cacheEntriesMax ?? 100_000;
  const bytesMax = options.cacheBytesMax ?? 32_000_000;
  const byName = createVersionedCache({
    entriesMax,
    bytesMax,
    bytesOf: ({ bytes }: Sized<StoredObject>) => bytes,
    fetch: (ids) => fetchByName(db, ids),
    onLookup: (result) => options.onLookup?.('by_name', result),
  });
  const byKey = createVersionedCache({
    entriesMax,
    bytesMax,
    bytesOf: ({ name }: Place) => 2 * name.length,
    fetch: (ids) => fetchByKey(db, ids),
    onLookup: (result) => options.onLookup?.('by_key', result),
  });
  const byKind = createVersionedCache({
    entriesMax,
    bytesMax,
    bytesOf: ({ bytes }: Sized<readonly StoredObject[]>) => bytes,
    fetch: (kinds) => fetchByKind(db, kinds),
    onLookup: (result) => options.onLookup?.('by_kind', result),
  });
  feed.follow({
    forget(changes) {
      byName.forget(changes.map(({ kind, name }) => nameId(kind, name)));
      byKey.forget(changes.flatMap(({ keys }) => keys));
      byKind.forget(changes.map(({ kind }) => kind));
    },
    forgetAll() {
      byName.forgetAll();
      byKey.forgetAll();
      byKind.forgetAll();
    },
  });

  async function get<K extends Kind>(kind: K, name: string): Promise<StoredObject<K> | undefined> {
    return (await byName.get(nameId(kind, name)))?.value as StoredObject<K> | undefined;
  }
  const reads = {
    get,
    async find(key: ObjectKey) {
      const place = await byKey.get(keyId(key.namespace, key.key));
      return place === undefined ? undefined : get(place.kind, place.name);
    },
    async all<K extends Kind>(kind: K) {
      return ((await byKind.get(kind))?.value ?? []) as readonly StoredObject<K>[];
    },
  };

  return {
    feed,
    async current() {
      return { state: await feed.current(), ...reads };
    },
    async change(mutations, changeOptions) {
      const version = await db.transaction((q) => applyMutations(q, mutations, changeOptions));
      return { version };
    },
    async list<K extends Kind>(kind: K, page: { readonly after?: string; readonly limit: number }) {
      const after = page.after === undefined ? null : storable(page.after, page.after.length);
      const rows = await db.query<Row>(
        `SELECT ${COLUMNS} FROM object
         WHERE kind = $1 AND ($2::text IS NULL OR (left(name, 256), name_hash) > (left($2::text, 256), decode($3, 'hex')))
         ORDER BY left(name, 256), name_hash LIMIT $4`,
        [kind, after, after === null ? '' : hex(digest(after)), Math.min(Math.max(1, page.limit), 1000)],
      );
      return rows.map(listed) as unknown as readonly ListedObject<K>[];
    },
    async findDemo() {
      const [row] = await db.query<Pick<Row, 'kind' | 'name'>>(
        `SELECT kind, name FROM object WHERE spec @> '{"demo": true}' LIMIT 1`,
      );
      return row;
    },
    async listByOrigin(origin) {
      const rows = await db.query<Row>(
        `SELECT ${COLUMNS} FROM object WHERE origin = $1 ORDER BY kind, left(name, 256), name_hash`,
        [origin],
      );
      return rows.map(listed);
    },
    async specsEver<K extends Kind>(kind: K, name: string) {
      const rows = await db.query<{ spec: Specs[K] }>(
        `SELECT DISTINCT spec FROM object_change WHERE kind = $1 AND name_hash = decode($2, 'hex') AND spec IS NOT NULL`,
        [kind, hex(digest(name))],
        { name: 'object-specs-ever' },
      );
      return rows.map(({ spec }) => spec);
    },
    async namesEver(kind, { namespace, key }) {
      const rows = await db.query<{ name: string }>(
        `SELECT DISTINCT name FROM object_change WHERE kind = $1 AND $2 = ANY (keys)`,
        [kind, keyId(namespace, key)],
        { name: 'object-names-ever' },
      );
      return rows.map(({ name }) => name);
    },
  };
}

/** What a name is cached under. A long one (a caller chose it) by its digest, so that memory stays bounded. */
export function nameId(kind: Kind, name: string): string {
  return name.length <= 128 ? `${kind}:${name}` : `${kind}#${hex(digest(name))}`;
}

/** What a key is cached under, and written as in `object_change.keys`. */
export function keyId(namespace: string, key: string): string {
  return `${namespace}#${hex(digest(key))}`;
}

function splitId(id: string): { readonly head: string; readonly hash: string } {
  const at = id.search(/[:#]/);
  const rest = id.slice(at + 1);
  return { head: id.slice(0, at), hash: id[at] === '#' ? rest : hex(digest(rest)) };
}

async function fetchByName(db: Database, ids: readonly string[]): Promise<ReadonlyMap<string, Sized<StoredObject>>> {
  const asked = ids.map(splitId);
  const rows = await db.query<Row>(
    `SELECT ${COLUMNS} FROM unnest($1::text[], $2::text[]) AS asked(kind, hash)
     JOIN object ON object.kind = asked.kind AND object.name_hash = decode(asked.hash, 'hex')`,
    [asked.map(({ head }) => head), asked.map(({ hash }) => hash)],
    { name: 'objects-by-name' },
  );
  return new Map(
    rows.map((row) => [nameId(row.kind, row.name), { value: frozen(stored(row)), bytes: MEMORY_FACTOR * row.bytes }]),
  );
}

async function fetchByKey(db: Database, ids: readonly string[]): Promise<ReadonlyMap<string, Place>> {
  const asked = ids.map(splitId);
  const rows = await db.query<{ namespace: string; hash: string; kind: Kind; name: string }>(
    `SELECT asked.namespace, asked.hash, object.kind, object.name
     FROM unnest($1::text[], $2::text[]) AS asked(namespace, hash)
     JOIN object_key AS k ON k.namespace = asked.namespace AND k.key_hash = decode(asked.hash, 'hex')
     JOIN object ON object.kind = k.kind AND object.name_hash = k.name_hash`,
    [asked.map(({ head }) => head), asked.map(({ hash }) => hash)],
    { name: 'objects-by-key' },
  );
  return new Map(rows.map(({ namespace, hash, kind, name }) => [`${namespace}#${hash}`, { kind, name }]));
}

async function fetchByKind(
  db: Database,
  kinds: readonly string[],
): Promise<ReadonlyMap<string, Sized<readonly StoredObject[]>>> {
  const rows = await db.query<Row>(
    `SELECT ${COLUMNS} FROM object WHERE kind = ANY($1::text[]) ORDER BY left(name, 256), name_hash`,
    [kinds],
    { name: 'objects-by-kind' },
  );
  return new Map(
    kinds.map((kind) => {
      const own = rows.filter((row) => row.kind === kind);
      const bytes = own.reduce((sum, row) => sum + MEMORY_FACTOR * row.bytes, 0);
      return [kind, { value: frozen(own.map(stored)), bytes }];
    }),
  );
}

function stored({ kind, name, spec, disabled, version }: Row): StoredObject {
  return { kind, name, spec: spec as Specs[Kind], disabled, version };
}

function listed(row: Row): ListedObject {
  return { ...stored(row), origin: row.origin };
}

/** Every request shares what the cache holds: nobody may write to it. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) frozen(part);
  }
  return value;
}
