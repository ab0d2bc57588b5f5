import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/core/log.ts';
import { Unavailable } from '../../../src/core/refusal.ts';
import { createFetcher } from '../../../src/net/fetcher.ts';
import type { Fetcher } from '../../../src/net/fetcher.ts';
import { clientSpec } from '../../../src/objects/client.ts';
import { issuerSpec } from '../../../src/objects/issuer.ts';
import { createKeySets, keySourceOf, keySourceOfClient } from '../../../src/trust/key-sets.ts';
import type { KeySets, KeySource } from '../../../src/trust/key-sets.ts';
import { startJwksIssuer } from '../../support/jwks-issuer.ts';
import type { Fault, JwksIssuer } from '../../support/jwks-issuer.ts';
import { ecKey, rsaKey } from '../tokens/forge.ts';

const HOUR = 3600;
const TIMEOUT_MS = 300;

let now: { seconds: number };
let fetcher: Fetcher;
let keySets: KeySets;
let issuer: JwksIssuer;
let log: string[];

beforeEach(async () => {
  now = { seconds: 1_800_000_000 };
  log = [];
  const clock = { nowMs: () => now.seconds * 1000 };
  const logger = createLogger('debug', { write: (line) => log.push(line) });
  fetcher = createFetcher({ clock, logger, timeoutMs: TIMEOUT_MS });
  keySets = createKeySets({ fetcher, clock, logger });
  issuer = await startJwksIssuer();
});
afterEach(async () => {
  await fetcher.close();
  await issuer.stop();
});

const remote = (): KeySource => ({
  kind: 'jwks_uri',
  url: issuer.jwksUri,
  internal: true,
  label: 'trusted issuer corp',
});
const discovery = (): KeySource => ({ kind: 'discovery', issuer: issuer.issuer, internal: true });
const kids = async (source: KeySource = remote(), kid?: string) =>
  (await keySets.keysFor(source, { kid })).map((key) => key.kid);
const firstKid = () => issuer.keys[0]?.kid;
const later = (seconds: number) => {
  now.seconds += seconds;
};

describe('freshness', () => {
  it('fetches once and keeps the keys while they are fresh', async () => {
    expect(await kids()).toEqual([firstKid()]);
    expect(log.join()).not.toContain('no usable key');
    await kids();
    later(299);
    await kids(remote(), firstKid());
    expect(issuer.fetches()).toBe(1);
    later(1);
    await kids();
    expect(issuer.fetches()).toBe(2);
  });

  it.each([
    ['max-age=600', 600],
    ['max-age=5', 60],
    ['no-store', 60],
    ['max-age=86400', 3600],
  ])('clamps %s to %i s', async (cacheControl, expectedSeconds) => {
    const tuned = await startJwksIssuer({ cacheControl });
    const source: KeySource = { kind: 'jwks_uri', url: tuned.jwksUri, internal: true };
    await kids(source);
    later(expectedSeconds - 1);
    await kids(source);
    expect(tuned.fetches()).toBe(1);
    later(1);
    await kids(source);
    expect(tuned.fetches()).toBe(2);
    await tuned.stop();
  });

  it('shares one fetch among all who wait (single flight)', async () => {
    issuer.breakEndpoint({ kind: 'delay', delayMs: 50 });
    const answers = await Promise.all(Array.from({ length: 50 }, () => kids(remote(), firstKid())));
    expect(answers.every(([kid]) => kid === firstKid())).toBe(true);
    expect(issuer.fetches()).toBe(1);
  });

  it('keeps sources apart by everything that decides what is fetched', async () => {
    await kids();
    await kids({ ...remote(), label: 'another name' });
    expect(issuer.fetches()).toBe(1);
    await kids({ kind: 'jwks_uri', url: issuer.jwksUri, internal: true, uses: ['jwt-svid'] });
    expect(issuer.fetches()).toBe(2);
    await expect(kids({ kind: 'jwks_uri', url: issuer.jwksUri, internal: false })).rejects.toThrow(Unavailable);
  });
});

