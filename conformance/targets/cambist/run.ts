/**
 * Starts Cambist as a newcomer would (the built command, an embedded database in an empty folder), tells it of the suite
 * and of the MCP server of docs/examples, runs the suite against it and stops everything. Arguments go to the suite:
 *
 *   node dist/conformance/targets/cambist/run.js [--profile core,security] [--out FOLDER]
 *
 * Like everything here it imports nothing of Cambist: it speaks to it as a shell and over HTTP.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandLine } from '../../command-line.ts';
import { keyInFile } from '../../issuer/keys.ts';

/** The checkout, wherever this file runs from. */
function checkout(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from;
  return checkout(dirname(from));
}

const ROOT = checkout(dirname(fileURLToPath(import.meta.url)));
const HERE = join(ROOT, 'conformance', 'targets', 'cambist');
const COMMAND = join(ROOT, 'dist', 'src', 'main.js');
const CLIENTS = ['agent', 'tickets-server', 'other', 'idle'] as const;
const READY_TIMEOUT_MS = 60_000;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilAnswers(url: string, child: ChildProcess, logFile: string): Promise<void> {
  const deadlineMs = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadlineMs && child.exitCode === null) {
    try {
      await fetch(url);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error(`nothing answers at ${url}:\n${readFileSync(logFile, 'utf8')}`);
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child?.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

interface World {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly issuer: string;
  readonly mcpServer: string;
  readonly suite: string;
}

async function prepareWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-conformance-'));
  const [port, mcpPort, suitePort] = [await freePort(), await freePort(), await freePort()];
  const clean = Object.entries(process.env).filter(([name]) => !/^(CAMBIST_|DATABASE_URL$)/.test(name));
  const env = {
    ...Object.fromEntries(clean),
    CAMBIST_LISTEN: `127.0.0.1:${port}`,
    CAMBIST_DATA_DIR: join(folder, 'data'),
    CAMBIST_LOG_LEVEL: 'warn',
  };
  return {
    folder,
    env,
    issuer: `http://127.0.0.1:${port}`,
    mcpServer: `http://127.0.0.1:${mcpPort}/mcp`,
    suite: `http://127.0.0.1:${suitePort}`,
  };
}

function start(world: World, args: readonly string[], env: NodeJS.ProcessEnv, log: string): ChildProcess {
  const output = openSync(join(world.folder, log), 'w', 0o600);
  const child = spawn(process.execPath, args, { env, cwd: world.folder, stdio: ['ignore', output, output] });
  closeSync(output);
  return child;
}

function cambist(world: World, ...args: string[]): void {
  const run = spawnSync(process.execPath, [COMMAND, ...args], { env: world.env, cwd: world.folder, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`cambist ${args.join(' ')}:\n${run.stdout}${run.stderr}`);
}

async function registerEverybody(world: World): Promise<void> {
  const keyed = await keyInFile(join(world.folder, 'keyed.jwk.json'), 'ES256');
  const filled = readFileSync(join(HERE, 'objects.yaml'), 'utf8')
    .replaceAll('${SUITE}', world.suite)
    .replaceAll('${MCP_SERVER}', world.mcpServer)
    .replaceAll('${KEYED_JWKS}', JSON.stringify({ keys: [keyed.publicJwk] }));
  writeFileSync(join(world.folder, 'objects.yaml'), filled);
  cambist(world, 'apply', '-f', 'objects.yaml');
  for (const id of CLIENTS) cambist(world, 'client', 'secret', id, '--out', `${id}.secret`);
}

async function runAll(args: readonly string[]): Promise<number> {
  const world = await prepareWorld();
  let service: ChildProcess | undefined;
  let mcpServer: ChildProcess | undefined;
  try {
    service = start(world, [COMMAND, 'serve'], world.env, 'cambist.log');
    await untilAnswers(world.issuer, service, join(world.folder, 'cambist.log'));
    await registerEverybody(world);
    const mcpEnv = { ...world.env, CAMBIST: world.issuer, RESOURCE: world.mcpServer };
    mcpServer = start(world, [join(ROOT, 'docs', 'examples', 'mcp-server.mjs')], mcpEnv, 'mcp-server.log');
    await untilAnswers(world.mcpServer, mcpServer, join(world.folder, 'mcp-server.log'));
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    Object.assign(process.env, {
      CAMBIST_NAME: `Cambist ${version}`,
      CAMBIST_ISSUER_URL: world.issuer,
      SUITE: world.suite,
      MCP_SERVER: world.mcpServer,
      SECRETS: world.folder,
    });
    const write = (line: string) => {
      console.log(line);
    };
    const files = ['--config', join(HERE, 'target.yaml'), '--skips', join(HERE, 'skips.yaml')];
    return await commandLine([...files, ...args], { write, coloured: process.stdout.isTTY });
  } finally {
    await stop(mcpServer);
    await stop(service);
    if (process.env['KEEP'] === undefined) rmSync(world.folder, { recursive: true });
    else console.log(`kept: ${world.folder}`);
  }
}

process.exitCode = await runAll(process.argv.slice(2));
