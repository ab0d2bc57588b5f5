import { randomBytes } from 'node:crypto';
import { v4 as newUuid } from 'uuid';
import { describe, expect, test } from 'vitest';
import { createEnvelope } from '../../src/store/envelope.ts';
import type { Database } from '../../src/store/database.ts';
import { openInstance, WrongKeyEncryptionKey } from '../../src/store/instance.ts';
import { createPersonKeys } from '../../src/store/persons.ts';
import { withDatabases } from '../support/databases.ts';
import { committer, record } from './fixtures.ts';

describe('envelope', () => {
  test('opens what it sealed, for the same row only; two rows swapped do not open', () => {
    const envelope = createEnvelope(randomBytes(32));
    const a = envelope.seal(Buffer.from('a'), 'signing_key|a|access-token');
    const b = envelope.seal(Buffer.from('b'), 'signing_key|b|access-token');
    expect(Buffer.from(envelope.open(a, 'signing_key|a|access-token')).toString()).toBe('a');
    expect(() => envelope.open(b, 'signing_key|a|access-token')).toThrow();
    expect(() => envelope.open(a, 'signing_key|a|audit')).toThrow();
    expect(() => envelope.open(a, '')).toThrow();
  });

  test('a flipped bit anywhere is noticed', () => {
    const envelope = createEnvelope(randomBytes(32));
    const sealed = envelope.seal(Buffer.from('secret'), 'x');
    for (let at = 0; at < sealed.length; at++) {
      const altered = Buffer.from(sealed);
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(() => envelope.open(altered, 'x')).toThrow();
    }
    expect(() => envelope.open(sealed.subarray(0, 30), 'x')).toThrow();
  });

  test('several keys open, one seals; a key that seals no more still opens', () => {
    const [before, now] = [randomBytes(32), randomBytes(32)];
    const old = createEnvelope(before);
    const changed = createEnvelope(now, [before]);
    const sealed = old.seal(Buffer.from('v'), 'x');
    expect(Buffer.from(changed.open(sealed, 'x')).toString()).toBe('v');
    expect(() => changed.open(sealed, 'y')).toThrow(/does not belong to its row/);
    const anew = changed.seal(Buffer.from('v'), 'x');
    expect(Buffer.from(createEnvelope(now).open(anew, 'x')).toString()).toBe('v');
    expect(() => old.open(anew, 'x')).toThrow(/give it the key that the other nodes seal with/);
    expect(changed.opensKekIds).toEqual([changed.kekId, old.kekId]);
  });

  test('another key is told from tampering, and the same value never looks the same twice', () => {
    const [one, other] = [createEnvelope(randomBytes(32)), createEnvelope(randomBytes(32))];
    expect(() => other.open(one.seal(Buffer.from('v'), 'x'), 'x')).toThrow(WrongKeyEncryptionKey);
    expect(one.kekId).not.toBe(other.kekId);
    expect(one.seal(Buffer.from('v'), 'x')).not.toEqual(one.seal(Buffer.from('v'), 'x'));
    expect(() => createEnvelope(randomBytes(16))).toThrow();
  });
});

