/**
 * The real Cambist for tests: composed in this process on a port of its own (`startCambist`), or as the built program
 * in a process of its own (`spawnCambist`), for tests that kill it. Nothing of it is replaced by a fake.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../conformance/targets/process.ts';
import { cleanEnvironment, startCambist as startProcess } from '../../deploy/demo/cambist-process.ts';
import type { CambistProcess } from '../../deploy/demo/cambist-process.ts';
import { applyPlan, planApply } from '../../src/admin/apply.ts';
import { formatFault } from '../../src/admin/fault.ts';
import type { PersonalFields } from '../../src/audit/personal.ts';
import type { RecordBody } from '../../src/audit/record.ts';
import { composeService } from '../../src/compose.ts';
import type { Service, ServiceParts } from '../../src/compose.ts';
import { DEFAULT_LIMITS } from '../../src/limits/bounds.ts';
import type { LimitSettings } from '../../src/limits/bounds.ts';
import { createLogger } from '../../src/core/log.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import type { Database } from '../../src/store/database.ts';
import { openMemoryDatabase } from './memory-database.ts';
import { postForm } from './token-client.ts';
import type { FormFields, PostOptions, TokenAnswer } from './token-client.ts';

/** One key for all tests, so that two nodes on one database agree without being told. */
export const TEST_KEY = new Uint8Array(32).map((_, index) => (index * 37 + 11) % 256);

export interface StartOptions {
  /** Objects in YAML, as `cambist apply` takes them; may be empty. */
  readonly objects: string;
  /** Migrated and under the runtime role; not closed by `stop`. Default: one in memory, closed by `stop`. */
  readonly database?: Database;
  /** Of another node on the same database: its secrets are known here too, and its issuer is taken. */
  readonly joins?: TestCambist;
  readonly settings?: {
    readonly issuer?: string;
    readonly nodeName?: string;
    readonly keyEncryptionKey?: ServiceParts['keyEncryptionKey'];
    readonly previousKeyEncryptionKeys?: NonNullable<ServiceParts['previousKeyEncryptionKeys']>;
    readonly vaultPatienceMs?: number;
    readonly keyTimes?: NonNullable<ServiceParts['keyTimes']>;
    readonly clock?: NonNullable<ServiceParts['clock']>;
    /** Default: `clock` is the time of the database as well. `its-own`: where they differ, this node's clock is wrong. */
    readonly databaseClock?: 'its-own';
    readonly observe?: NonNullable<ServiceParts['observe']>;
    readonly logger?: ServiceParts['logger'];
    readonly demoRefusedBecause?: string;
    readonly trustedProxies?: readonly string[];
    readonly clockSkewLimitMs?: number;
    /** Of the public listener. */
    readonly tls?: { readonly certFile: string; readonly keyFile: string };
    readonly limits?: Partial<LimitSettings>;
    readonly telemetry?: NonNullable<ServiceParts['telemetry']>;
    readonly credentials?: NonNullable<ServiceParts['credentials']>;
    readonly resolve?: NonNullable<ServiceParts['resolve']>;
    readonly vault?: ServiceParts['vault'];
  };
}

/** A record as it was committed, its persons opened. */
export interface FoundRecord {
  readonly body: RecordBody;
  readonly persons: readonly (PersonalFields & { readonly ref: string })[];
  /** The bytes of the record, as text. */
  readonly canonical: string;
}

export interface TestCambist {
  readonly issuer: string;
  readonly url: string;
  /** Of its admin listener. */
  readonly adminUrl: string;
  readonly service: Service;
  readonly database: Database;
  /** The secret of a client that authenticates with one; made when the client was applied. */
  secretOf(clientId: string): string;
  readonly secrets: ReadonlyMap<string, string>;
  /** POSTs a form to the token endpoint. */
  token(form: FormFields | string, options?: PostOptions): Promise<TokenAnswer>;
  /** Applies objects; throws with every fault, one a line. */
  apply(yaml: string, options?: { readonly prune?: boolean }): Promise<void>;
  disable(kind: Kind, name: string): Promise<void>;
  enable(kind: Kind, name: string): Promise<void>;
  records(requestId: string): Promise<readonly FoundRecord[]>;
  stop(): Promise<void>;
}

