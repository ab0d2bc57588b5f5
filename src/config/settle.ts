/**
 * From well-formed settings to settings that may be run: the rules that look at several of them, and the values that
 * follow from others (the issuer of a first run, the files of the embedded engine, whether demo objects may exist).
 */
import { isAbsolute, join, resolve } from 'node:path';
import { valueAt } from '../admin/check.ts';
import type { ConfigDocument } from '../admin/document.ts';
import type { ConfigFault } from '../admin/fault.ts';
import type { Override } from './environment.ts';
import type { SettingsFile } from './schema.ts';
import { KEY_RECIPE, decodeKey } from './sections/encryption.ts';
import { isLoopbackHost } from './sections/listen.ts';

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

export interface Settings {
  readonly issuer: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly database: PostgresSettings | EmbeddedSettings;
  /** 32 bytes. Absent only for the embedded engine, whose key is in its key file. */
  readonly keyEncryptionKey: Uint8Array | undefined;
  readonly logLevel: SettingsFile['log_level'];
  readonly nodeName: string;
  /** Why objects marked `demo` may not exist here, in words; undefined where they may. */
  readonly demoRefusedBecause: string | undefined;
}

interface Surroundings {
  readonly fileFolder: string;
  readonly cwd: string;
  readonly hostName: string;
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
  if (!loopback && file.listen.plain_http !== 'behind_tls_proxy')
    fault(
      'listen.host',
      'would offer plain HTTP on an address that others can reach',
      'listen on 127.0.0.1, or set listen.plain_http: behind_tls_proxy if only a TLS-terminating proxy reaches it',
      `"${file.listen.host}"`,
    );
  if (!loopback && issuer?.startsWith('http:') === true)
    fault(
      'issuer',
      'must be https when others can reach the listener',
      'set it to the https URL of the proxy',
      `"${issuer}"`,
    );

  const keyText = file.key_encryption_key;
  const key = keyText === undefined ? undefined : decodeKey(keyText);
  if (typeof key === 'string') fault('key_encryption_key', key, `make one with: ${KEY_RECIPE}`);
  if (key === undefined && shared)
    fault(
      'key_encryption_key',
      'is required with database.url, the same on every node',
      `make one with: ${KEY_RECIPE}; keep it in a file and set key_encryption_key: file:PATH, or CAMBIST_KEY_ENCRYPTION_KEY`,
    );
  if (faults.length > 0 || issuer === undefined || typeof key === 'string') return faults;

  return {
    issuer,
    listen: { host: file.listen.host, port: file.listen.port },
    database: databaseOf(file, dataFolder(file, document, around, overrides)),
    keyEncryptionKey: key,
    logLevel: file.log_level,
    nodeName: file.node_name ?? around.hostName,
    demoRefusedBecause: shared
      ? 'database.url is set: a shared database holds no demo objects'
      : loopback
        ? undefined
        : `listen.host is ${file.listen.host}, which others can reach`,
  };
}

function ownAddress({ listen }: SettingsFile): string {
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return listen.port === 80 ? `http://${host}` : `http://${host}:${listen.port}`;
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
