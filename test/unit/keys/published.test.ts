import { expect, test } from 'vitest';
import { createPublishedJwks } from '../../../src/keys/published.ts';

function ringOf(kid: string) {
  const state = { kid };
  return { state, ring: { jwks: () => ({ keys: [{ kty: 'EC', kid: state.kid }] }) } };
}

test('a JWKS waits for what the database knows', async () => {
  const { state, ring } = ringOf('old');
  const jwks = createPublishedJwks({
    ring,
    refresh: async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      state.kid = 'new';
    },
  });
  expect(await jwks('access-token')).toEqual({ keys: [{ kty: 'EC', kid: 'new' }] });
});

test.each([
  ['fails', () => Promise.reject(new Error('down'))],
  ['hangs', () => new Promise(() => undefined)],
])('a database that %s keeps no JWKS back (F4)', async (_, refresh) => {
  const { ring } = ringOf('old');
  expect(await createPublishedJwks({ ring, refresh, waitMs: 30 })('access-token')).toEqual({
    keys: [{ kty: 'EC', kid: 'old' }],
  });
});
