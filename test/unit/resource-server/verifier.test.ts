import { expect, onTestFinished, test } from 'vitest';
import { createVerifier } from '../../../src/resource-server/verifier.ts';
import type { Verifier, VerifierOptions } from '../../../src/resource-server/verifier.ts';
import { Publisher, RESOURCE, makeKey, sign, testClock } from './publisher.ts';
import type { TestClock } from './publisher.ts';

const ISSUER = 'https://cambist.example.com';

interface World {
  readonly clock: TestClock;
  readonly publisher: Publisher;
  readonly verifier: Verifier;
}

async function world(options: Partial<VerifierOptions> = {}): Promise<World> {
  const clock = testClock();
  const publisher = await Publisher.create(ISSUER, clock);
  const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, clock, fetch: publisher.fetch, ...options });
  onTestFinished(() => {
    verifier.close();
  });
  await verifier.ready();
  return { clock, publisher, verifier };
}

async function reasonOf(verifier: Verifier, token: string | undefined, scopes?: string[]): Promise<string> {
  const result = await verifier.verify(token, scopes === undefined ? {} : { scopes });
  return result.kind === 'access' ? 'access' : `${result.status} ${result.reason}`;
}

test('a good token says who calls, for whom, and what they may', async () => {
  const { publisher, verifier, clock } = await world();
  const nested = { sub: 'tickets', iss: ISSUER, client_id: 'tickets' };
  const token = await publisher.token({ act: { sub: 'agent', iss: ISSUER, client_id: 'agent', act: nested } });
  expect(await verifier.verify(token, { scopes: ['read'] })).toEqual({
    kind: 'access',
    subject: { issuer: 'https://idp.example.com', sub: 'alice' },
    sub: 'corp:alice',
    clientId: 'agent',
    actors: [
      { issuer: ISSUER, sub: 'agent', clientId: 'agent' },
      { issuer: ISSUER, sub: 'tickets', clientId: 'tickets' },
    ],
    scopes: ['read', 'write'],
    resource: RESOURCE,
    issuer: ISSUER,
    jti: 'jti-1',
    issuedAtSeconds: clock.seconds(),
    expiresAtSeconds: clock.seconds() + 300,
  });
});

test('RS256 tokens of the issuer verify as well', async () => {
  const { publisher, verifier } = await world();
  const rsa = await makeKey('token-rsa', 'RS256');
  publisher.tokenKeys.push(rsa);
  expect(await reasonOf(verifier, await sign(publisher.claims(), rsa, { typ: 'at+jwt' }))).toBe('access');
});

const now = testClock().seconds();
const BAD: readonly (readonly [string, string, (publisher: Publisher) => string | undefined | Promise<string>])[] = [
  ['no token at all', '401 malformed', () => undefined],
  ['an empty token', '401 malformed', () => ''],
  ['something else than a JWT', '401 malformed', () => 'opaque-token'],
  ['white space around it', '401 malformed', async (p) => `${await p.token()} `],
  ['a JSON serialisation', '401 malformed', () => JSON.stringify({ payload: 'e30', signatures: [] })],
  ['more than 16 KiB', '401 too_large', async (p) => p.token({ scope: 'x'.repeat(20_000) })],
  ['typ JWT', '401 type_not_allowed', (p) => p.token({}, { typ: 'JWT' })],
  ['typ of the revocation document', '401 type_not_allowed', (p) => p.token({}, { typ: 'cambist-revocations+jwt' })],
  ['another issuer', '401 issuer_mismatch', (p) => p.token({ iss: 'https://other.example.com' })],
  ['the issuer with a slash more', '401 issuer_mismatch', (p) => p.token({ iss: `${ISSUER}/` })],
  ['another audience', '401 audience_mismatch', (p) => p.token({ aud: 'https://other.example.com/mcp' })],
  ['a longer path as audience', '401 audience_mismatch', (p) => p.token({ aud: `${RESOURCE}/admin` })],
  ['two slashes after the audience', '401 audience_mismatch', (p) => p.token({ aud: `${RESOURCE}//` })],
  ['no audience', '401 claim_missing', (p) => p.token({ aud: undefined })],
  ['expired this second', '401 expired', (p) => p.token({ iat: now - 300, exp: now })],
  ['no exp', '401 claim_missing', (p) => p.token({ exp: undefined })],
  ['exp as text', '401 claim_invalid', (p) => p.token({ exp: String(now + 60) as unknown as number })],
  ['iat 11 s in the future', '401 issued_in_future', (p) => p.token({ iat: now + 11, exp: now + 60 })],
  ['nbf 11 s in the future', '401 not_yet_valid', (p) => p.token({ nbf: now + 11 })],
  ['a longer life than ours have', '401 lifetime_too_long', (p) => p.token({ exp: now + 901 })],
  ['bound to a key', '401 bound', (p) => p.token({ cnf: { jkt: 'x' } })],
  ['no sub_id', '401 claim_missing', (p) => p.token({ sub_id: undefined })],
  ['an act that cannot be read', '401 claim_invalid', (p) => p.token({ act: { sub: 7 } })],
  ['an unknown kid', '401 key_unknown', (p) => p.token({}, { kid: 'nobody' })],
  [
    'a kid of the revocation keys',
    '401 key_unknown',
    async (p) => sign(p.claims(), p.documentKeys[0]!, { typ: 'at+jwt' }),
  ],
  [
    'a kid of ours and a key of theirs',
    '401 signature_invalid',
    async (p) => sign(p.claims(), await makeKey('token-1'), { typ: 'at+jwt' }),
  ],
  [
    'an algorithm that we do not sign with',
    '401 algorithm_not_allowed',
    async (p) => sign(p.claims(), await makeKey('token-1', 'ES384'), { typ: 'at+jwt' }),
  ],
  [
    'alg none',
    '401 malformed',
    async (p) => {
      const [, claims = ''] = (await p.token()).split('.');
      return `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${claims}.`;
    },
  ],
  [
    'a changed claim',
    '401 signature_invalid',
    async (p) => {
      const [header = '', , signature = ''] = (await p.token()).split('.');
      const claims = Buffer.from(JSON.stringify(p.claims({ scope: 'admin' }))).toString('base64url');
      return `${header}.${claims}.${signature}`;
    },
  ],
];

