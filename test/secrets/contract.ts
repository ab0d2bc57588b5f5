/**
 * What every secret store does alike, whichever it is. A store is run through it by a file that knows how to write to it:
 * `embedded.test.ts`, and one for a real Vault.
 */
import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { beforeEach, expect, test } from 'vitest';
import { fillPath } from '../../src/objects/upstream-templates.ts';
import type { Secret, SecretPlace, SecretStore } from '../../src/secrets/secret-store.ts';

/** A store under test, and what an operator can do to it. Paths that it is given were never used before. */
export interface StoreUnderTest {
  readonly store: SecretStore;
  /** Makes the secret, or a new version of it that holds just this. */
  write(path: string, fields: Secret['fields'], tags?: Secret['tags']): Promise<void>;
  /** Nothing of it is left to be read. */
  remove(path: string): Promise<void>;
  /** The same store as another node has it. */
  anotherNode(): Promise<SecretStore>;
  /** From now on the store cannot answer. Last thing that a test does to it. */
  breakDown(): Promise<void>;
}

/** Declares the contract; `open` is asked for every test. */
export function declareSecretStoreContract(open: () => Promise<StoreUnderTest>): void {
  let under: StoreUnderTest;
  beforeEach(async () => {
    under = await open();
  });
  const at = (path: string): SecretPlace => ({ mount: undefined, path });
  const fresh = () => `contract/${randomUUID()}`;
  const foundAt = async (path: string, store = under.store): Promise<Secret> => {
    const looked = await store.read(at(path));
    if ('missing' in looked) throw new Error(`nothing was found at ${path}: ${looked.missing}`);
    return looked.found;
  };

  test('a secret is found with every field as it was written, and nothing else', async () => {
    const path = fresh();
    const fields = { token: 'ghp_abc', 'user name': 'ann', ünï: '€ "quoted" \\ \n 𝄞', spaced: '  x  ' };
    await under.write(path, fields);
    expect(await under.store.read(at(path))).toEqual({ found: { version: 1, fields, tags: {} } });
  });

  test('what was never there, and what was removed, is absent', async () => {
    const path = fresh();
    expect(await under.store.read(at(path))).toEqual({ missing: 'absent' });
    await under.write(path, { token: 'a' });
    await under.remove(path);
    expect(await under.store.read(at(path))).toEqual({ missing: 'absent' });
  });

  test('a path is found as a whole: not what lies above, below or beside it', async () => {
    const path = fresh();
    await under.write(`${path}/b`, { token: 'a' });
    for (const other of [path, `${path}/b/c`, `${path}/B`, `${path}/b_`, `${path}/%62`])
      expect(await under.store.read(at(other)), other).toEqual({ missing: 'absent' });
  });

  test('a rotated secret is what the next read finds, on every node, under a higher version', async () => {
    const path = fresh();
    const other = await under.anotherNode();
    await under.write(path, { token: 'first', gone: 'x' });
    const before = await foundAt(path);
    expect(await foundAt(path, other)).toEqual(before);
    await under.write(path, { token: 'second' });
    const after = await foundAt(path);
    expect(after.fields).toEqual({ token: 'second' });
    expect(after.version).toBeGreaterThan(before.version);
    expect(await foundAt(path, other)).toEqual(after);
  });

  test('tags come along, and those of the latest writing count', async () => {
    const path = fresh();
    await under.write(path, { token: 'a' }, { cambist_owner: 'corp:alice', cambist_audience: 'github' });
    expect((await foundAt(path)).tags).toEqual({ cambist_owner: 'corp:alice', cambist_audience: 'github' });
    await under.write(path, { token: 'b' }, { cambist_audience: 'github' });
    expect((await foundAt(path)).tags).toEqual({ cambist_audience: 'github' });
  });

  test('odd characters that a path may have lead to one secret each', async () => {
    const base = fresh();
    const template = `${base}/{subject}/x`;
    const filled = ['alice', 'Alice', 'al/ice', 'al.ice', 'a~l', '..', 'älïcé', 'a%2Fb', "o'neil", 'x'.repeat(60)];
    const plain = ['a.b', 'a..b', 'a_b', 'a~b', 'a=b', 'a@b', 'a:b', 'a+b', 'a-b'].map((odd) => `${base}/${odd}`);
    const paths = [...filled.map((subject) => fillPath(template, { subject })), ...plain];
    for (const path of paths) await under.write(path, { token: `of ${path}` });
    for (const path of paths) expect((await foundAt(path)).fields).toEqual({ token: `of ${path}` });
    expect(new Set(paths).size).toBe(paths.length);
  });

  test('many reads at once get each their own', async () => {
    const paths = Array.from({ length: 20 }, () => fresh());
    for (const path of paths) await under.write(path, { token: path });
    const found = await Promise.all([...paths, ...paths].map((path) => foundAt(path)));
    expect(found.map(({ fields }) => fields['token'])).toEqual([...paths, ...paths]);
  });

  test('a store that cannot answer says so, keeps no stale answer ready, and tells no value', async () => {
    const path = fresh();
    await under.write(path, { token: 'canary-3f9a1c' }, { cambist_owner: 'canary-3f9a1c' });
    await foundAt(path);
    await under.breakDown();
    const thrown: unknown = await under.store.read(at(path)).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ dependency: expect.stringMatching(/^(vault|database)/) as string });
    expect(inspect(thrown, { depth: 20, showHidden: true })).not.toContain('canary-3f9a1c');
  });
}
