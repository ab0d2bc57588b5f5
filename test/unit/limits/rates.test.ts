import { expect, test } from 'vitest';
import { DEFAULT_LIMITS } from '../../../src/limits/bounds.ts';
import type { LimitSettings } from '../../../src/limits/bounds.ts';
import { createRateLimits } from '../../../src/limits/rates.ts';
import { KINDS } from '../../../src/objects/kinds.ts';
import { resourceTarget } from '../../../src/objects/target.ts';
import type { StoredObject } from '../../../src/objects/kinds.ts';

/** Limits over counts that the test gives: permits left, by `limit:key`; whoever is not named has plenty. */
function limitsOver(left: Readonly<Record<string, number>>, settings: Partial<LimitSettings> = {}) {
  const taken: string[] = [];
  const limits = createRateLimits({
    settings: { ...DEFAULT_LIMITS, ...settings },
    hashOf: (limit, key) => `${limit}:${key}`,
    permits: {
      take: (hash, quota) => {
        taken.push(hash);
        const remaining = (left[hash] ?? quota) - 1;
        return Promise.resolve({ given: remaining >= 0, remaining: Math.max(0, remaining), resetSeconds: 30 });
      },
      size: () => 0,
    },
  });
  return { limits, taken };
}

function stored<K extends 'client' | 'resource'>(kind: K, written: Record<string, unknown>): StoredObject<K> {
  const spec = KINDS[kind].schema.parse(written);
  return {
    kind,
    name: KINDS[kind].nameOf(spec as never),
    spec,
    disabled: false,
    version: 1,
  };
}
const client = (more = {}) => stored('client', { id: 'agent', auth: ['client_secret_basic'], ...more });
const resource = (name: string, more = {}) =>
  resourceTarget(
    stored('resource', { name, uri: `https://${name}.example/mcp`, scopes: { [`${name}:read`]: 'Read' }, ...more }),
  );

test('of several resources the tightest is told, and any of them refuses', async () => {
  const { limits } = limitsOver(
    { 'resource:["agent","mail"]': 5, 'resource:["agent","notes"]': 2 },
    { resourcePerMinute: 100 },
  );
  const resources = () => Promise.resolve([resource('mail'), resource('notes')]);
  expect(await limits.admitRequest(client(), resources)).toEqual({
    standings: [
      { limit: 'client', quota: 6000, remaining: 5999, resetSeconds: 30 },
      { limit: 'resource', quota: 100, remaining: 1, resetSeconds: 30 },
    ],
    refusal: undefined,
  });
  const none = limitsOver({ 'resource:["agent","notes"]': 0 }, { resourcePerMinute: 100 });
  expect(await none.limits.admitRequest(client(), resources)).toMatchObject({
    standings: [{ limit: 'client' }, { limit: 'resource', remaining: 0 }],
    refusal: { reason: 'resource_rate_exceeded', retryAfterSeconds: 30 },
  });
});

test('a client that is over its limit is refused before its resources are looked up', async () => {
  const { limits, taken } = limitsOver({ 'client:agent': 0 });
  let lookedUp = false;
  const admission = await limits.admitRequest(client(), () => {
    lookedUp = true;
    return Promise.resolve([]);
  });
  expect(admission.refusal).toMatchObject({ reason: 'client_rate_exceeded' });
  expect({ lookedUp, taken }).toEqual({ lookedUp: false, taken: ['client:agent'] });
});

test('a number of its own goes before the settings, also where those set no limit', async () => {
  const { limits, taken } = limitsOver({}, { clientPerMinute: null, resourcePerMinute: null });
  const own = await limits.admitRequest(client({ requests_per_minute: 7 }), () =>
    Promise.resolve([resource('mail'), resource('notes', { requests_per_minute: 3 })]),
  );
  expect(own.standings.map(({ limit, quota }) => [limit, quota])).toEqual([
    ['client', 7],
    ['resource', 3],
  ]);
  expect(taken).toEqual(['client:agent', 'resource:["agent","notes"]']);
  expect(await limits.admitRequest(client(), () => Promise.resolve([]))).toEqual({ standings: [], refusal: undefined });
});

test('status requests are counted apart from those at the token endpoint', async () => {
  const { limits, taken } = limitsOver({ 'status:agent': 0 }, { statusPerMinute: 9 });
  expect(await limits.admitStatus(client({ requests_per_minute: 7 }))).toMatchObject({
    standings: [{ limit: 'status', quota: 9, remaining: 0 }],
    refusal: { reason: 'client_rate_exceeded', retryAfterSeconds: 30 },
  });
  expect(taken).toEqual(['status:agent']);
});

test('subjects of two issuers with one name are two subjects', async () => {
  const { limits, taken } = limitsOver({});
  await limits.admitSubject({ issuer: 'https://a.example', sub: 'ada' });
  await limits.admitSubject({ issuer: 'https://b.example', sub: 'ada' });
  expect(new Set(taken).size).toBe(2);
});

test.each([0, -1, 1.5, 1_000_000_001])('an object cannot have %d requests per minute', (requests_per_minute) => {
  expect(() => client({ requests_per_minute })).toThrow();
  expect(() => resource('mail', { requests_per_minute })).toThrow();
});
