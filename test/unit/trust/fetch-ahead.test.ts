import { expect, test } from 'vitest';
import { Unavailable } from '../../../src/core/refusal.ts';
import { issuerSpec } from '../../../src/objects/issuer.ts';
import { fetchAhead } from '../../../src/trust/fetch-ahead.ts';
import type { KeySource } from '../../../src/trust/key-sets.ts';

test('the keys of every issuer are fetched once; one that cannot be had is logged by its name and stops no other', async () => {
  const issuers = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) =>
    issuerSpec.parse({ name, issuer: `https://${name}.test` }),
  );
  const asked: string[] = [];
  const warned: unknown[] = [];
  const keysFor = (source: KeySource) => {
    asked.push(source.label ?? '');
    return source.label === 'trusted issuer b'
      ? Promise.reject(new Unavailable('trusted issuer b', 'its keys could not be fetched'))
      : Promise.resolve([]);
  };
  const logger = { warn: (fields: { issuer: string }) => warned.push(fields.issuer) };
  await fetchAhead(issuers, { keysFor }, logger);
  expect(asked.sort()).toEqual(issuers.map(({ name }) => `trusted issuer ${name}`));
  expect(warned).toEqual(['b']);
});
