import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { makeKey, openPrivateKey } from '../../src/keys/slots.ts';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope, WrongKeyEncryptionKey } from '../../src/store/envelope.ts';
import type { Envelope } from '../../src/store/envelope.ts';
import { openInstance } from '../../src/store/instance.ts';
import { createPersonKeys } from '../../src/store/persons.ts';
import { createRewrapper } from '../../src/store/rewrap.ts';
import type { RewrapPosition } from '../../src/store/rewrap.ts';
import { createEmbeddedSecrets } from '../../src/store/secrets.ts';
import { createSigningKeys } from '../../src/store/signing-keys.ts';
import { withDatabases } from '../support/databases.ts';
import { record } from './fixtures.ts';

const [BEFORE, NOW] = [randomBytes(32), randomBytes(32)];
const old = createEnvelope(BEFORE);
const changing = createEnvelope(NOW, [BEFORE]);
const changed = createEnvelope(NOW);
const SLOT = { purpose: 'access-token', algorithm: 'ES256' };

const recordOf = () => record('changed', { clientId: null });

withDatabases('a change of the key-encryption key', (databases) => {
  async function sealedDatabase(persons = 3) {
    const fresh = await databases.fresh();
    const instance = await openInstance(fresh.db, old);
    const signing = createSigningKeys(fresh.db);
    const key = await makeKey(SLOT, old);
    await signing.addFirst(
      [key, await makeKey({ ...SLOT, algorithm: 'EdDSA', purpose: 'audit-checkpoint' }, old)],
      recordOf,
    );
    const keysOfPersons = createPersonKeys({ db: fresh.db, envelope: old, instance });
    const everybody = await Promise.all(
      Array.from({ length: persons }, (_, index) =>
        keysOfPersons.keyFor({ issuer: 'https://idp.example', sub: `person-${index}` }),
      ),
    );
    return { ...fresh, key, everybody, instance };
  }

  async function walk(db: Database, envelope: Envelope) {
    const rewrapper = createRewrapper(db, envelope);
    let total = { rewrapped: 0, unreadable: 0, steps: 0 };
    for (let position: RewrapPosition | undefined; ;) {
      const { rewrapped, unreadable, next } = await rewrapper.step(position, recordOf);
      total = {
        rewrapped: total.rewrapped + rewrapped,
        unreadable: total.unreadable + unreadable,
        steps: total.steps + 1,
      };
      if (next === null) return { ...total, left: leftOf(await rewrapper.count()) };
      position = next;
    }
  }
  const leftOf = (columns: readonly { readonly left: number }[]) => columns.reduce((sum, { left }) => sum + left, 0);

  test('afterwards the new key alone opens everything, and a node that has only the old one fails in clear words', async () => {
    const { db, key, everybody, instance } = await sealedDatabase();
    expect(leftOf(await createRewrapper(db, changing).count())).toBe(7);
    expect(await walk(db, changing)).toMatchObject({ rewrapped: 7, unreadable: 0, left: 0 });

    const after = await openInstance(db, changed);
    const alice = { issuer: 'https://idp.example', sub: 'person-0' };
    expect(after.blindIndex(alice)).toEqual(instance.blindIndex(alice));
    const persons = createPersonKeys({ db, envelope: changed, instance: after });
    expect((await persons.keyFor(alice)).key).toEqual(everybody[0]!.key);
    const { rows } = await createSigningKeys(db).list();
    const row = rows.find(({ kid }) => kid === key.kid);
    const privateKey = openPrivateKey(key.kid, SLOT.purpose, row!.sealedPrivate!, changed);
    expect(privateKey.export({ format: 'jwk' })).toMatchObject({ x: key.publicJwk['x'], y: key.publicJwk['y'] });

    await expect(openInstance(db, old)).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
    await expect(openInstance(db, old)).rejects.toThrow(/after a change of that key, the new one/);
    const late = createPersonKeys({ db, envelope: old, instance });
    await expect(late.keyFor(alice)).rejects.toThrow(/give it the key that the other nodes seal with/);
  });

  test('embedded secrets come along, whatever their fields are called, and keep their version', async () => {
    const { db } = await sealedDatabase();
    const before = createEmbeddedSecrets(db, old);
    const fields = { 'a,"b" \\ {c}': 'one', ünï: 'two', NULL: 'three', plain: 'four' };
    for (const path of ['team/x', 'people/al~2Fice/y', 'team/x'])
      await before.change(path, () => ({ put: { fields, tags: { cambist_owner: 'corp:ann' } } }), recordOf);
    expect(await walk(db, changing)).toMatchObject({ rewrapped: 9, unreadable: 0, left: 0 });
    const after = createEmbeddedSecrets(db, changed);
    expect(await after.read('team/x')).toEqual({ version: 2, fields, tags: { cambist_owner: 'corp:ann' } });
    expect(await after.read('people/al~2Fice/y')).toMatchObject({ version: 1, fields });
    await expect(before.read('team/x')).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
  });

  test('doing it again does nothing, and leaves no record', async () => {
    const { db } = await sealedDatabase();
    await walk(db, changing);
    const records = await db.query('SELECT id FROM audit_record');
    expect(await walk(db, changing)).toMatchObject({ rewrapped: 0, unreadable: 0, left: 0 });
    expect(await db.query('SELECT id FROM audit_record')).toEqual(records);
  });

  test('many rows are done in batches; broken off anywhere it goes on, while another node seals under the old key', async () => {
    const { db, anotherNode, instance } = await sealedDatabase(1200);
    const late = createPersonKeys({ db: await anotherNode(), envelope: createEnvelope(BEFORE, [NOW]), instance });
    const rewrapper = createRewrapper(db, changing);
    let position: RewrapPosition | null | undefined;
    let rewrapped = 0;
    for (let step = 0; step < 4; step++) {
      const progress = await rewrapper.step(position ?? undefined, recordOf);
      await late.keyFor({ issuer: 'https://idp.example', sub: `late-${step}` });
      position = progress.next;
      rewrapped += progress.rewrapped;
    }
    expect(rewrapped).toBeGreaterThan(500);
    const left = leftOf(await rewrapper.count());
    expect(left).toBeGreaterThan(0);
    // A new walk from the beginning, as after a restart.
    expect(await walk(db, changing)).toMatchObject({ rewrapped: left, unreadable: 0, left: 0 });
  });

  test('what no given key opens is counted and left alone', async () => {
    const { db } = await sealedDatabase();
    const stranger = createEnvelope(randomBytes(32));
    await createSigningKeys(db).addNext(await makeKey(SLOT, stranger), recordOf);
    expect(await walk(db, changing)).toMatchObject({ rewrapped: 7, unreadable: 1, left: 1 });
    const { rows } = await createSigningKeys(db).list();
    const untouched = rows.find(({ state }) => state === 'next')!;
    expect(() => openPrivateKey(untouched.kid, SLOT.purpose, untouched.sealedPrivate!, stranger)).not.toThrow();
  });

  test('two rows whose sealed values were swapped do not open, and sealing anew does not bless them', async () => {
    const { db, asRole } = await sealedDatabase();
    await createSigningKeys(db).addNext(await makeKey(SLOT, old), recordOf);
    await asRole(undefined, (owner) =>
      owner.query(`UPDATE signing_key SET sealed_private = other.sealed_private FROM signing_key AS other
        WHERE other.kid <> signing_key.kid AND other.purpose = 'access-token' AND signing_key.purpose = 'access-token'`),
    );
    const openAll = async (envelope: Envelope) => {
      const { rows } = await createSigningKeys(db).list();
      const mine = rows.filter(({ purpose }) => purpose === 'access-token');
      return mine.map(
        ({ kid, purpose, sealedPrivate }) =>
          () =>
            openPrivateKey(kid, purpose, sealedPrivate!, envelope),
      );
    };
    for (const open of await openAll(old)) expect(open).toThrow(/does not belong to its row/);
    expect(await walk(db, changing)).toMatchObject({ rewrapped: 6, unreadable: 2, left: 2 });
    for (const open of await openAll(changing)) expect(open).toThrow(/does not belong to its row/);
  });

  test('a private key does not open under another purpose', async () => {
    const key = await makeKey(SLOT, old);
    expect(() => openPrivateKey(key.kid, SLOT.purpose, key.sealedPrivate, old)).not.toThrow();
    expect(() => openPrivateKey(key.kid, 'revocation-document', key.sealedPrivate, old)).toThrow(/does not belong/);
  });

  test('every sealed column of the schema is walked, and the runtime may write it', async () => {
    const { db } = await sealedDatabase(0);
    const columns = await db.query<{ name: string }>(
      `SELECT table_name || '.' || column_name AS name FROM information_schema.columns
       WHERE table_schema = 'cambist' AND data_type = 'bytea' AND column_name LIKE 'sealed%' ORDER BY 1`,
    );
    const walked = (await createRewrapper(db, changing).count()).map(({ table, column }) => `${table}.${column}`);
    expect(columns.map(({ name }) => name)).toEqual(walked.sort());
  });
});
