/**
 * What `doctor` and `restore` do when no server does it for them: open the database of the settings and look at it, or
 * fill it. Loaded only when one of them runs. Looking makes nothing: no data folder, no key, no row.
 */
import { existsSync } from 'node:fs';
import { databaseUnreachable, examine } from '../admin/doctor/examine.ts';
import type { Finding } from '../admin/doctor/findings.ts';
import { embeddedKey } from '../config/embedded-key.ts';
import type { Settings } from '../config/settings.ts';
import type { EmbeddedSettings, PostgresSettings } from '../config/settle.ts';
import { systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { createBareRecords } from '../exchange/bare-records.ts';
import { readBackup } from '../store/backup-file.ts';
import { RUNTIME_ROLE } from '../store/database.ts';
import type { Database } from '../store/database.ts';
import { createEnvelope } from '../store/envelope.ts';
import { runMigrations } from '../store/migrate.ts';
import { openOwner } from '../store/open.ts';
import { openPglite } from '../store/pglite.ts';
import { openPostgres } from '../store/pg.ts';
import { restoreBackup } from '../store/restore.ts';
import type { RestoreSummary } from '../store/restore.ts';
import { localAuthor } from './local-author.ts';
import { CliFailure, EXIT } from './failure.ts';

type OnDone = (done: number, of: number) => void;

/** What a command finds out by itself, with the database of the settings. */
export async function examineDatabase(settings: Settings, onDone: OnDone): Promise<readonly Finding[]> {
  const { database } = settings;
  if (database.kind === 'embedded' && !existsSync(database.dataFolder))
    return [databaseUnreachable(`there is no database in ${database.folder} yet`, 'cambist serve')];
  const key = keyOf(settings);
  if (!(key instanceof Uint8Array)) return [databaseUnreachable(key.message, key.fix)];
  let opened: Database | undefined;
  try {
    opened = await openForLooking(database);
    await opened.query('SELECT 1');
    return await examine(
      {
        database: opened,
        envelope: createEnvelope(key, settings.previousKeyEncryptionKeys),
        clock: systemClock,
        logger: createLogger('silent'),
        clockSkewLimitMs: settings.clockSkewLimitMs,
        keyTimes: settings.keyTimes,
        poolMax: database.kind === 'postgres' ? database.poolMax : undefined,
        demoRefusedBecause: settings.demoRefusedBecause,
        vault: settings.vault,
        ownIssuer: settings.issuer,
      },
      onDone,
    );
  } catch (error) {
    return [unreachable(error)];
  } finally {
    await opened?.close();
  }
}

/** The key of the settings, without making one. */
function keyOf(settings: Settings): Uint8Array | { readonly message: string; readonly fix: string } {
  const { database, keyEncryptionKey } = settings;
  if (keyEncryptionKey !== undefined) return keyEncryptionKey;
  if (database.kind !== 'embedded') throw new Error('settings for PostgreSQL without a key-encryption key');
  if (!existsSync(database.keyFile))
    return {
      message: `the key-encryption key ${database.keyFile} is not there`,
      fix: 'put it back: it is not in a backup, and what is sealed under it cannot be read without it',
    };
  const found = embeddedKey(database);
  if (!Array.isArray(found)) return found.key;
  const [fault] = found;
  return { message: `${fault?.file ?? ''} ${fault?.message ?? ''}`, fix: fault?.fix ?? 'put the right key file back' };
}

async function openForLooking(database: PostgresSettings | EmbeddedSettings): Promise<Database> {
  const logger = createLogger('silent');
  if (database.kind === 'embedded') {
    const { dataFolder: dataDir, schema } = database;
    const embedded = await openPglite({ dataDir, schema, role: undefined, logger });
    const known = await embedded.query('SELECT FROM pg_catalog.pg_roles WHERE rolname = $1', [RUNTIME_ROLE]);
    if (known.length > 0) await embedded.assumeRole(RUNTIME_ROLE);
    return embedded;
  }
  const { url, schema, poolMax, connectTimeoutMs, statementTimeoutMs } = database;
  return openPostgres({
    url,
    schema,
    role: RUNTIME_ROLE,
    poolMax: Math.min(poolMax, 4),
    connectTimeoutMs,
    statementTimeoutMs,
    logger,
  });
}

/** The first that fits what the driver or the server said. */
const REACH_FIXES: readonly (readonly [RegExp, string])[] = [
  [/ECONNREFUSED/, 'start PostgreSQL, or correct host and port of database.url'],
  [/ENOTFOUND|EAI_AGAIN/, 'correct the host of database.url, or its DNS'],
  [/timeout|ETIMEDOUT|EHOSTUNREACH/i, 'see that this machine may reach the database (firewall, routes)'],
  [/28P01|28000|password/, 'correct user and password of database.url'],
  [/3D000/, 'make the database, or correct its name in database.url'],
  [
    /42501|42704|22023|role "cambist_runtime"/,
    `cambist migrate up; then GRANT ${RUNTIME_ROLE} to the user of database.url`,
  ],
  [/53300/, 'too many connections: lower database.pool_max, or raise max_connections of the server'],
  [/certificate|SSL|TLS/i, 'correct sslmode and certificates of database.url'],
];

function unreachable(error: unknown): Finding {
  const { cause } = error as { cause?: unknown };
  const { code = '' } = (cause ?? error) as { code?: unknown };
  const said = [error, cause].flatMap((one) => (one instanceof Error ? [one.message] : [])).join(': ');
  const fix = REACH_FIXES.find(([pattern]) => pattern.test(`${String(code)} ${said}`))?.[1];
  const known = error instanceof Unavailable || (error instanceof Error && error.name === 'DataFolderInUse');
  if (!known && fix === undefined) throw error;
  return databaseUnreachable(said, fix ?? 'see that the database is up; then run this again');
}

export interface RestoreArguments {
  readonly file: string;
  readonly replace: boolean;
  readonly onProgress: (rows: number) => void;
}

/** Puts a backup into the database of the settings, as the user that owns it. */
export async function restoreInto(settings: Settings, args: RestoreArguments): Promise<RestoreSummary> {
  const { database } = settings;
  const key = keyOf(settings);
  if (!(key instanceof Uint8Array)) throw new CliFailure(EXIT.failed, 'key_missing', `${key.message}: ${key.fix}`);
  const envelope = createEnvelope(key, settings.previousKeyEncryptionKeys);
  const logger = createLogger('error');
  const embedded = database.kind === 'embedded';
  // Before a data folder is made for it.
  if (embedded) await readBackup(args.file, envelope);
  const source = embedded
    ? { engine: 'pglite' as const, dataDir: database.dataFolder }
    : { engine: 'postgresql' as const, url: database.url };
  const owner = await openOwner({ source, schema: database.schema, logger });
  try {
    if (embedded) await runMigrations(owner);
    const records = createBareRecords(settings.nodeName, systemClock);
    return await restoreBackup(owner, {
      ...args,
      envelope,
      author: localAuthor(),
      recordOf: (change) => records.changed(change, () => []),
    });
  } finally {
    await owner.close();
  }
}
