import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SOURCES = fileURLToPath(new URL('../../../src', import.meta.url));

/** The parser of the command line, and one file of a few lines. */
const LIGHT = /^(commander|canonicalize) /;

/** Packages that are loaded before any command runs, each with the file that imports it. */
function packagesFrom(file: string, seen = new Set<string>()): string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  const imports = [...readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type\b)[^;]*?from '([^']+)';/gm)];
  return imports.flatMap(([, name = '']) => {
    if (name.startsWith('.')) return packagesFrom(join(dirname(file), name), seen);
    return name.startsWith('node:') ? [] : [`${name} (${relative(SOURCES, file)})`];
  });
}

test('help and completion load no heavy package', () => {
  const packages = packagesFrom(join(SOURCES, 'main.ts'));
  expect(packages.length).toBeGreaterThan(0);
  expect(packages.filter((name) => !LIGHT.test(name))).toEqual([]);
});
