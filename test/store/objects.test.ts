import { describe, expect, test } from 'vitest';
import { Unavailable } from '../../src/core/refusal.ts';
import { KINDS } from '../../src/objects/kinds.ts';
import type { Kind, Specs } from '../../src/objects/kinds.ts';
import { createClientSecrets } from '../../src/store/client-secrets.ts';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { openInstance } from '../../src/store/instance.ts';
import { createObjectStore, KeyTaken, ObjectMissing, StateMoved } from '../../src/store/objects.ts';
import type { Mutation, ObjectStore } from '../../src/store/objects.ts';
import type { TestDatabase } from '../support/databases.ts';
import { withDatabases } from '../support/databases.ts';
import { record, recordsOf } from './fixtures.ts';

withDatabases('objects', (databases) => {
  describe('reading', () => {
    test('an object is found by its name and by each of its keys, as it was put', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([resource('crm', { aliases: ['https://crm.example/v2'] })], by('ann'));
      const reader = await store.current();
      expect(reader.state.version).toBe(1);
      const found = await reader.get('resource', 'crm');
      expect(found).toEqual({
        kind: 'resource',
        name: 'crm',
        spec: resourceSpec('crm', { aliases: ['https://crm.example/v2'] }),
        disabled: false,
        version: 1,
      });
      expect(await reader.find({ namespace: 'target', key: 'https://crm.example/v2' })).toEqual(found);
      expect(await reader.find({ namespace: 'iss', key: 'https://crm.example/v2' })).toBeUndefined();
      expect(await reader.get('client', 'crm')).toBeUndefined();
    });

    test('names and keys of any length and content are found, and never confused', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      const long = `corp:${'€'.repeat(1024)}`;
      const key = `https://crm.example/${'a'.repeat(2028)}`;
      await store.change([subject(long), subject(`${long}x`), resource('crm', { aliases: [key] })], by('ann'));
      const reader = await store.current();
      expect((await reader.get('subject', long))?.name).toBe(long);
      expect((await reader.get('subject', `${long}x`))?.name).toBe(`${long}x`);
      expect((await reader.find({ namespace: 'target', key }))?.name).toBe('crm');
      for (const name of ['nul\0', '\uD800', long.slice(0, -1), "'; DROP TABLE object"]) {
        expect(await reader.get('subject', name)).toBeUndefined();
        expect(await reader.find({ namespace: 'target', key: name })).toBeUndefined();
      }
    });

    test('what was read once costs no statement again until something changes', async () => {
      const { db } = await databases.fresh();
      const { counted, statements } = countingStatements(db);
      const store = createObjectStore(counted);
      await store.change([resource('crm'), role('r')], by('ann'));
      const read = async () => {
        const reader = await store.current();
        await reader.get('resource', 'crm');
        await reader.find({ namespace: 'target', key: 'https://crm.example/mcp' });
        await reader.get('resource', 'unknown');
        await reader.all('role');
      };
      await read();
      const before = statements();
      await read();
      expect(statements() - before).toBe(1);
    });

    test.each([
      ['restored', 'UPDATE instance SET epoch = epoch + 1'],
      ['another one', "UPDATE instance SET id = 'b6f3a9a4-0000-4000-8000-000000000000'"],
    ])('a database that turns out to be %s is not read any more, and whoever has to know is told', async (_, sql) => {
      const { db, asRole } = await databases.fresh();
      await openInstance(db, createEnvelope(Buffer.alloc(32, 1)));
      const store = createObjectStore(db);
      let told = 0;
      store.feed.onReplaced(() => (told += 1));
      await store.current();
      expect(told).toBe(0);
      await asRole(undefined, (owner) => owner.query(sql));
      await expect(store.current()).rejects.toMatchObject({ name: 'Unavailable', dependency: 'database' });
      await expect(store.current()).rejects.toThrow(/restored/);
      expect(told).toBeGreaterThan(0);
    });

    test('nobody can change what the cache holds', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([resource('crm')], by('ann'));
      const found = await (await store.current()).get('resource', 'crm');
      expect(() => found!.spec.aliases.push('https://evil.example')).toThrow(TypeError);
    });
  });

  describe('changing', () => {
    test('a change that was acknowledged is in force on another node with its next current() (A4)', async () => {
      const { db, anotherNode } = await databases.fresh();
      const here = createObjectStore(db);
      const there = createObjectStore(await anotherNode());
      await here.change([resource('crm'), role('a')], by('ann'));
      const seen = await there.current();
      expect(await seen.get('resource', 'crm')).toMatchObject({ disabled: false });
      expect(await seen.find({ namespace: 'target', key: 'https://new.example' })).toBeUndefined();
      expect(await seen.find({ namespace: 'target', key: 'https://crm.example/mcp' })).toMatchObject({ name: 'crm' });
      expect(await seen.all('role')).toHaveLength(1);

      await here.change([{ type: 'disable', kind: 'resource', name: 'crm' }], by('ann'));
      expect(await (await there.current()).get('resource', 'crm')).toMatchObject({ disabled: true, version: 2 });

      // A key that was asked for before anybody had it, and one that moves on.
      await here.change([resource('crm', { uri: 'https://new.example' }), role('b')], by('ann'));
      const after = await there.current();
      expect(await after.find({ namespace: 'target', key: 'https://new.example' })).toMatchObject({ name: 'crm' });
      expect(await after.find({ namespace: 'target', key: 'https://crm.example/mcp' })).toBeUndefined();
      expect((await after.all('role')).map(({ name }) => name)).toEqual(['a', 'b']);

      await here.change([{ type: 'remove', kind: 'resource', name: 'crm' }], by('ann'));
      const last = await there.current();
      expect(await last.get('resource', 'crm')).toBeUndefined();
      expect(await last.find({ namespace: 'target', key: 'https://new.example' })).toBeUndefined();
    });

    test('a put keeps what it does not say: disabled stays disabled, unless told otherwise', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([{ ...role('r'), disabled: true }], by('ann'));
      await store.change([role('r')], by('ann'));
      expect(await (await store.current()).get('role', 'r')).toMatchObject({ disabled: true, version: 2 });
      await store.change([{ ...role('r'), disabled: false }], by('ann'));
      expect(await (await store.current()).get('role', 'r')).toMatchObject({ disabled: false });
    });

    test('a change that fails changes nothing, and says why', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([resource('crm')], by('ann'));
      const taken = store.change([role('r'), resource('other', { uri: 'https://crm.example/mcp' })], by('ann'));
      await expect(taken).rejects.toBeInstanceOf(KeyTaken);
      await expect(taken).rejects.toMatchObject({
        namespace: 'target',
        key: 'https://crm.example/mcp',
        kind: 'resource',
        objectName: 'crm',
      });
      await expect(
        store.change([role('r'), { type: 'disable', kind: 'role', name: 'nobody' }], by('ann')),
      ).rejects.toBeInstanceOf(ObjectMissing);
      await expect(
        store.change(
          [resource('a', { uri: 'https://x.example' }), resource('b', { uri: 'https://x.example' })],
          by('ann'),
        ),
      ).rejects.toMatchObject({ objectName: 'a' });
      const reader = await store.current();
      expect(reader.state.version).toBe(1);
      expect(await reader.get('role', 'r')).toBeUndefined();
    });

    test('a key can pass from one object to another in one change', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([resource('a', { uri: 'https://k.example' }), resource('b')], by('ann'));
      await store.change([resource('b', { uri: 'https://k.example' }), resource('a')], by('ann'));
      expect(await (await store.current()).find({ namespace: 'target', key: 'https://k.example' })).toMatchObject({
        name: 'b',
      });
      await store.change(
        [{ type: 'remove', kind: 'resource', name: 'b' }, resource('c', { uri: 'https://k.example' })],
        by('ann'),
      );
      expect(await (await store.current()).find({ namespace: 'target', key: 'https://k.example' })).toMatchObject({
        name: 'c',
      });
    });

    test('objects of two kinds may have the same name', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([resource('crm'), role('crm'), client('crm')], by('ann'));
      await expect(
        store.change(
          [
            { type: 'disable', kind: 'role', name: 'crm' },
            { type: 'disable', kind: 'policy', name: 'crm' },
          ],
          by('ann'),
        ),
      ).rejects.toMatchObject({ kind: 'policy' });
      await store.change([{ type: 'remove', kind: 'role', name: 'crm' }], by('ann'));
      const reader = await store.current();
      expect(await reader.get('role', 'crm')).toBeUndefined();
      expect(await reader.get('resource', 'crm')).toBeDefined();
      expect(await db.query(`SELECT kind FROM object_change WHERE removed`)).toEqual([{ kind: 'role' }]);
    });

    test('a plan made on an older version is refused; of two planned on the same version one wins', async () => {
      const { db, anotherNode } = await databases.fresh();
      const stores = [createObjectStore(db), createObjectStore(await anotherNode())];
      const outcomes = await Promise.allSettled(
        stores.map((store, index) => store.change([role(`r${index}`)], { ...by('ann'), expectVersion: 0 })),
      );
      const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(refused).toHaveLength(1);
      expect(refused[0]!.reason).toBeInstanceOf(StateMoved);
      expect(refused[0]!.reason).toMatchObject({ expected: 0, found: 1 });
    });

    test('the history keeps every version of an object, who made it, and its end', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      await store.change([role('r')], by('ann'));
      await store.change([role('r', 'second')], by('bob'));
      await store.change([{ type: 'disable', kind: 'role', name: 'r' }], by('bob'));
      await store.change([{ type: 'remove', kind: 'role', name: 'r' }], by('eve'));
      const history = await db.query(
        `SELECT version, spec->>'description' AS description, disabled, removed, action, author FROM object_change
         WHERE kind = 'role' ORDER BY version`,
      );
      expect(history).toEqual([
        { version: 1, description: null, disabled: false, removed: false, action: 'put', author: 'ann' },
        { version: 2, description: 'second', disabled: false, removed: false, action: 'put', author: 'bob' },
        { version: 3, description: 'second', disabled: true, removed: false, action: 'disable', author: 'bob' },
        { version: 4, description: null, disabled: false, removed: true, action: 'remove', author: 'eve' },
      ]);
    });

    test('10,000 objects go in with one change and come out in pages, in order', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      const names = Array.from({ length: 10_000 }, (_, index) => `c${index}`).sort();
      await store.change(
        names.map((name) => client(name)),
        { author: 'ann', origin: 'file' },
      );
      const listed: string[] = [];
      for (let after: string | undefined; ;) {
        const page = await store.list('client', { limit: 1000, ...(after === undefined ? {} : { after }) });
        listed.push(...page.map(({ name }) => name));
        if (page.length < 1000) break;
        after = page.at(-1)!.name;
      }
      expect(listed).toEqual(names);
      expect(await store.listByOrigin('file')).toHaveLength(10_000);
      expect(await store.listByOrigin('other')).toEqual([]);
      expect(await (await store.current()).get('client', 'c4711')).toBeDefined();
    });

    test('another node that missed more changes than it follows one by one starts afresh', async () => {
      const { db, anotherNode } = await databases.fresh();
      const here = createObjectStore(db);
      const there = createObjectStore(await anotherNode());
      expect(await (await there.current()).get('client', 'c2500')).toBeUndefined();
      await here.change(
        Array.from({ length: 2600 }, (_, index) => client(`c${index}`)),
        by('ann'),
      );
      expect(await (await there.current()).get('client', 'c2500')).toBeDefined();
    });
  });

  describe('freshness', () => {
    test('current() never shares a statement that began before it was called', async () => {
      const { db, anotherNode } = await databases.fresh();
      const { gated, release, arrived } = gatedStatements(db);
      const store = createObjectStore(gated);
      const writer = createObjectStore(await anotherNode());
      const early = store.current();
      await arrived(1);
      // The first statement has run and its answer is held back; the change comes after it.
      await writer.change([role('r')], by('ann'));
      const late = [store.current(), store.current(), store.current()];
      release();
      expect((await early).state.version).toBe(0);
      expect((await Promise.all(late)).map(({ state }) => state.version)).toEqual([1, 1, 1]);
      expect(await arrived(2)).toBe(2);
    });

    test('a fetch that began before a change does not fill the cache after it', async () => {
      const { db, anotherNode } = await databases.fresh();
      const writer = createObjectStore(await anotherNode());
      await writer.change([role('r')], by('ann'));
      const { gated, release, arrived } = gatedStatements(db, 'objects-by-name');
      const store = createObjectStore(gated);
      const reader = await store.current();
      const slow = reader.get('role', 'r');
      await arrived(1);
      await writer.change([{ type: 'disable', kind: 'role', name: 'r' }], by('ann'));
      const next = await store.current();
      release();
      expect(await slow).toMatchObject({ disabled: false });
      expect(await next.get('role', 'r')).toMatchObject({ disabled: true });
    });

    test('who asks after a change does not share a fetch that began before it', async () => {
      const { db, anotherNode } = await databases.fresh();
      const writer = createObjectStore(await anotherNode());
      await writer.change([role('r')], by('ann'));
      const { gated, release, arrived } = gatedStatements(db, 'objects-by-name');
      const store = createObjectStore(gated);
      const slow = (await store.current()).get('role', 'r');
      await arrived(1);
      await writer.change([{ type: 'disable', kind: 'role', name: 'r' }], by('ann'));
      const asked = (await store.current()).get('role', 'r');
      release();
      expect(await slow).toMatchObject({ disabled: false });
      expect(await asked).toMatchObject({ disabled: true });
    });

    test('under constant change no reader ever sees an object older than its current()', async () => {
      const { db, anotherNode } = await databases.fresh();
      const writer = createObjectStore(db);
      const stores = [createObjectStore(await anotherNode()), createObjectStore(db)];
      await writer.change([role('r', '0')], by('ann'));
      let acknowledged = 0;
      let stale = 0;
      let done = false;
      const readers = stores.map(async (store) => {
        while (!done) {
          const atLeast = acknowledged;
          const found = await (await store.current()).get('role', 'r');
          if (Number(found?.spec.description) < atLeast) stale++;
        }
      });
      for (let change = 1; change <= 60; change++) {
        await writer.change([role('r', String(change))], by('ann'));
        acknowledged = change;
      }
      done = true;
      await Promise.all(readers);
      expect(stale).toBe(0);
    });
  });

  describe('a change and its audit record', () => {
    const changed = (version: number) => record('changed', { requestId: `change ${version}` });

    test('are one: the record is there with the change, built from its state version', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      const { version } = await store.change([role('r')], { ...by('ann'), record: changed });
      expect(await recordsOf(db)).toMatchObject([{ kind: 'changed', request_id: `change ${version}` }]);
    });

    test('a change that is refused leaves no record', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      const disable = { type: 'disable', kind: 'role', name: 'r' } as const;
      await expect(store.change([disable], { ...by('ann'), record: changed })).rejects.toBeInstanceOf(ObjectMissing);
      expect(await recordsOf(db)).toEqual([]);
    });

    test('a record that the database refuses undoes the change; once it takes it, the change works and is recorded', async () => {
      const fresh = await databases.fresh();
      const { db } = fresh;
      const store = createObjectStore(db);
      await store.change([role('r', 'before')], by('ann'));
      const change = () => store.change([role('r', 'after'), role('new')], { ...by('ann'), record: changed });
      const allowRecords = await refuseRecords(fresh);
      await expect(change()).rejects.toThrow(Unavailable);
      await expect(change()).rejects.toThrow('nothing was changed');
      let reader = await store.current();
      expect(reader.state.version).toBe(1);
      expect((await reader.get('role', 'r'))?.spec.description).toBe('before');
      expect(await reader.get('role', 'new')).toBeUndefined();
      expect(await db.query('SELECT FROM object_change WHERE version > 1')).toEqual([]);
      await allowRecords();
      expect(await change()).toEqual({ version: 2 });
      reader = await store.current();
      expect((await reader.get('role', 'r'))?.spec.description).toBe('after');
      expect(await recordsOf(db)).toMatchObject([{ kind: 'changed', request_id: 'change 2' }]);
    });

    test('a record that cannot be built, or whose place is taken, undoes the change', async () => {
      const { db } = await databases.fresh();
      const store = createObjectStore(db);
      const unbuilt = () => {
        throw new Error('no record');
      };
      await expect(store.change([role('r')], { ...by('ann'), record: unbuilt })).rejects.toThrow('no record');
      const standing = record('changed');
      await store.change([role('other')], { ...by('ann'), record: () => standing });
      await expect(store.change([role('r')], { ...by('ann'), record: () => standing })).rejects.toThrow('in the place');
      expect(await (await store.current()).get('role', 'r')).toBeUndefined();
      expect(await recordsOf(db)).toHaveLength(1);
    });

    test('no secret is made or retired without its record; the record knows their ids', async () => {
      const fresh = await databases.fresh();
      const { db } = fresh;
      const objects = createObjectStore(db);
      const secrets = createClientSecrets(db, objects.feed);
      await objects.change([client('agent')], by('ann'));
      const { id, secret } = await secrets.add('agent');
      const told: unknown[] = [];
      const options = {
        record: (change: { readonly version: number }) => {
          told.push(change);
          return changed(change.version);
        },
      };
      const allowRecords = await refuseRecords(fresh);
      await expect(secrets.add('agent', options)).rejects.toThrow(Unavailable);
      await expect(secrets.retire('agent', id, options)).rejects.toThrow(Unavailable);
      expect(await secrets.list('agent')).toMatchObject([{ id, retiredAtMs: null }]);
      expect((await objects.current()).state.version).toBe(2);
      expect(await secrets.verify('agent', secret)).toBe(true);
      await allowRecords();
      told.length = 0;
      const second = await secrets.add('agent', options);
      const third = await secrets.add('agent', options);
      expect(await secrets.retire('agent', second.id, options)).toEqual([second.id]);
      expect(told).toEqual([
        { version: 3, added: second.id, retired: [] },
        { version: 4, added: third.id, retired: [id] },
        { version: 5, retired: [second.id] },
      ]);
      expect((await recordsOf(db)).map(({ request_id }) => request_id)).toEqual(['change 3', 'change 4', 'change 5']);
    });
  });

  describe('client secrets', () => {
    test('a new secret verifies on every node at once; nothing else does', async () => {
      const { node, secrets, objects } = await twoNodes(databases.fresh());
      const { secret, retired } = await secrets.add('agent');
      expect(secret).toMatch(/^cbs_[A-Za-z0-9_-]{43}$/);
      expect(retired).toEqual([]);
      await objects.current();
      await node.objects.current();
      for (const one of [secrets, node.secrets]) {
        expect(await one.verify('agent', secret)).toBe(true);
        expect(await one.verify('agent', `${secret}x`)).toBe(false);
        expect(await one.verify('agent', '')).toBe(false);
        expect(await one.verify('other', secret)).toBe(false);
        expect(await one.verify('unknown', secret)).toBe(false);
      }
    });

    test('two are valid at a time; a third retires the oldest at once, on another node that had it cached', async () => {
      const { node, secrets } = await twoNodes(databases.fresh());
      const first = await secrets.add('agent');
      const second = await secrets.add('agent');
      await node.objects.current();
      expect(await node.secrets.verify('agent', first.secret)).toBe(true);
      expect(await node.secrets.verify('agent', second.secret)).toBe(true);
      const third = await secrets.add('agent');
      expect(third.retired).toEqual([first.id]);
      await node.objects.current();
      expect(await node.secrets.verify('agent', first.secret)).toBe(false);
      expect(await node.secrets.verify('agent', second.secret)).toBe(true);
      expect(await node.secrets.verify('agent', third.secret)).toBe(true);
    });

    test('a retired secret is refused with the next request, and both may be retired', async () => {
      const { node, secrets } = await twoNodes(databases.fresh());
      const { secret, id } = await secrets.add('agent');
      await node.objects.current();
      expect(await node.secrets.verify('agent', secret)).toBe(true);
      expect(await secrets.retire('agent', id)).toEqual([id]);
      expect(await secrets.retire('agent', id)).toEqual([]);
      await node.objects.current();
      expect(await node.secrets.verify('agent', secret)).toBe(false);
      expect(await secrets.list('agent')).toMatchObject([{ id, retiredAtMs: expect.any(Number) }]);
    });

    test('all of a client are retired together, those of others stay; retiring none changes nothing', async () => {
      const { node, secrets, objects } = await twoNodes(databases.fresh());
      const made = [await secrets.add('agent'), await secrets.add('agent')];
      const other = await secrets.add('other');
      expect(await secrets.retire('agent', other.id)).toEqual([]);
      expect(await secrets.retire('agent', 'not an id')).toEqual([]);
      expect(await secrets.retire('agent', undefined)).toEqual(made.map(({ id }) => id).sort());
      const { version } = (await objects.current()).state;
      expect(await secrets.retire('agent', undefined)).toEqual([]);
      expect((await objects.current()).state.version).toBe(version);
      await expect(secrets.retire('unknown', undefined)).rejects.toBeInstanceOf(ObjectMissing);
      await node.objects.current();
      expect(await Promise.all(made.map(({ secret }) => node.secrets.verify('agent', secret)))).toEqual([false, false]);
      expect(await node.secrets.verify('other', other.secret)).toBe(true);
    });

    test('adding and retiring at the same moment never lock each other out', async () => {
      const { secrets } = await twoNodes(databases.fresh());
      await Promise.all(
        Array.from({ length: 12 }, (_, index) =>
          index % 2 === 0 ? secrets.add('agent') : secrets.retire('agent', undefined),
        ),
      );
    });

    test('many added at once leave two valid ones', async () => {
      const { secrets, objects } = await twoNodes(databases.fresh());
      const made = await Promise.all(Array.from({ length: 8 }, () => secrets.add('agent')));
      await objects.current();
      const valid = await Promise.all(made.map(({ secret }) => secrets.verify('agent', secret)));
      expect(valid.filter(Boolean)).toHaveLength(2);
    });

    test('an unknown client gets none, and a removed one does not come back with its old ones', async () => {
      const { secrets, objects } = await twoNodes(databases.fresh());
      await expect(secrets.add('unknown')).rejects.toBeInstanceOf(ObjectMissing);
      const { secret } = await secrets.add('agent');
      await objects.change([{ type: 'remove', kind: 'client', name: 'agent' }], by('ann'));
      await objects.change([client('agent')], by('ann'));
      await objects.current();
      expect(await secrets.verify('agent', secret)).toBe(false);
    });

    test('no secret is in the database', async () => {
      const { secrets, db } = await twoNodes(databases.fresh());
      const { secret } = await secrets.add('agent');
      const rows = await db.query('SELECT client_secret::text AS row FROM client_secret');
      const changes = await db.query('SELECT object_change::text AS row FROM object_change');
      expect(JSON.stringify([rows, changes])).not.toContain(secret.slice(4));
    });
  });
});

