/**
 * Liveness and readiness (F3): a database that hangs, dies and comes back, on a real PostgreSQL and over both listeners;
 * and the checks by themselves, at their edges.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { createHeartbeat } from '../../src/status/heartbeat.ts';
import type { Heartbeat, HeartbeatParts } from '../../src/status/heartbeat.ts';
import { createReadiness, heardWithin, nothingMissing, skewWithin } from '../../src/status/readiness.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';

const silent = createLogger('silent');

interface Seen {
  readonly status: number;
  readonly body: any;
}

/** Gives up after two seconds: a probe does not wait for the database. */
async function probe(base: string, path: string): Promise<Seen> {
  const response = await fetch(base + path, { signal: AbortSignal.timeout(2_000) });
  expect(response.headers.get('cache-control')).toBe('no-store');
  return { status: response.status, body: await response.json() };
}

withPostgres('a node whose PostgreSQL', () => {
  let cluster: PostgresCluster;
  let database: Database;
  let cambist: TestCambist;
  const lines: Record<string, unknown>[] = [];
  beforeAll(async () => {
    cluster = await startPostgres();
    database = await openDatabase({
      source: { engine: 'postgresql', url: cluster.url, connectTimeoutMs: 1_000, statementTimeoutMs: 2_000 },
      migrate: true,
      logger: silent,
    });
    const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) });
    cambist = await startCambist({ objects: '', database, settings: { logger } });
  });
  afterAll(async () => {
    await cambist.stop();
    await database.close();
    await cluster.stop();
  });

  const ready = () => probe(cambist.url, '/readyz');
  const notReady = { status: 503, body: { status: 'not_ready', checks: [{ name: 'database', ok: false }] } };
  const options = { timeout: 20_000, interval: 200 };

  it('answers is ready at once, on both listeners', async () => {
    for (const base of [cambist.url, cambist.adminUrl]) {
      expect(await probe(base, '/readyz')).toEqual({ status: 200, body: { status: 'ready' } });
      expect(await probe(base, '/healthz')).toEqual({ status: 200, body: { status: 'ok' } });
    }
  });

  it('F3 hangs is alive and not ready; everybody reads which check, operators read why; and it comes back', async () => {
    cluster.pauseAll();
    try {
      await expect.poll(ready, options).toEqual(notReady);
      expect(await probe(cambist.adminUrl, '/readyz')).toEqual({
        status: 503,
        body: {
          status: 'not_ready',
          checks: [
            {
              name: 'database',
              ok: false,
              reason: expect.stringMatching(/^the database has not answered for \d+ s$/),
            },
          ],
        },
      });
      expect((await probe(cambist.url, '/healthz')).status).toBe(200);
      // Longer than every time-out underneath: the probes still answer.
      for (let count = 0; count < 5; count++) {
        expect((await ready()).status).toBe(503);
        expect((await probe(cambist.url, '/healthz')).status).toBe(200);
        await new Promise((resolve) => setTimeout(resolve, 800));
      }
    } finally {
      cluster.resumeAll();
    }
    await expect.poll(ready, options).toEqual({ status: 200, body: { status: 'ready' } });
  }, 60_000);

  it('F3 has no connection left for a long while is alive and not ready until there is one', async () => {
    const untilMs = Date.now() + 9_000;
    // As many as the pool has, each held by a transaction that is busy all the time.
    const crowd = Array.from({ length: 10 }, () =>
      database.transaction(async (q) => {
        while (Date.now() < untilMs) await q.query('SELECT pg_sleep(0.5)');
      }),
    );
    try {
      await expect.poll(ready, { timeout: 9_000, interval: 200 }).toEqual(notReady);
      expect((await probe(cambist.url, '/healthz')).status).toBe(200);
    } finally {
      await Promise.allSettled(crowd);
    }
    await expect.poll(ready, options).toEqual({ status: 200, body: { status: 'ready' } });
  }, 60_000);

  it('is killed is alive and not ready, and ready again when it is back', async () => {
    await cluster.kill9({ backends: true });
    await expect.poll(ready, options).toEqual(notReady);
    expect((await probe(cambist.url, '/healthz')).status).toBe(200);
    await cluster.restart();
    await expect.poll(ready, options).toMatchObject({ status: 200 });
  }, 60_000);

  it('failed says so in the log once each time, with the check, and nothing of the connection', async () => {
    const said = () => lines.filter(({ msg }) => msg === 'not ready' || msg === 'ready again').map(({ msg }) => msg);
    await expect.poll(said, options).toEqual(Array.from({ length: 3 }, () => ['not ready', 'ready again']).flat());
    expect(JSON.stringify(lines)).not.toContain(new URL(cluster.url).password);
  });
});