/** Starts Cambist in this process. */
export async function startCambist(options: StartOptions): Promise<TestCambist> {
  const { settings = {}, joins } = options;
  const logger = settings.logger ?? createLogger('silent');
  const port = await freePort();
  const url = `${settings.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const issuer = settings.issuer ?? joins?.issuer ?? url;
  const database = options.database ?? (await openMemoryDatabase());
  const service = await composeService({
    issuer,
    nodeName: settings.nodeName ?? `test-${port}`,
    database:
      settings.clock === undefined || settings.databaseClock === 'its-own'
        ? database
        : keepingTime(database, settings.clock),
    keyEncryptionKey: settings.keyEncryptionKey ?? TEST_KEY,
    logger,
    limits: { ...DEFAULT_LIMITS, ...settings.limits },
    ...(settings.previousKeyEncryptionKeys === undefined
      ? {}
      : { previousKeyEncryptionKeys: settings.previousKeyEncryptionKeys }),
    ...(settings.keyTimes === undefined ? {} : { keyTimes: settings.keyTimes }),
    ...(settings.clock === undefined ? {} : { clock: settings.clock }),
    ...(settings.observe === undefined ? {} : { observe: settings.observe }),
    vault: settings.vault,
    ...(settings.vaultPatienceMs === undefined ? {} : { vaultPatienceMs: settings.vaultPatienceMs }),
    ...(settings.telemetry === undefined ? {} : { telemetry: settings.telemetry }),
    ...(settings.credentials === undefined ? {} : { credentials: settings.credentials }),
    ...(settings.resolve === undefined ? {} : { resolve: settings.resolve }),
    ...(settings.trustedProxies === undefined ? {} : { trustedProxies: settings.trustedProxies }),
    ...(settings.clockSkewLimitMs === undefined ? {} : { clockSkewLimitMs: settings.clockSkewLimitMs }),
  });
  await service.listen('127.0.0.1', port, settings.tls);
  const { port: adminPort } = await service.listenAdmin('127.0.0.1', 0);
  const secrets = new Map(joins?.secrets);

  async function apply(yaml: string, { prune = false } = {}): Promise<void> {
    const planOptions = { prune, ownIssuer: issuer, demoRefusedBecause: settings.demoRefusedBecause };
    const prepared = await planApply([{ file: 'test.yaml', text: yaml }], service.objects, planOptions);
    if (Array.isArray(prepared)) throw new Error(prepared.map(formatFault).join('\n'));
    await applyPlan(prepared, service.objects, 'test');
    for (const client of await service.objects.list('client', { limit: 1000 })) {
      const needed = client.spec.auth.some((method) => method.startsWith('client_secret'));
      if (needed && !secrets.has(client.name)) {
        secrets.set(client.name, (await service.clientSecrets.add(client.name)).secret);
      }
    }
  }
  const change = async (type: 'disable' | 'enable', kind: Kind, name: string): Promise<void> => {
    await service.objects.change([{ type, kind, name }], { author: 'test', origin: 'test' });
  };

  if (options.objects.trim() !== '') await apply(options.objects);
  return {
    issuer,
    url,
    adminUrl: `http://127.0.0.1:${adminPort}`,
    service,
    database,
    secrets,
    secretOf: (clientId) => {
      const secret = secrets.get(clientId);
      if (secret === undefined) throw new Error(`client ${clientId} has no secret`);
      return secret;
    },
    token: (form, postOptions) => postForm(`${url}/oauth2/token`, form, postOptions),
    apply,
    disable: (kind, name) => change('disable', kind, name),
    enable: (kind, name) => change('enable', kind, name),
    records: async (requestId) => {
      const found: FoundRecord[] = [];
      for (const row of await service.records.byRequestId(requestId)) {
        const canonical = new TextDecoder().decode(row.canonical);
        found.push({ body: JSON.parse(canonical), persons: await service.openPersons(row), canonical });
      }
      return found;
    },
    stop: async () => {
      await service.stop();
      if (options.database === undefined) await database.close();
    },
  };
}

/** The database as it would be where this clock is right. */
function keepingTime(database: Database, clock: NonNullable<ServiceParts['clock']>): Database {
  return {
    ...database,
    query: async <R>(...asked: Parameters<Database['query']>): Promise<R[]> => {
      const rows = await database.query<R>(...asked);
      return asked[2]?.name === 'change-feed' ? rows.map((row) => ({ ...row, now_ms: clock.nowMs() })) : rows;
    },
  };
}

export interface SpawnOptions {
  /** Absent = the embedded engine in a folder of its own. */
  readonly databaseUrl?: string;
  readonly issuer?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** For a second start on the same embedded data. */
  readonly folder?: string;
}

export interface SpawnedCambist extends CambistProcess {
  /** Of its admin listener. */
  readonly adminUrl: string;
  /** Data folder of the embedded engine and log; removed by `remove`. */
  readonly folder: string;
  readonly logFile: string;
  remove(): void;
}

/** Starts the built program (`npm test` builds it) as a process of its own. */
export async function spawnCambist(options: SpawnOptions = {}): Promise<SpawnedCambist> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'cambist-'));
  const [port, adminPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const issuer = options.issuer ?? url;
  const logFile = join(folder, `${port}.log`);
  const env = {
    ...cleanEnvironment(),
    CAMBIST_ISSUER: issuer,
    CAMBIST_LISTEN: `127.0.0.1:${port}`,
    CAMBIST_ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
    CAMBIST_DATA_DIR: join(folder, 'data'),
    ...(options.databaseUrl === undefined
      ? {}
      : {
          DATABASE_URL: options.databaseUrl,
          CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(TEST_KEY).toString('base64'),
        }),
    ...options.env,
  };
  const running = await startProcess({ issuer, url, env, logFile });
  return {
    ...running,
    adminUrl: `http://127.0.0.1:${adminPort}`,
    folder,
    logFile,
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
