import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { createEmbeddedStore } from '../../src/secrets/embedded/embedded-store.ts';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { createEmbeddedSecrets } from '../../src/store/secrets.ts';
import type { SecretContent } from '../../src/store/secrets.ts';
import { withDatabases } from '../support/databases.ts';
import type { TestDatabase } from '../support/databases.ts';
import { record, recordsOf } from '../store/fixtures.ts';
import { declareSecretStoreContract } from './contract.ts';

const KEK = new Uint8Array(32).fill(7);
const envelope = createEnvelope(KEK);
const changed = () => record('changed', { clientId: null });
const storeOf = (db: Database) => createEmbeddedStore(createEmbeddedSecrets(db, envelope));
const put = (db: Database, path: string, content: Partial<SecretContent>) =>
  createEmbeddedSecrets(db, envelope).change(path, () => ({ put: { fields: {}, tags: {}, ...content } }), changed);

withDatabases('the embedded secret store keeps the contract', (databases) => {
  declareSecretStoreContract(async () => {
    const { db, anotherNode } = await databases.fresh();
    return {
      store: storeOf(db),
      write: async (path, fields, tags = {}) => {
        await put(db, path, { fields, tags });
      },
      remove: async (path) => {
        await createEmbeddedSecrets(db, envelope).change(path, () => ({ remove: true }), changed);
      },
      anotherNode: async () => storeOf(await anotherNode()),
      breakDown: () => db.close(),
    };
  });
});

withDatabases('the embedded secret store', (databases) => {
  const CANARY = 'canary-51b7e0';

  async function twoSecrets(): Promise<TestDatabase> {
    const fresh = await databases.fresh();
    await put(fresh.db, 'a', { fields: { token: CANARY, user: 'x' } });
    await put(fresh.db, 'b', { fields: { token: 'other', user: 'y' }, tags: { cambist_owner: 'corp:bob' } });
    return fresh;
  }

  test.each([
    ['its values come from another row', `UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE path = 'b')`],
    ['it is moved to another path', `UPDATE secret SET path = 'a', version = 1 WHERE path = 'b'`],
    ['its version is edited', 'UPDATE secret SET version = version + 1'],
    ['a field is renamed', `UPDATE secret SET fields = ARRAY['token', 'root']`],
    ['a field is left out', `UPDATE secret SET fields = ARRAY['token']`],
    ['a field is added', `UPDATE secret SET fields = fields || ARRAY['z']`],
    ['a byte is flipped', `UPDATE secret SET sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1)`],
  ])('a secret does not open when %s, and says so without a value', async (_, edit) => {
    const { db } = await twoSecrets();
    if (edit.includes(`path = 'a'`)) await db.query(`DELETE FROM secret WHERE path = 'a'`);
    await db.query(edit);
    const thrown: unknown = await storeOf(db)
      .read({ mount: undefined, path: 'a' })
      .catch((error: unknown) => error);
    expect(thrown).toMatchObject({ dependency: 'database', message: expect.stringContaining('doctor') as string });
    expect(inspect(thrown, { depth: 20, showHidden: true })).not.toContain(CANARY);
    const [listed] = await createEmbeddedSecrets(db, envelope).list({ limit: 1 });
    expect(listed).toMatchObject({ path: 'a', tags: undefined });
  });

  test('under another key-encryption key it says which is missing', async () => {
    const { db } = await twoSecrets();
    const stranger = createEmbeddedStore(createEmbeddedSecrets(db, createEnvelope(new Uint8Array(32).fill(8))));
    await expect(stranger.read({ mount: undefined, path: 'a' })).rejects.toMatchObject({
      dependency: 'key-encryption key',
    });
  });

  test('nothing of a value or a tag lies in the database in clear, also not of earlier versions', async () => {
    const { db } = await twoSecrets();
    await put(db, 'a', { fields: { token: 'next' } });
    const [row] = await db.query<{ text: string; rows: number }>(
      `SELECT string_agg(secret::text || encode(sealed, 'escape'), ' ') AS text, count(*)::int AS rows FROM secret`,
    );
    expect(row?.rows).toBe(2);
    for (const secret of [CANARY, 'next', 'other', 'corp:bob']) expect(row?.text).not.toContain(secret);
  });

  test('a change without its record does not happen', async () => {
    const { db } = await twoSecrets();
    const broken = createEmbeddedSecrets(db, envelope).change(
      'a',
      () => ({ put: { fields: { token: 'new' }, tags: {} } }),
      () => {
        throw new Error('no record today');
      },
    );
    await expect(broken).rejects.toThrow('no record today');
    expect(await createEmbeddedSecrets(db, envelope).read('a')).toMatchObject({
      version: 1,
      fields: { token: CANARY },
    });
    expect(await recordsOf(db)).toHaveLength(2);
  });

  test('of changes at once none is lost, also of a secret that was not there', async () => {
    const { db, anotherNode } = await databases.fresh();
    const nodes = [db, await anotherNode()].map((node) => createEmbeddedSecrets(node, envelope));
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        nodes[index % 2]!.change(
          'c',
          (before) => ({
            put: { tags: {}, fields: { ...(typeof before === 'object' ? before.fields : {}), [`f${index}`]: 'x' } },
          }),
          changed,
        ),
      ),
    );
    const found = await nodes[0]!.read('c');
    expect(found?.version).toBe(10);
    expect(Object.keys(found?.fields ?? {})).toHaveLength(10);
  });

  test('lists page by page, by path', async () => {
    const { db } = await twoSecrets();
    const secrets = createEmbeddedSecrets(db, envelope);
    await put(db, 'B', { fields: { z: '1', a: '2' } });
    const pages = [await secrets.list({ limit: 2 }), await secrets.list({ after: 'a', limit: 2 })];
    expect(pages.map((page) => page.map(({ path }) => path))).toEqual([['B', 'a'], ['b']]);
    expect(pages[0]?.[0]).toMatchObject({ version: 1, fields: ['a', 'z'], tags: {} });
  });
});
