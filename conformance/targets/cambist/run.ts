/**
 * Starts Cambist as a newcomer would (the built command, an embedded database in an empty folder), tells it of the suite
 * and of the MCP server of docs/examples, runs the suite against it and stops everything. Arguments go to the suite:
 *
 *   node dist/conformance/targets/cambist/run.js [--profile core,security] [--out FOLDER]
 *
 * Like everything here it imports nothing of Cambist: it speaks to it as a shell and over HTTP.
 */
import { spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandLine } from '../../command-line.ts';
import { keyInFile } from '../../issuer/keys.ts';
import { checkout, freePort, startLogged, stop, untilAnswers } from '../process.ts';

const ROOT = checkout(import.meta.url);
const HERE = join(ROOT, 'conformance', 'targets', 'cambist');
const COMMAND = join(ROOT, 'dist', 'src', 'main.js');
const CLIENTS = ['agent', 'tickets-server', 'other', 'idle'] as const;

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
    CAMBIST_ADMIN_LISTEN: '127.0.0.1:0',
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
  const log = join(world.folder, 'cambist.log');
  const mcpLog = join(world.folder, 'mcp-server.log');
  let service: ChildProcess | undefined;
  let mcpServer: ChildProcess | undefined;
  try {
    service = startLogged({
      program: process.execPath,
      args: [COMMAND, 'serve'],
      env: world.env,
      cwd: world.folder,
      log,
    });
    await untilAnswers(world.issuer, service, log);
    await registerEverybody(world);
    const mcpEnv = { ...world.env, CAMBIST: world.issuer, RESOURCE: world.mcpServer };
    const example = [join(ROOT, 'docs', 'examples', 'mcp-server.mjs')];
    mcpServer = startLogged({ program: process.execPath, args: example, env: mcpEnv, cwd: world.folder, log: mcpLog });
    await untilAnswers(world.mcpServer, mcpServer, mcpLog);
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
