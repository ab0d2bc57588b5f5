/**
 * From well-formed settings to settings that may be run: the rules that look at several of them, and the values that
 * follow from others (the issuer of a first run, the files of the embedded engine, whether demo objects may exist).
 */
import { isAbsolute, join, resolve } from 'node:path';
import { valueAt } from '../admin/check.ts';
import type { ConfigDocument } from '../admin/document.ts';
import type { ConfigFault } from '../admin/fault.ts';
import type { LimitSettings } from '../limits/bounds.ts';
import type { Override } from './environment.ts';
import type { SettingsFile } from './schema.ts';
import { settleListeners } from './listeners.ts';
import type { ListenersSettings } from './listeners.ts';
import { isLoopbackHost } from './sections/listen.ts';
import type { Environment } from './interpolate.ts';
import type { VaultSettings } from '../secrets/vault/settings.ts';
import type { KeyEncryptionKey } from '../store/root-keys.ts';
import { settleKeyEncryption } from './key-encryption.ts';
import { settleVault } from './vault.ts';

/** A database that several nodes may share. */
export interface PostgresSettings {
  readonly kind: 'postgres';
  /** Holds the password: never logged, never shown. */
  readonly url: string;
  readonly schema: string;
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
}

/** The embedded engine: one process, one folder. All paths are absolute. */
export interface EmbeddedSettings {
  readonly kind: 'embedded';
  readonly schema: string;
  /** The folder of everything below; only its owner may enter it. */
  readonly folder: string;
  readonly dataFolder: string;
  /** Key-encryption key, used when the settings give none; outside the data folder, so that a copy of one is not both. */
  readonly keyFile: string;
  readonly socketPath: string;
}

export interface Settings extends ListenersSettings {
  readonly issuer: string;
  /** CIDR ranges. */
  readonly trustedProxies: readonly string[];
  readonly clockSkewLimitMs: number;
  readonly shutdownGraceMs: number;
  readonly database: PostgresSettings | EmbeddedSettings;
  /** 32 bytes, or a Transit key of `vault`. Absent only for the embedded engine, whose key is in its key file. */
  readonly keyEncryptionKey: KeyEncryptionKey | undefined;
  /** What else may have sealed the database; none of them seals. */
  readonly previousKeyEncryptionKeys: readonly KeyEncryptionKey[];
  readonly keyTimes: { readonly rotateAfterSeconds: number; readonly publishAheadSeconds: number };
  readonly housekeeping: {
    readonly intervalSeconds: number;
    /** `undefined` = audit records are kept for ever. */
    readonly auditRetentionDays: number | undefined;
  };
  readonly limits: LimitSettings;
  /** `undefined` = there is no Vault. */
  readonly vault: VaultSettings | undefined;
  readonly upstream: {
    /** How long a secret is injected before it is read again. */
    readonly credentialCacheSeconds: number;
  };
  readonly logLevel: SettingsFile['log_level'];
  readonly nodeName: string;
  /** Why objects marked `demo` may not exist here, in words; undefined where they may. */
  readonly demoRefusedBecause: string | undefined;
}

const SHUTDOWN_GRACE_MS = 5_000;

interface Surroundings {
  readonly fileFolder: string;
  readonly cwd: string;
  readonly hostName: string;
  readonly environment: Environment;
}

