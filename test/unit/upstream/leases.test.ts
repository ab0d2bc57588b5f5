/** Leases step by step: the order in which they are made, what is left behind by each failure, and who shares one. */
import { expect, test } from 'vitest';
import { createLogger } from '../../../src/core/log.ts';
import { Unavailable } from '../../../src/core/refusal.ts';
import type { LeaseBroker } from '../../../src/secrets/secret-store.ts';
import type { LeaseIntent, LeaseRows } from '../../../src/store/leases.ts';
import { createCredentials } from '../../../src/upstream/credentials.ts';
import { createLeaseSweeper } from '../../../src/upstream/lease-sweeper.ts';
import { granted, memoryStore, standingClock, START_SECONDS, upstream, useOf } from './credentials-in-memory.ts';

const SPEC = { kind: 'dynamic', path: 'database/creds/{client}', field: 'password', username_field: 'username' };

interface Row {
  state: 'intended' | 'held' | 'ending';
  accessor: string | undefined;
  lifetimeSeconds: number;
  readonly intent: LeaseIntent;
}

/** Rows and a Vault in memory; every step is noted in `steps`, and fails where `broken` names it. */
function room(durationSeconds = 600) {
  const steps: string[] = [];
  const broken = new Map<string, Error>();
  const table = new Map<string, Row>();
  const alive = new Map<string, { lifetimeSeconds: number; leased: boolean }>();
  let count = 0;
  let fields: Record<string, string> = {};
  let missing: 'absent' | 'forbidden' | undefined;

  const step = async (name: string) => {
    steps.push(name);
    await Promise.resolve();
    const error = broken.get(name);
    if (error !== undefined) throw error;
  };
  const rows: LeaseRows = {
    async intend(intent) {
      await step('intend');
      table.set(intent.id, {
        state: 'intended',
        accessor: undefined,
        lifetimeSeconds: intent.lifetimeSeconds,
        intent,
      });
    },
    async noteAccessor(id, accessor) {
      await step('noteAccessor');
      const row = table.get(id);
      if (row?.state !== 'intended') return false;
      row.accessor = accessor;
      return true;
    },
    async hold(id, lifetimeSeconds) {
      await step('hold');
      const row = table.get(id);
      if (row?.state !== 'intended') return false;
      row.state = 'held';
      row.lifetimeSeconds = lifetimeSeconds;
      return true;
    },
    async beginEnd(id) {
      await step('beginEnd');
      const row = table.get(id);
      if (row !== undefined) row.state = 'ending';
    },
    async remove(id) {
      await step('remove');
      table.delete(id);
    },
    markDue: () => Promise.resolve(0),
    claimEnding: () =>
      Promise.resolve(
        [...table].flatMap(([id, { state, accessor }]) =>
          state === 'ending' ? [{ id, accessor: accessor ?? null }] : [],
        ),
      ),
    numbers: () => Promise.resolve({ alive: 0, ending: table.size, oldestEndingSeconds: undefined }),
  };
  const broker: LeaseBroker = {
    async openHolder(lifetimeSeconds, as) {
      const number = ++count;
      const accessor = `acc-${number}`;
      await step(`openHolder${as === undefined ? '' : ` as ${as.key}`}`);
      alive.set(accessor, { lifetimeSeconds, leased: false });
      return {
        accessor,
        async lease(path) {
          await step(`lease ${path}`);
          if (missing !== undefined) return { missing };
          const holder = alive.get(accessor);
          if (holder !== undefined) holder.leased = true;
          await step('answer');
          return {
            leased: {
              leaseId: `database/creds/x/${number}`,
              fields: { username: `v-${number}`, password: `p-${number}`, ...fields },
              durationSeconds,
            },
          };
        },
      };
    },
    async revokeHolder(accessor) {
      await step('revokeHolder');
      alive.delete(accessor);
    },
  };
  const clock = standingClock();
  const credentials = createCredentials({
    stores: { embedded: memoryStore(), vault: { ...memoryStore(), ...broker } },
    clock,
    logger: createLogger('silent'),
    cacheSeconds: 5,
    fetcher: { postForm: () => Promise.reject(new Error('not asked for')) },
    rows,
    registeredNameOf: () => Promise.resolve('corp:ada'),
    vaultUserOf: (use) => ({ key: use.subject.sub, assertion: () => Promise.resolve('jwt') }),
  });
  return {
    steps,
    broken,
    table,
    alive,
    clock,
    credentials,
    rows,
    sweeper: createLeaseSweeper({ rows, broker, logger: createLogger('silent') }),
    answerWith: (more: { fields?: Record<string, string>; missing?: 'absent' | 'forbidden' }) => {
      fields = more.fields ?? {};
      missing = more.missing;
    },
  };
}

