/**
 * Model Context Protocol 2026-07-28, authorization: what an authorization server (`as`) and an MCP server (`rs`) owe MCP clients.
 */
import { requirementsOf } from './requirement.ts';

export const mcp = requirementsOf('mcp', [
  [
    '',
    'as-discoverable',
    'MUST',
    'mcp-authorization-server/metadata',
    'The authorization server publishes RFC 8414 metadata or OpenID Connect discovery.',
  ],
  [
    '',
    'as-issuer-identical',
    'MUST',
    'mcp-authorization-server/metadata',
    'The issuer in the metadata is the one that was asked for: clients refuse another.',
  ],
  [
    '',
    'as-pkce',
    'MUST',
    'mcp-authorization-server/metadata',
    'code_challenge_methods_supported is there with S256: clients refuse a server without.',
  ],
  [
    '',
    'as-sdk-parses',
    'MUST',
    'mcp-authorization-server/metadata',
    'authorization_endpoint and response_types_supported are there: the published SDKs refuse metadata without them.',
  ],
  [
    '',
    'as-client-id-documents',
    'SHOULD',
    'mcp-authorization-server/metadata',
    'Client ID metadata documents are supported.',
  ],
  [
    '',
    'as-client-credentials-methods',
    'MUST',
    'mcp-authorization-server/metadata',
    'For clients without a person, private_key_jwt or client_secret_basic is advertised (extension oauth-client-credentials).',
  ],
  ['', 'as-short-lived', 'SHOULD', 'mcp-authorization-server/tokens', 'Access tokens live an hour at most.'],
  [
    '',
    'as-resource-is-audience',
    'SHOULD',
    'mcp-authorization-server/tokens',
    'The resource parameter becomes the audience of the token.',
  ],
  [
    '',
    'as-trailing-slash',
    'SHOULD',
    'mcp-authorization-server/tokens',
    'The same server with or without a final slash is the same resource.',
  ],
  ['', 'rs-401', 'MUST', 'mcp-protected-resource/metadata', 'A request without a token gets 401.'],
  [
    '',
    'rs-scope-in-challenge',
    'SHOULD',
    'mcp-protected-resource/metadata',
    'The challenge names the scope that is needed.',
  ],
  [
    '',
    'rs-right-token',
    'MUST',
    'mcp-protected-resource/tokens',
    'A token that was issued for this server is accepted.',
  ],
  ['', 'rs-invalid-token', 'MUST', 'mcp-protected-resource/tokens', 'A token that is none gets 401.'],
  ['', 'rs-invalid-token-error', 'SHOULD', 'mcp-protected-resource/tokens', 'The challenge for it says invalid_token.'],
  ['', 'rs-not-in-query', 'MUST NOT', 'mcp-protected-resource/tokens', 'A token in the query is not accepted.'],
  [
    '',
    'rs-foreign-token',
    'MUST NOT',
    'mcp-protected-resource/tokens',
    'The subject token itself, which was not issued for this server, is not accepted.',
  ],
  [
    '',
    'rs-audience',
    'MUST',
    'mcp-protected-resource/tokens',
    'A token for another server of the same issuer is not accepted.',
  ],
  [
    '',
    'rs-insufficient-scope',
    'SHOULD',
    'mcp-protected-resource/tokens',
    'Too little scope is answered with 403 and insufficient_scope.',
  ],
]);
