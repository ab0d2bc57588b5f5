/** Rows of leases on both engines: which are due, who may end them, and that two nodes share the work. */
import { v7 as newUuid } from 'uuid';
import { expect, test } from 'vitest';
import { runCommitStatement } from '../../src/store/commit-statement.ts';
import type { RevocationRow } from '../../src/store/commitment.ts';
import type { Database } from '../../src/store/database.ts';
import { createLeaseRows } from '../../src/store/leases.ts';
import type { LeaseIntent } from '../../src/store/leases.ts';
import { predicatesToAsk, principalDigest } from '../../src/tokens/revocation.ts';
import type { TokenFacts } from '../../src/tokens/revocation.ts';
import { digest } from '../../src/store/values.ts';
import { withDatabases } from '../support/databases.ts';
import { record } from './fixtures.ts';

const NOW_SECONDS = Math.floor(Date.now() / 1000);
const ADA = { issuer: 'https://corp.example', sub: 'ada' };

const FACTS: TokenFacts = {
  identities: ['own-jti', 'parent'],
  subjects: [ADA],
  actors: [{ issuer: 'https://cambist.example', sub: 'agent' }],
  clients: ['crm', 'agent'],
  resources: ['https://cambist.example/egress/github'],
  issuers: [ADA.issuer],
  kid: 'k1',
  issuedAtSeconds: NOW_SECONDS - 10,
};

function intent(more: Partial<LeaseIntent> = {}): LeaseIntent {
  return {
    id: newUuid(),
    upstream: 'github',
    clientId: 'crm',
    facts: predicatesToAsk(FACTS),
    tokenIssuedAtSeconds: FACTS.issuedAtSeconds,
    subjectName: 'corp:ada',
    lifetimeSeconds: 300,
    ...more,
  };
}

async function put(db: Database, kind: string, name: string, spec: object = {}): Promise<void> {
  await db.query(
    `INSERT INTO object (kind, name_hash, name, spec, origin, version) VALUES ($1, $2, $3, $4::jsonb, 'test', 1)`,
    [kind, digest(name), name, JSON.stringify(spec)],
  );
}

async function disable(db: Database, kind: string, name: string, disabled = true): Promise<void> {
  await db.query('UPDATE object SET disabled = $3 WHERE kind = $1 AND name_hash = $2', [kind, digest(name), disabled]);
}

async function age(db: Database, id: string, changes: string): Promise<void> {
  await db.query(`UPDATE lease SET ${changes} WHERE id = $1::uuid`, [id]);
}

async function revoke(db: Database, ...revocations: RevocationRow[]): Promise<void> {
  await runCommitStatement(db, [{ marks: [], record: record('refused'), revocations }]);
}

