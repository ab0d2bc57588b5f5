/**
 * RFC 9728, Protected Resource Metadata: how an MCP server says whom it trusts.
 */
import { requirementsOf } from './requirement.ts';

export const rfc9728 = requirementsOf('rfc9728', [
  [
    '2',
    'authorization-server',
    'MUST',
    'mcp-protected-resource/metadata',
    'The metadata name the issuer among authorization_servers.',
  ],
  [
    '3',
    'metadata',
    'MUST',
    'mcp-protected-resource/metadata',
    'The metadata are where the challenge or the well-known path says.',
  ],
  [
    '3.2',
    'no-empty-lists',
    'MUST',
    'mcp-protected-resource/metadata',
    'A list without elements is left out of the metadata of a resource.',
  ],
  [
    '3.3',
    'resource-identical',
    'MUST',
    'mcp-protected-resource/metadata',
    'resource is the address that the metadata were found for.',
  ],
  ['5.1', 'challenge', 'MUST', 'mcp-protected-resource/metadata', 'The 401 carries a Bearer challenge.'],
]);