const DYNAMIC = useOf(upstream(SPEC, { inject: { kind: 'basic' } }));
const FETCH = { ...DYNAMIC, purpose: 'fetch' } as const;
const VAULT_DOWN = new Unavailable('vault', 'sealed');
const DATABASE_DOWN = new Unavailable('database', 'down');

test('intent before holder, accessor before lease, held at the end', async () => {
  const { steps, table, alive, credentials } = room();
  const got = await granted(credentials.obtain(DYNAMIC));
  expect(steps).toEqual(['intend', 'openHolder', 'noteAccessor', 'lease database/creds/crm-server', 'answer', 'hold']);
  const [[id, row] = []] = table;
  expect(row).toMatchObject({
    state: 'held',
    accessor: 'acc-1',
    intent: { clientId: 'crm-server', subjectName: 'corp:ada' },
  });
  expect(row?.intent.facts).toContainEqual({ kind: 'token', value: 'token-0' });
  expect(got).toMatchObject({
    secret: 'p-1',
    username: 'v-1',
    fields: { username: 'v-1', password: 'p-1' },
    mark: { kind: 'dynamic', store: 'vault', path: 'database/creds/{client}', version: id },
  });
  expect(alive.size).toBe(1);
});

test('Vault is not asked before the intent is committed', async () => {
  const { steps, broken, table, credentials, rows } = room();
  let commit = () => {};
  const intend = rows.intend.bind(rows);
  const committed = new Promise<void>((resolve) => (commit = resolve));
  Object.assign(rows, { intend: async (intent: LeaseIntent) => (await committed, intend(intent)) });
  const obtaining = credentials.obtain(DYNAMIC);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(steps).toEqual([]);
  commit();
  await granted(obtaining);

  broken.set('intend', DATABASE_DOWN);
  steps.length = 0;
  table.clear();
  await expect(credentials.obtain(FETCH)).rejects.toThrow('down');
  expect(steps).toEqual(['intend']);
});

test.each<[string, number, number, number, number]>([
  ['the token', 120, 900, 3600, 120],
  ['the upstream', 300, 60, 3600, 60],
  ['the lease', 300, 900, 30, 30],
])('lives no longer than %s', async (_, tokenSeconds, specSeconds, leaseSeconds, expected) => {
  const { alive, table, credentials } = room(leaseSeconds);
  const use = useOf(upstream({ ...SPEC, lifetime_seconds: specSeconds }, { inject: { kind: 'basic' } }), {
    token: { ...DYNAMIC.token, expiresAtSeconds: START_SECONDS + tokenSeconds },
  });
  expect((await granted(credentials.obtain(use))).expiresAtSeconds).toBe(START_SECONDS + expected);
  expect([...alive.values()][0]?.lifetimeSeconds).toBe(Math.min(tokenSeconds, specSeconds));
  expect([...table.values()][0]?.lifetimeSeconds).toBe(expected);
});

test('of a token that is about to end nothing is made', async () => {
  const { steps, credentials } = room();
  const token = { ...DYNAMIC.token, expiresAtSeconds: START_SECONDS + 4 };
  expect(await credentials.obtain({ ...DYNAMIC, token })).toMatchObject({ reason: 'nothing_left_to_live' });
  expect(steps).toEqual([]);
});

test('without a field nothing is made that could be injected; it can be fetched, whole', async () => {
  const { steps, credentials } = room();
  const use = useOf(upstream({ kind: 'dynamic', path: 'database/creds/x' }));
  expect(await credentials.obtain(use)).toMatchObject({
    reason: 'credential_missing',
    detail: { missing: 'credential.field' },
  });
  expect(steps).toEqual([]);
  expect(await granted(credentials.obtain({ ...use, purpose: 'fetch' }))).toMatchObject({
    fields: { username: 'v-1', password: 'p-1' },
    secret: undefined,
  });
});