describe('a check', () => {
  it('of the database fails after the limit, not at it, and before it was ever heard', () => {
    let heard: number | undefined = undefined;
    let now = 10_000;
    const check = heardWithin(
      4_000,
      () => heard,
      () => now,
    );
    expect(check()).toBe('the database has not answered yet');
    heard = 10_000;
    now = 14_000;
    expect(check()).toBeUndefined();
    now = 14_001;
    expect(check()).toBe('the database has not answered for 4 s');
  });

  it.each([
    [undefined, 'the clock was not compared with the database yet'],
    [{ skewMs: 2_000, uncertaintyMs: 0 }, undefined],
    [{ skewMs: 2_001, uncertaintyMs: 0 }, "the clock is 2001 ms behind the database's; the limit is 2000 ms"],
    [{ skewMs: -2_001, uncertaintyMs: 0 }, "the clock is 2001 ms ahead of the database's; the limit is 2000 ms"],
    [{ skewMs: 2_010, uncertaintyMs: 10 }, undefined],
    [{ skewMs: -2_011, uncertaintyMs: 10 }, "the clock is 2011 ms ahead of the database's; the limit is 2000 ms"],
  ])('of the clock, with %j measured (F7)', (measured, reason) => {
    expect(skewWithin(2_000, () => measured)()).toBe(reason);
  });

  it('of the keys fails while one is missing, and before they were looked at', () => {
    expect(nothingMissing(() => undefined)()).toBe('the signing keys were not looked at yet');
    expect(nothingMissing(() => 0)()).toBeUndefined();
    expect(nothingMissing(() => 2)()).toBe('2 of the signing keys are missing');
  });

  it('that fails is named with its reason, and draining comes first', () => {
    const readiness = createReadiness({ database: () => undefined, clock: () => 'c', keys: () => 'k' });
    readiness.drain();
    expect(readiness.failing()).toEqual([
      { name: 'draining', reason: 'this node is stopping' },
      { name: 'clock', reason: 'c' },
      { name: 'keys', reason: 'k' },
    ]);
  });
});

describe('a heartbeat', () => {
  const beating: Heartbeat[] = [];
  afterAll(() => {
    for (const heartbeat of beating) heartbeat.stop();
  });
  const start = async (parts: Partial<HeartbeatParts>): Promise<Heartbeat> => {
    const heartbeat = createHeartbeat({
      readState: () => Promise.resolve(),
      measureSkew: () => Promise.resolve({ skewMs: 0, uncertaintyMs: 0 }),
      countMissingKeys: () => Promise.resolve(0),
      clockSkewLimitMs: 2_000,
      logger: silent,
      ...parts,
    });
    beating.push(heartbeat);
    await heartbeat.start();
    return heartbeat;
  };
  const names = ({ readiness }: Heartbeat) => readiness.failing().map(({ name }) => name);

  it('knows its answer after the first beat, also when that fails', async () => {
    expect(names(await start({}))).toEqual([]);
    expect(names(await start({ readState: () => Promise.reject(new Error('down')) }))).toEqual([
      'database',
      'clock',
      'keys',
    ]);
  });

  it('says that keys are missing', async () => {
    expect(names(await start({ countMissingKeys: () => Promise.resolve(1) }))).toEqual(['keys']);
  });

  it('beats one at a time, however long one takes', async () => {
    let under = 0;
    let most = 0;
    let beats = 0;
    const readState = async () => {
      beats += 1;
      most = Math.max(most, (under += 1));
      await new Promise((resolve) => setTimeout(resolve, beats === 1 ? 0 : 2_500));
      under -= 1;
    };
    await start({ readState });
    await expect.poll(() => beats, { timeout: 15_000 }).toBe(3);
    expect(most).toBe(1);
  }, 30_000);
});
