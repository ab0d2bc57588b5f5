/**
 * The root key: where the key-encryption key is at a key manager that never gives it out, 32 random bytes seal in its
 * place, and lie in the database wrapped by it. A node has them unwrapped once, when it starts: after that nothing waits
 * for the key manager. Refuses to make a root key for a database that is sealed under a key that was not given.
 */
import { randomBytes } from 'node:crypto';
import type { RecordRow } from '../audit/record.ts';
import { insertChangeRecord } from './commit-statement.ts';
import type { Database, Queryable } from './database.ts';
import { createEnvelope, keyId, WrongKeyEncryptionKey } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import { sealedUnder } from './instance.ts';

/** A key at a key manager. */
export interface KeyPlace {
  readonly mount: string;
  readonly key: string;
}

/** 32 bytes that were given, or where the key is that wraps what seals. */
export type KeyEncryptionKey = Uint8Array | KeyPlace;

/** A key at a key manager, as something that wraps. `boundTo` must be the same to unwrap. */
export interface KeyWrapper {
  /** Under its newest version. */
  wrap(key: Uint8Array, boundTo: string): Promise<string>;
  /** Throws WrongKeyEncryptionKey where another key wrapped it, or it was altered, or bound to something else. */
  unwrap(wrapped: string, boundTo: string): Promise<Uint8Array>;
  /** The version that wrapped it. */
  versionOf(wrapped: string): number;
}

export type WrapperAt = (place: KeyPlace) => KeyWrapper;

/** A root key as it lies in the database, or in the header of a backup. */
export interface WrappedRootKey extends KeyPlace {
  readonly id: string;
  readonly wrapped: string;
}

/** The first one seals, all open. */
export type KeyEncryptionKeys = readonly [KeyEncryptionKey, ...KeyEncryptionKey[]];

export const placeName = ({ mount, key }: KeyPlace): string => `${mount}/${key}`;
export const isPlace = (key: KeyEncryptionKey): key is KeyPlace => !(key instanceof Uint8Array);

export function listRootKeys(q: Queryable): Promise<WrappedRootKey[]> {
  return q.query<WrappedRootKey>('SELECT id, mount, key, wrapped FROM root_key ORDER BY created_at, id');
}

/** What is needed to wrap the root keys anew. */
export interface HeldRootKeys {
  /** Wraps each anew where its wrapping key has a newer version by now; how many were. */
  rewrap(record: (rewrapped: number) => RecordRow): Promise<number>;
}

/** The envelope of a node, with root keys made where a key manager has none yet. Throws WrongKeyEncryptionKey. */
export async function openEnvelope(
  db: Database,
  keys: KeyEncryptionKeys,
  wrapperAt: WrapperAt,
): Promise<{ readonly envelope: Envelope; readonly rootKeys: HeldRootKeys }> {
  const places = keys.filter(isPlace);
  if (places.length > 0) await makeMissing(db, keys, wrapperAt);
  const opened = await openExisting(await listRootKeys(db), keys, await sealedUnder(db), wrapperAt);
  if (opened?.complete !== true) throw new Error('a root key was made and is not there');
  return { envelope: opened.envelope, rootKeys: { rewrap: (record) => rewrapAll(db, opened.held, wrapperAt, record) } };
}

/**
 * The envelope over root keys that are there, for whoever only looks; `undefined` where no key can be had from them. What
 * was sealed last is sealed under `neededId`: the root key of that id also counts for a key that was moved.
 */
export async function openExisting(
  rows: readonly WrappedRootKey[],
  keys: KeyEncryptionKeys,
  neededId: string | undefined,
  wrapperAt: WrapperAt,
): Promise<{ envelope: Envelope; held: readonly HeldRootKey[]; complete: boolean } | undefined> {
  const held: HeldRootKey[] = [];
  const bytes = await Promise.all(
    keys.map(async (key) => {
      if (!isPlace(key)) return key;
      const row = rowOf(key, rows, keys, neededId);
      if (row === undefined) return undefined;
      const unwrapped = await unwrapRow(row, wrapperAt(key));
      held.push({ place: key, row, bytes: unwrapped });
      return unwrapped;
    }),
  );
  const [first, ...more] = bytes.filter((one) => one !== undefined);
  if (first === undefined) return undefined;
  return { envelope: createEnvelope(first, more), held, complete: !bytes.includes(undefined) };
}

