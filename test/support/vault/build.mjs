/**
 * Builds a real Vault and two of its plugins from their Go modules: `node test/support/vault/build.mjs`. What it makes is
 * kept outside of the checkout, in a folder named by the digest of what it was made from, so that a clone, a clean or
 * another branch does not build it again. About five minutes on two cores, seconds where Go has it cached.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MODULE = fileURLToPath(new URL('.', import.meta.url));
/** Programs by the folder of their source, and where each lies in the build: Vault starts all that is in `plugins`. */
const PROGRAMS = {
  vault: 'vault',
  'postgresql-database-plugin': 'plugins/postgresql-database-plugin',
  'kubernetes-auth-plugin': 'plugins/kubernetes-auth-plugin',
};
/** Everything that a test needs is in it; the whole build takes twice the time. */
const FLAGS = ['-trimpath', '-buildvcs=false', '-tags', 'minimal', '-ldflags', '-s -w'];

/** Where a build of these sources lies, or would lie. */
export function buildFolder() {
  const digest = createHash('sha256').update(JSON.stringify(FLAGS));
  for (const file of ['go.mod', 'go.sum', ...Object.keys(PROGRAMS).map((name) => join('cmd', name, 'main.go'))])
    digest.update(`\0${file}\0`).update(readFileSync(join(MODULE, file)));
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return join(cache, 'cambist', `vault-${digest.digest('hex').slice(0, 16)}`);
}

/** The folder of the build, or `undefined` while there is none. */
export function findBuild() {
  const folder = buildFolder();
  return Object.values(PROGRAMS).every((file) => existsSync(join(folder, file))) ? folder : undefined;
}

/** `go`, or `undefined` where there is none. */
export function findGo() {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/go/bin'];
  return folders.map((folder) => join(folder, 'go')).find((file) => existsSync(file));
}

/** Builds what is not there yet; returns the folder. Throws where Go is missing or the build fails. */
export function build() {
  const found = findBuild();
  if (found !== undefined) return found;
  const go = findGo();
  if (go === undefined) throw new Error('no Vault was built yet, and there is no Go to build it with');
  const folder = buildFolder();
  // Two that build at once must not see each other's half.
  const making = `${folder}.${randomBytes(4).toString('hex')}`;
  mkdirSync(making, { recursive: true, mode: 0o755 });
  try {
    for (const [name, file] of Object.entries(PROGRAMS)) {
      // An older Go fetches the one that the module asks for.
      const made = spawnSync(go, ['build', ...FLAGS, '-o', join(making, file), `./cmd/${name}`], {
        cwd: MODULE,
        env: { ...process.env, GOFLAGS: '-mod=readonly', GOTOOLCHAIN: process.env['GOTOOLCHAIN'] ?? 'auto' },
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      if (made.status !== 0) throw new Error(`go build of ${name} failed`);
    }
    if (existsSync(folder)) rmSync(folder, { recursive: true });
    renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`${build()}\n`);
}
