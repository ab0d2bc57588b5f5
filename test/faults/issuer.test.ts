/**
 * F6 through the token endpoint: a trusted issuer whose keys are down, rotated, withdrawn, emptied or poisoned.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { IssuerKey, JwksIssuer } from '../support/jwks-issuer.ts';

const HOUR = 3600;
let issuer: JwksIssuer;
let cambist: TestCambist;
let aheadSeconds = 0;

beforeAll(async () => {
  issuer = await startJwksIssuer({ cacheControl: 'max-age=60' });
  cambist = await startCambist({
    settings: { clock: { nowMs: () => Date.now() + aheadSeconds * 1000 } },
    objects: `
issuers:
  - {name: corp, issuer: '${issuer.issuer}', internal: true, algorithms: [ES256], audiences: [{value: portal, clients: [agent]}]}
clients: [{id: agent, auth: [client_secret_basic]}]
resources: [{name: notes, uri: https://notes.test/mcp, scopes: {read: Read}, default_scopes: [read]}]
policies:
  - id: all
    cedar: |
      permit (principal is User, action == Action::"access", resource);
      permit (principal == Client::"agent", action == Action::"act", resource);
`,
  });
});
afterAll(async () => {
  await cambist.stop();
  await issuer.stop();
});

/** Every test begins with a healthy issuer whose keys have just been read. */
beforeEach(async () => {
  issuer.breakEndpoint(undefined);
  issuer.publish(undefined);
  aheadSeconds += 2 * HOUR;
  const before = issuer.fetches('/jwks');
  expect(await exchange()).toBe('200');
  // After a failure the keys are read again beside the request, not before it.
  await expect.poll(() => issuer.fetches('/jwks')).toBeGreaterThan(before);
  await new Promise((resolve) => setTimeout(resolve, 100));
});

async function exchange(key?: IssuerKey): Promise<string> {
  const token = await issuer.mint(
    { sub: 'ada', aud: 'portal' },
    { issuedInSeconds: aheadSeconds, ...(key === undefined ? {} : { key }) },
  );
  const answer = await cambist.token(
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      resource: 'https://notes.test/mcp',
    },
    { basic: ['agent', cambist.secretOf('agent')] },
  );
  return answer.status === 200 ? '200' : `${answer.status} ${answer.body.error}`;
}

test('F6 keys that are known are served while the JWKS is down, to a limit of 24 h, then 503', async () => {
  issuer.breakEndpoint({ kind: 'status', status: 500 });
  aheadSeconds += 23 * HOUR;
  expect(await exchange()).toBe('200');
  aheadSeconds += 2 * HOUR;
  expect(await exchange()).toBe('503 temporarily_unavailable');
  issuer.breakEndpoint(undefined);
  aheadSeconds += HOUR;
  expect(await exchange()).toBe('200');
});

test('F6 a key that is new to us is fetched at once, and unknown kids cause one fetch per cool-down', async () => {
  aheadSeconds += 40;
  const before = issuer.fetches('/jwks');
  await issuer.rotate();
  expect(await exchange()).toBe('200');
  expect(issuer.fetches('/jwks')).toBe(before + 1);
  const stranger = await issuer.strangerKey();
  for (let i = 0; i < 20; i++) expect(await exchange(stranger)).toBe('400 invalid_request');
  expect(issuer.fetches('/jwks')).toBe(before + 1);
});

test('F6 a key that was withdrawn from a valid document is refused at once after the next read', async () => {
  const old = issuer.keys.at(-1)!;
  await issuer.rotate({ dropOld: true });
  aheadSeconds += 2 * HOUR;
  expect(await exchange()).toBe('200');
  expect(await exchange(old)).toBe('400 invalid_request');
});

test.each([
  ['cut short', '{"keys":['],
  ['not a JWKS', '{"keys":"none"}'],
  ['poisoned with a symmetric key', '{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}'],
  ['huge', `{"keys":[],"pad":"${'x'.repeat(2_000_000)}"}`],
])('F6 a document that is %s keeps the old keys', async (_, body) => {
  issuer.publish(body);
  aheadSeconds += 2 * HOUR;
  expect(await exchange()).toBe('200');
});

test('F6 a valid document without keys withdraws them all', async () => {
  issuer.publish([]);
  aheadSeconds += 2 * HOUR;
  expect(await exchange()).toBe('400 invalid_request');
});

test("F6 a JWKS endpoint that drips does not hold a request beyond the fetcher's bound", async () => {
  issuer.breakEndpoint({ kind: 'drip', intervalMs: 100 });
  aheadSeconds += 25 * HOUR;
  const started = Date.now();
  expect(await exchange()).toBe('503 temporarily_unavailable');
  expect(Date.now() - started).toBeLessThan(20_000);
});
