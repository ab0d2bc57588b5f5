/**
 * RFC 9700, OAuth 2.0 Security Best Current Practice: those demands that can be read in the metadata.
 */
import { requirementsOf } from './requirement.ts';

export const rfc9700 = requirementsOf('rfc9700', [
  [
    '2.1.1',
    'pkce',
    'MUST',
    'metadata/document',
    'A server that offers the code flow supports PKCE with S256, and says so.',
  ],
  ['2.1.2', 'no-implicit', 'SHOULD NOT', 'metadata/document', 'The implicit grant is not offered.'],
  ['2.4', 'no-password', 'MUST NOT', 'metadata/document', 'The password grant is not offered.'],
  ['2.6', 'metadata', 'SHOULD', 'metadata/location', 'The server publishes metadata.'],
]);
