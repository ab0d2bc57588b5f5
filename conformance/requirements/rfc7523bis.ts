/**
 * draft-ietf-oauth-rfc7523bis, the update of RFC 7523 that is in the RFC Editor's queue: whom an assertion is addressed to.
 */
import { requirementsOf } from './requirement.ts';

export const rfc7523bis = requirementsOf('rfc7523bis', [
  [
    '4',
    'issuer-audience',
    'MUST',
    'jwt-client-auth/accepted',
    'An assertion whose audience is the issuer identifier is accepted.',
  ],
  ['4', 'sole-audience', 'MUST', 'jwt-client-auth/audience', 'An assertion with a second audience is refused.'],
  [
    '4',
    'not-the-token-endpoint',
    'MUST',
    'jwt-client-auth/audience',
    'An assertion whose audience is the token endpoint is refused.',
  ],
]);
