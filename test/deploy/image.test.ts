/**
 * The image without a container engine: its file set, assembled by the script that the Dockerfile runs, started as a user
 * that nobody knows, on a real PostgreSQL. As root, and where the machine lets us, everything is mounted read-only and
 * every capability is dropped, as `docker run --read-only --cap-drop ALL` does; else the files alone are.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { chownSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { postForm } from '../support/token-client.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Of distroless `nonroot`. No account of this machine has it, as on platforms that give each container a user of its own. */
const USER = 65_532;
const isRoot = process.getuid?.() === 0;
const mayMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
// $1 image, $2 work folder, then the command: all that is mounted becomes read-only, but for the work folder.
const CONTAINED = `
  set -e; image=$1; work=$2; shift 2
  mount --bind "$image" "$image"; mount -o remount,bind,ro "$image"
  mount --bind "$work" "$work"; mount -o remount,bind,ro /
  exec setpriv --reuid=${USER} --regid=${USER} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"`;

let folder: string;
let image: string;
let work: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-image-'));
  [image, work] = [join(folder, 'app'), join(folder, 'work')];
  const assembled = spawnSync(process.execPath, ['deploy/image/assemble.mjs', image], { cwd: ROOT, encoding: 'utf8' });
  if (assembled.status !== 0) throw new Error(assembled.stdout + assembled.stderr);
  mkdirSync(work);
  chmodSync(folder, 0o755);
  for (const path of allOf(image)) chmodSync(path, statSync(path).mode & 0o555);
  // The program that runs the tests may lie where nobody else can read.
  copyFileSync(process.execPath, join(folder, 'node'));
  chmodSync(join(folder, 'node'), 0o555);
  if (isRoot) chownSync(work, USER, USER);
}, 180_000);

afterAll(() => {
  if (!existsSync(image)) return;
  for (const path of allOf(image)) if (statSync(path).isDirectory()) chmodSync(path, 0o755);
  rmSync(folder, { recursive: true, force: true });
});

function allOf(under: string): string[] {
  const entries = readdirSync(under, { withFileTypes: true, recursive: true });
  return [under, ...entries.map((entry) => join(entry.parentPath, entry.name))];
}

/** A program of the image, as the container would run it. */
function contain(args: readonly string[], env: NodeJS.ProcessEnv) {
  const command = [join(folder, 'node'), ...args.map((arg) => arg.replace('/app', image))];
  const line = mayMount
    ? ['unshare', '--mount', 'sh', '-c', CONTAINED, 'contained', image, work, ...command]
    : isRoot
      ? ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--no-new-privs', '--', ...command]
      : command;
  const child = spawn(line[0] ?? '', line.slice(1), { cwd: image, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, ended, output: () => output };
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { ended, output } = contain(args, env);
  const code = await ended;
  if (code !== 0) throw new Error(`${args.join(' ')}: exit code ${code}\n${output()}`);
  return output();
}

async function untilReady(url: string, { child, output }: ReturnType<typeof contain>): Promise<void> {
  const deadlineMs = Date.now() + 60_000;
  while ((await statusOf(url)) !== 200) {
    if (child.exitCode !== null || Date.now() > deadlineMs) throw new Error(`not ready:\n${output()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function statusOf(url: string): Promise<number> {
  return fetch(url).then(
    ({ status }) => status,
    () => 0,
  );
}

test('it holds what runs, and nothing that builds or tests', () => {
  const files = allOf(image).map((path) => relative(image, path));
  expect(files).toEqual(
    expect.arrayContaining(['dist/src/main.js', 'openapi.yaml', 'package.json', 'healthcheck.mjs']),
  );
  const sql = (path: string) => readdirSync(join(path, 'src/store/migrations')).filter((name) => name.endsWith('.sql'));
  expect(sql(join(image, 'dist')).sort()).toEqual(sql(ROOT).sort());
  const packageJson = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  expect(
    Object.keys(packageJson.devDependencies).filter((name) => existsSync(join(image, 'node_modules', name))),
  ).toEqual([]);
  expect(
    files.filter((file) =>
      /^dist\/(?!src)|\.d\.ts$|\.map$|\.env|\.secret$|^\.npm/.test(file.replace(/^node_modules.*/, '')),
    ),
  ).toEqual([]);
  const modes = new Set(
    allOf(image).map(
      (path) => `${statSync(path).isDirectory() ? 'd' : 'f'}${(statSync(path).mode & 0o7777).toString(8)}`,
    ),
  );
  expect([...modes].sort()).toEqual(['d555', 'f444']);
});

withPostgres('the image on PostgreSQL', () => {
  test('migrates, serves, issues a token and ends with 0 on SIGTERM, as an unknown user on read-only files', async () => {
    if (!mayMount) console.warn('not everything is read-only here: only root may mount, and here only its files are');
    const cluster = await startPostgres();
    onTestFinished(() => cluster.stop());
    const [port, adminPort] = [await freePort(), await freePort()];
    const issuer = `http://127.0.0.1:${port}`;
    const secretFile = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o444 });
      return `file:${join(folder, name)}`;
    };
    const appUrl = new URL(cluster.url);
    [appUrl.username, appUrl.password] = ['cambist_app', 'of-the-app'];
    const env = {
      NODE_ENV: 'production',
      CAMBIST_ISSUER: issuer,
      CAMBIST_LISTEN: `127.0.0.1:${port}`,
      CAMBIST_ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
      CAMBIST_KEY_ENCRYPTION_KEY: secretFile('kek', randomBytes(32).toString('base64')),
      DATABASE_URL: secretFile('app-url', appUrl.href),
    };
    const before = allOf(image).map((path) => [path, statSync(path).mtimeMs]);

    await run(['/app/dist/src/main.js', 'migrate', 'up'], {
      ...env,
      DATABASE_URL: secretFile('owner-url', cluster.url),
    });
    await withClient(cluster.url, async (client) => {
      await client.query(`CREATE ROLE cambist_app LOGIN PASSWORD 'of-the-app'`);
      await client.query('GRANT cambist_runtime TO cambist_app');
    });
    const service = contain(['/app/dist/src/main.js', 'serve'], env);
    await untilReady(`http://127.0.0.1:${adminPort}/readyz`, service);
    expect(await run(['/app/healthcheck.mjs'], env)).toContain('200');
    expect(await run(['/app/healthcheck.mjs', '/readyz'], env)).toContain('200');

    const objects = 'clients: [{ id: agent, auth: [client_secret_basic], grants: [client_credentials] }]';
    writeFileSync(join(work, 'objects.yaml'), objects);
    await run(['/app/dist/src/main.js', 'apply', '-f', join(work, 'objects.yaml')], env);
    await run(['/app/dist/src/main.js', 'client', 'secret', 'agent', '--out', join(work, 'agent.secret')], env);
    const secret = readFileSync(join(work, 'agent.secret'), 'utf8');
    const answer = await postForm(
      `${issuer}/oauth2/token`,
      { grant_type: 'client_credentials' },
      { basic: ['agent', secret] },
    );
    expect(answer).toMatchObject({ status: 200, body: { token_type: 'Bearer' } });

    service.child.kill('SIGTERM');
    expect(await service.ended).toBe(0);
    await expect(run(['/app/healthcheck.mjs'], env)).rejects.toThrow('exit code 1');
    expect(allOf(image).map((path) => [path, statSync(path).mtimeMs])).toEqual(before);
    expect(readdirSync(work).sort()).toEqual(['agent.secret', 'objects.yaml']);
    expect(service.output()).not.toContain('of-the-app');
  }, 180_000);
});
