/**
 * Changes registered objects: any number of mutations in one transaction under the lock of the state row, so that changes
 * have one order on all nodes and the version counter never shows a half of one. Everything that a cache must forget is
 * written into `object_change` with it, and the audit record of the change is part of the same transaction.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Kind, ObjectKey, Specs } from '../objects/kinds.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Queryable } from './database.ts';
import { digest, hex, textArray } from './values.ts';

export type Mutation<K extends Kind = Kind> =
  | {
      readonly type: 'put';
      readonly kind: K;
      readonly name: string;
      readonly spec: Specs[K];
      /** `undefined` keeps what it was; a new object is enabled. */
      readonly disabled?: boolean | undefined;
      readonly keys: readonly ObjectKey[];
    }
  /** No error when it is not there. */
  | { readonly type: 'remove'; readonly kind: K; readonly name: string }
  /** Throws ObjectMissing when it is not there. */
  | { readonly type: 'disable' | 'enable'; readonly kind: K; readonly name: string };

export interface ChangeOptions {
  /** Who did it, for the history. */
  readonly author: string;
  /** What put the objects there; `listByOrigin` finds them again. */
  readonly origin: string;
  /** Throws StateMoved unless the state is still at this version. */
  readonly expectVersion?: number | undefined;
  /** Builds the audit record, from the new state version; where it cannot be written, nothing is changed. */
  readonly record?: ((version: number) => RecordRow) | undefined;
}

/** Another object has this key. */
export class KeyTaken extends Error {
  override readonly name = 'KeyTaken';
  readonly namespace: ObjectKey['namespace'];
  readonly key: string;
  /** The object that has it. */
  readonly kind: Kind;
  readonly objectName: string;

  constructor(key: ObjectKey, holder: { readonly kind: Kind; readonly name: string }) {
    super(`${key.namespace} ${key.key} belongs to ${holder.kind} ${holder.name}`);
    this.namespace = key.namespace;
    this.key = key.key;
    this.kind = holder.kind;
    this.objectName = holder.name;
  }
}

/** The state has changed since the version that the change was planned on. */
export class StateMoved extends Error {
  override readonly name = 'StateMoved';
  readonly expected: number;
  readonly found: number;

  constructor(expected: number, found: number) {
    super(`the state is at version ${found}, the change was planned on version ${expected}`);
    this.expected = expected;
    this.found = found;
  }
}

/** There is no such object. */
export class ObjectMissing extends Error {
  override readonly name = 'ObjectMissing';
  readonly kind: Kind;
  readonly objectName: string;

  constructor(kind: Kind, name: string) {
    super(`there is no ${kind} ${name}`);
    this.kind = kind;
    this.objectName = name;
  }
}

type Put = Extract<Mutation, { type: 'put' }>;

/** What all mutations of one object come to. */
interface Effect {
  readonly kind: Kind;
  readonly name: string;
  readonly hash: string;
  /** Kind and hash: objects of different kinds may have the same name. */
  readonly id: string;
  put?: Put;
  /** Removed first; a put after that starts from nothing. */
  removed: boolean;
  flag?: boolean;
}

interface GivenRow {
  kind: Kind;
  hash: string;
}

/** Runs within a transaction; returns the new state version. */
export async function applyMutations(
  q: Queryable,
  mutations: readonly Mutation[],
  options: ChangeOptions,
): Promise<number> {
  const version = await nextVersion(q, options.expectVersion);
  const effects = netEffects(mutations);
  const puts = effects.filter((effect) => effect.put !== undefined);
  const touched = effects.filter((effect) => effect.put !== undefined || effect.removed);
  const freed = await freeKeys(q, touched);
  const removed = await removeObjects(
    q,
    effects.filter((effect) => effect.removed),
  );
  await putObjects(q, puts, version, options.origin);
  await setFlags(
    q,
    effects.filter((effect) => effect.put === undefined && effect.flag !== undefined),
    version,
  );
  const taken = await takeKeys(q, puts);
  const changed = effects.filter(
    (effect) => effect.put !== undefined || effect.flag !== undefined || removed.has(effect.id),
  );
  const keysOf = ({ id }: Effect) => [...new Set([...(freed.get(id) ?? []), ...(taken.get(id) ?? [])])];
  await writeHistory(q, changed, version, options.author, keysOf);
  if (options.record !== undefined) await insertChangeRecord(q, options.record(version));
  return version;
}

