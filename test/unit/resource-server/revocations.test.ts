import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { createPublishedByIssuer } from '../../../src/resource-server/issuer.ts';
import { createRevocations } from '../../../src/resource-server/revocations.ts';
import { createVerifier } from '../../../src/resource-server/verifier.ts';
import { Publisher, RESOURCE, makeKey, testClock } from './publisher.ts';

const ISSUER = 'https://cambist.example.com';
const PATH = '/oauth2/revocations';

/** The poller, polled by hand. */
async function world() {
  const clock = testClock();
  const publisher = await Publisher.create(ISSUER, clock);
  const { signal } = new AbortController();
  const published = createPublishedByIssuer({ issuer: ISSUER, fetch: publisher.fetch, clock, signal });
  const revocations = createRevocations({
    issuer: ISSUER,
    published,
    fetch: publisher.fetch,
    clock,
    signal,
    pollSeconds: 5,
    maxAgeSeconds: 30,
    random: () => 0.5,
  });
  const has = (key: string) => revocations.current()?.predicates.has(key);
  return { clock, publisher, revocations, has };
}

test('a document is current up to the set age, and not a second longer; the next one opens again', async () => {
  const { clock, publisher, revocations } = await world();
  expect(revocations.current()).toBeUndefined();
  await revocations.poll();
  expect(revocations.ageSeconds()).toBe(0);
  publisher.instead.set(PATH, () => ({ status: 503, headers: {}, body: '' }));
  clock.forward(30);
  await revocations.poll();
  expect(revocations.current()).toBeDefined();
  expect(revocations.problem()).toBe('revocation document: it answered with a status other than 200 (503)');
  clock.forward(1);
  expect(revocations.current()).toBeUndefined();
  expect(revocations.ageSeconds()).toBe(31);

  publisher.instead.clear();
  await revocations.poll();
  expect(revocations.current()).toBeDefined();
  expect(revocations.problem()).toBeUndefined();
});

const seconds = testClock().seconds();
const REFUSED: readonly (readonly [string, string, (publisher: Publisher) => Promise<string>])[] = [
  ['the type of an access token', 'type_not_allowed', (p) => p.document({}, undefined, 'at+jwt')],
  ['no type', 'type_not_allowed', (p) => p.document({}, undefined, '')],
  ['another issuer', 'issuer_mismatch', (p) => p.document({ iss: 'https://other.example.com' })],
  ['a signature by an access-token key', 'key_unknown', (p) => p.document({}, p.tokenKeys[0])],
  [
    'a stranger’s signature under a known kid',
    'signature_invalid',
    async (p) => p.document({}, await makeKey('document-1')),
  ],
  ['another algorithm', 'algorithm_not_allowed', async (p) => p.document({}, await makeKey('document-1', 'RS256'))],
  ['no exp', 'claim_missing', (p) => p.document({ exp: undefined })],
  ['no iat', 'claim_missing', (p) => p.document({ iat: undefined })],
  ['its exp past', 'expired', (p) => p.document({ iat: seconds - 60, exp: seconds })],
  ['an age of 31 s', 'too old', (p) => p.document({ iat: seconds - 31, exp: seconds + 29 })],
  ['iat 11 s ahead', 'issued_in_future', (p) => p.document({ iat: seconds + 11 })],
  ['no tokens', 'claim_invalid tokens', (p) => p.document({ tokens: undefined })],
  ['a token that is no text', 'claim_invalid tokens', (p) => p.document({ tokens: [7] })],
  ['no predicates', 'claim_invalid predicates', (p) => p.document({ predicates: undefined })],
  [
    'a kind that is not known here',
    'claim_invalid predicates',
    (p) => p.document({ predicates: [{ kind: 'tenant', value: 'x' }] }),
  ],
  ['a predicate without value', 'claim_invalid predicates', (p) => p.document({ predicates: [{ kind: 'client' }] })],
  [
    'a time that is no number',
    'claim_invalid predicates',
    (p) => p.document({ predicates: [{ kind: 'all', issued_until: '1' }] }),
  ],
  ['no JWT in it', 'malformed', () => Promise.resolve('<html>')],
];

test.each(REFUSED)('a document with %s is not taken (%s), and the one at hand stays', async (_, why, make) => {
  const { clock, publisher, revocations, has } = await world();
  publisher.tokens = ['dead'];
  // Made before, so that only what is wrong with it can be the reason.
  publisher.serveDocument(() => publisher.document({ iat: seconds - 40, exp: seconds + 20 }));
  clock.forward(-15);
  await revocations.poll();
  clock.forward(15);
  publisher.serveDocument(() => publisher.document({ iat: seconds - 20, exp: seconds + 40 }));
  await revocations.poll();
  expect(has('token|dead')).toBe(true);
  const age = revocations.ageSeconds();

  publisher.tokens = [];
  publisher.serveDocument(() => make(publisher));
  await revocations.poll();
  expect(revocations.problem()).toContain(why);
  expect(has('token|dead')).toBe(true);
  expect(revocations.ageSeconds()).toBe(age);
});

