/**
 * Does each security test bite? For every kept mutant (a check removed or inverted, in `mutants.mjs`) this runs the
 * tests that claim to guard it, with the mutated source, and demands that one of them fails. A mutant whose text is no
 * longer in its file, or whose tests all pass, is a fault. Usage: `npm run mutants [-- ID…]`.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepare } from '../../deploy/prepare.mjs';
import { mutants } from './mutants.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** One more than there are processors in CI: each waits now and then. */
const PARALLEL = 3;
const TIMEOUT_MS = 180_000;

await prepare();
const wanted = process.argv.slice(2);
const chosen = wanted.length === 0 ? mutants : mutants.filter((mutant) => wanted.includes(mutant.id));
for (const id of wanted) if (!mutants.some((mutant) => mutant.id === id)) throw new Error(`no mutant ${id}`);

const first = await tryAll(chosen, PARALLEL);
// A busy machine can make a test too slow to bite, or to end in time: what survived is tried once more, alone.
const again = await tryAll(
  first.filter(({ fault }) => fault !== undefined).map(({ mutant }) => mutant),
  1,
);
const survivors = again.filter(({ fault }) => fault !== undefined);
console.log(`\n${first.length - survivors.length} of ${first.length} mutants were caught`);
for (const { mutant, fault } of survivors) console.log(`SURVIVED  ${mutant.id}  ${fault}`);
process.exitCode = survivors.length === 0 && first.length > 0 ? 0 : 1;

async function tryAll(list, parallel) {
  const queue = [...list];
  const results = [];
  const work = async () => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const began = Date.now();
      const result = await tryMutant(mutant);
      results.push(result);
      const seconds = Math.round((Date.now() - began) / 1000);
      console.log(
        result.fault === undefined
          ? `caught    ${mutant.id}  in ${seconds} s by "${result.by}"`
          : `SURVIVED  ${mutant.id}  ${result.fault}`,
      );
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  return results;
}

async function tryMutant(mutant) {
  const source = readFileSync(join(root, mutant.file), 'utf8');
  if (source.split(mutant.find).length !== 2)
    return { mutant, fault: `its text must be in ${mutant.file} exactly once` };
  const folder = await mkdtemp(join(tmpdir(), 'cambist-mutant-'));
  try {
    const report = join(folder, 'report.json');
    const args = [
      'run',
      '--config',
      'test/config/vitest.config.ts',
      '--bail=1',
      '--reporter=json',
      `--outputFile=${report}`,
      mutant.tests,
    ];
    if (mutant.title !== undefined) args.push('-t', mutant.title);
    await runVitest(args, mutant.id);
    const { testResults } = JSON.parse(await readFile(report, 'utf8'));
    const tests = testResults
      .flatMap((file) => file.assertionResults)
      .filter((test) => test.status === 'failed' || test.status === 'passed');
    if (tests.length === 0) return { mutant, fault: `no test ran: ${mutant.tests} ${mutant.title ?? ''}` };
    const failed = tests.find((test) => test.status === 'failed');
    return failed === undefined
      ? { mutant, fault: `${tests.length} tests passed all the same` }
      : { mutant, by: failed.fullName };
  } catch (error) {
    return { mutant, fault: `could not be tried: ${error.message}` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function runVitest(args, mutantId) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
      cwd: root,
      env: { ...process.env, CAMBIST_MUTANT: mutantId },
      stdio: 'ignore',
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
    child.on('error', reject);
    child.on('exit', () => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}