test('without Vault it says which setting is missing', async () => {
  const { credentials } = (() => {
    const made = room();
    return {
      credentials: createCredentials({
        stores: { embedded: memoryStore(), vault: undefined },
        clock: made.clock,
        logger: createLogger('silent'),
        cacheSeconds: 5,
        fetcher: { postForm: () => Promise.reject(new Error('not asked for')) },
        rows: made.rows,
        registeredNameOf: () => Promise.resolve(undefined),
      }),
    };
  })();
  await expect(credentials.obtain(DYNAMIC)).rejects.toThrow('vault.address');
});

test('what is injected has one lease per token, kept to shortly before its end; each fetch has its own', async () => {
  const { table, clock, credentials } = room();
  const all = await Promise.all(Array.from({ length: 20 }, () => granted(credentials.obtain(DYNAMIC))));
  expect(new Set(all.map(({ secret }) => secret)).size).toBe(1);
  const other = { ...DYNAMIC, token: { ...DYNAMIC.token, identity: 'token-2' } };
  await granted(credentials.obtain(other));
  expect(table.size).toBe(2);
  const fetched = await Promise.all([1, 2, 3].map(() => granted(credentials.obtain(FETCH))));
  expect(new Set(fetched.map(({ secret }) => secret)).size).toBe(3);
  expect(table.size).toBe(5);
  clock.forward(269);
  expect((await granted(credentials.obtain(DYNAMIC))).secret).toBe(all[0]?.secret);
  clock.forward(2);
  expect((await granted(credentials.obtain(DYNAMIC))).secret).not.toBe(all[0]?.secret);
});

test('a lease that was made as one subject is not used for another', async () => {
  const { steps, credentials } = room();
  const of = upstream({ ...SPEC, login: 'subject' }, { inject: { kind: 'basic' } });
  const ada = await granted(credentials.obtain(useOf(of)));
  const eve = await granted(credentials.obtain(useOf(of, { subject: { issuer: 'https://corp.example', sub: 'eve' } })));
  expect(eve.secret).not.toBe(ada.secret);
  expect(steps.filter((step) => step.startsWith('openHolder'))).toEqual(['openHolder as ada', 'openHolder as eve']);
});

test.each<[string, Error]>([
  ['openHolder', VAULT_DOWN],
  ['noteAccessor', DATABASE_DOWN],
  ['hold', DATABASE_DOWN],
])('a failure of "%s" leaves neither lease nor row behind', async (name, error) => {
  const { broken, table, alive, credentials } = room();
  broken.set(name, error);
  await expect(credentials.obtain(DYNAMIC)).rejects.toThrow(error.message);
  expect(alive.size).toBe(0);
  expect(table.size).toBe(0);
  broken.clear();
  // And is not kept.
  await granted(credentials.obtain(DYNAMIC));
});

test.each(['noteAccessor', 'hold'])('a row that the sweeper marked before "%s" lets no lease live', async (name) => {
  const { table, alive, credentials, rows } = room();
  const through = rows[name as 'hold'].bind(rows);
  Object.assign(rows, {
    [name]: (id: string, value: never) => {
      const row = table.get(id);
      if (row !== undefined) row.state = 'ending';
      return through(id, value);
    },
  });
  await expect(credentials.obtain(DYNAMIC)).rejects.toMatchObject({ dependency: 'vault' });
  expect(alive.size).toBe(0);
  expect(table.size).toBe(0);
});

test.each(['lease database/creds/crm-server', 'answer'])(
  'a failure of "%s" leaves the holder alive and the row to the sweeper: Vault may be making the lease yet',
  async (name) => {
    const { broken, table, alive, credentials, sweeper } = room();
    broken.set(name, VAULT_DOWN);
    await expect(credentials.obtain(DYNAMIC)).rejects.toThrow('sealed');
    expect([...table.values()]).toMatchObject([{ state: 'intended', accessor: 'acc-1' }]);
    expect(alive.size).toBe(1);
    broken.clear();
    // And is not kept.
    await granted(credentials.obtain(DYNAMIC));
    expect(table.size).toBe(2);
    await sweeper.stop();
  },
);