test.each(BAD)('rejects a token with %s: %s', async (_, expected, make) => {
  const { publisher, verifier } = await world();
  const token = await make(publisher);
  const result = await verifier.verify(token);
  expect(result).toMatchObject({ kind: 'rejection', error: 'invalid_token' });
  expect(result.kind === 'rejection' && `${result.status} ${result.reason}`).toBe(expected);
  expect(await reasonOf(verifier, await publisher.token())).toBe('access');
  // Nothing of the token is in what a server may log.
  const longest = (token ?? '').split('.').filter((part) => part.length > 12);
  expect(longest.filter((part) => JSON.stringify(result).includes(part))).toEqual([]);
});

test('the boundary of times: iat 10 s ahead is accepted, the last second of a token too', async () => {
  const { publisher, verifier } = await world();
  expect(await reasonOf(verifier, await publisher.token({ iat: now + 10, exp: now + 60 }))).toBe('access');
  expect(await reasonOf(verifier, await publisher.token({ iat: now - 299, exp: now + 1 }))).toBe('access');
});

test.each([
  ['https://mcp.example.com', 'https://mcp.example.com/'],
  ['https://mcp.example.com/mcp/', 'https://mcp.example.com/mcp'],
  ['https://mcp.example.com/mcp', 'https://mcp.example.com/mcp/'],
])('the resource %s and the audience %s are one', async (resource, aud) => {
  const { publisher, verifier } = await world({ resource });
  expect(await verifier.verify(await publisher.token({ aud }))).toMatchObject({ kind: 'access', resource });
  expect(await reasonOf(verifier, await publisher.token({ aud: ['https://a.example.com', aud] }))).toBe('access');
});

test('a scope that the token lacks is a 403 that names the scope, and every asked one counts', async () => {
  const { publisher, verifier } = await world();
  const token = await publisher.token();
  expect(await reasonOf(verifier, token, ['read', 'write'])).toBe('access');
  expect(await verifier.verify(token, { scopes: ['read', 'admin'] })).toEqual({
    kind: 'rejection',
    reason: 'insufficient_scope',
    status: 403,
    error: 'insufficient_scope',
    claim: 'admin',
  });
});

test('foreign tokens cause no fetch of keys, an unknown kid one in 3 s: 503 until one may be asked again, then 401 or the new key', async () => {
  const { publisher, verifier, clock } = await world();
  await reasonOf(verifier, await publisher.token({ iss: 'https://other.example.com' }));
  await reasonOf(verifier, await publisher.token({}, { typ: 'JWT' }));
  expect(publisher.count('/oauth2/jwks')).toBe(0);
  await Promise.all(Array.from({ length: 20 }, async () => reasonOf(verifier, await publisher.token())));
  expect(publisher.count('/oauth2/jwks')).toBe(1);
  clock.forward(2);
  const later = { kind: 'rejection', reason: 'keys_unavailable', status: 503 };
  for (let attempt = 0; attempt < 20; attempt++)
    expect(await verifier.verify(await publisher.token({}, { kid: 'nobody' }))).toEqual(later);
  expect(publisher.count('/oauth2/jwks')).toBe(1);
  clock.forward(1);
  expect(await reasonOf(verifier, await publisher.token({}, { kid: 'nobody' }))).toBe('401 key_unknown');
  expect(publisher.count('/oauth2/jwks')).toBe(2);

  const next = await makeKey('token-2');
  publisher.tokenKeys.push(next);
  expect(await verifier.verify(await sign(publisher.claims(), next, { typ: 'at+jwt' }))).toEqual(later);
  clock.forward(3);
  publisher.serveDocument(() => publisher.document());
  const tokens = await Promise.all(Array.from({ length: 20 }, () => sign(publisher.claims(), next, { typ: 'at+jwt' })));
  const reasons = await Promise.all(tokens.map((token) => reasonOf(verifier, token)));
  expect(new Set(reasons)).toEqual(new Set(['access']));
  expect(publisher.count('/oauth2/jwks')).toBe(3);
});

