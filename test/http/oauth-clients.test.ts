/**
 * Cambist in the eyes of OAuth clients that nobody here wrote: `oauth4webapi` and `openid-client`. Discovery by both
 * paths, every way to authenticate, both grants; and resource servers with nothing but `jose` and the published keys.
 */
import { createRemoteJWKSet, generateKeyPair, exportJWK, decodeProtectedHeader, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { ACCESS_TOKEN, EXCHANGE, ID_TOKEN, JWT } from './asking.ts';

const NOTES = 'https://notes.example/mcp';
const LEGACY = 'https://legacy.example/mcp';
const insecure = { [oauth.allowInsecureRequests]: true };

const company = (issuer: string, jwk: unknown) => `
issuers:
  - name: corp
    issuer: ${issuer}
    internal: true
    audiences: [{ value: portal, clients: [basic, post, signing] }]
clients:
  - { id: basic, auth: [client_secret_basic] }
  - { id: post, auth: [client_secret_post] }
  - { id: signing, auth: [private_key_jwt], jwks: { keys: [${JSON.stringify(jwk)}] } }
resources:
  - { name: notes, uri: '${NOTES}', scopes: { 'notes:read': Read, 'notes:write': Write }, default_scopes: ['notes:read'] }
  - { name: legacy, uri: '${LEGACY}', scopes: { 'legacy:read': Read }, default_scopes: ['legacy:read'], signing_algorithm: RS256 }
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
`;

withDatabases('OAuth clients that nobody here wrote', (databases) => {
  let people: OidcIssuer;
  let cambist: TestCambist;
  let signer: oauth.PrivateKey;

  beforeAll(async () => {
    people = await startOidcIssuer({ relyingParties: ['portal'] });
    const pair = await generateKeyPair('ES256', { extractable: true });
    signer = { key: pair.privateKey, kid: 'agent-1' };
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'agent-1', alg: 'ES256', use: 'sig' };
    const database = (await databases.fresh()).db;
    cambist = await startCambist({ objects: company(people.issuer, jwk), database });
  });
  afterAll(async () => {
    await cambist.stop();
    await people.stop();
  });

  /** What a resource server does that knows OAuth only by `jose`. */
  async function verify(token: string, audience: string, algorithm = 'ES256') {
    const keys = createRemoteJWKSet(new URL(`${cambist.url}/oauth2/jwks`));
    const { payload } = await jwtVerify(token, keys, {
      issuer: cambist.issuer,
      audience,
      typ: 'at+jwt',
      algorithms: [algorithm],
      requiredClaims: ['exp', 'iat', 'sub', 'client_id', 'jti', 'scope'],
    });
    return payload;
  }

  describe('oauth4webapi', () => {
    const discover = async (algorithm: 'oauth2' | 'oidc') => {
      const issuer = new URL(cambist.issuer);
      return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }));
    };
    const authentications: [string, () => oauth.ClientAuth][] = [
      ['basic', () => oauth.ClientSecretBasic(cambist.secretOf('basic'))],
      ['post', () => oauth.ClientSecretPost(cambist.secretOf('post'))],
      ['signing', () => oauth.PrivateKeyJwt(signer)],
    ];

    it.each(['oauth2', 'oidc'] as const)('discovers the server by the path of %s (RFC 8414 §3)', async (algorithm) => {
      const as = await discover(algorithm);
      expect(as).toMatchObject({ issuer: cambist.issuer, grant_types_supported: ['client_credentials', EXCHANGE] });
    });

    it.each(authentications)('client "%s" gets a token of its own (RFC 6749 §4.4)', async (id, auth) => {
      const as = await discover('oauth2');
      const client = { client_id: id };
      const parameters = new URLSearchParams({ resource: NOTES, scope: 'notes:read notes:write' });
      const response = await oauth.clientCredentialsGrantRequest(as, client, auth(), parameters, insecure);
      const answer = await oauth.processClientCredentialsResponse(as, client, response);
      expect(answer).toMatchObject({ token_type: 'bearer', expires_in: 300, scope: 'notes:read notes:write' });
      expect(await verify(answer.access_token, NOTES)).toMatchObject({ sub: id, client_id: id });
    });

    it.each(authentications)('client "%s" exchanges a person\'s ID token (RFC 8693 §2)', async (id, auth) => {
      const as = await discover('oauth2');
      const client = { client_id: id };
      const parameters = {
        subject_token: await people.idToken('ada'),
        subject_token_type: ID_TOKEN,
        resource: NOTES,
      };
      const response = await oauth.genericTokenEndpointRequest(as, client, auth(), EXCHANGE, parameters, insecure);
      const answer = await oauth.processGenericTokenEndpointResponse(as, client, response);
      expect(answer).toMatchObject({ issued_token_type: ACCESS_TOKEN, token_type: 'bearer', scope: 'notes:read' });
      expect(answer).not.toHaveProperty('refresh_token');
      const payload = await verify(answer.access_token, NOTES);
      expect(payload).toMatchObject({ sub: 'corp:ada', act: { sub: id, iss: cambist.issuer } });
    });

    it('reads a refusal as the OAuth error that it is (RFC 6749 §5.2)', async () => {
      const as = await discover('oauth2');
      const client = { client_id: 'basic' };
      const parameters = {
        subject_token: await people.idToken('ada'),
        subject_token_type: ID_TOKEN,
        resource: `${NOTES}/x`,
      };
      const auth = oauth.ClientSecretBasic(cambist.secretOf('basic'));
      const response = await oauth.genericTokenEndpointRequest(as, client, auth, EXCHANGE, parameters, insecure);
      await expect(oauth.processGenericTokenEndpointResponse(as, client, response)).rejects.toMatchObject({
        error: 'invalid_target',
        status: 400,
      });
    });

    it('R1 is told 401 with a challenge when its secret is wrong (RFC 6749 §5.2)', async () => {
      const as = await discover('oauth2');
      const client = { client_id: 'basic' };
      const auth = oauth.ClientSecretBasic('not the secret');
      const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { resource: NOTES }, insecure);
      expect(response.status).toBe(401);
      await expect(oauth.processClientCredentialsResponse(as, client, response)).rejects.toBeInstanceOf(
        oauth.WWWAuthenticateChallengeError,
      );
    });

    it("validates what it was given as a resource server's library does (RFC 9068 §4)", async () => {
      const as = await discover('oauth2');
      const client = { client_id: 'basic' };
      const auth = oauth.ClientSecretBasic(cambist.secretOf('basic'));
      const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { resource: NOTES }, insecure);
      const { access_token: token } = await oauth.processClientCredentialsResponse(as, client, response);
      const request = new Request(NOTES, { headers: { authorization: `Bearer ${token}` } });
      const claims = await oauth.validateJwtAccessToken(as, request, NOTES, insecure);
      expect(claims).toMatchObject({ sub: 'basic', client_id: 'basic', scope: 'notes:read' });
      await expect(oauth.validateJwtAccessToken(as, request, LEGACY, insecure)).rejects.toThrow();
    });
  });

  describe('openid-client', () => {
    const execute = [openid.allowInsecureRequests];
    const configure = (id: string, auth: openid.ClientAuth, algorithm: 'oauth2' | 'oidc' = 'oauth2') =>
      openid.discovery(new URL(cambist.issuer), id, undefined, auth, { algorithm, execute });

    it.each(['oauth2', 'oidc'] as const)('discovers by the path of %s and gets a token', async (algorithm) => {
      const config = await configure('basic', openid.ClientSecretBasic(cambist.secretOf('basic')), algorithm);
      const answer = await openid.clientCredentialsGrant(config, { resource: NOTES });
      expect(answer.expires_in).toBe(300);
      await verify(answer.access_token, NOTES);
    });

    it.each([
      ['basic', () => openid.ClientSecretBasic(cambist.secretOf('basic'))],
      ['post', () => openid.ClientSecretPost(cambist.secretOf('post'))],
      ['signing', () => openid.PrivateKeyJwt(signer)],
    ])('client "%s" exchanges by the generic grant, for an RS256 resource too', async (id, auth) => {
      const config = await configure(id, auth());
      const parameters = {
        subject_token: await people.idToken('ada'),
        subject_token_type: ID_TOKEN,
        requested_token_type: JWT,
      };
      const answer = await openid.genericGrantRequest(config, EXCHANGE, { ...parameters, resource: NOTES });
      expect(answer).toMatchObject({ issued_token_type: JWT, token_type: 'bearer' });
      expect(await verify(answer.access_token, NOTES)).toMatchObject({ sub: 'corp:ada', act: { sub: id } });

      const legacy = await openid.genericGrantRequest(config, EXCHANGE, { ...parameters, resource: LEGACY });
      expect(decodeProtectedHeader(legacy.access_token)).toMatchObject({ alg: 'RS256', typ: 'at+jwt' });
      expect(await verify(legacy.access_token, LEGACY, 'RS256')).toMatchObject({ sub: 'corp:ada', aud: LEGACY });
    });

    it('hands on the error code of a refusal', async () => {
      const config = await configure('basic', openid.ClientSecretBasic(cambist.secretOf('basic')));
      await expect(openid.clientCredentialsGrant(config, { resource: NOTES, scope: 'nonsense' })).rejects.toMatchObject(
        {
          error: 'invalid_scope',
        },
      );
    });
  });

  describe('a resource server with jose alone', () => {
    it('R17 refuses the token of another resource', async () => {
      const answer = await cambist.token(
        { grant_type: 'client_credentials', resource: NOTES },
        { basic: ['basic', cambist.secretOf('basic')] },
      );
      await expect(verify(answer.body.access_token, LEGACY)).rejects.toMatchObject({
        code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
      });
    });

    it('R16 finds public members only, and unique kids, in the key set', async () => {
      const response = await fetch(`${cambist.url}/oauth2/jwks`);
      const { keys } = (await response.json()) as { keys: Record<string, string>[] };
      expect(new Set(keys.map(({ kid }) => kid)).size).toBe(keys.length);
      expect(new Set(keys.map(({ alg }) => alg))).toEqual(new Set(['ES256', 'RS256']));
      for (const key of keys)
        expect(['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].filter((member) => member in key)).toEqual([]);
    });

    it('R20 finds the same metadata whatever host the request names', async () => {
      const path = `${cambist.url}/.well-known/oauth-authorization-server`;
      const plain = await (await fetch(path)).text();
      const headers = {
        'x-forwarded-host': 'evil.example',
        'x-forwarded-proto': 'https',
        forwarded: 'host=evil.example',
      };
      expect(await (await fetch(path, { headers })).text()).toBe(plain);
      expect(plain).not.toContain('evil');
    });
  });
});