test('with Vault down at the end, the row stays, and the sweeper ends what there is', async () => {
  const { broken, table, alive, credentials, sweeper } = room();
  broken.set('hold', DATABASE_DOWN).set('revokeHolder', VAULT_DOWN);
  await expect(credentials.obtain(DYNAMIC)).rejects.toThrow(DATABASE_DOWN.message);
  expect([...table.values()]).toMatchObject([{ state: 'ending', accessor: 'acc-1' }]);
  expect([...alive.values()]).toMatchObject([{ leased: true }]);
  await sweeper.runOnce();
  expect(table.size).toBe(1);
  expect(sweeper.numbers()).toMatchObject({ ended: 0, failed: 1, ending: 1 });
  broken.clear();
  await sweeper.runOnce();
  expect(table.size).toBe(0);
  expect(alive.size).toBe(0);
  expect(sweeper.numbers()).toMatchObject({ ended: 1, failed: 1, ending: 0 });
  await sweeper.stop();
});

test.each([
  ['absent', 'credential_missing'],
  ['forbidden', 'credential_forbidden'],
] as const)('Vault answers %s: refused, and nothing is left', async (missing, reason) => {
  const { table, alive, credentials, answerWith } = room();
  answerWith({ missing });
  expect(await credentials.obtain(DYNAMIC)).toMatchObject({ reason, detail: { path: 'database/creds/crm-server' } });
  expect(table.size + alive.size).toBe(0);
});

test.each<[Record<string, string>, string]>([
  [{ password: '' }, 'credential_missing'],
  [{ password: 'p\n' }, 'credential_refused'],
  [{ username: 'a:b' }, 'credential_refused'],
])('a lease that cannot be used is ended: %j', async (fields, reason) => {
  const { table, alive, credentials, answerWith } = room();
  answerWith({ fields });
  expect(await credentials.obtain(DYNAMIC)).toMatchObject({ reason });
  expect(table.size + alive.size).toBe(0);
  answerWith({});
  await granted(credentials.obtain(DYNAMIC));
});

test('discarded, a lease is ended, unless somebody else makes use of it', async () => {
  const { table, alive, credentials } = room();
  const alone = await granted(credentials.obtain(FETCH));
  await alone.discard();
  await alone.discard();
  expect(table.size + alive.size).toBe(0);

  const first = await granted(credentials.obtain(DYNAMIC));
  const second = await granted(credentials.obtain(DYNAMIC));
  await first.discard();
  await first.discard();
  expect(alive.size).toBe(1);
  await second.discard();
  expect(table.size + alive.size).toBe(0);
  expect((await granted(credentials.obtain(DYNAMIC))).secret).not.toBe(second.secret);
});

test('discarding never throws', async () => {
  const { broken, table, credentials } = room();
  const got = await granted(credentials.obtain(FETCH));
  broken.set('revokeHolder', VAULT_DOWN).set('beginEnd', DATABASE_DOWN).set('remove', DATABASE_DOWN);
  await got.discard();
  expect(table.size).toBe(1);
});

test('a holder is ended also where the database cannot be reached', async () => {
  const { broken, alive, credentials } = room();
  broken.set('noteAccessor', DATABASE_DOWN).set('beginEnd', DATABASE_DOWN);
  await expect(credentials.obtain(DYNAMIC)).rejects.toThrow('down');
  expect(alive.size).toBe(0);
});

test('rejected, a lease is ended and the next use gets another one', async () => {
  const { alive, table, credentials } = room();
  const first = await granted(credentials.obtain(DYNAMIC));
  credentials.reject(DYNAMIC, first);
  const second = await granted(credentials.obtain(DYNAMIC));
  expect(second.secret).not.toBe(first.secret);
  credentials.reject(DYNAMIC, first);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(alive.size).toBe(1);
  expect(table.size).toBe(1);
});

test('closing ends no lease that is alive', async () => {
  const { alive, table, credentials } = room();
  await granted(credentials.obtain(DYNAMIC));
  await credentials.close();
  expect(alive.size).toBe(1);
  expect([...table.values()]).toMatchObject([{ state: 'held' }]);
});
