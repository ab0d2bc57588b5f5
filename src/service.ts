/**
 * The service of one process, from its settings: opens the database, composes, listens, and ends in order. Loaded by
 * `main.ts` only when a command needs it, because a command that asks a running server needs none of it.
 */
import type { AddressInfo } from 'node:net';
import type { ConfigFault } from './admin/fault.ts';
import { examine } from './admin/doctor/examine.ts';
import { createOperations } from './admin/operations.ts';
import type { Operations } from './admin/operations.ts';
import type { UpkeepParts } from './admin/upkeep-operations.ts';
import { CliFailure, EXIT, settingsFailure } from './cli/failure.ts';
import { localAuthor } from './cli/local-author.ts';
import { composeService } from './compose.ts';
import type { Service, ServiceParts } from './compose.ts';
import { embeddedKey, prepareFolder } from './config/embedded-key.ts';
import type { ListenerSettings } from './config/listeners.ts';
import { startExport } from './config/opentelemetry.ts';
import type { StartedExport } from './config/opentelemetry.ts';
import type { Settings } from './config/settings.ts';
import type { EmbeddedSettings } from './config/settle.ts';
import { systemClock } from './core/clock.ts';
import { createLogger } from './core/log.ts';
import type { Logger } from './core/log.ts';
import { createTelemetry } from './core/telemetry.ts';
import { serveLocal } from './http/local.ts';
import { CertificateRefused, readCertificate } from './http/tls.ts';
import type { CertificateFault } from './http/tls.ts';
import { readAuthority } from './secrets/vault/authority.ts';
import { takeBackup } from './store/backup.ts';
import type { Database } from './store/database.ts';
import type { Envelope } from './store/envelope.ts';
import { openDatabase, openOwner } from './store/open.ts';
import { isPlace } from './store/root-keys.ts';
import type { KeyEncryptionKey } from './store/root-keys.ts';

interface Opened {
  readonly database: Database;
  readonly keyEncryptionKey: KeyEncryptionKey;
}

/** The database of the settings, and the key that it is sealed under. */
async function open(settings: Settings, logger: Logger): Promise<Opened> {
  const { database } = settings;
  if (database.kind === 'postgres') {
    if (settings.keyEncryptionKey === undefined)
      throw new Error('settings for PostgreSQL without a key-encryption key');
    const { url, schema, poolMax, connectTimeoutMs, statementTimeoutMs } = database;
    const source = { engine: 'postgresql' as const, url, poolMax, connectTimeoutMs, statementTimeoutMs };
    // Migrating a shared database is a decision: `cambist migrate up`, by a user that owns it.
    return {
      database: await openDatabase({ source, schema, migrate: false, logger }),
      keyEncryptionKey: settings.keyEncryptionKey,
    };
  }
  const keyEncryptionKey = embeddedKeyOf(settings, database);
  const { dataFolder, schema } = database;
  return {
    database: await openDatabase({ source: { engine: 'pglite', dataDir: dataFolder }, schema, migrate: true, logger }),
    keyEncryptionKey,
  };
}

/** The key of the embedded engine: from the settings, or from its file, which is made with the data. */
function embeddedKeyOf(settings: Settings, database: EmbeddedSettings): KeyEncryptionKey {
  const faults = prepareFolder(database);
  if (faults.length > 0) throw settingsFailure(faults);
  if (settings.keyEncryptionKey !== undefined) return settings.keyEncryptionKey;
  const made = embeddedKey(database);
  if (Array.isArray(made)) throw settingsFailure(made);
  if (made.created)
    // Whatever the log level: this is the one chance to hear it.
    createLogger('warn').warn(
      { file: database.keyFile },
      'MADE A KEY-ENCRYPTION KEY. Without this file the data of this Cambist cannot be read: back it up, apart from the data',
    );
  return made.key;
}

