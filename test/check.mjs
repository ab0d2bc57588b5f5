/**
 * `npm run check`: what a machine can say about the code without running it. All steps run, also after a failure, so
 * that one run shows everything; names as arguments run only those (`npm run check -- lint floors`).
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root } from '../deploy/prepare.mjs';

const SOURCES = ['src', 'test', 'deploy', 'conformance'];
const present = SOURCES.filter((folder) => existsSync(join(root, folder)));
const steps = {
  format: ['prettier/bin/prettier.cjs', '--config', 'test/config/prettier.json', '--check', '--log-level=warn', '.'],
  lint: ['eslint/bin/eslint.js', '--config', 'test/config/eslint.config.js', ...present],
  types: ['typescript/bin/tsc', '--noEmit', '-p', '.'],
  floors: [
    'dependency-cruiser/bin/dependency-cruise.mjs',
    ...['--config', 'test/config/floors.cjs'],
    ...present.filter((folder) => folder !== 'test'),
  ],
  unused: ['knip/bin/knip.js', '--config', 'test/config/knip.json'],
  openapi: ['@redocly/cli/bin/cli.js', 'lint', '--config', 'test/config/redocly.yaml', 'openapi.yaml'],
};
if (!existsSync(join(root, 'openapi.yaml'))) delete steps.openapi;

process.chdir(root);
await prepare({ onlyInstall: true });
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => steps[name] === undefined);
if (unknown.length > 0) {
  console.error(`no such step: ${unknown.join(', ')}; there are: ${Object.keys(steps).join(', ')}`);
  process.exit(1);
}

const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
const failed = [];
for (const [name, [script, ...args]] of Object.entries(steps)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const beganAt = Date.now();
  const run = spawnSync(process.execPath, [join('node_modules', script), ...args], { encoding: 'utf8', env });
  const seconds = ((Date.now() - beganAt) / 1000).toFixed(1);
  console.log(`${run.status === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
  if (run.status !== 0) {
    failed.push(name);
    console.log(`${run.stdout}${run.stderr}`.trimEnd());
  }
}
if (failed.length > 0) {
  console.error(`\nFailed: ${failed.join(', ')}. \`npm run format\` mends the format.`);
  process.exitCode = 1;
}