describe('rotation (F6)', () => {
  it('finds a new key at once, then no more than once in 30 s', async () => {
    await kids();
    later(31);
    const fresh = await issuer.rotate();
    expect(await kids(remote(), fresh.kid)).toContain(fresh.kid);
    expect(issuer.fetches()).toBe(2);

    for (let attempt = 0; attempt < 100; attempt++) await kids(remote(), `invented-${attempt}`);
    expect(issuer.fetches()).toBe(2);
    later(29);
    await kids(remote(), 'invented');
    expect(issuer.fetches()).toBe(2);
    later(1);
    await Promise.all(Array.from({ length: 20 }, (_, index) => kids(remote(), `invented-${index}`)));
    expect(issuer.fetches()).toBe(3);
  });

  it('gives a new key to everybody who asked for it while it was fetched', async () => {
    await kids();
    later(31);
    const fresh = await issuer.rotate();
    issuer.breakEndpoint({ kind: 'delay', delayMs: 50 });
    const answers = await Promise.all(Array.from({ length: 10 }, () => kids(remote(), fresh.kid)));
    expect(answers.every((known) => known.includes(fresh.kid))).toBe(true);
    expect(issuer.fetches()).toBe(2);
  });

  it('fetches nothing for any of several known keys', async () => {
    const second = await issuer.rotate();
    await kids();
    later(31);
    await kids(remote(), firstKid());
    await kids(remote(), second.kid);
    expect(issuer.fetches()).toBe(1);
  });

  it('drops a key at once that a valid document does not have any more', async () => {
    const old = firstKid();
    await kids();
    await issuer.rotate({ dropOld: true });
    later(300);
    expect(await kids(remote(), old)).not.toContain(old);
  });

  it('drops all keys when a valid document has none, and says so', async () => {
    await kids();
    issuer.publish([]);
    later(300);
    expect(await kids()).toEqual([]);
    expect(log.join()).toContain('no usable key');
  });
});

describe('an issuer that fails (F6)', () => {
  const faults: [string, Fault][] = [
    ['status 500', { kind: 'status', status: 500 }],
    ['a cut connection', { kind: 'hang_up' }],
    ['a redirect', { kind: 'redirect', location: 'http://127.0.0.1:1/' }],
    ['a slow drip', { kind: 'drip', intervalMs: 20 }],
    ['HTML', { kind: 'body', body: '<html>', contentType: 'text/html' }],
    ['a huge document', { kind: 'body', body: `{"keys":[],"x":"${'x'.repeat(300_000)}"}` }],
    ['a document of another shape', { kind: 'body', body: '{"error":"x"}' }],
    ['duplicate kids', { kind: 'body', body: JSON.stringify({ keys: [ecKey('k').jwk, ecKey('k').jwk] }) }],
    ['a leaked private key', { kind: 'body', body: JSON.stringify({ keys: [{ ...ecKey('k').jwk, d: 'AAAA' }] }) }],
    ['a shared secret', { kind: 'body', body: JSON.stringify({ keys: [{ kty: 'oct', k: 'AAAA' }] }) }],
    [
      'too many keys',
      { kind: 'body', body: JSON.stringify({ keys: Array.from({ length: 21 }, (_, at) => ecKey(String(at)).jwk) }) },
    ],
  ];

  it.each(faults)('%s: serves the known keys stale for 24 h, then is unavailable', async (_what, fault) => {
    await kids();
    issuer.breakEndpoint(fault);
    later(23 * HOUR + 3599);
    expect(await kids(remote(), firstKid())).toEqual([firstKid()]);
    expect(log.join()).toContain('keys could not be fetched');
    later(1);
    await expect(kids(remote(), firstKid())).rejects.toMatchObject({
      name: 'Unavailable',
      dependency: 'trusted issuer corp',
    });
  });

  it.each(faults)('%s: never had keys, so is unavailable', async (_what, fault) => {
    issuer.breakEndpoint(fault);
    await expect(kids()).rejects.toThrow(Unavailable);
  });

  it('is named by its URL where the source has no label', async () => {
    issuer.breakEndpoint({ kind: 'status', status: 500 });
    await expect(kids({ kind: 'jwks_uri', url: issuer.jwksUri, internal: true })).rejects.toMatchObject({
      dependency: `trusted issuer ${issuer.jwksUri}`,
    });
    await expect(kids(discovery())).rejects.toMatchObject({ dependency: `trusted issuer ${issuer.issuer}` });
  });

  it('recovers by itself', async () => {
    issuer.breakEndpoint({ kind: 'status', status: 503 });
    await expect(kids()).rejects.toThrow(Unavailable);
    issuer.breakEndpoint(undefined);
    later(1);
    expect(await kids()).toEqual([firstKid()]);
  });

  it('is left alone for a while, longer after each failure, up to a minute', async () => {
    issuer.breakEndpoint({ kind: 'status', status: 503 });
    const attempts: number[] = [];
    const start = now.seconds;
    for (let second = 0; second < 300; second++) {
      const before = issuer.fetches();
      await expect(kids()).rejects.toThrow(Unavailable);
      if (issuer.fetches() > before) attempts.push(now.seconds - start);
      later(1);
    }
    expect(attempts).toEqual([0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
  });

  it('that hangs makes only the first ones wait; known keys are served beside the next attempts', async () => {
    await kids();
    issuer.breakEndpoint({ kind: 'drip', intervalMs: 20 });
    later(300);
    await kids(remote(), firstKid());
    for (let attempt = 0; attempt < 5; attempt++) {
      later(60);
      const startedMs = performance.now();
      await kids(remote(), firstKid());
      expect(performance.now() - startedMs).toBeLessThan(TIMEOUT_MS);
      await new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS + 50));
    }
    expect(issuer.fetches()).toBe(7);
  });

  it('cannot tell that a key does not exist: an unknown kid is "later", not "no"', async () => {
    await kids();
    issuer.breakEndpoint({ kind: 'status', status: 500 });
    later(31);
    await expect(kids(remote(), 'rotated-in')).rejects.toThrow(Unavailable);
    expect(await kids(remote(), firstKid())).toEqual([firstKid()]);
    issuer.breakEndpoint(undefined);
    later(31);
    expect(await kids(remote(), 'rotated-in')).toEqual([firstKid()]);
  });

  it('is repaired in the background while stale keys are served', async () => {
    await kids();
    issuer.breakEndpoint({ kind: 'status', status: 500 });
    later(300);
    await kids();
    issuer.breakEndpoint(undefined);
    const stale = await kids();
    const fresh = await issuer.rotate({ dropOld: true });
    later(60);
    expect(await kids()).toEqual(stale);
    await expect.poll(kids).toEqual([fresh.kid]);
  });

  it('leaves nothing of what it sent in the log', async () => {
    issuer.breakEndpoint({ kind: 'body', body: '{"keys":"canary-7f3a"}' });
    await expect(kids()).rejects.toThrow(Unavailable);
    expect(log.join()).not.toContain('canary-7f3a');
  });
});