/** Everything but the listener. */
export async function openService(
  settings: Settings,
  logger: Logger,
  more: Pick<ServiceParts, 'telemetry' | 'version' | 'vaultPatienceMs'> = {},
): Promise<{ service: Service; operations: Operations; close: (options?: { graceMs?: number }) => Promise<void> }> {
  const { database, keyEncryptionKey } = await open(settings, logger);
  try {
    const service = await composeService({
      issuer: settings.issuer,
      nodeName: settings.nodeName,
      database,
      keyEncryptionKey,
      previousKeyEncryptionKeys: settings.previousKeyEncryptionKeys,
      keyTimes: settings.keyTimes,
      logger,
      housekeeping: settings.housekeeping,
      trustedProxies: settings.trustedProxies,
      clockSkewLimitMs: settings.clockSkewLimitMs,
      limits: settings.limits,
      vault: settings.vault,
      secretCacheSeconds: settings.upstream.credentialCacheSeconds,
      ...more,
    });
    const operations = createOperations({
      objects: service.objects,
      clientSecrets: service.clientSecrets,
      records: service.records,
      openPersons: (row) => service.openPersons(row),
      prepareChange: (persons) => service.prepareChange(persons),
      keys: service.keyParts,
      upkeep: upkeepOf(settings, database, service.envelope, logger),
      revocation: service.revocationParts,
      secrets: service.secretParts,
      ownIssuer: settings.issuer,
      demoRefusedBecause: settings.demoRefusedBecause,
      author: localAuthor(),
    });
    const close = async (options?: { graceMs?: number }) => {
      await service.stop(options);
      await database.close();
    };
    return { service, operations, close };
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Backups, and what the doctor finds, over the database that this process has open. */
function upkeepOf(settings: Settings, database: Database, envelope: Envelope, logger: Logger): UpkeepParts {
  const { clockSkewLimitMs, keyTimes, demoRefusedBecause } = settings;
  const poolMax = settings.database.kind === 'postgres' ? settings.database.poolMax : undefined;
  return {
    takeBackup: (file) => takeBackup(database, envelope, file),
    examine: () =>
      examine({
        database,
        envelope,
        clock: systemClock,
        logger,
        clockSkewLimitMs,
        keyTimes,
        demoRefusedBecause,
        vault: settings.vault,
        transitKeys: [settings.keyEncryptionKey, ...settings.previousKeyEncryptionKeys].flatMap((one) =>
          one !== undefined && isPlace(one) ? [one] : [],
        ),
        ownIssuer: settings.issuer,
        poolMax,
      }),
  };
}

/** Vault and Cambist may be started together, as after a loss of power; orchestrators begin again where this is not enough. */
const VAULT_PATIENCE_MS = 15_000;

/** Runs until a signal; what is in flight is finished, a second signal does not wait for it. */
export async function serve(settings: Settings, version: string): Promise<void> {
  refuseUnusableCertificates(settings);
  const logger = createLogger(settings.logLevel);
  const stopped = signalled(logger);
  const reload = reloadOnSignal(logger);
  const exporting = await exportOf(settings, version, logger);
  const more = { version, telemetry: createTelemetry(exporting), vaultPatienceMs: VAULT_PATIENCE_MS };
  const { service, operations, close } = await openService(settings, logger, more);
  let local: { close(): Promise<void> } | undefined;
  let graceMs = 0;
  try {
    reload.with = () => service.reloadCertificates();
    await refuseDemoObjects(settings, service);
    if (settings.database.kind === 'embedded')
      local = await serveLocal({ socketPath: settings.database.socketPath, operations, logger });
    const at = await listen(service, settings);
    logger.info({ issuer: settings.issuer, ...at, node: settings.nodeName, version }, 'serving');
    graceMs = settings.shutdownGraceMs;
    service.housekeeping.start();
    service.leaseSweeper.start();
    void service.fetchAhead();
    service.keys.schedule.start();
    await Promise.race([stopped, databaseReplaced(service)]);
  } finally {
    await local?.close();
    await close({ graceMs });
    await exporting.shutdown();
  }
  logger.info('stopped');
}

/** What sends spans and numbers away, where the environment asks for it. */
async function exportOf(settings: Settings, version: string, logger: Logger): Promise<StartedExport> {
  if (settings.openTelemetry === undefined) return { shutdown: () => Promise.resolve() };
  return startExport(settings.openTelemetry, { version, nodeName: settings.nodeName }, logger);
}

function whereOf({ address, family, port }: AddressInfo): string {
  return `${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

const VARIABLES = { listen: 'CAMBIST_LISTEN', admin_listen: 'CAMBIST_ADMIN_LISTEN' } as const;

/** The admin listener first: nobody is served by a node that will not start. */
async function listen(
  service: Service,
  { listen: ofCallers, adminListen }: Settings,
): Promise<{ address: string; port: number; admin: string }> {
  const admin =
    adminListen === undefined
      ? undefined
      : await listenOn('admin_listen', adminListen, ({ host, port, tls }) => service.listenAdmin(host, port, tls));
  const { address, port } = await listenOn('listen', ofCallers, ({ host, port, tls }) =>
    service.listen(host, port, tls),
  );
  return { address, port, admin: admin === undefined ? 'off' : whereOf(admin) };
}

async function listenOn<T>(
  setting: keyof typeof VARIABLES,
  at: ListenerSettings,
  open: (at: ListenerSettings) => Promise<T>,
): Promise<T> {
  try {
    return await open(at);
  } catch (error) {
    if (error instanceof CertificateRefused) throw settingsFailure([certificateFault(setting, error.fault)]);
    const { code } = error as NodeJS.ErrnoException;
    const fix =
      code === 'EADDRINUSE'
        ? `something else listens there: stop it, or set ${setting}.port (${VARIABLES[setting]})`
        : code === 'EACCES'
          ? `this user may not: set ${setting}.port (${VARIABLES[setting]}) to 1024 or above`
          : `set ${setting}.host to an address of this machine`;
    throw new CliFailure(
      EXIT.failed,
      'listen_failed',
      `cannot listen on ${at.host}:${at.port} (${code ?? 'unknown'}): ${fix}`,
    );
  }
}

/** Before anything is opened or made. */
function refuseUnusableCertificates({ listen: ofCallers, adminListen, vault }: Settings): void {
  const faults = Object.entries({ listen: ofCallers, admin_listen: adminListen }).flatMap(([setting, at]) => {
    const read = at?.tls === undefined ? undefined : readCertificate(at.tls);
    return read !== undefined && 'message' in read ? [certificateFault(setting, read)] : [];
  });
  const authority = vault?.caFile === undefined ? undefined : readAuthority(vault.caFile);
  if (authority !== undefined && 'fault' in authority)
    faults.push({
      file: 'settings',
      path: 'vault.ca_file',
      message: authority.fault,
      fix: 'name the PEM file of the authority that signed the certificate of Vault',
    });
  if (faults.length > 0) throw settingsFailure(faults);
}

function certificateFault(setting: string, { setting: file, message, fix }: CertificateFault): ConfigFault {
  return { file: 'settings', path: `${setting}.tls.${file}`, message, fix };
}

/** Objects whose secrets are anybody's must not come along when a first run becomes a service. */
async function refuseDemoObjects(settings: Settings, service: Service): Promise<void> {
  if (settings.demoRefusedBecause === undefined) return;
  const demo = await service.objects.findDemo();
  if (demo !== undefined)
    throw new CliFailure(
      EXIT.failed,
      'demo_objects',
      `${demo.kind} "${demo.name}" is a demo object, and they are refused here: ${settings.demoRefusedBecause}. Remove them, or start with an empty database`,
    );
}

/** Never resolves: a process that was started anew is the only one that has nothing of the database of before. */
function databaseReplaced({ objects }: Service): Promise<never> {
  return new Promise((_, reject) => {
    objects.feed.onReplaced(() => {
      const words = 'the database was restored, or replaced by another one, under this node: start it anew';
      reject(new CliFailure(EXIT.failed, 'database_replaced', words));
    });
  });
}

/** Resolves at the first SIGINT or SIGTERM. */
function signalled(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    const onSignal = (signal: NodeJS.Signals) => {
      count += 1;
      if (count > 1) process.exit(EXIT.failed);
      logger.info({ signal }, 'stopping: finishing what is in flight; a second signal stops at once');
      resolve();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}

/** SIGHUP means "reload" and never ends the process: not while it starts, not without certificates, not at a terminal. */
function reloadOnSignal(logger: Logger): { with: () => number } {
  const reload = { with: () => 0 };
  process.on('SIGHUP', () => {
    const certificates = reload.with();
    if (certificates > 0) logger.info({ certificates }, 'SIGHUP: the TLS certificates were read again');
    else logger.info('SIGHUP: nothing to reload, there are no TLS certificates; settings are read at start only');
  });
  return reload;
}

/** Runs work as the owner of the database, for migrations. */
export async function withOwner<T>(settings: Settings, work: (owner: Database) => Promise<T>): Promise<T> {
  const { database } = settings;
  const logger = createLogger(settings.logLevel);
  if (database.kind === 'embedded') {
    // The key first: data without the key that it will be sealed under could never be opened.
    embeddedKeyOf(settings, database);
  }
  const source =
    database.kind === 'postgres'
      ? { engine: 'postgresql' as const, url: database.url }
      : { engine: 'pglite' as const, dataDir: database.dataFolder };
  const owner = await openOwner({ source, schema: database.schema, logger });
  try {
    return await work(owner);
  } finally {
    await owner.close();
  }
}