async function twoNodes(fresh: Promise<{ db: Database; anotherNode: () => Promise<Database> }>) {
  const { db, anotherNode } = await fresh;
  const other = await anotherNode();
  const objects = createObjectStore(db);
  const otherObjects = createObjectStore(other);
  await objects.change([client('agent'), client('other')], by('ann'));
  return {
    db,
    objects,
    secrets: createClientSecrets(db, objects.feed),
    node: { objects: otherObjects, secrets: createClientSecrets(other, otherObjects.feed) },
  };
}

/** From now on the database takes no record; what is returned ends that. */
async function refuseRecords({ asRole }: TestDatabase): Promise<() => Promise<unknown>> {
  await asRole(undefined, async (owner) => {
    await owner.query(`CREATE FUNCTION refuse_record() RETURNS trigger LANGUAGE plpgsql
      AS $$ BEGIN RAISE EXCEPTION 'no records today'; END $$`);
    await owner.query(
      'CREATE TRIGGER refuse BEFORE INSERT ON audit_record FOR EACH ROW EXECUTE FUNCTION refuse_record()',
    );
  });
  return () => asRole(undefined, (owner) => owner.query('DROP TRIGGER refuse ON audit_record'));
}

function by(author: string): Parameters<ObjectStore['change']>[1] {
  return { author, origin: 'test' };
}

