/**
 * The three ways to one API: straight to it with its key, through nginx that adds the key as a fixed header, and through
 * Cambist, a process of its own, with a token that was exchanged for it. Where there is no nginx, there are two.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../../conformance/targets/process.ts';
import { createLogger } from '../../../src/core/log.ts';
import { openDatabase } from '../../../src/store/open.ts';
import { spawnCambist } from '../../support/cambist.ts';
import type { SpawnedCambist } from '../../support/cambist.ts';
import { startJwksIssuer } from '../../support/jwks-issuer.ts';
import { findPostgresBinaries, startPostgres } from '../../support/postgres-cluster.ts';
import { postForm } from '../../support/token-client.ts';

const KEY = 'sk-bench-0123456789abcdef';
const NOTES = 'https://notes.bench/mcp';
const OPEN_MAX = '2000';
const TYPE = 'urn:ietf:params:oauth:token-type:';

export interface Way {
  readonly name: 'direct' | 'nginx' | 'Cambist';
  readonly origin: string;
  /** Before the path of the API. */
  readonly prefix: string;
  /** Whose CPU and memory it costs; `undefined`: nobody stands between. */
  readonly pid: number | undefined;
  /** `Authorization` of its calls, from now on. */
  authorize(): Promise<string>;
}

export interface Ways {
  readonly ways: readonly Way[];
  readonly database: 'PostgreSQL' | 'PGlite';
  /** Stops everything but the database; then how many records of each kind there are. */
  finish(): Promise<Readonly<Record<string, number>>>;
  /** What is still there. */
  stop(): Promise<void>;
}

/** Starts them all. What it started is stopped by `stop`, also when it did not get to the end. */
export async function startWays(): Promise<Ways> {
  const started: (() => unknown)[] = [];
  const stop = async () => {
    for (const end of started.splice(0).reverse()) await end();
  };
  try {
    const upstreamPort = await startApi(started);
    const nginx = await startNginx(upstreamPort, started);
    const cluster = findPostgresBinaries() === undefined ? undefined : await startPostgres();
    if (cluster !== undefined) started.push(() => cluster.stop());
    const { cambist, way } = await startCambistWay(upstreamPort, cluster?.url, started);
    const direct: Way = {
      name: 'direct',
      origin: `http://127.0.0.1:${upstreamPort}`,
      prefix: '',
      pid: undefined,
      authorize: () => Promise.resolve(`Bearer ${KEY}`),
    };
    return {
      ways: [direct, ...(nginx === undefined ? [] : [nginx]), way],
      database: cluster === undefined ? 'PGlite' : 'PostgreSQL',
      finish: async () => {
        await cambist.stop();
        return countRecords(cluster?.url, cambist);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startApi(started: (() => unknown)[]): Promise<number> {
  const script = fileURLToPath(new URL('./upstream.js', import.meta.url));
  const child = spawn(process.execPath, [script, KEY], { stdio: ['pipe', 'pipe', 'inherit'] });
  started.push(() => child.kill());
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', () => {
      reject(new Error('the API did not start'));
    });
    child.stdout.once('data', (text: Buffer) => {
      resolve(Number(text.toString()));
    });
  });
}

/** One worker, keeping connections to the API as Cambist does, buffering no more than it. */
const nginxSettings = (folder: string, port: number, upstreamPort: number): string => `
daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 8192; }
http {
  access_log off; client_max_body_size 0;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  upstream api { server 127.0.0.1:${upstreamPort}; keepalive 1024; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer ${KEY}";
      proxy_buffering off; proxy_request_buffering off;
    }
  }
}
`;

