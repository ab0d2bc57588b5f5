import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RecordRow } from '../../src/audit/record.ts';
import { readBackup } from '../../src/store/backup-file.ts';
import { BackupRefused, takeBackup } from '../../src/store/backup.ts';
import { createClientSecrets } from '../../src/store/client-secrets.ts';
import type { Database } from '../../src/store/database.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { openInstance } from '../../src/store/instance.ts';
import { createLeaseRows } from '../../src/store/leases.ts';
import { createObjectStore } from '../../src/store/objects.ts';
import { restoreBackup } from '../../src/store/restore.ts';
import { createEmbeddedSecrets } from '../../src/store/secrets.ts';
import { createSigningKeys, KEY_REVOKED_SECONDS, RETIRED_PUBLISHED_SECONDS } from '../../src/store/signing-keys.ts';
import { withDatabases } from '../support/databases.ts';
import { openMemoryDatabase } from '../support/memory-database.ts';
import { committer, issue, record } from './fixtures.ts';

const KEK = new Uint8Array(32).map((_, index) => (index * 37 + 11) % 256);
const envelope = createEnvelope(KEK);
const SECRET_VALUE = 'canary-70ac5e';
/** Purpose and state of each. */
const KEYS_OF_A_BACKUP = ['access-token', 'revocation-document'].flatMap((purpose) =>
  ['next', 'active', 'retired', 'tainted'].map((state) => [purpose, state] as const),
);
const options = (file: string) => ({
  file,
  envelope,
  replace: false,
  author: 'local:ann',
  recordOf: (change: object): RecordRow => record('changed', { reason: JSON.stringify(change).slice(0, 500) }),
});

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-backup-'));
  file = join(folder, 'backup.gz');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

