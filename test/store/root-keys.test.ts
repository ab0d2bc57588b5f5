import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope, WrongKeyEncryptionKey } from '../../src/store/envelope.ts';
import { openInstance } from '../../src/store/instance.ts';
import { listRootKeys, openEnvelope, openExisting } from '../../src/store/root-keys.ts';
import type { KeyEncryptionKeys, KeyPlace, KeyWrapper } from '../../src/store/root-keys.ts';
import { withDatabases } from '../support/databases.ts';
import { record } from './fixtures.ts';

const PLACE: KeyPlace = { mount: 'transit', key: 'cambist' };
const OTHER: KeyPlace = { mount: 'transit', key: 'cambist-2' };
const recordOf = () => record('changed', { clientId: null });

/** A key manager in memory, with versions; it binds to nothing unless told to, as one would that ignores what it is told. */
function keyManager({ binds = true } = {}) {
  const versions = new Map<string, Buffer[]>();
  const asked = { wraps: 0, unwraps: 0 };
  const of = (place: KeyPlace) => {
    const name = `${place.mount}/${place.key}`;
    const found = versions.get(name) ?? [randomBytes(32)];
    versions.set(name, found);
    return found;
  };
  const wrapperAt = (place: KeyPlace): KeyWrapper => ({
    wrap(key, boundTo) {
      asked.wraps += 1;
      const all = of(place);
      const sealed = createEnvelope(all.at(-1)!).seal(key, binds ? boundTo : '');
      return Promise.resolve(`fake:v${all.length}:${Buffer.from(sealed).toString('base64')}`);
    },
    async unwrap(wrapped, boundTo) {
      asked.unwraps += 1;
      const [, version = '', text = ''] = /^fake:v(\d+):(.*)$/.exec(wrapped) ?? [];
      const key = of(place)[Number(version) - 1];
      if (key === undefined) throw new WrongKeyEncryptionKey('no such version');
      return Promise.resolve(createEnvelope(key).open(Buffer.from(text, 'base64'), binds ? boundTo : ''));
    },
    versionOf: (wrapped) => Number(/^fake:v(\d+):/.exec(wrapped)?.[1]),
  });
  return { wrapperAt, asked, rotate: (place: KeyPlace) => of(place).push(randomBytes(32)) };
}

