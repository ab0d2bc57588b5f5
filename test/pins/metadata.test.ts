/**
 * The metadata document, pinned whole: clients cache it, compare it and break on what is missing from it.
 */
import { expect, it } from 'vitest';
import { metadata, metadataPaths } from '../../src/http/discovery.ts';

const GRANTS = ['client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'];

it('RFC 8414 §2 is exactly this document', () => {
  expect(metadata('https://sts.example', GRANTS)).toEqual({
    issuer: 'https://sts.example',
    token_endpoint: 'https://sts.example/oauth2/token',
    jwks_uri: 'https://sts.example/oauth2/jwks',
    introspection_endpoint: 'https://sts.example/oauth2/introspect',
    introspection_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    introspection_endpoint_auth_signing_alg_values_supported: [
      'ES256',
      'ES384',
      'ES512',
      'RS256',
      'RS384',
      'RS512',
      'PS256',
      'PS384',
      'PS512',
      'EdDSA',
    ],
    revocation_endpoint: 'https://sts.example/oauth2/revoke',
    revocation_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    revocation_endpoint_auth_signing_alg_values_supported: [
      'ES256',
      'ES384',
      'ES512',
      'RS256',
      'RS384',
      'RS512',
      'PS256',
      'PS384',
      'PS512',
      'EdDSA',
    ],
    cambist_revocations_endpoint: 'https://sts.example/oauth2/revocations',
    cambist_revocations_jwks_uri: 'https://sts.example/oauth2/revocations/jwks',
    grant_types_supported: ['client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'],
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: [
      'ES256',
      'ES384',
      'ES512',
      'RS256',
      'RS384',
      'RS512',
      'PS256',
      'PS384',
      'PS512',
      'EdDSA',
    ],
    authorization_endpoint: 'https://sts.example/oauth2/authorize',
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    service_documentation: 'https://sts.example/openapi.yaml',
  });
});

it('keeps the path of an issuer that has one', () => {
  expect(metadata('https://corp.example/sts', GRANTS)).toMatchObject({
    issuer: 'https://corp.example/sts',
    token_endpoint: 'https://corp.example/sts/oauth2/token',
    jwks_uri: 'https://corp.example/sts/oauth2/jwks',
    introspection_endpoint: 'https://corp.example/sts/oauth2/introspect',
    revocation_endpoint: 'https://corp.example/sts/oauth2/revoke',
    cambist_revocations_endpoint: 'https://corp.example/sts/oauth2/revocations',
    cambist_revocations_jwks_uri: 'https://corp.example/sts/oauth2/revocations/jwks',
    authorization_endpoint: 'https://corp.example/sts/oauth2/authorize',
  });
});

it.each([
  ['https://sts.example', ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']],
  [
    'https://corp.example/sts',
    [
      '/.well-known/oauth-authorization-server/sts',
      '/.well-known/openid-configuration/sts',
      '/sts/.well-known/openid-configuration',
    ],
  ],
])('%s is found by RFC 8414 §3.1 and by OpenID Connect Discovery §4', (issuer, paths) => {
  expect(metadataPaths(issuer)).toEqual(paths);
});
