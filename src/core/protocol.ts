/**
 * The names of the protocols, spelled once, as the RFCs spell them.
 */

/** Grants that Cambist knows (RFC 6749 §4.4, RFC 8693 §2.1). */
export const GRANT_CLIENT_CREDENTIALS = 'client_credentials';
export const GRANT_TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** Token type identifiers (RFC 8693 §3). */
export const TOKEN_TYPE_ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const TOKEN_TYPE_ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
export const TOKEN_TYPE_JWT = 'urn:ietf:params:oauth:token-type:jwt';

/** Our own: a credential of an upstream, handed out by an exchange. */
export const TOKEN_TYPE_CREDENTIAL = 'urn:cambist:params:oauth:token-type:credential';

/** Client assertion types (RFC 7523 §2.2; draft-ietf-oauth-spiffe-client-auth). */
export const ASSERTION_TYPE_JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
export const ASSERTION_TYPE_JWT_SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';

/** JOSE `typ` of an access token (RFC 9068 §2.1). */
export const TYP_ACCESS_TOKEN = 'at+jwt';

/** Our own: what Cambist shows to Vault's JWT method. No endpoint of ours takes it. */
export const TYP_VAULT_ASSERTION = 'cambist-vault+jwt';

/** Signature algorithms that may appear in an allow-list. `none` and the HMAC family are not among them. */
export const SIGNATURE_ALGORITHMS = [
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
] as const;
export type SignatureAlgorithm = (typeof SIGNATURE_ALGORITHMS)[number];

/** Paths of the public listener. */
export const PATHS = {
  token: '/oauth2/token',
  introspect: '/oauth2/introspect',
  revoke: '/oauth2/revoke',
  jwks: '/oauth2/jwks',
  revocations: '/oauth2/revocations',
  revocationKeys: '/oauth2/revocations/jwks',
  authorize: '/oauth2/authorize',
  oauthMetadata: '/.well-known/oauth-authorization-server',
  openidMetadata: '/.well-known/openid-configuration',
  openapi: '/openapi.yaml',
  /** Followed by `/<upstream>/<path>`. */
  egress: '/egress',
} as const;