test('keys that cannot be had: 503 before the first set; a set at hand goes on to be used', async () => {
  const { publisher, verifier, clock } = await world();
  const down = () => ({ status: 503, headers: {}, body: '' });
  publisher.instead.set('/oauth2/jwks', down);
  const result = await verifier.verify(await publisher.token());
  expect(result).toEqual({ kind: 'rejection', reason: 'keys_unavailable', status: 503 });
  expect(verifier.state().problems.join()).toContain('keys: it answered with a status other than 200 (503)');

  publisher.instead.delete('/oauth2/jwks');
  clock.forward(2);
  expect(await reasonOf(verifier, await publisher.token())).toBe('access');
  publisher.instead.set('/oauth2/jwks', down);
  clock.forward(20);
  expect(await reasonOf(verifier, await publisher.token())).toBe('access');
});

test.each([
  ['another issuer', { issuer: `${ISSUER}/` }],
  ['no revocation document', { cambist_revocations_endpoint: undefined }],
  ['plain http', { jwks_uri: 'http://cambist.example.com/oauth2/jwks' }],
  ['plain http on loopback, for an https issuer', { jwks_uri: 'http://127.0.0.1/oauth2/jwks' }],
  ['one key set for both purposes', { cambist_revocations_jwks_uri: `${ISSUER}/oauth2/jwks` }],
])('metadata with %s are not believed', async (_, changes) => {
  const clock = testClock();
  const publisher = await Publisher.create(ISSUER, clock);
  Object.assign(publisher.metadata, changes);
  const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, clock, fetch: publisher.fetch });
  onTestFinished(() => {
    verifier.close();
  });
  const token = await publisher.token();
  expect(await reasonOf(verifier, token)).toBe('503 keys_unavailable');
  expect(verifier.state()).toMatchObject({ ready: false, problems: [expect.stringContaining('metadata')] });
  expect(publisher.asked.filter((path) => !path.startsWith('/.well-known'))).toEqual([]);
});

test('before the first revocation document every token is rejected with 503, and so after close', async () => {
  const clock = testClock();
  const publisher = await Publisher.create(ISSUER, clock);
  publisher.instead.set('/oauth2/revocations', () => ({ status: 503, headers: {}, body: '' }));
  const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, clock, fetch: publisher.fetch });
  const token = await publisher.token();
  expect(await verifier.verify(token)).toEqual({ kind: 'rejection', reason: 'revocations_unknown', status: 503 });
  expect(verifier.state()).toMatchObject({ ready: false, revocationsAgeSeconds: undefined });

  publisher.instead.clear();
  await verifier.ready();
  expect(await reasonOf(verifier, token)).toBe('access');
  verifier.close();
  expect(await reasonOf(verifier, token)).toBe('503 revocations_unknown');
  await expect(verifier.ready()).rejects.toThrow('closed');
});

test('ready gives up when its signal says so', async () => {
  const publisher = await Publisher.create(ISSUER, testClock());
  publisher.instead.set('/oauth2/revocations', () => ({ status: 404, headers: {}, body: '' }));
  const verifier = createVerifier({ issuer: ISSUER, resource: RESOURCE, fetch: publisher.fetch });
  onTestFinished(() => {
    verifier.close();
  });
  await expect(verifier.ready(AbortSignal.timeout(50))).rejects.toThrow(/timeout/i);
});

test.each([
  ['issuer', { issuer: 'http://cambist.example.com' }],
  ['issuer', { issuer: 'https://cambist.example.com/?tenant=1' }],
  ['issuer', { issuer: 'https://user:secret@cambist.example.com' }],
  ['issuer', { issuer: undefined as unknown as string }],
  ['resource', { resource: 'mcp' }],
  ['resource', { resource: 'https://mcp.example.com/#tools' }],
  ['resource', { resource: undefined as unknown as string }],
  ['revocationsPollSeconds', { revocationsPollSeconds: 0 }],
  ['revocationsPollSeconds', { revocationsPollSeconds: NaN }],
  ['revocationsPollSeconds', { revocationsPollSeconds: 30 }],
  ['revocationsMaxAgeSeconds', { revocationsMaxAgeSeconds: Infinity }],
])('a useless %s is refused at construction, by its name, without its value', (option, changes) => {
  const build = () => createVerifier({ issuer: ISSUER, resource: RESOURCE, ...changes });
  expect(build).toThrow(TypeError);
  expect(build).toThrow(option);
  expect(build).not.toThrow('secret');
});
