/**
 * What `doctor` and `restore` do when no server does it for them: open the database of the settings and look at it, or
 * fill it. Loaded only when one of them runs. Looking makes nothing: no data folder, no key, no row.
 */
import { existsSync } from 'node:fs';
import { findVersionFault } from '../admin/doctor/database-checks.ts';
import { databaseUnreachable, examine, examineWithoutKey } from '../admin/doctor/examine.ts';
import { failed, warning } from '../admin/doctor/findings.ts';
import type { Finding, Found } from '../admin/doctor/findings.ts';
import type { Settings } from '../config/settings.ts';
import type { EmbeddedSettings, PostgresSettings } from '../config/settle.ts';
import { systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { createBareRecords } from '../exchange/bare-records.ts';
import { readBackup, readBackupHeader, wrongKey } from '../store/backup-file.ts';
import { RUNTIME_ROLE } from '../store/database.ts';
import type { Database } from '../store/database.ts';
import type { Envelope } from '../store/envelope.ts';
import { sealedUnder } from '../store/instance.ts';
import { runMigrations } from '../store/migrate.ts';
import { openOwner } from '../store/open.ts';
import { openPglite } from '../store/pglite.ts';
import { openPostgres } from '../store/pg.ts';
import { restoreBackup } from '../store/restore.ts';
import type { RestoreSummary } from '../store/restore.ts';
import { isPlace, listRootKeys } from '../store/root-keys.ts';
import type { KeyEncryptionKeys } from '../store/root-keys.ts';
import { keysOf, openKeys } from './key-encryption.ts';
import { localAuthor } from './local-author.ts';
import { CliFailure, EXIT } from './failure.ts';

type OnDone = (done: number, of: number) => void;

/** What a command finds out by itself, with the database of the settings. */
export async function examineDatabase(settings: Settings, onDone: OnDone): Promise<readonly Finding[]> {
  const { database } = settings;
  if (database.kind === 'embedded' && !existsSync(database.dataFolder))
    return [databaseUnreachable(`there is no database in ${database.folder} yet`, 'cambist serve')];
  const keys = keysOf(settings);
  if ('message' in keys) return [databaseUnreachable(keys.message, keys.fix)];
  let opened: Database | undefined;
  try {
    opened = await openForLooking(database);
    await opened.query('SELECT 1');
    const envelope = await envelopeOf(settings, keys, opened);
    if (Array.isArray(envelope)) return envelope;
    return await examine(
      {
        database: opened,
        envelope,
        transitKeys: keys.filter(isPlace),
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

/** The envelope of the database; or all that can be found out where it cannot be had. */
async function envelopeOf(
  settings: Settings,
  keys: KeyEncryptionKeys,
  database: Database,
): Promise<Envelope | Finding[]> {
  const fault = await findVersionFault({ database });
  if (fault !== undefined) return [{ noun: 'database', name: 'version', ...fault }];
  const { vault } = settings;
  const transitKeys = keys.filter(isPlace);
  const withoutKey = (why: Found) =>
    vault === undefined
      ? [{ noun: 'database', name: 'key-encryption key', ...why }]
      : examineWithoutKey({ database, vault, transitKeys, why });
  if (transitKeys.length > 0 && vault?.login.method === 'approle' && vault.login.secretIdWrapped)
    return withoutKey(
      warning(
        'not looked at: the wrapped secret id can be opened once, and a node needs it',
        'run this with another login at Vault, such as vault.login.method token',
      ),
    );
  try {
    const envelope = await openKeys(settings, keys, await listRootKeys(database), await sealedUnder(database));
    return (
      envelope ??
      (await withoutKey(warning('no node was ever started on this database with these settings', 'cambist serve')))
    );
  } catch (error) {
    if (!(error instanceof Unavailable) || transitKeys.length === 0 || error.dependency === 'database') throw error;
    return withoutKey(failed(error.message, 'see what is said of vault below'));
  }
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
  const keys = keysOf(settings);
  if ('message' in keys) throw new CliFailure(EXIT.failed, 'key_missing', `${keys.message}: ${keys.fix}`);
  const header = await readBackupHeader(args.file);
  const envelope = await openKeys(settings, keys, header.root_keys, header.key_encryption_key);
  if (envelope === undefined) throw wrongKey(args.file, header);
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