function put<K extends Kind>(kind: K, name: string, spec: Specs[K]): Extract<Mutation, { type: 'put' }> {
  return { type: 'put', kind, name, spec, keys: KINDS[kind].keysOf(spec) };
}

function resourceSpec(name: string, fields: Partial<Specs['resource']> = {}): Specs['resource'] {
  return KINDS.resource.schema.parse({ name, uri: `https://${name}.example/mcp`, scopes: { read: 'Read' }, ...fields });
}

function resource(name: string, fields: Partial<Specs['resource']> = {}) {
  return put('resource', name, resourceSpec(name, fields));
}

function client(id: string) {
  return put('client', id, KINDS.client.schema.parse({ id, auth: ['client_secret_basic'] }));
}

function role(name: string, description?: string) {
  return put('role', name, KINDS.role.schema.parse({ name, ...(description === undefined ? {} : { description }) }));
}

function subject(name: string) {
  const sub = name.slice(name.indexOf(':') + 1);
  return put('subject', name, { issuer: 'corp', sub, roles: [], demo: false });
}

function countingStatements(db: Database): { counted: Database; statements: () => number } {
  let count = 0;
  return {
    counted: {
      ...db,
      query(text, values, options) {
        count++;
        return db.query(text, values, options);
      },
    },
    statements: () => count,
  };
}

/** Holds back the answers of statements (of one name, or of all) until `release`. */
function gatedStatements(db: Database, name?: string) {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let count = 0;
  let holding = true;
  const waiting: { readonly n: number; readonly resolve: (n: number) => void }[] = [];
  const gated: Database = {
    ...db,
    async query(text, values, options) {
      const rows = await db.query<never>(text, values, options);
      if (name !== undefined && options?.name !== name) return rows;
      count++;
      for (const { n, resolve } of waiting) if (count >= n) resolve(count);
      if (holding) await opened;
      return rows;
    },
  };
  return {
    gated,
    release: () => {
      holding = false;
      open();
    },
    arrived: (n: number) =>
      count >= n ? Promise.resolve(count) : new Promise<number>((resolve) => waiting.push({ n, resolve })),
  };
}