withDatabases('backup and restore', (databases) => {
  type Target = Awaited<ReturnType<typeof databases.fresh>>;

  /** A database with something in every kind of column. */
  async function used(): Promise<Target> {
    const database = await databases.fresh();
    const { db } = database;
    await openInstance(db, envelope);
    const objects = createObjectStore(db);
    const client = { id: 'agent', auth: ['client_secret_basic'], description: 'ünï "quoted" \\ \n € 𝄞' };
    await objects.change(
      [
        {
          type: 'put',
          kind: 'client',
          name: 'agent',
          spec: client as never,
          keys: [{ namespace: 'principal', key: 'agent' }],
        } as never,
      ],
      { author: 'ann', origin: 'test' },
    );
    await createClientSecrets(db).add('agent');
    for (let i = 0; i < 250; i++) await committer(db).commit(issue([`m${i}`], { resources: ['a,"b"', 'c\\d'] }));
    await db.query(
      `INSERT INTO person_key (ref, blind_index, sealed_key) VALUES (gen_random_uuid(), sha256('x'), $1)`,
      [envelope.seal(Buffer.from('k'), 'p')],
    );
    return database;
  }

  /** Two embedded secrets, one of them rotated, and their three records. */
  async function keepSecrets(db: Database): Promise<void> {
    const secret = { fields: { 'a "key"': SECRET_VALUE, ünï: 'x' }, tags: { cambist_owner: SECRET_VALUE } };
    for (const path of ['team/x', 'team/y', 'team/x'])
      await createEmbeddedSecrets(db, envelope).change(
        path,
        () => ({ put: secret }),
        () => record('changed'),
      );
  }

  /** Every row of every table of ours, as text; what a restore changes on purpose is left out. */
  async function contentOf(db: Database): Promise<Record<string, string[]>> {
    const tables = ['object', 'object_key', 'object_change', 'client_secret', 'replay_mark', 'issued_token'];
    const content: Record<string, string[]> = {};
    for (const table of [...tables, 'secret', 'person_key', 'signing_key', 'audit_record']) {
      const where = table === 'audit_record' ? `WHERE kind <> 'changed'` : '';
      const rows = await db.query<{ row: string }>(`SELECT t::text AS row FROM ${table} AS t ${where} ORDER BY 1`);
      content[table] = rows.map(({ row }) => row);
    }
    return content;
  }

  /** As the runtime's role, on a connection that does not stay: a restore refuses databases that nodes are connected to. */
  async function reading<T>(target: Target, work: (db: Database) => Promise<T>): Promise<T> {
    const db = await target.anotherNode();
    try {
      return await work(db);
    } finally {
      if (databases.engine === 'postgresql') await db.close();
    }
  }
  const leave = (target: Target) => (databases.engine === 'postgresql' ? target.db.close() : Promise.resolve());

  test('every row of every table comes back as it was', async () => {
    const { db } = await used();
    await keepSecrets(db);
    const summary = await takeBackup(db, envelope, file);
    expect(summary.rows).toMatchObject({ object: 1, client_secret: 1, secret: 2, replay_mark: 250, audit_record: 253 });
    const target = await databases.fresh();
    await target.asRole(undefined, (owner) => restoreBackup(owner, options(file)));
    expect(await contentOf(target.db)).toEqual(await contentOf(db));
    await openInstance(target.db, envelope);
    const restored = createEmbeddedSecrets(target.db, envelope);
    expect(await restored.read('team/x')).toMatchObject({ version: 2, fields: { 'a "key"': SECRET_VALUE } });
  });

  test('the backup names every table that is kept, those first that others refer to; nothing has a sequence', async () => {
    const { db, asRole } = await used();
    await takeBackup(db, envelope, file);
    const { header } = await readBackup(file, envelope);
    const names = header.tables.map(({ name }) => name);
    const kinds = await asRole(undefined, (owner) =>
      owner.query<{ name: string; kind: string }>(
        `SELECT relname AS name, relkind::text AS kind FROM pg_class WHERE relnamespace = 'cambist'::regnamespace
         AND relkind NOT IN ('i', 'I', 't', 'c') AND NOT relispartition`,
      ),
    );
    expect(kinds.filter(({ kind }) => kind === 'S')).toEqual([]);
    const kept = kinds.map(({ name }) => name).filter((name) => !['schema_migration', 'rate_window'].includes(name));
    expect([...names].sort()).toEqual(kept.sort());
    expect(names.indexOf('object')).toBeLessThan(names.indexOf('client_secret'));
    expect(names.indexOf('object')).toBeLessThan(names.indexOf('object_key'));
  });

  test('the file is for its owner only, in nobody else’s place, and holds no secret in clear', async () => {
    const { db } = await used();
    await keepSecrets(db);
    const { secret } = await createClientSecrets(db).add('agent');
    await takeBackup(db, envelope, file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file}.partial`)).toBe(false);
    const before = readFileSync(file);
    await expect(takeBackup(db, envelope, file)).rejects.toThrow(/is there already/);
    expect(readFileSync(file)).toEqual(before);
    const text = gunzipSync(before).toString();
    for (const canary of [
      secret,
      SECRET_VALUE,
      Buffer.from(SECRET_VALUE).toString('hex'),
      Buffer.from(KEK).toString('hex'),
      Buffer.from(KEK).toString('base64'),
    ])
      expect(text).not.toContain(canary);
  });

  test('it is of one moment: what is committed while it is taken is in it whole or not at all', async () => {
    if (databases.engine === 'pglite') return;
    const { db, anotherNode } = await used();
    const commits = committer(await anotherNode());
    const progress = { taken: false };
    const taking = takeBackup(db, envelope, file).then((summary) => {
      progress.taken = true;
      return summary;
    });
    let extra = 0;
    while (!progress.taken) {
      await commits.commit(issue([`during-${extra}`]));
      extra++;
    }
    const { rows } = await taking;
    expect(extra).toBeGreaterThan(0);
    // Each commits one mark, one token and one record.
    expect(rows['replay_mark']).toBe(rows['audit_record']);
    expect(rows['issued_token']).toBe(rows['audit_record']);
  });

  test('a restore raises the epoch and revokes every token from before it, each time further', async () => {
    const { db } = await used();
    await takeBackup(db, envelope, file);
    const target = await databases.fresh();
    const restore = (replace: boolean) =>
      target.asRole(undefined, async (owner) => {
        const summary = await restoreBackup(owner, { ...options(file), replace });
        if (databases.engine === 'postgresql') await owner.close();
        return summary;
      });
    const state = async () =>
      reading(
        target,
        async (node) => (await node.query<any>('SELECT version, revocations, keys, revoked_until FROM state'))[0],
      );
    const first = await restore(false);
    const stateOfFirst = await state();
    expect(first.epoch).toBe(2);
    const nowSeconds = Date.now() / 1000;
    expect(first.revoked_until).toBeGreaterThan(nowSeconds + 10);
    expect(first.revoked_until).toBeLessThan(nowSeconds + 20);
    expect(stateOfFirst).toMatchObject({ revocations: 1, keys: 1 });
    const [revocation] = await reading(target, (node) => node.query<any>('SELECT * FROM revocation'));
    expect(revocation).toMatchObject({ kind: 'all', value: '', issued_until: first.revoked_until });
    // Longer than anything that was issued before can live.
    expect(revocation.expires_at.getTime()).toBeGreaterThan(Date.now() + 7 * 86_400_000);
    expect(stateOfFirst.revoked_until).toEqual(revocation.expires_at);
    const [recorded] = await reading(target, (node) =>
      node.query<any>(`SELECT id, epoch, reason FROM audit_record WHERE kind = 'changed'`),
    );
    expect(recorded).toMatchObject({
      id: revocation.record_id,
      epoch: 2,
      reason: expect.stringContaining('"restored"'),
    });

    // From the same file once more: the epoch of the first restore is not used again.
    expect((await restore(true)).epoch).toBe(3);
    expect((await state()).version).toBeGreaterThan(stateOfFirst.version);
  });

  test('a lease that the database knew is known after a restore in its place, as it was last: it is alive at Vault', async () => {
    const target = await used();
    const rows = createLeaseRows(target.db);
    const [both, since] = ['00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002'] as const;
    const intend = (id: string) =>
      rows.intend({
        id,
        upstream: 'ledger',
        clientId: 'agent',
        facts: [{ kind: 'all', value: '' }],
        tokenIssuedAtSeconds: Math.floor(Date.now() / 1000),
        subjectName: undefined,
        lifetimeSeconds: 300,
      });
    await intend(both);
    await takeBackup(target.db, envelope, file);
    await intend(since);
    for (const id of [both, since]) {
      await rows.noteAccessor(id, `accessor of ${id}`);
      await rows.hold(id, 300);
    }
    await leave(target);
    await target.asRole(undefined, async (owner) => {
      await restoreBackup(owner, { ...options(file), replace: true });
      if (databases.engine === 'postgresql') await owner.close();
    });
    await reading(target, async (node) => {
      const restored = createLeaseRows(node);
      // No token that such a lease was made for is valid after a restore.
      expect(await restored.markDue()).toBe(2);
      expect([...(await restored.claimEnding(10))].sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
        [both, since].map((id) => ({ id, accessor: `accessor of ${id}` })),
      );
    });
  });

  test('every signing key of a backup is tainted, in whatever state it was: whoever has the file may have it', async () => {
    const source = await used();
    const sealed = envelope.seal(Buffer.from('private'), 'k');
    await source.asRole(undefined, async (owner) => {
      for (const [purpose, state] of KEYS_OF_A_BACKUP)
        await owner.query(
          `INSERT INTO signing_key (kid, purpose, alg, state, public_jwk, sealed_private, published_at, retire_at)
           VALUES ($1, $2, 'ES256', $3, '{}', $4, now(), $5)`,
          state === 'next' || state === 'active'
            ? [`${purpose} ${state}`, purpose, state, sealed, null]
            : [`${purpose} ${state}`, purpose, state, null, new Date(0)],
        );
    });
    await takeBackup(source.db, envelope, file);
    const target = await databases.fresh();
    const summary = await target.asRole(undefined, (owner) => restoreBackup(owner, options(file)));
    const { rows, nowMs } = await createSigningKeys(target.db).list();
    const kids = KEYS_OF_A_BACKUP.map(([purpose, state]) => `${purpose} ${state}`).sort();
    expect(rows.map(({ kid }) => kid).sort()).toEqual(kids);
    for (const { state, sealedPrivate, retireAtMs } of rows) {
      expect({ state, sealedPrivate }).toEqual({ state: 'tainted', sealedPrivate: null });
      // Shown for as long as any tainted key.
      expect((retireAtMs ?? 0) - nowMs).toBeGreaterThan((RETIRED_PUBLISHED_SECONDS - 60) * 1000);
    }
    expect(summary.tainted_keys).toBe(kids.length);
    const revoked = await target.db.query<{ value: string }>(
      `SELECT value FROM revocation WHERE kind = 'key' AND issued_until IS NULL
         AND expires_at > now() + make_interval(secs => $1) ORDER BY value`,
      [KEY_REVOKED_SECONDS - 60],
    );
    expect(revoked.map(({ value }) => value)).toEqual(kids.filter((kid) => kid.startsWith('access-token')));
  });

  test('a database that holds anything is refused without --replace, and left as it was', async () => {
    const { db } = await used();
    await takeBackup(db, envelope, file);
    const target = await used();
    const before = await contentOf(target.db);
    await leave(target);
    const restoring = target.asRole(undefined, (owner) => restoreBackup(owner, options(file)));
    await expect(restoring).rejects.toThrow(/is not empty.*--replace/);
    expect(await reading(target, contentOf)).toEqual(before);
  });

  test('months of records get their partitions back, so that they can go with their retention', async () => {
    const { db, asRole } = await used();
    const monthStart = new Date(Date.UTC(2020, 4, 1));
    await asRole(undefined, (owner) => owner.query(`SELECT make_audit_partition('2020-05-01'::timestamp)`));
    await committer(db).commit(issue([], { recordedAtMs: monthStart.getTime() + 5 }));
    await takeBackup(db, envelope, file);
    const target = await databases.fresh();
    await target.asRole(undefined, async (owner) => {
      await restoreBackup(owner, options(file));
      expect(await owner.query('SELECT count(*)::int AS rows FROM audit_record_2020_05')).toEqual([{ rows: 1 }]);
    });
  });

  test('a restore that fails in the middle changes nothing', async () => {
    const { db } = await used();
    await takeBackup(db, envelope, file);
    const target = await databases.fresh();
    await target.asRole(undefined, async (owner) => {
      const failing = restoreBackup(owner, {
        ...options(file),
        recordOf: () => {
          throw new Error('no record');
        },
      });
      await expect(failing).rejects.toThrow('no record');
      expect(await owner.query('SELECT FROM object')).toEqual([]);
      expect(await owner.query('SELECT version FROM state')).toEqual([{ version: 0 }]);
    });
  });

  if (databases.engine === 'postgresql')
    test('a node that is connected stops the restore: it has the old keys in memory', async () => {
      const { db } = await used();
      await takeBackup(db, envelope, file);
      const target = await databases.fresh();
      const node = await target.anotherNode();
      await node.query('SELECT 1');
      const owner = await target.asRole(undefined, (opened) => Promise.resolve(opened));
      await expect(restoreBackup(owner, options(file))).rejects.toThrow(/stop every node/);
      await node.close();
    });

  test('a database that was never used is not backed up', async () => {
    const { db } = await databases.fresh();
    await expect(takeBackup(db, envelope, file)).rejects.toBeInstanceOf(BackupRefused);
    expect(existsSync(file)).toBe(false);
    expect(existsSync(`${file}.partial`)).toBe(false);
  });

  test('another version of the schema is refused, newer and older, with what to do', async () => {
    const { db, asRole } = await used();
    await asRole(undefined, (owner) => owner.query(`INSERT INTO schema_migration (version) VALUES (99)`));
    await takeBackup(db, envelope, file);
    const target = await databases.fresh();
    const restoring = target.asRole(undefined, (owner) => restoreBackup(owner, options(file)));
    await expect(restoring).rejects.toThrow(/version 99.*Cambist that took it, or a newer one/);
    const older = join(folder, 'older.gz');
    await asRole(undefined, (owner) => owner.query('DELETE FROM schema_migration WHERE version >= 7'));
    await takeBackup(db, envelope, older);
    const again = target.asRole(undefined, (owner) => restoreBackup(owner, options(older)));
    await expect(again).rejects.toThrow(/restore there, then run cambist migrate up/);
    expect(await target.db.query('SELECT FROM object')).toEqual([]);
  });
});

describe('a backup file that is not whole', () => {
  let bytes: Buffer;
  let text: string;
  beforeEach(async () => {
    const db = await openMemoryDatabase();
    await openInstance(db, envelope);
    for (let i = 0; i < 20; i++) await committer(db).commit(issue([`m${i}`]));
    await takeBackup(db, envelope, file);
    await db.close();
    bytes = readFileSync(file);
    text = gunzipSync(bytes).toString();
  });
  const readingBack = (content: Buffer | string, under = envelope) => {
    writeFileSync(file, typeof content === 'string' ? gzipSync(content) : content);
    return readBackup(file, under);
  };
  /** With a digest that fits, as whoever alters it would make one. */
  const redigested = (altered: string) => {
    const lines = altered.trimEnd().split('\n');
    const trailer = JSON.parse(lines.pop()!);
    trailer.end.sha256 = createHash('sha256')
      .update(`${lines.join('\n')}\n`)
      .digest('hex');
    return `${lines.join('\n')}\n${JSON.stringify(trailer)}\n`;
  };

  test('as it was taken it is read', async () => {
    expect((await readingBack(bytes)).rows).toMatchObject({ audit_record: 20 });
  });

  test.each([0.05, 0.5, 0.9, 0.999])('cut short after %s of it: refused', async (part) => {
    await expect(readingBack(bytes.subarray(0, Math.floor(bytes.length * part)))).rejects.toThrow(/cut short/);
  });

  test('cut short between two lines: refused', async () => {
    await expect(readingBack(text.slice(0, text.lastIndexOf('{"end"')))).rejects.toThrow(/cut short/);
  });

  test.each([
    ['a letter of a row', (whole: string) => whole.replace('agent-1', 'agent-2')],
    ['a row less', (whole: string) => whole.replace(/\{"table":"replay_mark".*\n/, '')],
    ['a row twice', (whole: string) => whole.replace(/(\{"table":"replay_mark".*\n)/, '$1$1')],
    ['something after its end', (whole: string) => `${whole}{"table":"object","row":{}}\n`],
    ['another header', (whole: string) => whole.replace(/"epoch":1/, '"epoch":7')],
  ])('%s: refused, also with a SHA-256 that fits', async (_, alter) => {
    expect(alter(text)).not.toBe(text);
    await expect(readingBack(alter(text))).rejects.toThrow(/altered/);
    if (alter(text).trimEnd().split('\n').at(-1)!.startsWith('{"end"'))
      await expect(readingBack(redigested(alter(text)))).rejects.toThrow(/altered/);
  });

  test('under another key-encryption key: refused, and the words say which key it is', async () => {
    const other = createEnvelope(KEK.map((byte) => byte ^ 1));
    await expect(readingBack(bytes, other)).rejects.toThrow(
      new RegExp(`${envelope.kekId}.*give the key that was in force`),
    );
  });

  test.each([
    ['no gzip', Buffer.from('hello')],
    ['no backup', gzipSync('hello\n')],
    ['a newer format', gzipSync('{"cambist_backup":2}\n')],
    ['empty', Buffer.alloc(0)],
  ])('%s: refused', async (_, content) => {
    await expect(readingBack(content)).rejects.toBeInstanceOf(BackupRefused);
  });

  test('a file that is not there: refused', async () => {
    await expect(readBackup(join(folder, 'none'), envelope)).rejects.toThrow(/cannot be read: ENOENT/);
  });
});
