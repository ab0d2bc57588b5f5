import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { mutants } from '../mutants/mutants.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));

test('each kept mutant has an id of its own', () => {
  expect(mutants.length).toBeGreaterThan(0);
  const ids = mutants.map(({ id }) => id);
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
});

test.each(mutants.map((mutant) => [mutant.id, mutant] as const))(
  'mutant %s finds its text once, and its tests',
  (_, { file, find, replace, tests }) => {
    expect(readFileSync(root + file, 'utf8').split(find).length - 1, `${find} in ${file}`).toBe(1);
    expect(replace).not.toBe(find);
    // A filter for the test runner: a folder, a file, or a file without its ending.
    expect(existsSync(root + tests) || existsSync(`${root}${tests}.test.ts`), tests).toBe(true);
  },
);