withDatabases('leases', (databases) => {
  async function open() {
    const { db, anotherNode } = await databases.fresh();
    await put(db, 'upstream', 'github', { callers: ['crm', 'other'] });
    for (const client of ['crm', 'agent']) await put(db, 'client', client);
    await put(db, 'subject', 'corp:ada');
    await put(db, 'issuer', 'corp');
    await db.query(
      `INSERT INTO object_key (namespace, key_hash, key, kind, name_hash) VALUES ('iss', $1, $2, 'issuer', $3)`,
      [digest(ADA.issuer), ADA.issuer, digest('corp')],
    );
    const rows = createLeaseRows(db);
    const held = async (more: Partial<LeaseIntent> = {}) => {
      const intended = intent(more);
      await rows.intend(intended);
      await rows.noteAccessor(intended.id, `acc-${intended.id}`);
      expect(await rows.hold(intended.id, 300)).toBe(true);
      return intended.id;
    };
    return { db, rows, held, there: createLeaseRows(await anotherNode()) };
  }

  test('a lease whose token is alive is left alone, on every node', async () => {
    const { rows, held, there } = await open();
    await held();
    await rows.intend(intent());
    expect(await rows.markDue()).toBe(0);
    expect(await there.markDue()).toBe(0);
    expect(await there.claimEnding(10)).toEqual([]);
    expect(await rows.numbers()).toEqual({ alive: 2, ending: 0, oldestEndingSeconds: undefined });
  });

  test('an ended lease is claimed with its accessor, by one, and is gone when it is removed', async () => {
    const { db, rows, held, there } = await open();
    const id = await held();
    await age(db, id, "expires_at = clock_timestamp() - interval '1 second'");
    expect(await rows.markDue()).toBe(1);
    expect(await rows.claimEnding(10)).toEqual([{ id, accessor: `acc-${id}` }]);
    expect(await there.claimEnding(10)).toEqual([]);
    expect(await there.numbers()).toMatchObject({
      alive: 0,
      ending: 1,
      oldestEndingSeconds: expect.any(Number) as number,
    });
    await rows.remove(id);
    expect(await there.numbers()).toMatchObject({ ending: 0, oldestEndingSeconds: undefined });
  });

  test('what could not be ended comes up again, later and later', async () => {
    const { db, rows, held } = await open();
    const id = await held();
    await age(db, id, 'expires_at = clock_timestamp()');
    await rows.markDue();
    const waits: number[] = [];
    for (let tries = 0; tries < 6; tries++) {
      expect(await rows.claimEnding(10)).toHaveLength(1);
      expect(await rows.claimEnding(10)).toHaveLength(0);
      const [row] = await db.query<{ wait: number }>(
        'SELECT extract(epoch FROM retry_at - clock_timestamp())::float8 AS wait FROM lease',
      );
      waits.push(row?.wait ?? NaN);
      await age(db, id, 'retry_at = clock_timestamp()');
    }
    expect(waits[0]).toBeLessThan(6.3);
    expect(Math.max(...waits)).toBeLessThan(37.6);
    expect(waits[4]).toBeGreaterThan(22);
  });

  test('no step passes once the row is to be ended', async () => {
    const { db, rows, held } = await open();
    const intended = intent();
    await rows.intend(intended);
    await age(db, intended.id, "created_at = clock_timestamp() - interval '61 seconds'");
    expect(await rows.markDue()).toBe(1);
    expect(await rows.noteAccessor(intended.id, 'late')).toBe(false);
    expect(await rows.hold(intended.id, 10)).toBe(false);
    expect(await rows.claimEnding(10)).toEqual([{ id: intended.id, accessor: null }]);
    await rows.remove(intended.id);
    expect(await rows.noteAccessor(intended.id, 'later')).toBe(false);
    // Removed only after its end.
    const alive = await held();
    await rows.remove(alive);
    expect(await rows.numbers()).toMatchObject({ alive: 1 });
  });

  test('an intent that is young is not due, whatever was revoked; one of 60 s is, with its accessor', async () => {
    const { db, rows } = await open();
    const intended = intent();
    await rows.intend(intended);
    await rows.noteAccessor(intended.id, 'acc');
    await age(db, intended.id, "created_at = clock_timestamp() - interval '25 seconds'");
    expect(await rows.noteAccessor(intended.id, 'acc')).toBe(true);
    // Whoever makes it is not overtaken: Vault would keep a lease whose holder is revoked first.
    await revoke(db, { kind: 'token', value: 'own-jti', issuedUntil: null, lifetimeSeconds: 300 });
    await age(db, intended.id, "created_at = clock_timestamp() - interval '55 seconds'");
    expect(await rows.markDue()).toBe(0);
    expect(await rows.noteAccessor(intended.id, 'late')).toBe(false);
    await age(db, intended.id, "created_at = clock_timestamp() - interval '60 seconds'");
    expect(await rows.markDue()).toBe(1);
    expect(await rows.claimEnding(1)).toEqual([{ id: intended.id, accessor: 'acc' }]);
  });

  test('holding makes the life of a row shorter, never longer', async () => {
    const { db, rows } = await open();
    const left = async (lifetimeSeconds: number) => {
      const intended = intent({ lifetimeSeconds: 60 });
      await rows.intend(intended);
      await rows.hold(intended.id, lifetimeSeconds);
      const [row] = await db.query<{ left: number }>(
        'SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 AS left FROM lease WHERE id = $1::uuid',
        [intended.id],
      );
      return row?.left ?? NaN;
    };
    expect(await left(10)).toBeLessThanOrEqual(10);
    expect(await left(600)).toBeLessThanOrEqual(60);
  });

  test('whoever ends a lease at once has some seconds before the sweeper does', async () => {
    const { db, rows, held } = await open();
    const id = await held();
    await rows.beginEnd(id);
    expect(await rows.claimEnding(10)).toEqual([]);
    await age(db, id, 'retry_at = clock_timestamp()');
    expect(await rows.claimEnding(10)).toHaveLength(1);
  });

  test.each<[string, RevocationRow]>([
    ['the token', { kind: 'token', value: 'own-jti', issuedUntil: null, lifetimeSeconds: 300 }],
    ['an ancestor of it', { kind: 'token', value: 'parent', issuedUntil: null, lifetimeSeconds: 300 }],
    ['the subject', { kind: 'subject', value: principalDigest(ADA), issuedUntil: 'now', lifetimeSeconds: 300 }],
    [
      'an actor',
      {
        kind: 'actor',
        value: principalDigest({ issuer: 'https://cambist.example', sub: 'agent' }),
        issuedUntil: 'now',
        lifetimeSeconds: 300,
      },
    ],
    ['a client', { kind: 'client', value: 'agent', issuedUntil: 'now', lifetimeSeconds: 300 }],
    [
      'the resource',
      { kind: 'resource', value: 'https://cambist.example/egress/github', issuedUntil: 'now', lifetimeSeconds: 300 },
    ],
    ['the trusted issuer', { kind: 'issuer', value: ADA.issuer, issuedUntil: 'now', lifetimeSeconds: 300 }],
    ['the key', { kind: 'key', value: 'k1', issuedUntil: null, lifetimeSeconds: 300 }],
    ['everything', { kind: 'all', value: '', issuedUntil: FACTS.issuedAtSeconds, lifetimeSeconds: 300 }],
  ])('revoked: %s', async (_, row) => {
    const { db, rows, held, there } = await open();
    await held();
    await revoke(db, { ...row, value: `not ${row.value}` }, { ...row, lifetimeSeconds: -1 });
    expect(await rows.markDue()).toBe(0);
    await revoke(db, row);
    expect(await there.markDue()).toBe(1);
  });

  test('a revocation of what was issued earlier does not hit', async () => {
    const { db, rows, held } = await open();
    await held();
    const issuedUntil = FACTS.issuedAtSeconds - 1;
    await revoke(db, { kind: 'all', value: '', issuedUntil, lifetimeSeconds: 300 });
    expect(await rows.markDue()).toBe(0);
  });

  test.each<[string, (db: Database) => Promise<unknown>]>([
    ['the upstream is disabled', (db) => disable(db, 'upstream', 'github')],
    ['the upstream is removed', (db) => db.query("DELETE FROM object WHERE kind = 'upstream'")],
    [
      'the client is no caller any more',
      (db) => db.query(`UPDATE object SET spec = '{"callers": ["other"]}' WHERE kind = 'upstream'`),
    ],
    ['the client is disabled', (db) => disable(db, 'client', 'crm')],
    ['a client in the chain is disabled', (db) => disable(db, 'client', 'agent')],
    [
      'a client in the chain is removed',
      (db) => db.query("DELETE FROM object WHERE kind = 'client' AND name = 'agent'"),
    ],
    ['the subject is disabled', (db) => disable(db, 'subject', 'corp:ada')],
    ['the trusted issuer is disabled', (db) => disable(db, 'issuer', 'corp')],
  ])('due because %s', async (_, change) => {
    const { db, rows, held } = await open();
    await held();
    await held({ subjectName: undefined });
    await put(db, 'subject', 'corp:eve');
    await disable(db, 'subject', 'corp:eve');
    expect(await rows.markDue()).toBe(0);
    await change(db);
    expect(await rows.markDue()).toBeGreaterThan(0);
    expect((await rows.numbers()).ending).toBeGreaterThan(0);
  });

  test('two nodes that sweep at once take each lease once', async () => {
    const { db, rows, held, there } = await open();
    const ids = await Promise.all(Array.from({ length: 40 }, () => held()));
    await db.query('UPDATE lease SET expires_at = clock_timestamp()');
    await Promise.all([rows.markDue(), there.markDue()]);
    const claimed: string[] = [];
    const sweep = async (by: typeof rows) => {
      for (let batch = await by.claimEnding(7); batch.length > 0; batch = await by.claimEnding(7))
        claimed.push(...batch.map(({ id }) => id));
    };
    await Promise.all([sweep(rows), sweep(there)]);
    expect(claimed).toHaveLength(40);
    expect(new Set(claimed)).toEqual(new Set(ids));
  });

  test('odd names are taken as they are', async () => {
    const { rows } = await open();
    await rows.intend(
      intent({
        facts: [
          { kind: 'token', value: '{"a",\\0 b}' },
          { kind: 'all', value: '' },
        ],
      }),
    );
    expect(await rows.markDue()).toBe(0);
  });
});