describe('discovery (OpenID Connect Discovery 1.0 §4)', () => {
  it('finds the keys through the metadata', async () => {
    expect(await kids(discovery())).toEqual([firstKid()]);
    expect(issuer.fetches('/.well-known/openid-configuration')).toBe(1);
    expect(issuer.fetches('/jwks')).toBe(1);
  });

  it.each([
    ['another issuer', { issuer: 'https://evil.example' }],
    ['the issuer with a slash', () => ({ issuer: `${issuer.issuer}/` })],
    ['no issuer', { issuer: undefined }],
    ['no jwks_uri', { jwks_uri: undefined }],
    ['a jwks_uri that is no URL', { jwks_uri: '/jwks' }],
    ['another scheme', () => ({ jwks_uri: issuer.jwksUri.replace('http:', 'https:') })],
    ['a file', { jwks_uri: 'file:///etc/passwd' }],
  ])('refuses metadata with %s (R13)', async (_what, metadata) => {
    issuer.setMetadata(typeof metadata === 'function' ? metadata() : metadata);
    await expect(kids(discovery())).rejects.toThrow(Unavailable);
    expect(issuer.fetches('/jwks')).toBe(0);
  });

  it('keeps the known keys when the metadata turns bad', async () => {
    await kids(discovery());
    issuer.setMetadata({ issuer: 'https://evil.example' });
    later(300);
    expect(await kids(discovery(), firstKid())).toEqual([firstKid()]);
  });

  it('appends the well-known path to an issuer that ends in a slash', async () => {
    issuer.setMetadata({ issuer: `${issuer.url}/` });
    expect(await kids({ kind: 'discovery', issuer: `${issuer.url}/`, internal: true })).toEqual([firstKid()]);
  });

  it('works with localhost, whatever it resolves to', async () => {
    const url = issuer.url.replace('127.0.0.1', 'localhost');
    issuer.setMetadata({ issuer: url });
    expect(await kids({ kind: 'discovery', issuer: url, internal: true })).toEqual([firstKid()]);
  });

  it('does not reach loopback for an issuer that is not internal (R21)', async () => {
    await expect(kids({ kind: 'discovery', issuer: issuer.issuer, internal: false })).rejects.toThrow(Unavailable);
    expect(issuer.fetches()).toBe(0);
  });
});

