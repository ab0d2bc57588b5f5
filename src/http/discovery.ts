/**
 * What others read about us: metadata (RFC 8414, also under OpenID Connect's path), JWKS (RFC 7517), the API document.
 * All of it is built from the configured issuer, never from a request's headers (R20).
 */
import { PATHS } from '../core/protocol.ts';
import { AUTH_METHODS } from '../objects/client.ts';
import { SIGNATURE_ALGORITHMS } from '../core/protocol.ts';

/** Seconds for which keys and metadata may be cached. */
export const JWKS_MAX_AGE_SECONDS = 300;
/** RFC 7517 §8.5.2. */
export const JWKS_TYPE = 'application/jwk-set+json';

/** Authorization server metadata (RFC 8414 §2). */
export function metadata(issuer: string, grantTypes: readonly string[]): Readonly<Record<string, unknown>> {
  // `workload_identity` is `private_key_jwt` on the wire: a platform's JWT as client assertion.
  const authMethods = AUTH_METHODS.filter((method) => method !== 'workload_identity');
  return {
    issuer,
    token_endpoint: issuer + PATHS.token,
    jwks_uri: issuer + PATHS.jwks,
    introspection_endpoint: issuer + PATHS.introspect,
    introspection_endpoint_auth_methods_supported: authMethods,
    introspection_endpoint_auth_signing_alg_values_supported: SIGNATURE_ALGORITHMS,
    revocation_endpoint: issuer + PATHS.revoke,
    revocation_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_signing_alg_values_supported: SIGNATURE_ALGORITHMS,
    // Ours: what is revoked now, for servers that verify offline, and the keys that sign it and nothing else.
    cambist_revocations_endpoint: issuer + PATHS.revocations,
    cambist_revocations_jwks_uri: issuer + PATHS.revocationKeys,
    grant_types_supported: grantTypes,
    token_endpoint_auth_methods_supported: authMethods,
    token_endpoint_auth_signing_alg_values_supported: SIGNATURE_ALGORITHMS,
    // Required by RFC 8414 §2, and MCP's SDKs refuse metadata without these three. There is no sign-in yet: the
    // endpoint answers 501 and says what to use instead.
    authorization_endpoint: issuer + PATHS.authorize,
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    service_documentation: issuer + PATHS.openapi,
  };
}

/** Page of the authorization endpoint until there is sign-in. */
export const NO_SIGN_IN_PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Cambist: no sign-in here</title>
<h1>There is no sign-in at this server yet</h1>
<p>Cambist exchanges tokens. To get one without a browser, an agent or a service uses
<code>grant_type=client_credentials</code> for itself, or
<code>grant_type=urn:ietf:params:oauth:grant-type:token-exchange</code> (RFC 8693) with the ID token of a user who
signed in at the company's own identity provider.</p>
</html>
`;

/**
 * The well-known path of an issuer: for RFC 8414 §3.1 between host and path, for OpenID Connect Discovery §4 after the
 * path; MCP clients try OpenID's name in RFC 8414's place too.
 */
export function metadataPaths(issuer: string): readonly string[] {
  const path = new URL(issuer).pathname.replace(/\/$/, '');
  return [...new Set([PATHS.oauthMetadata + path, PATHS.openidMetadata + path, path + PATHS.openidMetadata])];
}
