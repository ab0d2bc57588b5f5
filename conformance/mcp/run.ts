/**
 * The MCP project's own conformance suite, pinned, against an authorization server: what MCP clients need of its
 * metadata. Starts Cambist as a newcomer would, or takes another issuer:
 *
 *   node dist/conformance/mcp/run.js [ISSUER_URL]
 *
 * The suite needs Node 22 or newer, so it is run from the registry and is no dependency of the package. Its other
 * scenario for authorization servers, the authorization code grant, needs a person and a browser.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { checkout, freePort, startLogged, stop, untilAnswers } from '../targets/process.ts';

const SUITE = '@modelcontextprotocol/conformance@0.2.0-alpha.12';
const SCENARIO = 'authorization-server-metadata-endpoint';
const MIN_NODE_MAJOR = 22;
/** Warnings that are expected of Cambist, by their check; one that no longer comes makes the run fail. */
const KNOWN_WARNINGS: Readonly<Record<string, string>> = {
  'authorization-server-metadata-cimd':
    'client ID metadata documents come with sign-in for people, which is not built yet',
};

/** Runs the scenario; 0 when it passed and, where `known` is given, its warnings are exactly those. */
function runSuite(issuer: string, known?: Readonly<Record<string, string>>): number {
  const args = ['exec', '--yes', '--ignore-scripts', `--package=${SUITE}`, '--', 'conformance', 'authorization'];
  const run = spawnSync('npm', [...args, '--url', issuer, '--scenario', SCENARIO], { encoding: 'utf8' });
  const output = stripVTControlCharacters(run.stdout);
  process.stdout.write(output);
  if (run.status !== 0) {
    console.error(run.error?.message ?? run.stderr);
    return 1;
  }
  // A scenario that was skipped exits with 0 as well.
  const [, passed, all] = /^Passed: (\d+)\/(\d+), 0 failed/m.exec(output) ?? [];
  const warned = [...output.matchAll(/\[([\w-]+) *\] WARNING/g)].map(([, check = '']) => check);
  const unexpected = known === undefined ? [] : warned.filter((check) => known[check] === undefined);
  const stale = Object.keys(known ?? {}).filter((check) => !warned.includes(check));
  for (const check of warned) console.log(`warning ${check}: ${known?.[check] ?? 'not expected'}`);
  for (const check of stale) console.log(`warning ${check} no longer comes: take it out of the known ones`);
  const good = passed !== undefined && Number(passed) > 0 && passed === all;
  if (!good) console.error('the scenario did not run to its end');
  return good && unexpected.length === 0 && stale.length === 0 ? 0 : 1;
}

async function runAgainstCambist(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-mcp-conformance-'));
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const clean = Object.entries(process.env).filter(([name]) => !/^(CAMBIST_|DATABASE_URL$)/.test(name));
  const log = join(folder, 'cambist.log');
  const service = startLogged({
    program: process.execPath,
    args: [join(checkout(import.meta.url), 'dist', 'src', 'main.js'), 'serve'],
    env: {
      ...Object.fromEntries(clean),
      CAMBIST_LISTEN: `127.0.0.1:${port}`,
      CAMBIST_ADMIN_LISTEN: '127.0.0.1:0',
      CAMBIST_DATA_DIR: join(folder, 'data'),
    },
    cwd: folder,
    log,
  });
  try {
    await untilAnswers(issuer, service, log);
    return runSuite(issuer, KNOWN_WARNINGS);
  } finally {
    await stop(service);
    rmSync(folder, { recursive: true, force: true });
  }
}

const [issuer] = process.argv.slice(2);
if (Number(process.versions.node.split('.')[0]) < MIN_NODE_MAJOR) {
  console.error(
    `The MCP conformance suite needs Node ${MIN_NODE_MAJOR} or newer; this is Node ${process.versions.node}. Run it with:\n` +
      '  npm exec --yes --ignore-scripts=false --package=node@24 -- node dist/conformance/mcp/run.js',
  );
  process.exitCode = 3;
} else {
  process.exitCode = issuer === undefined ? await runAgainstCambist() : runSuite(issuer);
}
