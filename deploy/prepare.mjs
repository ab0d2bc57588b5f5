/**
 * Brings a clone to the point where `dist/` runs: packages as the lockfile says, sources compiled, migrations beside
 * them. Plain JavaScript without dependencies, because it runs before anything is installed.
 *
 * Each step is skipped when its result is already there, so that a second start costs milliseconds; each shows that it
 * is alive while it works, and its output only when it fails.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The folder of the clone. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const BUILD_CONFIG = join('test', 'config', 'tsconfig.build.json');
const MIGRATIONS = join('src', 'store', 'migrations');
const STAMP = join('dist', '.built.json');

/** `npm start` and `npm run build`. */
export async function start(args) {
  process.chdir(root);
  await prepare();
  if (args.includes('--build-only')) return;
  const { runDemo } = await import(pathToFileURL(join(root, 'dist', 'deploy', 'demo', 'main.js')).href);
  await runDemo(args);
}

/** Installs and builds what is missing or out of date; when a step fails, shows its output and ends the process. */
export async function prepare({ onlyInstall = false } = {}) {
  try {
    if (!isInstalled()) await install();
    if (onlyInstall) return;
    const sources = readSources();
    if (!isBuilt(sources)) await build(sources);
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

class StepFailed extends Error {}

/**
 * npm writes `node_modules/.package-lock.json` as its last act: packages are in place when it says the same as ours.
 * Packages for other platforms are optional and may be absent.
 */
function isInstalled() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(
    ([path, entry]) =>
      path === '' || (have[path] === undefined ? entry.optional === true : have[path].version === entry.version),
  );
}

function install() {
  // Under `npm start` this names the very npm that runs; a bare `npm` may be another one, or none.
  const npm = process.env['npm_execpath'];
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  return npm?.endsWith('.js') === true
    ? showStep('Installing packages (npm ci)', process.execPath, [npm, ...args])
    : showStep('Installing packages (npm ci)', 'npm', args);
}

/** Paths of everything that the build depends on, with the hash of all their contents. */
function readSources() {
  const files = ['src', 'deploy', 'conformance'].flatMap((folder) => listFiles(join(root, folder)));
  const paths = [...files, join(root, 'tsconfig.json'), join(root, BUILD_CONFIG), join(root, 'package-lock.json')].map(
    (path) => relative(root, path).split(sep).join('/'),
  );
  const hash = createHash('sha256').update(process.version);
  for (const path of paths.sort()) hash.update(`\0${path}\0`).update(readFileSync(join(root, path)));
  return { paths, hash: hash.digest('hex') };
}

function listFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(ts|sql)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

function readStamp() {
  const stamp = join(root, STAMP);
  return existsSync(stamp) ? JSON.parse(readFileSync(stamp, 'utf8')) : { paths: [], hash: '' };
}

function isBuilt(sources) {
  return readStamp().hash === sources.hash && existsSync(join(root, 'dist', 'src', 'main.js'));
}

async function build(sources) {
  // The compiler does not remove the output of a source that is gone, and a stale migration would be run.
  const gone = readStamp().paths.some((path) => !sources.paths.includes(path));
  if (gone) rmSync(join(root, 'dist'), { recursive: true, force: true });
  rmSync(join(root, STAMP), { force: true });
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  await showStep('Compiling (tsc)', process.execPath, [tsc, '-p', BUILD_CONFIG, '--pretty', 'false']);
  if (existsSync(join(root, MIGRATIONS))) {
    cpSync(join(root, MIGRATIONS), join(root, 'dist', MIGRATIONS), { recursive: true });
  }
  writeCommit();
  writeFileSync(join(root, STAMP), JSON.stringify(sources));
}

/** What `cambist --version` says beside the version: the commit, where git or whoever builds knows it. */
function writeCommit() {
  const git = spawnSync('git', ['describe', '--always', '--exclude=*', '--dirty', '--abbrev=12'], { encoding: 'utf8' });
  const commit = process.env['SOURCE_COMMIT'] ?? (git.status === 0 ? git.stdout.trim() : '');
  const file = join(root, 'dist', 'src', 'build-commit');
  if (/^[0-9a-f]{7,40}(-dirty)?$/.test(commit)) writeFileSync(file, commit);
  else rmSync(file, { force: true });
}

/** Runs a command quietly: a line with the seconds while it runs, its whole output if it fails. */
function showStep(title, command, args) {
  const beganAt = Date.now();
  const seconds = () => `${Math.round((Date.now() - beganAt) / 1000)} s`;
  const tty = process.stdout.isTTY === true;
  if (!tty) process.stdout.write(`${title} ...\n`);
  const timer = setInterval(
    () => process.stdout.write(tty ? `\r${title} ... ${seconds()} ` : `${title} ... ${seconds()}\n`),
    tty ? 250 : 10_000,
  );
  return new Promise((resolve, reject) => {
    const output = [];
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    const finish = (problem) => {
      clearInterval(timer);
      if (tty) process.stdout.write('\r');
      process.stdout.write(`${title}: ${problem === undefined ? 'done' : 'FAILED'} in ${seconds()}\n`);
      if (problem === undefined) resolve();
      else {
        const text = Buffer.concat(output).toString('utf8').trimEnd();
        reject(new StepFailed(`${text}\n${title} failed: ${problem}`));
      }
    };
    child.once('error', (error) => finish(error.message));
    child.once('close', (code, signal) => finish(code === 0 ? undefined : (signal ?? `exit code ${code}`)));
  });
}