test.each([
  ['application/json', { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' }, 'media type'],
  ['a redirect', { status: 302, headers: { location: 'https://evil.example.com/' }, body: '' }, '302'],
  ['3 MiB', { status: 200, headers: { 'content-type': 'application/jwt' }, body: 'x'.repeat(3_145_728) }, 'too large'],
  ['a 304 that nobody asked for', { status: 304, headers: {}, body: '' }, '304'],
])('an answer of %s is no document', async (_, answer, why) => {
  const { publisher, revocations } = await world();
  publisher.instead.set(PATH, () => answer);
  await revocations.poll();
  expect(revocations.current()).toBeUndefined();
  expect(revocations.problem()).toContain(why);
});

test('there is no way back to an older document; of two of one second both count', async () => {
  const { clock, publisher, revocations, has } = await world();
  publisher.tokens = ['first'];
  const old = await publisher.document();
  clock.forward(5);
  publisher.tokens = ['second'];
  await revocations.poll();
  publisher.serveDocument(() => Promise.resolve(old));
  await revocations.poll();
  expect(revocations.problem()).toContain('older than the one at hand');
  expect([has('token|first'), has('token|second')]).toEqual([false, true]);

  publisher.serveDocument(() => publisher.document({ tokens: ['third'] }));
  await revocations.poll();
  expect([has('token|second'), has('token|third')]).toEqual([true, true]);
  clock.forward(1);
  await revocations.poll();
  expect([has('token|second'), has('token|third')]).toEqual([false, true]);
});

test('a 304 saves the transfer but does not make the document younger: it is asked for in full in time', async () => {
  const { clock, publisher, revocations } = await world();
  const tags: (string | null)[] = [];
  publisher.instead.set(PATH, async (headers) => {
    const tag = headers.get('if-none-match');
    tags.push(tag);
    if (tag !== null) return { status: 304, headers: {}, body: '' };
    return {
      status: 200,
      headers: { 'content-type': 'application/jwt', etag: '"same"' },
      body: await publisher.document(),
    };
  });
  for (let poll = 0; poll < 5; poll++) {
    await revocations.poll();
    clock.forward(5);
  }
  expect(tags).toEqual([null, '"same"', '"same"', null, '"same"']);
  expect(revocations.ageSeconds()).toBe(10);
});

test('a clock that is set back far makes the age unknown, and unknown is closed', async () => {
  const { clock, revocations } = await world();
  await revocations.poll();
  clock.forward(-10);
  expect(revocations.current()).toBeDefined();
  clock.forward(-1);
  expect(revocations.current()).toBeUndefined();
});

test('a new key of the issuer is fetched when the document names it', async () => {
  const { clock, publisher, revocations, has } = await world();
  await revocations.poll();
  publisher.documentKeys.unshift(await makeKey('document-2'));
  publisher.tokens = ['dead'];
  clock.forward(4);
  publisher.serveDocument(() => publisher.document());
  await revocations.poll();
  expect(has('token|dead')).toBe(true);
});

const digest = (iss: string, sub: string) =>
  createHash('sha256')
    .update(JSON.stringify(['cambist principal', iss, sub]))
    .digest('base64url');
const alice = { format: 'iss_sub', iss: 'https://idp.example.com', sub: 'alice' };
const chain = { sub: 'agent', iss: ISSUER, client_id: 'agent', act: { sub: 'bot', iss: 'https://ci.example.com' } };
const PREDICATES: readonly (readonly [string, Record<string, unknown>, Record<string, unknown>])[] = [
  ['client', { value: 'agent' }, { value: 'other' }],
  ['resource', { value: RESOURCE }, { value: 'https://other.example.com/mcp' }],
  ['issuer', { value: alice.iss }, { value: 'https://another-idp.example.com' }],
  ['issuer', { value: 'https://ci.example.com' }, { value: ISSUER }],
  ['key', { value: 'token-1' }, { value: 'document-1' }],
  ['subject', { value: digest(alice.iss, 'alice') }, { value: digest(ISSUER, 'alice') }],
  ['actor', { value: digest(ISSUER, 'agent') }, { value: digest(alice.iss, 'alice') }],
  ['actor', { value: digest('https://ci.example.com', 'bot') }, { value: digest(ISSUER, 'bot') }],
  ['all', { issued_until: seconds }, { issued_until: seconds - 1 }],
  ['client', { value: 'agent', issued_until: seconds }, { value: 'agent', issued_until: seconds - 1 }],
];

test.each(PREDICATES)('revocation by %s: %j kills, %j does not', async (kind, hit, miss) => {
  const clock = testClock();
  for (const [predicate, expected] of [
    [miss, 'access'],
    [hit, 'revoked'],
  ] as const) {
    const publisher = await Publisher.create(ISSUER, clock);
    publisher.predicates = [{ kind, ...predicate }];
    const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, clock, fetch: publisher.fetch });
    await verifier.ready();
    const result = await verifier.verify(await publisher.token({ sub_id: alice, act: chain }));
    expect(result.kind === 'access' ? 'access' : result.reason).toBe(expected);
    if (result.kind === 'rejection') expect(result).toMatchObject({ status: 401, error: 'invalid_token' });
    verifier.close();
  }
});

test('a revoked token is dead, its neighbour is not', async () => {
  const clock = testClock();
  const publisher = await Publisher.create(ISSUER, clock);
  publisher.tokens = ['jti-1'];
  const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, clock, fetch: publisher.fetch });
  await verifier.ready();
  const reason = async (changes: Record<string, unknown>) => {
    const result = await verifier.verify(await publisher.token(changes));
    return result.kind === 'access' ? 'access' : result.reason;
  };
  expect(await reason({})).toBe('revoked');
  expect(await reason({ jti: 'jti-2' })).toBe('access');
  verifier.close();
});
