import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { embeddedKey, prepareFolder } from '../../../src/config/embedded-key.ts';
import type { EmbeddedSettings } from '../../../src/config/settle.ts';

let root: string;
let settings: EmbeddedSettings;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cambist-key-'));
  const folder = join(root, 'state');
  settings = {
    kind: 'embedded',
    schema: 'cambist',
    folder,
    dataFolder: join(folder, 'data'),
    keyFile: join(folder, 'kek'),
    socketPath: join(folder, 'cambist.sock'),
  };
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function key() {
  const found = embeddedKey(settings);
  if (Array.isArray(found)) throw new Error(found[0]?.message);
  return found;
}

function refusal(): string {
  const found = embeddedKey(settings);
  return Array.isArray(found) ? found.map(({ message, fix }) => `${message}; ${fix ?? ''}`).join() : 'none';
}

test('the folder is made for its owner alone, and one that others can enter is refused', () => {
  expect(prepareFolder(settings)).toEqual([]);
  expect(statSync(settings.folder).mode & 0o777).toBe(0o700);
  chmodSync(settings.folder, 0o750);
  expect(prepareFolder(settings)).toMatchObject([{ message: 'can be entered by other users' }]);
});

test('the key is made once, 0600, outside the data folder', () => {
  prepareFolder(settings);
  const first = key();
  expect(first.created).toBe(true);
  expect(first.key).toHaveLength(32);
  expect(statSync(settings.keyFile).mode & 0o777).toBe(0o600);
  expect(settings.keyFile.startsWith(settings.dataFolder)).toBe(false);
  const second = key();
  expect(second.created).toBe(false);
  expect(second.key).toEqual(first.key);
});

test('no second key is made for data that a first one encrypted', () => {
  prepareFolder(settings);
  mkdirSync(settings.dataFolder);
  writeFileSync(join(settings.dataFolder, 'PG_VERSION'), '17');
  expect(refusal()).toContain('is gone, and');
  expect(() => readFileSync(settings.keyFile)).toThrow('ENOENT');
});

test('a key file that others can read, or that holds no key, is refused', () => {
  prepareFolder(settings);
  key();
  chmodSync(settings.keyFile, 0o640);
  expect(refusal()).toContain('can be read by other users');
  chmodSync(settings.keyFile, 0o600);
  writeFileSync(settings.keyFile, 'nothing');
  expect(refusal()).toContain('must be 32 bytes');
});
