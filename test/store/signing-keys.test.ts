import { describe, expect, test } from 'vitest';
import type { Database } from '../../src/store/database.ts';
import {
  ACTIVATION_FLOOR_SECONDS,
  createSigningKeys,
  ReplacementNeeded,
  RETIRED_PUBLISHED_SECONDS,
  TooManyKeys,
} from '../../src/store/signing-keys.ts';
import type { KeyStep, NewSigningKey, SigningKeys } from '../../src/store/signing-keys.ts';
import { withDatabases } from '../support/databases.ts';
import { record } from './fixtures.ts';

const SLOT = { purpose: 'access-token', algorithm: 'ES256' };

withDatabases('signing keys', (databases) => {
  interface Node {
    readonly keys: SigningKeys;
    readonly db: Database;
  }
  /** Two nodes, and the owner of the database, who can let time pass. */
  async function nodes() {
    const { db, anotherNode, asRole } = await databases.fresh();
    const other = await anotherNode();
    const age = (kid: string, seconds: number) =>
      asRole(undefined, (owner) =>
        owner.query(
          `UPDATE signing_key SET published_at = published_at - make_interval(secs => $2),
             retire_at = retire_at - make_interval(secs => $2) WHERE kid = $1`,
          [kid, seconds],
        ),
      );
    const here: Node = { keys: createSigningKeys(db), db };
    return { here, there: { keys: createSigningKeys(other), db: other } satisfies Node, age, asRole };
  }

  const steps: KeyStep[] = [];
  const recorded = (taken: readonly KeyStep[]) => {
    steps.push(...taken);
    return record('changed', { clientId: null });
  };
  const statesOf = async ({ keys }: Node) =>
    Object.fromEntries((await keys.list()).rows.map(({ kid, state }) => [kid, state]));
  const counters = async ({ db }: Node) => {
    const [row] = await db.query<{ keys: number; revocations: number; revoking: boolean | null; records: number }>(
      `SELECT keys, revocations, revoked_until > clock_timestamp() AS revoking,
         (SELECT count(*)::int FROM audit_record) AS records FROM state`,
    );
    return row;
  };
  /** `old` signs, `new` is published. */
  async function withNext() {
    const all = await nodes();
    await all.here.keys.addFirst([newKey('old')], recorded);
    await all.here.keys.addNext(newKey('new'), recorded);
    await all.here.keys.markPublished();
    return all;
  }

  describe('the first keys', () => {
    test('two nodes that both bring them agree on one; each slot has its own (F9)', async () => {
      const { here, there } = await nodes();
      await Promise.all(
        Array.from({ length: 10 }, (_, index) => {
          const { keys } = index % 2 === 0 ? here : there;
          return keys.addFirst([newKey(`k${index}`), { ...newKey(`r${index}`), algorithm: 'RS256' }], recorded);
        }),
      );
      const { rows } = await there.keys.list();
      expect(rows.map(({ algorithm, state }) => [algorithm, state]).sort()).toEqual([
        ['ES256', 'active'],
        ['RS256', 'active'],
      ]);
      expect(await counters(here)).toMatchObject({ keys: 1, records: 1 });
    });

    test('a key comes back as it was put', async () => {
      const { here } = await nodes();
      const before = Date.now();
      await here.keys.addFirst([newKey('k')], recorded);
      const { rows, nowMs } = await here.keys.list();
      expect(rows).toMatchObject([
        {
          kid: 'k',
          ...SLOT,
          state: 'active',
          publicJwk: { kty: 'EC', crv: 'P-256', kid: 'k' },
          aheadSeconds: null,
          retireAtMs: null,
        },
      ]);
      expect(Uint8Array.from(rows[0]?.sealedPrivate ?? [])).toEqual(Uint8Array.from([1, 2, 3]));
      expect(rows[0]?.activatedAtMs).toBeGreaterThanOrEqual(before - 1000);
      expect(nowMs).toBeGreaterThanOrEqual(rows[0]?.activatedAtMs ?? Infinity);
    });
  });

  describe('rotation', () => {
    test('there is one next key per slot, however many nodes bring one', async () => {
      const { here, there } = await nodes();
      await here.keys.addFirst([newKey('old')], recorded);
      const added = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          (index % 2 === 0 ? here : there).keys.addNext(newKey(`n${index}`), recorded),
        ),
      );
      expect(added.filter(Boolean)).toHaveLength(1);
      expect(Object.values(await statesOf(there)).sort()).toEqual(['active', 'next']);
      expect(await counters(here)).toMatchObject({ keys: 2, records: 2 });
    });

    test('no key signs before it was published for the floor, whoever asks; nothing is changed by trying', async () => {
      const { here, there, age } = await withNext();
      const before = await counters(here);
      expect(await here.keys.activate('new', 0, recorded)).toBe('too_early');
      await age('new', ACTIVATION_FLOOR_SECONDS - 2);
      expect(await there.keys.activate('new', -100, recorded)).toBe('too_early');
      expect(await statesOf(here)).toEqual({ old: 'active', new: 'next' });
      expect(await counters(here)).toEqual(before);
      await age('new', 2);
      expect(await here.keys.activate('new', 60, recorded)).toBe('too_early');
      expect(await here.keys.activate('new', 0, recorded)).toBe('activated');
    });

    test('a key whose publication is not known to be committed does not sign', async () => {
      const { here } = await nodes();
      await here.keys.addFirst([newKey('old')], recorded);
      await here.keys.addNext(newKey('new'), recorded);
      expect(await here.keys.activate('new', 0, recorded)).toBe('too_early');
      expect((await here.keys.list()).rows[1]?.publishedAtMs).toBeNull();
    });

    test('the key that is replaced loses its private half at once and stays published until its tokens have expired', async () => {
      const { here, age } = await withNext();
      await age('new', 10);
      steps.length = 0;
      expect(await here.keys.activate('new', 0, recorded)).toBe('activated');
      expect(steps.map(({ action, kid }) => [action, kid])).toEqual([
        ['retire_key', 'old'],
        ['activate_key', 'new'],
      ]);
      const { rows, nowMs } = await here.keys.list();
      const old = rows.find(({ kid }) => kid === 'old');
      expect(old).toMatchObject({ state: 'retired', sealedPrivate: null });
      expect((old?.retireAtMs ?? 0) - nowMs).toBeGreaterThan((RETIRED_PUBLISHED_SECONDS - 30) * 1000);
      expect(RETIRED_PUBLISHED_SECONDS).toBeGreaterThan(900);
      await here.keys.deleteExpired(recorded);
      expect(await statesOf(here)).toEqual({ old: 'retired', new: 'active' });
      await age('old', RETIRED_PUBLISHED_SECONDS + 1);
      const before = await counters(here);
      await here.keys.deleteExpired(recorded);
      await here.keys.deleteExpired(recorded);
      expect(await statesOf(here)).toEqual({ new: 'active' });
      expect(steps.at(-1)).toEqual({ action: 'delete_key', kid: 'old', ...SLOT });
      expect(await counters(here)).toMatchObject({ keys: before!.keys + 1, records: before!.records + 1 });
    });

    test('of nodes that activate at once one does, and the others find it done (F9)', async () => {
      const { here, there, age } = await withNext();
      await age('new', 10);
      const before = await counters(here);
      const came = await Promise.all(
        Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? here : there).keys.activate('new', 0, recorded)),
      );
      expect(came.filter((outcome) => outcome === 'activated')).toHaveLength(1);
      expect(came.filter((outcome) => outcome === 'not_next')).toHaveLength(7);
      expect(await statesOf(there)).toEqual({ old: 'retired', new: 'active' });
      expect(await counters(there)).toMatchObject({ keys: before!.keys + 1, records: before!.records + 1 });
    });

    test('a step whose record cannot be written is not taken', async () => {
      const { here, age } = await withNext();
      await age('new', 10);
      const before = await counters(here);
      const failing = () => {
        throw new Error('no record today');
      };
      await expect(here.keys.activate('new', 0, failing)).rejects.toThrow('no record today');
      await expect(here.keys.taint('old', undefined, failing)).rejects.toThrow('no record today');
      expect(await statesOf(here)).toEqual({ old: 'active', new: 'next' });
      expect(await counters(here)).toEqual(before);
    });

    test('an earlier wish for activation is not undone by a later one', async () => {
      const { here } = await withNext();
      await here.keys.requestActivation('new', 0);
      await here.keys.requestActivation('new', 86_400);
      expect((await here.keys.list()).rows.find(({ kid }) => kid === 'new')?.aheadSeconds).toBe(0);
    });

    test('no more keys are published than verifiers take (R16)', async () => {
      const { here, age } = await withNext();
      for (let round = 0; ; round++) {
        await age(round === 0 ? 'new' : `n${round}`, 10);
        await here.keys.activate(round === 0 ? 'new' : `n${round}`, 0, recorded);
        try {
          await here.keys.addNext(newKey(`n${round + 1}`), recorded);
        } catch (error) {
          expect(error).toBeInstanceOf(TooManyKeys);
          break;
        }
        await here.keys.markPublished();
      }
      expect((await here.keys.list()).rows).toHaveLength(16);
    });
  });

  describe('taint', () => {
    test('an active key is replaced by the next one at once, revoked, and its private half is gone', async () => {
      const { here } = await withNext();
      const before = await counters(here);
      steps.length = 0;
      expect(await here.keys.taint('old', undefined, recorded)).toEqual({ changed: true, replacedBy: 'new' });
      expect(await statesOf(here)).toEqual({ old: 'tainted', new: 'active' });
      expect((await here.keys.list()).rows[0]).toMatchObject({ kid: 'old', sealedPrivate: null });
      expect(steps.map(({ action, kid }) => [action, kid])).toEqual([
        ['taint_key', 'old'],
        ['activate_key', 'new'],
      ]);
      expect(await counters(here)).toEqual({
        keys: before!.keys + 1,
        records: before!.records + 1,
        revocations: before!.revocations + 1,
        revoking: true,
      });
      const revoked = await here.db.query(
        `SELECT kind, value, issued_until, expires_at > clock_timestamp() + interval '900 s' AS lasting,
           record_id IN (SELECT id FROM audit_record) AS recorded FROM revocation`,
      );
      expect(revoked).toEqual([{ kind: 'key', value: 'old', issued_until: null, lasting: true, recorded: true }]);
      expect(await here.keys.taint('old', undefined, recorded)).toEqual({ changed: false, replacedBy: undefined });
      expect(await here.keys.taint('nobody', undefined, recorded)).toBeUndefined();
    });

    test('an active key without a next one needs a replacement, else nothing happens', async () => {
      const { here } = await nodes();
      await here.keys.addFirst([newKey('old')], recorded);
      await expect(here.keys.taint('old', undefined, recorded)).rejects.toBeInstanceOf(ReplacementNeeded);
      expect(await statesOf(here)).toEqual({ old: 'active' });
      expect(await here.keys.taint('old', newKey('fresh'), recorded)).toEqual({ changed: true, replacedBy: 'fresh' });
      expect(await statesOf(here)).toEqual({ old: 'tainted', fresh: 'active' });
    });

    test('two nodes that taint the same key at once make one replacement', async () => {
      const { here, there } = await nodes();
      await here.keys.addFirst([newKey('old')], recorded);
      const came = await Promise.all([
        here.keys.taint('old', newKey('a'), recorded),
        there.keys.taint('old', newKey('b'), recorded),
      ]);
      expect(came.filter((outcome) => outcome?.changed === true)).toHaveLength(1);
      expect(Object.values(await statesOf(here)).sort()).toEqual(['active', 'tainted']);
    });

    test('keys that do not sign are tainted without a replacement; those of other purposes are not looked for among revocations', async () => {
      const { here, age } = await withNext();
      await age('new', 10);
      await here.keys.activate('new', 0, recorded);
      expect(await here.keys.taint('old', undefined, recorded)).toEqual({ changed: true, replacedBy: undefined });
      await here.keys.addFirst([{ ...newKey('doc'), purpose: 'revocation-document' }], recorded);
      await here.keys.taint('doc', { ...newKey('doc2'), purpose: 'revocation-document' }, recorded);
      expect(await statesOf(here)).toEqual({ old: 'tainted', new: 'active', doc: 'tainted', doc2: 'active' });
      expect(await here.db.query('SELECT value FROM revocation')).toEqual([{ value: 'old' }]);
    });
  });
});

function newKey(kid: string): NewSigningKey {
  return { kid, ...SLOT, publicJwk: { kty: 'EC', crv: 'P-256', kid }, sealedPrivate: Uint8Array.from([1, 2, 3]) };
}
