/**
 * `npm test`: sets itself up (packages, build), says which real servers it found, runs vitest with the arguments that
 * it was given, and ends with one line `N passed, N failed`, counted from vitest's own report.
 *
 * It fails when nothing ran. Where `CI` is set, a skipped test is a failed one: there every real server must be there.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { prepare, root } from '../deploy/prepare.mjs';

process.chdir(root);
await prepare();

const folder = mkdtempSync(join(tmpdir(), 'cambist-test-'));
const report = join(folder, 'report.json');
const ci = (process.env['CI'] ?? '') !== '';
try {
  console.log(`Node ${process.versions.node}; ${describePostgres()}`);
  const exitCode = await runVitest(process.argv.slice(2));
  const tally = count(report);
  if (exitCode !== 0 && tally.failed === 0) tally.failed = 1; // an error outside any test
  if (tally.passed + tally.failed === 0) console.log('No test ran.');
  if (ci && tally.skipped > 0) {
    console.log(`Skipped, which counts as failed in CI: ${tally.skippedNames.join('; ')}`);
    tally.failed += tally.skipped;
    tally.skipped = 0;
  }
  process.exitCode = tally.failed > 0 || tally.passed === 0 ? 1 : 0;
  const skipped = tally.skipped > 0 ? `, ${tally.skipped} skipped` : '';
  console.log(`${tally.passed} passed, ${tally.failed} failed${skipped}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function describePostgres() {
  if (process.env['TEST_DATABASE_URL'] !== undefined) return 'real PostgreSQL: the one of TEST_DATABASE_URL';
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).map((version) => join(debian, version, 'bin')) : [];
  const places = [...versions.reverse(), ...(process.env['PATH'] ?? '').split(delimiter)];
  const postgres = places.map((place) => join(place, 'postgres')).find((path) => existsSync(path));
  if (postgres === undefined) return 'no PostgreSQL found: its suites are skipped (Debian: apt-get install postgresql)';
  return `real PostgreSQL: ${spawnSync(postgres, ['--version'], { encoding: 'utf8' }).stdout.trim()}`;
}

function runVitest(args) {
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const config = ['--config', 'test/config/vitest.config.ts'];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const child = spawn(process.execPath, [vitest, 'run', ...config, ...reporters, ...args], { stdio: 'inherit' });
  // Ctrl-C reaches vitest as well, since it shares the terminal; the line above still comes.
  const waitForVitest = () => {};
  process.on('SIGINT', waitForVitest);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

/** Tests by outcome. A file that could not even be loaded has no tests: it counts as one failure. */
function count(path) {
  const tally = { passed: 0, failed: 0, skipped: 0, skippedNames: [] };
  if (!existsSync(path)) return tally;
  for (const file of JSON.parse(readFileSync(path, 'utf8')).testResults) {
    const failedBefore = tally.failed;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') tally.passed++;
      else if (test.status === 'failed') tally.failed++;
      else {
        tally.skipped++;
        tally.skippedNames.push(test.fullName);
      }
    }
    if (file.status === 'failed' && tally.failed === failedBefore) tally.failed++;
  }
  return tally;
}