describe('static keys', () => {
  const key = ecKey('own');
  it('are admitted by the same rules', async () => {
    const keys = { keys: [key.jwk, rsaKey('weak', 1024).jwk] };
    expect(await kids({ kind: 'static', id: 'x', keys })).toEqual(['own']);
  });

  it('are none where the document is invalid, and the log says why', async () => {
    expect(await kids({ kind: 'static', id: 'x', keys: { keys: [{ ...key.jwk, d: 'AAAA' }] } })).toEqual([]);
    expect(log.join()).toContain('registered keys are not usable');
  });

  it('follow a change under the same id at once', async () => {
    await kids({ kind: 'static', id: 'x', keys: { keys: [key.jwk] } });
    expect(await kids({ kind: 'static', id: 'x', keys: { keys: [ecKey('new').jwk] } })).toEqual(['new']);
  });

  it('are the same objects while nothing changes, so that nothing is parsed twice', async () => {
    const source = (): KeySource => ({ kind: 'static', id: 'x', keys: { keys: [{ ...key.jwk }] } });
    const [first] = await keySets.keysFor(source(), { kid: undefined });
    const [second] = await keySets.keysFor(source(), { kid: undefined });
    expect(second).toBe(first);
  });
});

describe('where keys come from', () => {
  const source = (members: object, iss?: string) => {
    const spec = issuerSpec.parse({ name: 'corp', issuer: 'https://corp.example', ...members });
    return keySourceOf(spec, iss ?? spec.issuer);
  };

  it('is discovery by default, at the exact issuer of the token', () => {
    expect(source({})).toMatchObject({ kind: 'discovery', issuer: 'https://corp.example', internal: false });
    const subject = { claims: ['tid', 'oid'] };
    const tenants = { issuer: 'https://login.example/{tenant}/v2.0', tenants: ['a', 'b'], subject };
    expect(source(tenants, 'https://login.example/b/v2.0')).toMatchObject({ issuer: 'https://login.example/b/v2.0' });
  });

  it('is the registered URL, with its files', () => {
    const files = { ca_file: '/ca.pem', bearer_file: '/token', internal: true };
    expect(source({ jwks_uri: 'https://10.0.0.1/jwks', ...files })).toEqual({
      kind: 'jwks_uri',
      label: 'trusted issuer corp',
      url: 'https://10.0.0.1/jwks',
      internal: true,
      caFile: '/ca.pem',
      bearerFile: '/token',
    });
  });

  it('is the registered set', () => {
    const jwks = { keys: [{ kty: 'EC' }] };
    expect(source({ jwks })).toMatchObject({ kind: 'static', keys: jwks });
  });

  it('of a SPIFFE trust domain counts only keys for JWT-SVIDs', () => {
    const spiffe = { issuer: 'spiffe://prod.example', jwks_uri: 'https://spire.example/bundle' };
    expect(source(spiffe)).toMatchObject({ kind: 'jwks_uri', uses: ['jwt-svid'] });
    expect(source({ issuer: 'spiffe://prod.example', jwks: { keys: [{}] } })).toMatchObject({ uses: ['jwt-svid'] });
  });

  it('of a client is its own, and never that of a trusted issuer of the same name', () => {
    const client = (members: object) =>
      keySourceOfClient(clientSpec.parse({ id: 'corp', auth: ['private_key_jwt'], ...members }));
    expect(client({ jwks_uri: 'https://client.example/jwks' })).toEqual({
      kind: 'jwks_uri',
      label: 'client corp',
      url: 'https://client.example/jwks',
      internal: false,
    });
    const jwks = { keys: [{ kty: 'EC' }] };
    expect(client({ jwks })).toMatchObject({ kind: 'static', id: 'client corp', keys: jwks });
  });
});