withDatabases('keys at rest', (databases) => {
  describe('instance', () => {
    test('is made once, also by nodes that start at once, and stays the same', async () => {
      const { db, anotherNode } = await databases.fresh();
      const envelope = createEnvelope(randomBytes(32));
      const other = await anotherNode();
      const instances = await Promise.all([db, other, db, other].map((node) => openInstance(node, envelope)));
      expect(new Set(instances.map(({ id }) => id)).size).toBe(1);
      const person = { issuer: 'https://idp.example', sub: 'alice' };
      const indexes = instances.map((instance) => Buffer.from(instance.blindIndex(person)).toString('hex'));
      expect(new Set(indexes).size).toBe(1);
      expect(instances[0]!.epoch).toBe(1);
    });

    test('a node with the wrong key-encryption key does not start, and says why', async () => {
      const { db } = await databases.fresh();
      await openInstance(db, createEnvelope(randomBytes(32)));
      const wrong = openInstance(db, createEnvelope(randomBytes(32)));
      await expect(wrong).rejects.toBeInstanceOf(WrongKeyEncryptionKey);
      await expect(wrong).rejects.toThrow(/another key-encryption key/);
    });

    test('the blind index tells pairs apart, and means nothing in another database', async () => {
      const { db } = await databases.fresh();
      const envelope = createEnvelope(randomBytes(32));
      const instance = await openInstance(db, envelope);
      const index = (issuer: string, sub: string) => Buffer.from(instance.blindIndex({ issuer, sub })).toString('hex');
      expect(index('a', 'bc')).not.toBe(index('ab', 'c'));
      expect(index('a', 'b')).toHaveLength(64);
      const { db: second } = await databases.fresh();
      const elsewhere = await openInstance(second, envelope);
      expect(Buffer.from(elsewhere.blindIndex({ issuer: 'a', sub: 'b' })).toString('hex')).not.toBe(index('a', 'b'));
    });
  });

  describe('keys of persons', () => {
    const alice = { issuer: 'https://idp.example', sub: 'alice' };
    const bob = { issuer: 'https://idp.example', sub: 'bob' };

    test('one key per person, however many nodes make it at once', async () => {
      const { db, anotherNode } = await databases.fresh();
      const nodes = await personNodes(db, await anotherNode());
      const keys = await Promise.all(
        Array.from({ length: 40 }, (_, index) => nodes[index % 2]!.keyFor(index % 4 < 2 ? alice : bob)),
      );
      expect(new Set(keys.map(({ ref }) => ref)).size).toBe(2);
      expect(new Set(keys.map(({ key }) => Buffer.from(key).toString('hex'))).size).toBe(2);
      expect(keys[0]!.key).toHaveLength(32);
      expect((await nodes[1]!.find(alice))?.ref).toBe(keys[0]!.ref);
      expect(Buffer.from((await nodes[1]!.open(keys[0]!.ref))!)).toEqual(Buffer.from(keys[0]!.key));
    });

    test('looking for a person makes nothing', async () => {
      const { db } = await databases.fresh();
      const [persons] = await personNodes(db, db);
      expect(await persons!.find(alice)).toBeUndefined();
      expect(await persons!.open(newUuid())).toBeUndefined();
      expect(await db.query('SELECT FROM person_key')).toHaveLength(0);
    });

    test('erasing a person deletes the key everywhere and changes no record', async () => {
      const { db, anotherNode } = await databases.fresh();
      const [here, there] = await personNodes(db, await anotherNode());
      const { ref } = await here!.keyFor(alice);
      const { ref: bobs } = await here!.keyFor(bob);
      await committer(db).commit({ marks: [], record: record('issued', { persons: [ref, bobs] }) });
      const before = await db.query('SELECT canonical, persons FROM audit_record');
      expect(await there!.erase(alice)).toBe(true);
      expect(await here!.open(ref)).toBeUndefined();
      expect(await here!.find(alice)).toBeUndefined();
      expect(await db.query('SELECT canonical, persons FROM audit_record')).toEqual(before);
      expect(await here!.open(bobs)).toBeDefined();
      expect(await there!.erase(alice)).toBe(false);
      // If that person comes back it is somebody new: nothing leads from the new key to the old records.
      expect((await there!.keyFor(alice)).ref).not.toBe(ref);
    });

    test('two sealed keys swapped between rows do not open', async () => {
      const { db, asRole } = await databases.fresh();
      const [persons] = await personNodes(db, db);
      const a = await persons!.keyFor(alice);
      await persons!.keyFor(bob);
      await asRole(undefined, (owner) =>
        owner.query(`UPDATE person_key SET sealed_key = other.sealed_key FROM person_key AS other
                     WHERE other.ref <> person_key.ref`),
      );
      await expect(persons!.open(a.ref)).rejects.toThrow(/does not belong to its row/);
    });

    test('neither key nor person is in the database in clear', async () => {
      const { db } = await databases.fresh();
      const [persons] = await personNodes(db, db);
      const { key } = await persons!.keyFor(alice);
      const [row] = await db.query<{ row: string }>('SELECT person_key::text AS row FROM person_key');
      expect(row!.row).not.toContain(Buffer.from(key).toString('hex'));
      expect(row!.row).not.toContain(Buffer.from('alice').toString('hex'));
      expect(row!.row).not.toContain('alice');
    });
  });
});

async function personNodes(...nodes: Database[]) {
  const envelope = createEnvelope(randomBytes(32));
  return Promise.all(
    nodes.map(async (db) => createPersonKeys({ db, envelope, instance: await openInstance(db, envelope) })),
  );
}
