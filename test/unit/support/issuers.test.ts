/**
 * The issuers that other tests trust, held to what they promise: real sign-ins, and lies only when told to lie.
 */
import { createLocalJWKSet, createRemoteJWKSet, jwtVerify } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { startJwksIssuer } from '../../support/jwks-issuer.ts';
import { startOidcIssuer } from '../../support/oidc-issuer.ts';
import { signIn } from '../../../deploy/demo/sign-in.ts';
import { claimsOf, headerOf } from '../../support/token-client.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()));
});
function keep<T extends { stop(): Promise<void> }>(one: T): T {
  running.push(one);
  return one;
}

describe('the OpenID provider for tests', () => {
  it('gives an ID token with the claims of the person, for the relying party, through authorization code and PKCE', async () => {
    const issuer = keep(await startOidcIssuer({ relyingParties: ['portal', 'desk'] }));
    const token = await issuer.idToken('ada', 'desk');
    const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(`${issuer.issuer}/jwks`)), {
      issuer: issuer.issuer,
      audience: 'desk',
    });
    expect(payload).toMatchObject({ sub: 'ada', name: 'Ada Lovelace', groups: ['staff', 'engineering'] });
    expect(payload['nonce']).toBeTypeOf('string');
  });

  it('gives a JWT access token for one API (RFC 9068, RFC 8707)', async () => {
    const api = { uri: 'https://api.example/', scopes: ['read', 'write'] };
    const issuer = keep(await startOidcIssuer({ apis: [api], algorithm: 'ES256' }));
    const token = await issuer.accessToken('ada', api.uri, 'read');
    expect(headerOf(token)).toMatchObject({ typ: 'at+jwt', alg: 'ES256' });
    expect(claimsOf(token)).toMatchObject({ aud: api.uri, sub: 'ada', scope: 'read', client_id: 'portal' });
  });

  it('refuses a wrong password', async () => {
    const issuer = keep(await startOidcIssuer());
    await expect(
      signIn({
        issuer: issuer.issuer,
        clientId: 'portal',
        clientSecret: 'not checked before the login',
        redirectUri: 'https://portal.example/callback',
        username: 'ada',
        password: 'wrong',
      }),
    ).rejects.toThrow(/HTTP 401/);
  });
});

describe('the issuer under full control', () => {
  it('publishes the keys that it signs with, and counts the fetches', async () => {
    const issuer = keep(await startJwksIssuer());
    const token = await issuer.mint({ sub: 'job-7', exp: undefined });
    const jwks = createRemoteJWKSet(new URL(issuer.jwksUri));
    const { payload } = await jwtVerify(token, jwks, { issuer: issuer.url });
    expect(payload.sub).toBe('job-7');
    expect(payload.exp).toBeUndefined();
    expect(issuer.fetches('/jwks')).toBe(1);
  });

  it('signs raw bytes that no library would sign', async () => {
    for (const algorithm of ['ES256', 'RS256', 'PS256', 'EdDSA']) {
      const issuer = keep(await startJwksIssuer({ algorithm }));
      const key = issuer.keys[0]!;
      const token = issuer.mintRaw(`{"alg":"${algorithm}","kid":"${key.kid}","kid":"twice"}`, '{"sub":"a","sub":"b"}');
      const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: [{ ...key.publicJwk, kid: 'twice' }] }));
      expect(payload.sub).toBe('b');
    }
  });

  it('rotates, breaks and mends its JWKS on command', async () => {
    const issuer = keep(await startJwksIssuer());
    const first = issuer.keys[0]!;
    const second = await issuer.rotate({ dropOld: true });
    const kids = async (): Promise<string[]> => {
      const body = (await (await fetch(issuer.jwksUri)).json()) as { keys: { kid: string }[] };
      return body.keys.map(({ kid }) => kid);
    };
    expect(await kids()).toEqual([second.kid]);
    expect(headerOf(await issuer.mint({}))['kid']).toBe(second.kid);
    issuer.breakEndpoint({ kind: 'status', status: 503 });
    expect((await fetch(issuer.jwksUri)).status).toBe(503);
    issuer.breakEndpoint({ kind: 'hang_up' });
    await expect(fetch(issuer.jwksUri)).rejects.toThrow();
    issuer.breakEndpoint(undefined);
    issuer.publish([first.publicJwk]);
    expect(await kids()).toEqual([first.kid]);
    issuer.publish(undefined);
    expect(await kids()).toEqual([second.kid]);
  });
});
