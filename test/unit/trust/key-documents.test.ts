import { describe, expect, it } from 'vitest';
import type { FetchOptions, Fetcher } from '../../../src/net/fetcher.ts';
import { DocumentInvalid, fetchKeyDocument } from '../../../src/trust/key-documents.ts';
import type { RemoteKeySource } from '../../../src/trust/key-documents.ts';
import { ecKey } from '../tokens/forge.ts';

const ISSUER = 'https://corp.example';
const METADATA = `${ISSUER}/.well-known/openid-configuration`;
const keys = { keys: [ecKey('k1').jwk, { ...ecKey('k2').jwk, use: 'jwt-svid' }] };

/** Serves these documents and notes with which options each was asked for. */
function fetcherOf(documents: Readonly<Record<string, unknown>>) {
  const asked: [string, FetchOptions][] = [];
  const fetcher: Fetcher = {
    getJson: (url, options) => {
      asked.push([url, options]);
      return Promise.resolve({ body: documents[url], maxAgeSeconds: 77 });
    },
    close: () => Promise.resolve(),
  };
  return { fetcher, asked };
}
const files = { caFile: '/ca.pem', bearerFile: '/token' };
const discovery: RemoteKeySource = { kind: 'discovery', issuer: ISSUER, internal: true, ...files };

describe('fetchKeyDocument', () => {
  it('asks a JWKS URL with the source’s files, and takes only keys for its uses', async () => {
    const { fetcher, asked } = fetcherOf({ 'https://corp.example/jwks': keys });
    const source = { kind: 'jwks_uri', url: 'https://corp.example/jwks', internal: true, ...files } as const;
    const document = await fetchKeyDocument(source, fetcher);
    expect(document.keys.map(({ kid }) => kid)).toEqual(['k1']);
    expect(document.maxAgeSeconds).toBe(77);
    expect(asked).toEqual([['https://corp.example/jwks', { internal: true, ...files }]]);
    const bundle = await fetchKeyDocument({ ...source, uses: ['jwt-svid'] }, fetcher);
    expect(bundle.keys.map(({ kid }) => kid)).toEqual(['k2']);
  });

  it('asks without files where none are registered', async () => {
    const { fetcher, asked } = fetcherOf({
      [METADATA]: { issuer: ISSUER, jwks_uri: `${ISSUER}/k` },
      [`${ISSUER}/k`]: keys,
    });
    await fetchKeyDocument({ kind: 'discovery', issuer: ISSUER, internal: false }, fetcher);
    expect(asked).toEqual([
      [METADATA, { internal: false }],
      [`${ISSUER}/k`, { internal: false }],
    ]);
  });

  it.each([
    ['the same origin', `${ISSUER}/keys`, { internal: true, ...files }],
    ['another host', 'https://cdn.example/keys', { internal: true, caFile: '/ca.pem' }],
    ['another port', `${ISSUER}:8443/keys`, { internal: true, caFile: '/ca.pem' }],
  ])('sends the bearer token only to the issuer’s own origin: jwks_uri at %s', async (_what, url, expected) => {
    const { fetcher, asked } = fetcherOf({ [METADATA]: { issuer: ISSUER, jwks_uri: url }, [url]: keys });
    await fetchKeyDocument(discovery, fetcher);
    expect(asked[1]).toEqual([url, expected]);
  });

  it.each([
    ['null', null],
    ['a list', []],
    ['another issuer (R13)', { issuer: 'https://evil.example', jwks_uri: `${ISSUER}/keys` }],
    ['no jwks_uri', { issuer: ISSUER }],
    ['a jwks_uri that is no string', { issuer: ISSUER, jwks_uri: [`${ISSUER}/keys`] }],
    ['a relative jwks_uri', { issuer: ISSUER, jwks_uri: '/keys' }],
    ['a jwks_uri of another scheme', { issuer: ISSUER, jwks_uri: 'http://corp.example/keys' }],
  ])('refuses metadata that is invalid: %s', async (_what, metadata) => {
    const { fetcher, asked } = fetcherOf({ [METADATA]: metadata });
    await expect(fetchKeyDocument(discovery, fetcher)).rejects.toThrow(DocumentInvalid);
    expect(asked).toHaveLength(1);
  });

  it('refuses an invalid key set, and says what is wrong with it', async () => {
    const { fetcher } = fetcherOf({ [`${ISSUER}/k`]: { keys: [{ kty: 'oct', k: 'canary' }] } });
    const fetching = fetchKeyDocument({ kind: 'jwks_uri', url: `${ISSUER}/k`, internal: false }, fetcher);
    await expect(fetching).rejects.toThrow(new DocumentInvalid('the key set is invalid (malformed private)'));
  });
});