async function startNginx(upstreamPort: number, started: (() => unknown)[]): Promise<Way | undefined> {
  const command = ['nginx', '/usr/sbin/nginx'].find((path) => spawnSync(path, ['-v']).status === 0);
  if (command === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'cambist-nginx-'));
  started.push(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  mkdirSync(join(folder, 'client_body'));
  const port = await freePort();
  const settings = join(folder, 'nginx.conf');
  writeFileSync(settings, nginxSettings(folder, port, upstreamPort));
  const child = spawn(command, ['-p', folder, '-e', join(folder, 'error.log'), '-c', settings], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  started.push(() => child.kill());
  await untilListening(port);
  return {
    name: 'nginx',
    origin: `http://127.0.0.1:${port}`,
    prefix: '',
    pid: child.pid,
    authorize: () => Promise.resolve('Bearer replaced'),
  };
}

async function untilListening(port: number): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const listening = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      }).on('error', () => {
        resolve(false);
      });
    });
    if (listening) return;
    if (tries > 100) throw new Error('nginx did not start');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const objectsOf = (corp: string, upstreamPort: number): string => `
issuers: [{ name: corp, issuer: '${corp}', internal: true, claims: { groups: groups, email: email } }]
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: notes-server, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: '${NOTES}'
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    served_by: [notes-server]
    calls: [{ upstream: api, needs: ['notes:read'], gives: ['api:use'] }]
upstreams:
  - name: api
    base_url: 'http://127.0.0.1:${upstreamPort}'
    internal: true
    scopes: { 'api:use': Use }
    default_scopes: ['api:use']
    callers: [notes-server]
    lifetime_seconds: 900
    requests: [{ methods: ['*'], path: '/v1/**', scopes: ['api:use'] }]
    credential: { kind: static, store: embedded, path: bench/api, field: key }
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`;

async function startCambistWay(
  upstreamPort: number,
  databaseUrl: string | undefined,
  started: (() => unknown)[],
): Promise<{ readonly cambist: SpawnedCambist; readonly way: Way }> {
  const logger = createLogger('silent');
  if (databaseUrl !== undefined)
    await (await openDatabase({ source: { engine: 'postgresql', url: databaseUrl }, migrate: true, logger })).close();
  const corp = await startJwksIssuer();
  started.push(() => corp.stop());
  const cambist = await spawnCambist({
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    env: {
      CAMBIST_LOG_LEVEL: 'warn',
      CAMBIST_LIMITS_EGRESS_CALLS_MAX: OPEN_MAX,
      CAMBIST_LIMITS_EGRESS_CALLS_PER_CLIENT_MAX: OPEN_MAX,
    },
  });
  started.push(
    () => {
      cambist.remove();
    },
    () => cambist.stop(),
  );
  const file = (name: string, text: string) => {
    const path = join(cambist.folder, name);
    writeFileSync(path, text);
    return path;
  };
  await cambist.command('apply', '-f', file('objects.yaml', objectsOf(corp.issuer, upstreamPort)));
  await cambist.command('secret', 'set', 'bench/api', '--field', `key=file:${file('key.txt', KEY)}`);
  const secrets = new Map<string, string>();
  for (const id of ['agent', 'notes-server']) {
    const out = join(cambist.folder, `${id}.secret`);
    await cambist.command('client', 'secret', id, '--out', out);
    secrets.set(id, readFileSync(out, 'utf8').trim());
  }

  const exchange = async (client: string, fields: Record<string, string>): Promise<string> => {
    const form = { grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange', ...fields };
    const answer = await postForm(`${cambist.url}/oauth2/token`, form, { basic: [client, secrets.get(client) ?? ''] });
    if (answer.status !== 200) throw new Error(`an exchange failed: ${answer.status} ${answer.text}`);
    return (answer.body as { access_token: string }).access_token;
  };
  const authorize = async () => {
    const identity = await corp.mint({ aud: cambist.issuer, sub: 'ada', groups: ['staff'], email: 'ada@bench' });
    const received = await exchange('agent', {
      subject_token: identity,
      subject_token_type: `${TYPE}id_token`,
      resource: NOTES,
    });
    const token = await exchange('notes-server', {
      subject_token: received,
      subject_token_type: `${TYPE}access_token`,
      audience: 'api',
    });
    return `Bearer ${token}`;
  };
  const way: Way = { name: 'Cambist', origin: cambist.url, prefix: '/egress/api', pid: cambist.pid, authorize };
  return { cambist, way };
}

async function countRecords(
  databaseUrl: string | undefined,
  cambist: SpawnedCambist,
): Promise<Readonly<Record<string, number>>> {
  const database = await openDatabase({
    source:
      databaseUrl === undefined
        ? { engine: 'pglite', dataDir: join(cambist.folder, 'data') }
        : { engine: 'postgresql', url: databaseUrl },
    migrate: false,
    logger: createLogger('silent'),
  });
  const rows = await database.query<{ kind: string; n: number }>(
    'SELECT kind, count(*)::int AS n FROM audit_record GROUP BY kind',
  );
  await database.close();
  return Object.fromEntries(rows.map(({ kind, n }) => [kind, n]));
}