withDatabases('the root key', (databases) => {
  const open = (db: Database, keys: KeyEncryptionKeys, manager: ReturnType<typeof keyManager>) =>
    openEnvelope(db, keys, manager.wrapperAt);

  test('is made once, by whichever node starts first, lies there wrapped only, and is the same for all', async () => {
    const { db, anotherNode } = await databases.fresh();
    const manager = keyManager();
    const nodes = [db, await anotherNode(), db, await anotherNode()];
    const opened = await Promise.all(nodes.map((node) => open(node, [PLACE], manager)));
    const rows = await listRootKeys(db);
    expect(rows).toHaveLength(1);
    expect(new Set(opened.map(({ envelope }) => envelope.kekId))).toEqual(new Set([rows[0]!.id]));
    const sealed = opened[0]!.envelope.seal(Buffer.from('v'), 'row');
    expect(Buffer.from(opened[1]!.envelope.open(sealed, 'row')).toString()).toBe('v');
    // What the database has of it opens nothing without the key manager.
    const stranger = keyManager();
    await expect(open(db, [PLACE], stranger)).rejects.toThrow();
  });

  test('after the start nothing asks the key manager', async () => {
    const { db } = await databases.fresh();
    const manager = keyManager();
    const { envelope } = await open(db, [PLACE], manager);
    await openInstance(db, envelope);
    const before = { ...manager.asked };
    for (let index = 0; index < 100; index++) envelope.open(envelope.seal(Buffer.from('v'), 'row'), 'row');
    expect(manager.asked).toEqual(before);
  });

  test.each([true, false])(
    'a wrapped key in the row of another one is refused (bound by the key manager: %s)',
    async (binds) => {
      const { db, asRole } = await databases.fresh();
      const manager = keyManager({ binds });
      await open(db, [PLACE, OTHER], manager);
      const wrappedByOther = (await listRootKeys(db)).find(({ key }) => key === OTHER.key)!.wrapped;
      await asRole(undefined, (owner) =>
        owner.query('UPDATE root_key SET wrapped = $2 WHERE key = $1', [PLACE.key, wrappedByOther]),
      );
      // One key manager key for both: only the binding tells them apart.
      const sameKey = (_: KeyPlace) => manager.wrapperAt(OTHER);
      await expect(openEnvelope(db, [PLACE, OTHER], sameKey)).rejects.toThrow(
        binds ? /does not belong to its row/ : /not the one of its row/,
      );
    },
  );

  test('none is made beside a key that was not given: the words are those of a wrong key', async () => {
    const { db } = await databases.fresh();
    const local = randomBytes(32);
    await openInstance(db, createEnvelope(local));
    const manager = keyManager();
    const opening = open(db, [PLACE], manager);
    await expect(opening).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
    await expect(open(db, [PLACE, randomBytes(32)], manager)).rejects.toThrow(
      /sealed under another key-encryption key.*transit\/cambist.*previous_key_encryption_keys/s,
    );
    expect(await listRootKeys(db)).toEqual([]);
    expect(manager.asked.wraps).toBe(0);
    const { envelope } = await open(db, [PLACE, local], manager);
    await expect(openInstance(db, envelope)).resolves.toBeDefined();
  });

  test('a database under a root key does not start under another key of the key manager, nor under a local one', async () => {
    const { db } = await databases.fresh();
    const manager = keyManager();
    await openInstance(db, (await open(db, [PLACE], manager)).envelope);
    await expect(open(db, [OTHER], manager)).rejects.toThrow();
    expect(await listRootKeys(db)).toHaveLength(1);
    const { envelope } = await open(db, [randomBytes(32)], manager);
    await expect(openInstance(db, envelope)).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
  });

  test('a key that was moved to another mount goes on to open what it wrapped', async () => {
    const { db } = await databases.fresh();
    const manager = keyManager();
    const { envelope } = await open(db, [PLACE], manager);
    await openInstance(db, envelope);
    const moved = await openEnvelope(db, [{ mount: 'elsewhere', key: 'cambist' }], () => manager.wrapperAt(PLACE));
    expect(moved.envelope.kekId).toBe(envelope.kekId);
    expect(await listRootKeys(db)).toHaveLength(1);
  });

  test('is wrapped anew where there is a newer version, once, with a record; never by what does not open again', async () => {
    const { db } = await databases.fresh();
    const manager = keyManager();
    const { rootKeys, envelope } = await open(db, [PLACE], manager);
    expect(await rootKeys.rewrap(recordOf)).toBe(0);
    manager.rotate(PLACE);
    const records = async () => (await db.query('SELECT id FROM audit_record')).length;
    const before = await records();
    expect(await rootKeys.rewrap(recordOf)).toBe(1);
    expect(await rootKeys.rewrap(recordOf)).toBe(0);
    expect(await records()).toBe(before + 1);
    const [row] = await listRootKeys(db);
    expect(row).toMatchObject({ id: envelope.kekId, wrapped: expect.stringMatching(/^fake:v2:/) });
    expect((await open(db, [PLACE], manager)).envelope.kekId).toBe(envelope.kekId);

    manager.rotate(PLACE);
    const garbling = (place: KeyPlace): KeyWrapper => {
      const wrapper = manager.wrapperAt(place);
      return {
        ...wrapper,
        wrap: async (key, boundTo) =>
          wrapper.wrap(
            key.map((byte) => byte ^ 1),
            boundTo,
          ),
      };
    };
    const careless = await openEnvelope(db, [PLACE], garbling);
    await expect(careless.rootKeys.rewrap(recordOf)).rejects.toThrow(/not the one of its row/);
    expect(await listRootKeys(db)).toEqual([row]);
  });

  test('the runtime may wrap one anew, and can neither delete one nor give it another id', async () => {
    const { db } = await databases.fresh();
    await open(db, [PLACE], keyManager());
    await expect(db.query('DELETE FROM root_key')).rejects.toThrow();
    await expect(db.query(`UPDATE root_key SET id = '0000000000000000'`)).rejects.toThrow();
    await expect(db.query('UPDATE root_key SET wrapped = wrapped')).resolves.toBeDefined();
  });

  test('who only looks makes none, and has what there is', async () => {
    const { db } = await databases.fresh();
    const manager = keyManager();
    const local = randomBytes(32);
    expect(await openExisting([], [PLACE], undefined, manager.wrapperAt)).toBeUndefined();
    const opened = await openExisting([], [PLACE, local], undefined, manager.wrapperAt);
    expect(opened?.envelope.kekId).toBe(createEnvelope(local).kekId);
    expect(manager.asked).toEqual({ wraps: 0, unwraps: 0 });
    expect(await listRootKeys(db)).toEqual([]);
  });
});
