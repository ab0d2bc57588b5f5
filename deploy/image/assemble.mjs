/**
 * Assembles the file set of the image in a folder: what runs, and nothing else. The Dockerfile takes exactly this step,
 * and so does the test that starts the result, so that the image is tested where no container engine can be had.
 *
 *   node deploy/image/assemble.mjs FOLDER
 *
 * Production dependencies as the lockfile says, without their install scripts; the built program with its migrations;
 * openapi.yaml, package.json and the probe of the health check. Whoever runs it may read all and needs to write nothing.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { prepare, root } from '../prepare.mjs';

const [target] = process.argv.slice(2);
if (target === undefined || existsSync(target)) {
  console.error('give a folder that does not exist yet: node deploy/image/assemble.mjs FOLDER');
  process.exit(1);
}
const folder = resolve(target);
process.chdir(root);
await prepare();

mkdirSync(folder, { recursive: true });
for (const file of ['package.json', 'package-lock.json', 'openapi.yaml']) cpSync(file, join(folder, file));
cpSync(join('deploy', 'image', 'healthcheck.mjs'), join(folder, 'healthcheck.mjs'));
// Types and source maps are for who builds upon it.
const runs = (path) => !/\.(d\.ts|map)$/.test(path);
cpSync(join('dist', 'src'), join(folder, 'dist', 'src'), { recursive: true, filter: runs });

const npm = spawnSync(
  'npm',
  ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'],
  {
    cwd: folder,
    stdio: 'inherit',
  },
);
if (npm.status !== 0) {
  console.error(npm.error?.message ?? 'npm ci failed');
  process.exit(1);
}
for (const left of ['package-lock.json', 'node_modules/.package-lock.json', 'node_modules/.bin'])
  rmSync(join(folder, left), { recursive: true, force: true });

// Whatever the umask of who built it, and whatever modes packages were published with.
let files = 0;
for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
  if (entry.isSymbolicLink()) throw new Error(`a link has no place in the image: ${entry.name}`);
  chmodSync(join(entry.parentPath ?? entry.path, entry.name), entry.isDirectory() ? 0o755 : 0o644);
  files += entry.isFile() ? 1 : 0;
}
chmodSync(folder, 0o755);
console.log(`${files} files in ${folder}`);