/** Takes the lock under which all changes are made, one after the other. */
export async function nextVersion(q: Queryable, expected?: number): Promise<number> {
  const [row] = await q.query<{ version: number }>('UPDATE state SET version = version + 1 RETURNING version');
  if (row === undefined) throw new Error('the state row is missing');
  if (expected !== undefined && row.version - 1 !== expected) throw new StateMoved(expected, row.version - 1);
  return row.version;
}

function idOf({ kind, hash }: { readonly kind: Kind; readonly hash: string }): string {
  return `${kind}#${hash}`;
}

function netEffects(mutations: readonly Mutation[]): Effect[] {
  const effects = new Map<string, Effect>();
  for (const mutation of mutations) {
    const { kind, name } = mutation;
    const hash = hex(digest(name));
    const id = idOf({ kind, hash });
    const effect = effects.get(id) ?? { kind, name, hash, id, removed: false };
    effects.set(id, effect);
    switch (mutation.type) {
      case 'put':
        effect.put = mutation;
        if (mutation.disabled !== undefined) effect.flag = mutation.disabled;
        break;
      case 'remove':
        effect.removed = true;
        delete effect.put;
        delete effect.flag;
        break;
      case 'disable':
      case 'enable':
        if (effect.removed && effect.put === undefined) throw new ObjectMissing(kind, name);
        effect.flag = mutation.type === 'disable';
        break;
    }
  }
  return [...effects.values()];
}

/** Takes away every key of these objects; returns them by object, so that what they lose can be forgotten. */
async function freeKeys(q: Queryable, effects: readonly Effect[]): Promise<Map<string, string[]>> {
  const freed = new Map<string, string[]>();
  if (effects.length === 0) return freed;
  const rows = await q.query<GivenRow & { key_id: string }>(
    `DELETE FROM object_key USING unnest($1::text[], $2::text[]) AS given(kind, hash)
     WHERE object_key.kind = given.kind AND object_key.name_hash = decode(given.hash, 'hex')
     RETURNING given.kind, given.hash, object_key.namespace || '#' || encode(object_key.key_hash, 'hex') AS key_id`,
    [effects.map(({ kind }) => kind), effects.map(({ hash }) => hash)],
  );
  for (const row of rows) freed.set(idOf(row), [...(freed.get(idOf(row)) ?? []), row.key_id]);
  return freed;
}

async function removeObjects(q: Queryable, effects: readonly Effect[]): Promise<Set<string>> {
  if (effects.length === 0) return new Set();
  const rows = await q.query<GivenRow>(
    `DELETE FROM object USING unnest($1::text[], $2::text[]) AS given(kind, hash)
     WHERE object.kind = given.kind AND object.name_hash = decode(given.hash, 'hex') RETURNING given.kind, given.hash`,
    [effects.map(({ kind }) => kind), effects.map(({ hash }) => hash)],
  );
  return new Set(rows.map(idOf));
}

async function putObjects(q: Queryable, puts: readonly Effect[], version: number, origin: string): Promise<void> {
  if (puts.length === 0) return;
  await q.query(
    `INSERT INTO object (kind, name_hash, name, spec, disabled, origin, version)
     SELECT kind, decode(hash, 'hex'), name, spec::jsonb, coalesce(flag, false), $6, $7
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[]) AS given(kind, hash, name, spec, flag)
     ON CONFLICT (kind, name_hash) DO UPDATE SET spec = excluded.spec, origin = excluded.origin,
       version = excluded.version`,
    [
      puts.map(({ kind }) => kind),
      puts.map(({ hash }) => hash),
      puts.map(({ name }) => name),
      puts.map(({ put }) => JSON.stringify(put?.spec)),
      puts.map(({ flag }) => flag ?? null),
      origin,
      version,
    ],
  );
  await setFlags(
    q,
    puts.filter(({ flag }) => flag !== undefined),
    version,
  );
}

