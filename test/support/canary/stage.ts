/**
 * A Cambist as it is run: the built program at log level trace, its PostgreSQL, a receiver of traces and metrics, and its
 * commands, with every place where something comes out gathered. What the settings hold of secrets is known as canaries,
 * and so are the private halves of its signing keys.
 */
import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from '../../../deploy/demo/cambist-process.ts';
import { createEnvelope } from '../../../src/store/envelope.ts';
import { spawnCambist, TEST_KEY } from '../cambist.ts';
import type { SpawnedCambist } from '../cambist.ts';
import { startOtlpCollector } from '../otlp-collector.ts';
import type { OtlpCollector } from '../otlp-collector.ts';
import { startPostgres, withClient } from '../postgres-cluster.ts';
import type { PostgresCluster } from '../postgres-cluster.ts';
import type { Canaries } from './canaries.ts';
import { createSinks } from './sinks.ts';
import type { Queries, Sinks } from './sinks.ts';

const COMMAND = fileURLToPath(new URL('../../../dist/src/main.js', import.meta.url));
const SCHEMA = 'cambist';

/** Throws, as a library's promise that nobody waits for would, an error on which its request hangs. */
const CRASH = `
process.on('SIGUSR2', () => {
  const [secret] = JSON.parse(require('node:fs').readFileSync(process.env.TEST_CRASH_FILE, 'utf8'));
  const error = new Error('the request failed');
  Object.assign(error, { config: { headers: { 'X-Vault-Token': secret } }, body: secret, password: secret });
  Promise.reject(error);
});`;

export interface CommandOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Stage {
  readonly sinks: Sinks;
  readonly canaries: Canaries;
  readonly cambist: SpawnedCambist;
  readonly cluster: PostgresCluster;
  readonly collector: OtlpCollector;
  /** Where commands run, and what they write goes. */
  readonly cwd: string;
  /** Writes a file that is the user's own: what stands in it is no leak. */
  ownFile(name: string, content: string): void;
  /** Runs a command; its output and its arguments are gathered. */
  command(line: string, options?: CommandOptions): Promise<CommandResult>;
  /** Lets the server meet an error that nobody catches; its error holds this secret. */
  crash(secret: string): Promise<void>;
  /** Takes in what is there by now: log, database, exports, processes, files. */
  gather(): Promise<void>;
  stop(): Promise<void>;
}

export async function startStage(canaries: Canaries, env: Readonly<Record<string, string>> = {}): Promise<Stage> {
  const sinks = createSinks(canaries);
  const [cluster, collector] = await Promise.all([startPostgres(), startOtlpCollector()]);
  canaries.plant('password of the database', new URL(cluster.url).password);
  canaries.plant('key-encryption key', TEST_KEY);
  const cwd = mkdtempSync(join(tmpdir(), 'cambist-canary-'));
  const own = ['crash.cjs', 'crash.json'];
  writeFileSync(join(cwd, 'crash.cjs'), CRASH);
  const settings = {
    DATABASE_URL: cluster.url,
    CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(TEST_KEY).toString('base64'),
    CAMBIST_LOG_LEVEL: 'trace',
    ...env,
  };
  const run = (line: string, issuer: string, { stdin = '', env: more = {} }: CommandOptions): Promise<CommandResult> =>
    new Promise((resolve) => {
      const all = { ...cleanEnvironment(), ...settings, CAMBIST_ISSUER: issuer, ...more };
      const child = execFile(process.execPath, [COMMAND, ...line.split(' ')], { cwd, env: all }, (error, out, err) => {
        sinks.take('output of commands', `${line}\n${out}\n${err}`);
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
      });
      child.stdin?.on('error', () => undefined).end(stdin);
    });
  const migrated = await run('migrate up', 'http://127.0.0.1:1', {});
  if (migrated.code !== 0) throw new Error(migrated.err);
  const cambist = await spawnCambist({
    databaseUrl: cluster.url,
    env: {
      ...settings,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_METRIC_EXPORT_INTERVAL: '1000',
      OTEL_METRIC_EXPORT_TIMEOUT: '900',
      OTEL_BSP_SCHEDULE_DELAY: '200',
      NODE_OPTIONS: `--require ${join(cwd, 'crash.cjs')}`,
      TEST_CRASH_FILE: join(cwd, 'crash.json'),
    },
  });
  await plantSigningKeys(canaries, cluster);
  const ownFile = (name: string, content: string) => {
    own.push(name);
    writeFileSync(join(cwd, name), content, { mode: 0o600 });
  };
  return {
    ...{ sinks, canaries, cambist, cluster, collector, cwd, ownFile },
    command: (line, options = {}) => run(line, cambist.issuer, options),
    async crash(secret) {
      ownFile('crash.json', JSON.stringify([secret]));
      process.kill(cambist.pid ?? 0, 'SIGUSR2');
      await cambist.ended;
    },
    async gather() {
      if (cambist.pid !== undefined && isAlive(cambist.pid)) sinks.takeProcesses(cambist.pid);
      sinks.take('log', readFileSync(cambist.logFile));
      await withClient(cluster.url, (client) =>
        sinks.takeDatabase(
          { query: async <R>(sql: string) => (await client.query(sql)).rows as R[] } satisfies Queries,
          SCHEMA,
        ),
      );
      sinks.takeExports(collector);
      sinks.takeFiles(cwd, own);
    },
    async stop() {
      await cambist.stop();
      await Promise.all([cluster.stop(), collector.stop()]);
      cambist.remove();
      rmSync(cwd, { recursive: true, force: true });
    },
  };
}

async function plantSigningKeys(canaries: Canaries, cluster: PostgresCluster): Promise<void> {
  const envelope = createEnvelope(TEST_KEY);
  await withClient(cluster.url, async (client) => {
    const { rows } = await client.query(`SELECT kid, purpose, alg, sealed_private FROM ${SCHEMA}.signing_key`);
    for (const { kid, purpose, alg, sealed_private: sealed } of rows as Record<string, any>[]) {
      const der = Buffer.from(envelope.open(sealed as Uint8Array, `signing_key|${kid}|${purpose}`));
      const { d = '' } = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'jwk' });
      canaries.plant(`private key ${purpose} ${alg}`, Buffer.from(d, 'base64url'));
    }
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