interface HeldRootKey {
  readonly place: KeyPlace;
  readonly row: WrappedRootKey;
  readonly bytes: Uint8Array;
}

/** By its name; or, since a mount can be moved, the one that is needed and that no other name of the settings has. */
function rowOf(
  place: KeyPlace,
  rows: readonly WrappedRootKey[],
  keys: KeyEncryptionKeys,
  neededId: string | undefined,
): WrappedRootKey | undefined {
  const named = new Set(keys.filter(isPlace).map(placeName));
  return (
    rows.find((row) => placeName(row) === placeName(place)) ??
    rows.find((row) => row.id === neededId && !named.has(placeName(row)))
  );
}

async function unwrapRow(row: WrappedRootKey, wrapper: KeyWrapper): Promise<Uint8Array> {
  const bytes = await wrapper.unwrap(row.wrapped, boundTo(row.id));
  if (keyId(bytes) !== row.id) throw new WrongKeyEncryptionKey('a wrapped root key is not the one of its row');
  return bytes;
}

async function makeMissing(db: Database, keys: KeyEncryptionKeys, wrapperAt: WrapperAt): Promise<void> {
  const [rows, neededId] = await Promise.all([listRootKeys(db), sealedUnder(db)]);
  const missing = keys.filter(isPlace).filter((place) => rowOf(place, rows, keys, neededId) === undefined);
  if (missing.length === 0) return;
  const known = [
    ...keys.flatMap((key) => (isPlace(key) ? [] : [keyId(key)])),
    ...keys.filter(isPlace).flatMap((place) => rowOf(place, rows, keys, neededId)?.id ?? []),
  ];
  if (neededId !== undefined && !known.includes(neededId))
    throw new WrongKeyEncryptionKey(
      `this database is sealed under another key-encryption key (${neededId}) than those given, and no root key is made ` +
        `for ${missing.map(placeName).join(', ')} beside it. Give the key that it is sealed under: the old one in ` +
        'previous_key_encryption_keys, or in key_encryption.previous_transit, until cambist keys rewrap is done. ' +
        'There is no way to read its keys without it.',
    );
  for (const place of missing) await make(db, place, wrapperAt(place));
}

/** Of several nodes that make one at once, one wins. What was not unwrapped again seals nothing (`openExisting`). */
async function make(db: Database, { mount, key }: KeyPlace, wrapper: KeyWrapper): Promise<void> {
  const bytes = randomBytes(32);
  const id = keyId(bytes);
  const wrapped = await wrapper.wrap(bytes, boundTo(id));
  await db.query(
    'INSERT INTO root_key (id, mount, key, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT (mount, key) DO NOTHING',
    [id, mount, key, wrapped],
  );
}

async function rewrapAll(
  db: Database,
  held: readonly HeldRootKey[],
  wrapperAt: WrapperAt,
  record: (rewrapped: number) => RecordRow,
): Promise<number> {
  const rows = await listRootKeys(db);
  let rewrapped = 0;
  for (const { place, row, bytes } of held) {
    const wrapper = wrapperAt(place);
    const before = rows.find(({ id }) => id === row.id)?.wrapped ?? row.wrapped;
    const after = await wrapper.wrap(bytes, boundTo(row.id));
    if (wrapper.versionOf(after) <= wrapper.versionOf(before)) continue;
    // Nothing takes the place of the last copy that was not seen to open.
    await unwrapRow({ ...row, wrapped: after }, wrapper);
    rewrapped += await db.transaction(async (q) => {
      const written = await q.query('UPDATE root_key SET wrapped = $3 WHERE id = $1 AND wrapped = $2 RETURNING 1', [
        row.id,
        before,
        after,
      ]);
      if (written.length > 0) await insertChangeRecord(q, record(written.length));
      return written.length;
    });
  }
  return rewrapped;
}

const boundTo = (id: string) => `root_key|${id}|key`;
