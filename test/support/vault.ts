/**
 * A real Vault for tests, taken from the first of: CAMBIST_TEST_VAULT_ADDR (with CAMBIST_TEST_VAULT_TOKEN), a `vault` or
 * `bao` on the PATH, a build that was made before, a build with Go. Where none can be had the suite is skipped and says
 * why; with `CI` set that is a failure. A server of ours is a dev server on a free loopback port, in memory, and ends with
 * its test process however that ends.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { build, findBuild, findGo } from './vault/build.mjs';

export interface TestVault {
  readonly address: string;
  /** May do everything. */
  readonly rootToken: string;
  /** Asks as root; throws on any other answer than a success. The body, or an empty object. */
  root(method: string, path: string, body?: object): Promise<Record<string, unknown>>;
  /** Asks with any token, or none, and returns status and body whatever they are. */
  ask(method: string, path: string, options?: AskOptions): Promise<{ status: number; body: Record<string, unknown> }>;
  /** The command line of Vault; `undefined` where the server is not ours. */
  readonly program: string | undefined;
  /** Key with which it can be unsealed; `undefined` where the server is not ours. */
  readonly unsealKey: string | undefined;
  stop(): Promise<void>;
}

/** Programs of plugins that a build of ours has beside it. */
type Plugin = 'postgresql-database-plugin' | 'kubernetes-auth-plugin';

export interface AskOptions {
  readonly token?: string;
  readonly body?: object;
  readonly headers?: Record<string, string>;
}

/** What a server can be started from. */
type Source =
  | { readonly kind: 'address'; readonly address: string; readonly token: string }
  | { readonly kind: 'program'; readonly program: string; readonly plugins: string | undefined }
  | { readonly kind: 'none'; readonly reason: string };

function findSource(): Source {
  const { CAMBIST_TEST_VAULT_ADDR: address, CAMBIST_TEST_VAULT_TOKEN: token = 'root', PATH = '' } = process.env;
  if (address !== undefined && address !== '') return { kind: 'address', address, token };
  const built = findBuild();
  for (const folder of PATH.split(delimiter))
    for (const name of ['vault', 'bao'])
      if (existsSync(join(folder, name)))
        return {
          kind: 'program',
          program: join(folder, name),
          plugins: built === undefined ? undefined : join(built, 'plugins'),
        };
  if (built !== undefined) return ofBuild(built);
  if (findGo() === undefined)
    return {
      kind: 'none',
      reason: 'no CAMBIST_TEST_VAULT_ADDR, no vault or bao on the PATH, no earlier build, and no Go to build one with',
    };
  try {
    return ofBuild(build());
  } catch (error) {
    return { kind: 'none', reason: error instanceof Error ? error.message : String(error) };
  }
}

function ofBuild(folder: string): Source {
  return { kind: 'program', program: join(folder, 'vault'), plugins: join(folder, 'plugins') };
}

let found: Source | undefined;

type Suite = (start: () => Promise<TestVault>) => void;

/** Declares a suite that needs a real Vault; `start` starts one of its own. */
export function withVault(name: string, suite: Suite): void {
  declare(name, suite, undefined);
}

/** The same, where that Vault has to have this plugin. */
export function withVaultPlugin(plugin: Plugin, name: string, suite: Suite): void {
  declare(name, suite, plugin);
}

function declare(name: string, suite: Suite, plugin: Plugin | undefined): void {
  const missing = whatIsMissing((found ??= findSource()), plugin);
  if (missing === undefined) {
    describe(name, () => {
      suite(() => startVault());
    });
  } else if (process.env['CI'] !== undefined)
    test(name, () => {
      throw new Error(`with CI set this must run: ${missing}`);
    });
  else {
    console.warn(`skipped: ${name}: ${missing}`);
    test.skip(`${name}: skipped: ${missing}`);
  }
}

function whatIsMissing(source: Source, plugin: Plugin | undefined): string | undefined {
  if (source.kind === 'none') return `no Vault: ${source.reason}`;
  if (plugin === undefined) return undefined;
  const folder = source.kind === 'program' ? source.plugins : undefined;
  return folder !== undefined && existsSync(join(folder, plugin))
    ? undefined
    : `no ${plugin} for this Vault: the build that test/support/vault/build.mjs makes has it`;
}

/** Throws where none can be had. */
export async function startVault(): Promise<TestVault> {
  const source = (found ??= findSource());
  if (source.kind === 'none') throw new Error(`no Vault: ${source.reason}`);
  if (source.kind === 'address')
    return {
      ...clientOf(source.address, source.token),
      program: undefined,
      unsealKey: undefined,
      stop: async () => {},
    };
  return startServer(source.program, source.plugins);
}

async function startServer(program: string, plugins: string | undefined): Promise<TestVault> {
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  const rootToken = `root-${randomBytes(8).toString('hex')}`;
  const home = mkdtempSync(join(tmpdir(), 'cambist-vault-'));
  const server = spawn(
    // The shell ends the server when this process is gone and its standard input with it.
    '/bin/sh',
    [
      '-c',
      '"$@" & server=$!; cat >/dev/null; kill $server; wait $server',
      'guard',
      program,
      'server',
      '-dev',
      '-dev-no-store-token',
      `-dev-root-token-id=${rootToken}`,
      `-dev-listen-address=127.0.0.1:${port}`,
      ...(plugins === undefined ? [] : [`-dev-plugin-dir=${plugins}`]),
    ],
    {
      cwd: home,
      env: { PATH: process.env['PATH'] ?? '', HOME: home, VAULT_LOG_LEVEL: 'error', TMPDIR: tmpdir() },
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  let output = '';
  for (const stream of [server.stdout, server.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-20_000);
    });
  const client = clientOf(address, rootToken);
  await untilReady(client, server, () => output);
  return {
    ...client,
    program,
    unsealKey: /Unseal Key: (\S+)/.exec(output)?.[1],
    async stop() {
      server.stdin.end();
      if (server.exitCode === null) await new Promise((resolve) => server.once('exit', resolve));
      rmSync(home, { recursive: true, force: true });
    },
  };
}

async function untilReady(client: Pick<TestVault, 'ask'>, server: ChildProcess, output: () => string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    if (server.exitCode !== null || Date.now() > deadline) throw new Error(`Vault did not start: ${output()}`);
    const answer = await client.ask('GET', 'sys/health').catch(() => undefined);
    // The KV mount of a dev server is there a moment after it answers.
    if (
      answer?.status === 200 &&
      (await client.ask('GET', 'sys/mounts/secret/tune')).status !== 0 &&
      /Root Token/.test(output())
    )
      return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function clientOf(address: string, rootToken: string): Pick<TestVault, 'address' | 'rootToken' | 'root' | 'ask'> {
  const ask: TestVault['ask'] = async (method, path, { token, body, headers = {} } = {}) => {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers: {
        ...headers,
        ...(token === undefined ? {} : { 'x-vault-token': token }),
        ...(body === undefined
          ? {}
          : { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> };
  };
  return {
    address,
    rootToken,
    ask,
    async root(method, path, body) {
      const answer = await ask(method, path, { token: rootToken, ...(body === undefined ? {} : { body }) });
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer.body;
    },
  };
}
