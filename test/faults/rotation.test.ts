/**
 * F9 and the rest of what happens to keys while tokens are issued: two nodes that rotate at once, a process killed at
 * every step of a rotation, a key that leaked, a change of the key-encryption key. Real PostgreSQL, two real nodes.
 */
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet } from 'jose';
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { slotsOf } from '../../src/keys/slots.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { startCambist, TEST_KEY } from '../support/cambist.ts';
import type { StartOptions, TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { claimsOf, headerOf } from '../support/token-client.ts';
import { holdSteps, KILL_POINTS, spawnRotation } from './rotation-kills.ts';

const NOTES = 'https://notes.test/mcp';
const OLD = 'https://old.test/mcp';
const OBJECTS = `
clients: [{id: agent, auth: [client_secret_basic]}]
resources:
  - {name: notes, uri: ${NOTES}, scopes: {read: Read}, default_scopes: [read]}
  - {name: old, uri: ${OLD}, scopes: {look: Look}, default_scopes: [look], signing_algorithm: RS256}
policies:
  - id: all
    cedar: permit (principal, action == Action::"access", resource);
`;
const AUTHOR = 'test';
const UNLIMITED = { clientPerMinute: null, subjectPerMinute: null };

interface Activity {
  readonly tokens: readonly string[];
  readonly refusals: readonly number[];
  stop(): Promise<void>;
}

withPostgres('keys under load', () => {
  let cluster: PostgresCluster;
  let database: Database;
  let here: TestCambist;
  let there: TestCambist;
  const opened: Database[] = [];

  const open = async () => {
    const db = await openDatabase({
      source: { engine: 'postgresql', url: cluster.url },
      migrate: true,
      logger: createLogger('silent'),
    });
    opened.push(db);
    return db;
  };
  const start = async (joins?: TestCambist, settings: StartOptions['settings'] = {}) =>
    startCambist({
      objects: joins === undefined ? OBJECTS : '',
      database: await open(),
      ...(joins === undefined ? {} : { joins }),
      settings: { limits: UNLIMITED, ...settings },
    });

  beforeAll(async () => {
    cluster = await startPostgres();
  });
  afterAll(() => cluster.stop());
  beforeEach(async () => {
    await withClient(cluster.url, (client) => client.query('DROP SCHEMA IF EXISTS cambist CASCADE'));
    database = await open();
    here = await start();
    there = await start(here);
  });
  afterEach(async () => {
    await Promise.all([here.stop(), there.stop()]);
    await Promise.all(opened.splice(0).map((db) => db.close()));
  });

  const authorization = () => `Basic ${Buffer.from(`agent:${here.secretOf('agent')}`).toString('base64')}`;
  async function ask(node: TestCambist, form: Readonly<Record<string, string>>) {
    const response = await fetch(`${node.url}/oauth2/token`, {
      method: 'POST',
      headers: { authorization: authorization() },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...form }),
    });
    const body = (await response.json()) as { access_token?: string; error?: string };
    return { status: response.status, ...body };
  }
  const issue = async (node: TestCambist, resource?: string) => {
    const { access_token: token } = await ask(node, resource === undefined ? {} : { resource });
    if (token === undefined) throw new Error('no token');
    return token;
  };
  const jwksOf = async (node: TestCambist, path = '/oauth2/jwks') =>
    (await (await fetch(node.url + path)).json()) as JSONWebKeySet & { keys: { kid: string }[] };
  const kidsOf = async (node: TestCambist, path?: string) => (await jwksOf(node, path)).keys.map(({ kid }) => kid);
  const keyRows = async () => (await here.service.keys.rotation.list()).rows;
  /** The slot that is rotated and killed. */
  const SLOT = { purpose: 'access-token', algorithm: 'ES256' };
  const activeKids = async () =>
    (await keyRows())
      .filter(
        ({ purpose, algorithm, state }) =>
          purpose === SLOT.purpose && algorithm === SLOT.algorithm && state === 'active',
      )
      .map(({ kid }) => kid);

  /** Asks both nodes for tokens of both algorithms until it is told to stop. */
  function load(nodes: readonly TestCambist[]): Activity {
    const tokens: string[] = [];
    const refusals: number[] = [];
    let running = true;
    const worker = async (index: number) => {
      for (let turn = index; running; turn++) {
        const node = nodes[turn % nodes.length] ?? here;
        const { status, access_token: token } = await ask(node, { resource: turn % 8 === 0 ? OLD : NOTES });
        if (token === undefined) refusals.push(status);
        else tokens.push(token);
      }
    };
    const workers = Array.from({ length: 4 }, (_, index) => worker(index));
    return {
      tokens,
      refusals,
      stop: async () => {
        running = false;
        await Promise.all(workers);
      },
    };
  }

  /** Verifies, again and again, what was issued until then against what both nodes publish after that; at the end, all of it. */
  function watch({ tokens }: Activity, nodes: readonly TestCambist[]) {
    const failures: string[] = [];
    let looks = 0;
    let running = true;
    const isRunning = () => running;
    const watching = (async () => {
      while (isRunning()) {
        // One token of every key that has signed until now stands for the others: a kid names one key.
        const due = [...new Map(tokens.map((token) => [headerOf(token).kid, token])).values()];
        for (const node of nodes) failures.push(...(await unverifiable(await jwksOf(node), due)));
        looks++;
        await pause(20);
      }
    })();
    return {
      failures,
      stop: async () => {
        running = false;
        await watching;
        for (const node of nodes) failures.push(...(await unverifiable(await jwksOf(node), tokens)));
        return looks;
      },
    };
  }

  async function untilDone(node: TestCambist, kids: readonly string[]): Promise<void> {
    const deadlineMs = Date.now() + 20_000;
    for (;;) {
      const states = await node.service.keys.rotation.finish(kids, AUTHOR);
      if (states.every(({ state }) => state !== 'next')) return;
      if (Date.now() > deadlineMs) throw new Error(`not activated: ${JSON.stringify(states)}`);
      await pause(100);
    }
  }

  test('F9 two nodes that rotate at once under load: one new active key each, and at every instant the JWKS of both verify every token', async () => {
    const before = await keyRows();
    const traffic = load([here, there]);
    const watcher = watch(traffic, [here, there]);
    await pause(300);
    const slots = slotsOf(['access-token']);
    await Promise.all(
      [here, there].map(async (node) => {
        const asked = await node.service.keys.rotation.rotate(slots, { now: true, author: AUTHOR });
        await Promise.all([
          untilDone(
            node,
            asked.map(({ kid }) => kid),
          ),
          node.service.keys.rotation.tick(),
        ]);
      }),
    );
    await pause(500);
    await traffic.stop();
    const looks = await watcher.stop();
    const rows = await keyRows();
    for (const slot of slots) {
      const mine = rows.filter(({ purpose, algorithm }) => purpose === slot.purpose && algorithm === slot.algorithm);
      expect(mine.map(({ state }) => state).sort()).toEqual(['active', 'retired']);
      expect(mine.find(({ state }) => state === 'retired')).toMatchObject({ sealedPrivate: null });
    }
    expect(rows).toHaveLength(before.length + slots.length);
    expect(traffic.refusals).toEqual([]);
    expect(watcher.failures).toEqual([]);
    const kids = new Set(traffic.tokens.map((token) => headerOf(token).kid));
    expect(kids.size).toBe(4);
    expect(looks).toBeGreaterThan(5);
    const steps = await recordedSteps();
    expect(steps.filter((step) => step.startsWith('activate_key')).length).toBe(before.length + slots.length);
    expect(new Set(steps).size).toBe(steps.length);
    console.log(`rotation under load: ${traffic.tokens.length} tokens, ${looks} looks at two JWKS, no failure`);
  }, 60_000);

  test('by schedule, looked after by both nodes at once, every key changes and is published long enough before', async () => {
    await Promise.all([here.stop(), there.stop()]);
    const keyTimes = { rotateAfterSeconds: 6, publishAheadSeconds: 5 };
    here = await start(here, { keyTimes });
    there = await start(here, { keyTimes });
    const first = (await keyRows()).filter(({ state }) => state === 'active').map(({ kid }) => kid);
    const deadlineMs = Date.now() + 30_000;
    const replaced = async () =>
      (await keyRows()).filter(({ kid, state }) => first.includes(kid) && state === 'retired');
    while ((await replaced()).length < slotsOf().length && Date.now() < deadlineMs) {
      await Promise.all([here, there].map((node) => node.service.keys.rotation.tick()));
      await pause(100);
    }
    const rows = await keyRows();
    expect(await replaced()).toHaveLength(slotsOf().length);
    for (const { activatedAtMs, publishedAtMs } of rows.filter(
      ({ kid, state }) => !first.includes(kid) && state === 'active',
    ))
      expect((activatedAtMs ?? 0) - (publishedAtMs ?? Infinity)).toBeGreaterThanOrEqual(5000);
  }, 60_000);

  test('a tainted key: what it signed is refused with the next request on both nodes, it leaves both JWKS, another key signs', async () => {
    const identity = await issue(here);
    const kid = headerOf(identity).kid ?? '';
    const exchange = (node: TestCambist) =>
      ask(node, {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: identity,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        resource: NOTES,
      });
    for (const node of [here, there]) expect(await exchange(node)).toMatchObject({ status: 200 });
    const { replacedBy } = (await here.service.keys.rotation.taint(kid, AUTHOR)) ?? {};
    for (const node of [there, here]) {
      expect(await exchange(node)).toMatchObject({ status: 400, error: 'invalid_request' });
      expect(await kidsOf(node)).not.toContain(kid);
      expect(await kidsOf(node)).toContain(replacedBy);
      expect(headerOf(await issue(node)).kid).toBe(replacedBy);
    }
    const [row] = await database.query<{ value: string }>(`SELECT value FROM revocation WHERE kind = 'key'`);
    expect(row?.value).toBe(kid);
  }, 30_000);

  test.each([
    ['access-token', '/oauth2/jwks'],
    ['revocation-document', '/oauth2/revocations/jwks'],
  ])(
    'a tainted %s key is replaced in the JWKS of the other node with its next request',
    async (purpose, path) => {
      for (let turn = 0; turn < 5; turn++) {
        const active = (await keyRows()).find((row) => row.purpose === purpose && row.state === 'active')?.kid ?? '';
        expect(await kidsOf(there, path)).toContain(active);
        const { replacedBy } = (await here.service.keys.rotation.taint(active, AUTHOR)) ?? {};
        const kids = await kidsOf(there, path);
        expect(kids).toContain(replacedBy);
        expect(kids).not.toContain(active);
      }
    },
    30_000,
  );

  test('F9 kill -9 at every step of a rotation: one active key at most, every token verifies, and another node finishes', async () => {
    const tokens: string[] = [await issue(there, NOTES)];
    const holder = await holdSteps(cluster.url);
    try {
      for (const point of KILL_POINTS) {
        const [before] = await activeKids();
        if (point.startsWithNext) {
          await there.service.keys.rotation.rotate([SLOT], {
            now: false,
            author: AUTHOR,
          });
          await publishedLongAgo();
        }
        await holder.hold(point);
        const killed = spawnRotation(cluster.url, here.issuer, TEST_KEY);
        await holder.waitUntilHeld(point, killed);
        killed.kill('SIGKILL');
        // Tokens are issued while the dead process's statement still stands in the way, and after it.
        tokens.push(await issue(there, NOTES));
        await holder.release();
        expect(await activeKids(), point.name).toHaveLength(1);
        tokens.push(await issue(here, NOTES));
        for (const node of [here, there])
          expect(await unverifiable(await jwksOf(node), tokens), point.name).toEqual([]);

        const deadlineMs = Date.now() + 20_000;
        const rotation = there.service.keys.rotation;
        if ((await activeKids()).includes(before ?? '')) await rotation.rotate([SLOT], { now: true, author: AUTHOR });
        while ((await activeKids()).includes(before ?? '') && Date.now() < deadlineMs) {
          await publishedLongAgo();
          await rotation.tick();
        }
        const [after] = await activeKids();
        expect(after, point.name).not.toBe(before);
        tokens.push(await issue(here, NOTES), await issue(there, NOTES));
        for (const node of [here, there])
          expect(await unverifiable(await jwksOf(node), tokens), point.name).toEqual([]);
      }
    } finally {
      await holder.close();
    }
    // One record per step that was taken, none for those that were undone.
    const steps = await recordedSteps();
    expect(new Set(steps).size).toBe(steps.length);
    const rows = await keyRows();
    for (const { kid, state } of rows) {
      expect(steps.includes(`activate_key ${kid}`), kid).toBe(state !== 'next');
      expect(steps.includes(`retire_key ${kid}`), kid).toBe(state === 'retired');
    }
    expect(tokens.length).toBe(1 + KILL_POINTS.length * 4);
  }, 240_000);

  test('the key-encryption key is changed while another node issues tokens; then the new one alone is enough, and the old one fails closed', async () => {
    const next = new Uint8Array(randomBytes(32));
    await there.stop();
    there = await start(here, { previousKeyEncryptionKeys: [next] });
    const traffic = load([there]);
    await here.stop();
    here = await start(there, { keyEncryptionKey: next, previousKeyEncryptionKeys: [TEST_KEY] });
    await rewrapAll(here);
    await here.service.keys.rotation.rotate(slotsOf(['access-token']), { now: true, author: AUTHOR });
    await pause(500);
    await traffic.stop();
    expect(traffic.refusals).toEqual([]);
    expect(traffic.tokens.length).toBeGreaterThan(10);
    await there.stop();
    there = await start(here, { keyEncryptionKey: next, previousKeyEncryptionKeys: [TEST_KEY] });
    await rewrapAll(there);
    expect((await here.service.keyParts.rewrapper.count()).reduce((sum, { left }) => sum + left, 0)).toBe(0);
    await there.stop();
    there = await start(here, { keyEncryptionKey: next });
    expect(await ask(there, { resource: NOTES })).toMatchObject({ status: 200 });
    await expect(start(here, { keyEncryptionKey: TEST_KEY })).rejects.toThrow(
      /another key-encryption key.*the new one/,
    );
  }, 60_000);

  async function rewrapAll(node: TestCambist): Promise<void> {
    const { rewrapper, changeRecord } = node.service.keyParts;
    for (let position: Parameters<typeof rewrapper.step>[0]; ;) {
      const { next } = await rewrapper.step(position, (done) => changeRecord({ author: AUTHOR, ...done }));
      if (next === null) return;
      position = next;
    }
  }

  /** Time passes for the next keys. */
  const publishedLongAgo = () =>
    withClient(cluster.url, (client) =>
      client.query(
        `UPDATE cambist.signing_key SET published_at = published_at - interval '1 hour' WHERE state = 'next'`,
      ),
    );

  async function recordedSteps(): Promise<string[]> {
    const rows = await database.query<{ canonical: Uint8Array }>(
      `SELECT canonical FROM audit_record WHERE kind = 'changed' ORDER BY recorded_at, id`,
    );
    return rows.flatMap(({ canonical }) => {
      const { change } = JSON.parse(Buffer.from(canonical).toString('utf8')) as {
        change: { changes?: { kind: string; action: string; name: string }[] };
      };
      return (change.changes ?? []).flatMap(({ kind, action, name }) => (kind === 'key' ? [`${action} ${name}`] : []));
    });
  }
});

/** Why tokens that have not expired do not verify; empty when they all do. */
async function unverifiable(jwks: JSONWebKeySet, tokens: readonly string[]): Promise<string[]> {
  const keys = createLocalJWKSet(jwks);
  const failures: string[] = [];
  for (const token of tokens)
    try {
      await jwtVerify(token, keys);
    } catch (error) {
      failures.push(`${headerOf(token).kid ?? ''} ${String(claimsOf(token).exp)}: ${String(error)}`);
    }
  return failures;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