async function setFlags(q: Queryable, effects: readonly Effect[], version: number): Promise<void> {
  if (effects.length === 0) return;
  const rows = await q.query<GivenRow>(
    `UPDATE object SET disabled = given.flag, version = $4
     FROM unnest($1::text[], $2::text[], $3::bool[]) AS given(kind, hash, flag)
     WHERE object.kind = given.kind AND object.name_hash = decode(given.hash, 'hex') RETURNING given.kind, given.hash`,
    [effects.map(({ kind }) => kind), effects.map(({ hash }) => hash), effects.map(({ flag }) => flag), version],
  );
  const found = new Set(rows.map(idOf));
  const missing = effects.find(({ id }) => !found.has(id));
  if (missing !== undefined) throw new ObjectMissing(missing.kind, missing.name);
}

interface WantedKey extends ObjectKey {
  readonly keyHash: string;
  readonly owner: Effect;
}

/** Gives the put objects their keys. Throws KeyTaken, also when two objects of one change want the same. */
async function takeKeys(q: Queryable, puts: readonly Effect[]): Promise<Map<string, string[]>> {
  const wanted = new Map<string, WantedKey>();
  const taken = new Map<string, string[]>();
  for (const owner of puts) {
    for (const key of owner.put?.keys ?? []) {
      const keyHash = hex(digest(key.key));
      const id = `${key.namespace}#${keyHash}`;
      const other = wanted.get(id);
      if (other !== undefined && other.owner !== owner) throw new KeyTaken(key, other.owner);
      wanted.set(id, { ...key, keyHash, owner });
      taken.set(owner.id, [...(taken.get(owner.id) ?? []), id]);
    }
  }
  if (wanted.size === 0) return taken;
  const keys = [...wanted.values()];
  const inserted = await q.query<{ id: string }>(
    `INSERT INTO object_key (namespace, key_hash, key, kind, name_hash)
     SELECT namespace, decode(key_hash, 'hex'), key, kind, decode(name_hash, 'hex')
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
       AS given(namespace, key_hash, key, kind, name_hash)
     ON CONFLICT (namespace, key_hash) DO NOTHING RETURNING namespace || '#' || encode(key_hash, 'hex') AS id`,
    [
      keys.map(({ namespace }) => namespace),
      keys.map(({ keyHash }) => keyHash),
      keys.map(({ key }) => key),
      keys.map(({ owner }) => owner.kind),
      keys.map(({ owner }) => owner.hash),
    ],
  );
  const got = new Set(inserted.map(({ id }) => id));
  for (const [id, key] of wanted) if (!got.has(id)) throw new KeyTaken(key, await holderOf(q, key));
  return taken;
}

async function holderOf(q: Queryable, key: WantedKey): Promise<{ kind: Kind; name: string }> {
  const [holder] = await q.query<{ kind: Kind; name: string }>(
    `SELECT object.kind, object.name FROM object_key JOIN object USING (kind, name_hash)
     WHERE namespace = $1 AND key_hash = decode($2, 'hex')`,
    [key.namespace, key.keyHash],
  );
  if (holder === undefined) throw new Error('a key is taken by nobody');
  return holder;
}

async function writeHistory(
  q: Queryable,
  effects: readonly Effect[],
  version: number,
  author: string,
  keysOf: (effect: Effect) => readonly string[],
): Promise<void> {
  if (effects.length === 0) return;
  await q.query(
    `INSERT INTO object_change (version, kind, name_hash, name, spec, disabled, removed, action, keys, at, author)
     SELECT $6, given.kind, decode(given.hash, 'hex'), given.name, object.spec, coalesce(object.disabled, false),
       object.kind IS NULL, given.action, given.keys::text[], clock_timestamp(), $7
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS given(kind, hash, name, action, keys)
     LEFT JOIN object ON object.kind = given.kind AND object.name_hash = decode(given.hash, 'hex')`,
    [
      effects.map(({ kind }) => kind),
      effects.map(({ hash }) => hash),
      effects.map(({ name }) => name),
      effects.map(actionOf),
      effects.map((effect) => textArray(keysOf(effect))),
      version,
      author,
    ],
  );
}

function actionOf({ put, flag, removed }: Effect): string {
  if (put !== undefined) return 'put';
  if (removed) return 'remove';
  return flag === true ? 'disable' : 'enable';
}