/** Settings, or the faults that show only when several of them are looked at together. */
export function settle(
  file: SettingsFile,
  document: ConfigDocument,
  around: Surroundings,
  overrides: readonly Override[],
): Settings | ConfigFault[] {
  const faults: ConfigFault[] = [];
  const fault = (path: string, message: string, fix: string, got?: string) => {
    const position = document.positionOf(path.split('.'));
    faults.push({ file: document.file, position, path, message, fix, got });
  };
  const shared = file.database.url !== undefined;
  const loopback = isLoopbackHost(file.listen.host);
  const issuer = file.issuer ?? (shared || !loopback || file.listen.port === 0 ? undefined : ownAddress(file));
  if (issuer === undefined)
    fault('issuer', 'is required', 'set it to the URL that clients reach, such as https://sts.example.com');
  const listeners = settleListeners(file, { ...around, overrides }, fault);
  if (issuer?.startsWith('http:') === true && (!loopback || file.listen.tls !== undefined))
    fault(
      'issuer',
      `must be https ${loopback ? 'when listen.tls is set' : 'when others can reach the listener'}`,
      `set it to the https URL ${file.listen.tls === undefined ? 'of the proxy' : 'that clients reach'}`,
      `"${issuer}"`,
    );

  if (file.keys.publish_ahead_seconds >= file.keys.rotate_after_seconds)
    fault(
      'keys.publish_ahead_seconds',
      'must be less than keys.rotate_after_seconds: a key is published while the one before it still signs',
      'lower it, or raise keys.rotate_after_seconds',
      String(file.keys.publish_ahead_seconds),
    );
  const vault = settleVault(file.vault, { ...around, overrides }, fault);
  const keyEncryption = settleKeyEncryption(file, { vault, shared, vaultIsFaulty: faults.some(isOfVault) }, fault);
  if (faults.length > 0 || issuer === undefined) return faults;

  return {
    issuer,
    ...listeners,
    trustedProxies: file.trusted_proxies,
    clockSkewLimitMs: file.clock_skew_limit_ms,
    // Nothing watches a listener that only this machine reaches. Elsewhere: grace and drain (20 s at most) stay below
    // the 30 s after which orchestrators kill.
    shutdownGraceMs: file.shutdown_grace_ms ?? (loopback ? 0 : SHUTDOWN_GRACE_MS),
    database: databaseOf(file, dataFolder(file, document, around, overrides)),
    ...keyEncryption,
    keyTimes: {
      rotateAfterSeconds: file.keys.rotate_after_seconds,
      publishAheadSeconds: file.keys.publish_ahead_seconds,
    },
    housekeeping: {
      intervalSeconds: file.housekeeping.interval_seconds,
      auditRetentionDays: file.housekeeping.audit_retention_days,
    },
    limits: limitsOf(file),
    vault,
    upstream: { credentialCacheSeconds: file.upstream.credential_cache_seconds },
    logLevel: file.log_level,
    nodeName: file.node_name ?? around.hostName,
    demoRefusedBecause: shared
      ? 'database.url is set: a shared database holds no demo objects'
      : loopback
        ? undefined
        : `listen.host is ${file.listen.host}, which others can reach`,
  };
}

function limitsOf({ limits }: SettingsFile): LimitSettings {
  return {
    clientPerMinute: limits.client_per_minute,
    resourcePerMinute: limits.resource_per_minute,
    subjectPerMinute: limits.subject_per_minute,
    statusPerMinute: limits.status_per_minute,
    failedAuthenticationsPerMinute: limits.failed_authentications_per_minute,
    requestsUnderWayMax: limits.requests_under_way_max,
    egressCallsMax: limits.egress_calls_max,
    egressCallsPerClientMax: limits.egress_calls_per_client_max,
  };
}

const isOfVault = ({ path }: ConfigFault) => path.startsWith('vault.');

function ownAddress({ listen }: SettingsFile): string {
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  const scheme = listen.tls === undefined ? 'http' : 'https';
  const usual = listen.port === (scheme === 'http' ? 80 : 443);
  return `${scheme}://${host}${usual ? '' : `:${listen.port}`}`;
}

function dataFolder(
  file: SettingsFile,
  document: ConfigDocument,
  around: Surroundings,
  overrides: readonly Override[],
): string {
  if (isAbsolute(file.data_dir)) return file.data_dir;
  const fromEnvironment = overrides.some((override) => override.path[0] === 'data_dir');
  const written = valueAt(document.value, ['data_dir']) !== undefined && !fromEnvironment;
  return resolve(written ? around.fileFolder : around.cwd, file.data_dir);
}

function databaseOf({ database, data_dir: _ }: SettingsFile, folder: string): PostgresSettings | EmbeddedSettings {
  const { schema } = database;
  if (database.url === undefined)
    return {
      kind: 'embedded',
      schema,
      folder,
      dataFolder: join(folder, 'data'),
      keyFile: join(folder, 'kek'),
      socketPath: join(folder, 'cambist.sock'),
    };
  return {
    kind: 'postgres',
    url: database.url,
    schema,
    poolMax: database.pool_max,
    connectTimeoutMs: database.connect_timeout_ms,
    statementTimeoutMs: database.statement_timeout_ms,
  };
}
