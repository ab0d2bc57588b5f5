import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Unavailable } from '../../src/core/refusal.ts';
import { DataFolderInUse, lockDataFolder } from '../../src/store/data-folder-lock.ts';
import { OutcomeUnknown, StatementFailed, statementError } from '../../src/store/database.ts';
import { openPglite } from '../../src/store/pglite.ts';
import { openPostgres } from '../../src/store/pg.ts';
import { startPostgres, withDatabases, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { silentLogger } from './fixtures.ts';

withDatabases('driver', (databases) => {
  test('values travel alike: numbers, dates, bytes, lists, nothing', async () => {
    const { db } = await databases.fresh();
    const [row] = await db.query(
      `SELECT $1::bigint AS big, $2::timestamptz AS at, $3::bytea AS bytes, $4::text[] AS list, $5::uuid[] AS ids,
        $6::text AS nothing, '{"a": [1]}'::jsonb AS json, true AS yes, $7::float8[] AS floats`,
      [
        Number.MAX_SAFE_INTEGER,
        '2026-11-23T05:00:00.123Z',
        Uint8Array.from([0, 255, 92]),
        ['a"b', 'c\\,{}', null],
        ['b2a1bb6e-5b0f-4d93-9a6b-111111111111'],
        null,
        [1.5, 2],
      ],
    );
    const { bytes, ...others } = row as { bytes: Uint8Array };
    expect(Uint8Array.from(bytes)).toEqual(Uint8Array.from([0, 255, 92]));
    expect(others).toEqual({
      big: Number.MAX_SAFE_INTEGER,
      at: new Date('2026-11-23T05:00:00.123Z'),
      list: ['a"b', 'c\\,{}', null],
      ids: ['b2a1bb6e-5b0f-4d93-9a6b-111111111111'],
      nothing: null,
      json: { a: [1] },
      yes: true,
      floats: [1.5, 2],
    });
  });

  test('a statement that fails says which kind of failure, and none of its values (R23)', async () => {
    const { db } = await databases.fresh();
    const failures = await Promise.all(
      [
        db.query('SELECT $1::uuid', ['secret-canary']),
        db.query(`INSERT INTO signing_key (kid, purpose, alg, state, public_jwk, sealed_private)
          VALUES ('secret-canary', 'p', 'a', 'none', '{}', '')`),
        db.query(`SELECT 1/0 AS secret_canary`),
        db.query(`DO $$ BEGIN RAISE EXCEPTION 'said by a trigger: "secret-canary"'; END $$`),
      ].map((failing) =>
        failing.then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    );
    expect(failures.map((error) => (error as StatementFailed).sqlstate)).toEqual(['22P02', '23514', '22012', 'P0001']);
    for (const error of failures) {
      expect(error).toBeInstanceOf(StatementFailed);
      expect(inspect(error, { showHidden: true })).not.toContain('canary');
    }
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('a transaction is all or nothing, and a failure comes out as it was thrown', async () => {
    const { db } = await databases.fresh();
    const own = new Error('mine');
    await expect(
      db.transaction(async (q) => {
        await q.query('UPDATE state SET version = 5');
        throw own;
      }),
    ).rejects.toBe(own);
    await expect(
      db.transaction(async (q) => {
        await q.query('UPDATE state SET version = 5');
        await q.query('SELECT 1/0');
      }),
    ).rejects.toBeInstanceOf(StatementFailed);
    expect(await db.query('SELECT version FROM state')).toEqual([{ version: 0 }]);
    expect(
      await db.transaction(async (q) => {
        await q.query('UPDATE state SET version = 5');
        return 'done';
      }),
    ).toBe('done');
    expect(await db.query('SELECT version FROM state')).toEqual([{ version: 5 }]);
  });

  test('a transaction that goes on after a failed statement does not pass for committed', async () => {
    const { db } = await databases.fresh();
    await expect(
      db.transaction(async (q) => {
        await q.query('UPDATE state SET version = 5');
        await q.query('SELECT 1/0').catch(() => undefined);
      }),
    ).rejects.toThrow();
    expect(await db.query('SELECT version FROM state')).toEqual([{ version: 0 }]);
  });

  test('a closed database is unavailable', async () => {
    const { db } = await databases.fresh();
    await db.close();
    await expect(db.query('SELECT 1')).rejects.toBeInstanceOf(Unavailable);
  });
});

describe('which failure it is', () => {
  const server = (code: string, severity = 'ERROR') => Object.assign(new Error('m'), { code, severity });
  test.each([
    ['a constraint: undone', server('23505'), StatementFailed],
    ['a deadlock: undone', server('40P01'), StatementFailed],
    ['disk full: undone, not now (F4)', server('53100'), Unavailable],
    ['too many connections: not now (F3)', server('53300'), Unavailable],
    ['statement time-out: undone, not now (F3)', server('57014'), Unavailable],
    ['a standby: undone, not now', server('25006'), Unavailable],
    ['an i/o error: undone, not now', server('58030'), Unavailable],
    ['shut down by an administrator: unknown', server('57P01', 'FATAL'), OutcomeUnknown],
    ['another backend crashed: unknown', server('57P02', 'FATAL'), OutcomeUnknown],
    ['the write-ahead log is full: unknown (F4)', server('53100', 'PANIC'), OutcomeUnknown],
    ['the connection is gone: unknown', new Error('Connection terminated unexpectedly'), OutcomeUnknown],
    ['the client gave up: unknown', new Error('Query read timeout'), OutcomeUnknown],
  ])('%s', (_title, error, kind) => {
    const found = statementError(error);
    expect(found.constructor).toBe(kind);
  });
});

withPostgres('PostgreSQL driver under faults', () => {
  let cluster: PostgresCluster;
  beforeAll(async () => {
    cluster = await startPostgres();
  });
  afterAll(() => cluster.stop());

  const open = (options: Partial<Parameters<typeof openPostgres>[0]> = {}) =>
    openPostgres({ url: cluster.url, schema: 'public', role: undefined, logger: silentLogger, ...options });

  test('a slow statement is ended by the server, a server that hangs by the client; both within bounds (F3)', async () => {
    const db = await open({ statementTimeoutMs: 300, connectTimeoutMs: 500 });
    const slow = await db.query('SELECT pg_sleep(5)').catch((error: unknown) => error);
    expect(slow).toBeInstanceOf(Unavailable);
    expect(slow).not.toBeInstanceOf(OutcomeUnknown);
    cluster.pauseAll();
    const began = Date.now();
    await expect(db.query('SELECT 1')).rejects.toBeInstanceOf(OutcomeUnknown);
    // The connection that hung is not used again.
    const next = await db.query('SELECT 1').catch((error: unknown) => error);
    expect(next).toBeInstanceOf(Unavailable);
    expect(next).not.toBeInstanceOf(OutcomeUnknown);
    expect(Date.now() - began).toBeLessThan(20_000);
    cluster.resumeAll();
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await db.close();
  });

  test('who finds no free connection is refused in bounded time, and too many waiters at once (F3)', async () => {
    const db = await open({ poolMax: 1, connectTimeoutMs: 200, maxWaiting: 2 });
    let isBusy = true;
    const busy = db.query('SELECT pg_sleep(3)').then(() => (isBusy = false));
    const waiting = [1, 2, 3].map(() => db.query('SELECT 1').catch((error: unknown) => error));
    for (const error of await Promise.all(waiting)) {
      expect(error).toBeInstanceOf(Unavailable);
      expect(error).not.toBeInstanceOf(OutcomeUnknown);
    }
    expect(isBusy).toBe(true);
    await busy;
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await db.close();
  });

  test('nobody listens: unavailable, not unknown, and no word of the password (R23)', async () => {
    const db = await openPostgres({
      url: 'postgresql://u:secret-canary@127.0.0.1:1/d',
      schema: 'public',
      role: undefined,
      logger: silentLogger,
    });
    const error = await db.query('SELECT 1').catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(Unavailable);
    expect(error).not.toBeInstanceOf(OutcomeUnknown);
    expect(inspect(error, { showHidden: true })).not.toContain('canary');
    await db.close();
  });

  test('the connection cut after COMMIT was sent is an unknown outcome; before it, nothing was committed (F1)', async () => {
    await (await open()).query('CREATE TABLE IF NOT EXISTS cut (a int)');
    const proxy = await cuttingProxy(Number(new URL(cluster.url).port));
    const url = new URL(cluster.url);
    url.port = String(proxy.port);
    const db = await open({ url: url.toString(), poolMax: 1 });
    await db.query('SELECT 1');

    proxy.cutOn('INSERT INTO cut VALUES (1)');
    const early = await db
      .transaction(async (q) => {
        await q.query('INSERT INTO cut VALUES (1)');
      })
      .catch((error: unknown) => error);
    expect(early).toBeInstanceOf(Unavailable);
    expect(early).not.toBeInstanceOf(OutcomeUnknown);

    proxy.cutOn('COMMIT');
    await expect(
      db.transaction(async (q) => {
        await q.query('INSERT INTO cut VALUES (2)');
      }),
    ).rejects.toBeInstanceOf(OutcomeUnknown);
    proxy.cutOn('INSERT INTO cut VALUES (3)');
    await expect(db.query('INSERT INTO cut VALUES (3)')).rejects.toBeInstanceOf(OutcomeUnknown);
    await db.close();
    proxy.close();
  });

  test('a server killed under idle and checked-out connections does not end the process, and is found again (F1)', async () => {
    const db = await open({ poolMax: 4 });
    await Promise.all([1, 2, 3].map(() => db.query('SELECT pg_sleep(0.05)')));
    const within = db.transaction(async (q) => {
      await q.query('SELECT 1');
      await cluster.kill9();
      await new Promise((resolve) => setTimeout(resolve, 300));
      await q.query('SELECT 1');
    });
    await expect(within).rejects.toBeInstanceOf(Unavailable);
    await expect(db.query('SELECT 1')).rejects.toBeInstanceOf(Unavailable);
    await cluster.restart();
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await db.close();
  });

  test('a URL keeps its own options, and a role that is not there is an error with its name', async () => {
    const db = await open({ url: `${cluster.url}?options=-c%20work_mem%3D5MB&application_name=x%20y` });
    expect(
      await db.query(`SELECT current_setting('work_mem') AS mem, current_setting('application_name') AS name,
      current_setting('search_path') AS path, current_setting('timezone') AS zone, current_setting('jit') AS jit`),
    ).toEqual([{ mem: '5MB', name: 'x y', path: 'public,pg_temp', zone: 'UTC', jit: 'off' }]);
    await db.close();
    const roleless = await open({ role: 'nobody_here' });
    const error = await roleless.query('SELECT 1').catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(Unavailable);
    expect(String((error as Error).cause)).toContain('nobody_here');
    await roleless.close();
    expect(() => open({ schema: 'a; DROP TABLE x' })).toThrow(/must be/);
    expect(() => open({ url: 'mysql://x' })).toThrow(/postgresql:/);
  });
});

describe('embedded data folder', () => {
  const folders: string[] = [];
  const newFolder = () => {
    const folder = mkdtempSync(join(tmpdir(), 'cambist-lock-'));
    folders.push(folder);
    return join(folder, 'data');
  };
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  test('a second opener is refused with the holder named; after close it may', async () => {
    const dataDir = newFolder();
    const options = { dataDir, schema: 'public', role: undefined, logger: silentLogger };
    const first = await openPglite(options);
    await expect(openPglite(options)).rejects.toThrow(new RegExp(`in use by process ${process.pid}`));
    await first.query('CREATE TABLE kept (a int)');
    await first.close();
    const second = await openPglite(options);
    expect(await second.query('SELECT * FROM kept')).toEqual([]);
    await second.close();
    expect(existsSync(`${dataDir}.lock`)).toBe(false);
  });

  test('the lock of a living process holds, that of one that was killed is taken over', async () => {
    const dataDir = newFolder();
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    try {
      writeFileSync(`${dataDir}.lock`, JSON.stringify({ pid: child.pid, started: null, nonce: 'x' }));
      expect(() => lockDataFolder(dataDir)).toThrow(DataFolderInUse);
    } finally {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    const lock = lockDataFolder(dataDir);
    expect(JSON.parse(readFileSync(`${dataDir}.lock`, 'utf8'))).toMatchObject({ pid: process.pid });
    lock.release();
  });

  test.skipIf(process.platform !== 'linux')('a process id that is used again does not pass for the old holder', () => {
    const dataDir = newFolder();
    const stale = { pid: process.pid, started: 'another-boot:1', nonce: 'x' };
    writeFileSync(`${dataDir}.lock`, JSON.stringify(stale));
    const lock = lockDataFolder(dataDir);
    expect(() => lockDataFolder(dataDir)).toThrow(DataFolderInUse);
    lock.release();
  });

  test('a file that is not a lock of ours is left alone', () => {
    const dataDir = newFolder();
    writeFileSync(`${dataDir}.lock`, 'something else');
    expect(() => lockDataFolder(dataDir)).toThrow(/not one of ours/);
    expect(readFileSync(`${dataDir}.lock`, 'utf8')).toBe('something else');
  });
});

/** Forwards to PostgreSQL; cuts both sides right after forwarding the bytes that contain a text. */
async function cuttingProxy(target: number) {
  let cutText: string | undefined;
  const sockets = new Set<Socket>();
  const { connect } = await import('node:net');
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1');
    sockets.add(client).add(upstream);
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    upstream.on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    upstream.on('data', (bytes) => client.write(bytes));
    client.on('data', (bytes) => {
      const cut = cutText !== undefined && bytes.includes(cutText);
      upstream.write(bytes, () => {
        if (!cut) return;
        cutText = undefined;
        client.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    cutOn: (text: string) => (cutText = text),
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
