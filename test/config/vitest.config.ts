import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vitest/config';
import { mutants } from '../mutants/mutants.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Replaces one check of the source with a broken one, to see the tests fail (`test/mutants/run.mjs`). */
function mutantPlugin(id: string): Plugin {
  const mutant = mutants.find((entry) => entry.id === id);
  if (mutant === undefined) throw new Error(`no mutant ${id}`);
  const file = resolve(root, mutant.file);
  return {
    name: 'mutant',
    enforce: 'pre',
    configureVitest: ({ experimental_defineCacheKeyGenerator: cacheKey }) => {
      // The broken file must neither be kept nor be taken from what another run has kept.
      cacheKey(({ id: path }) => (path.split('?')[0] === file ? false : undefined));
    },
    transform: (code, path) =>
      path.split('?')[0] === file ? code.replace(mutant.find, () => mutant.replace) : undefined,
  };
}

/**
 * Hundreds of mutants run one after the other, with the same modules but for one, and none for long enough that it would
 * pay to optimize WebAssembly.
 */
const quickStart = { experimental: { fsModuleCache: true }, execArgv: ['--liftoff-only'] };

const mutantId = process.env['CAMBIST_MUTANT'];

export default defineConfig({
  root,
  plugins: mutantId === undefined ? [] : [mutantPlugin(mutantId)],
  test: {
    include: ['test/**/*.test.ts', 'conformance/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // For what comes true at once, on a machine that is busy with other things.
    expect: { poll: { timeout: 10_000 } },
    pool: 'forks',
    maxWorkers: 2,
    ...(mutantId === undefined ? {} : quickStart),
  },
});
