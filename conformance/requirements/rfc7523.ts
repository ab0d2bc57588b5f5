/**
 * RFC 7523, JWT client authentication.
 */
import { requirementsOf } from './requirement.ts';

export const rfc7523 = requirementsOf('rfc7523', [
  [
    '2.2',
    'client-assertion',
    'MAY',
    'jwt-client-auth/accepted',
    'A client authenticates with an assertion that it signed.',
  ],
  [
    '2.2',
    'type-required',
    'MUST',
    'jwt-client-auth/parameters',
    'An assertion without client_assertion_type is no authentication.',
  ],
  ['2.2', 'type-known', 'MUST', 'jwt-client-auth/parameters', 'An assertion of an unknown type is no authentication.'],
  ['3', 'client-id-may-be-sent', 'MAY', 'jwt-client-auth/accepted', 'client_id may stand beside the assertion.'],
  [
    '3',
    'client-id-agrees',
    'MUST',
    'jwt-client-auth/claims',
    'A client_id that is not the assertion’s subject is refused.',
  ],
  ['3', 'iss', 'MUST', 'jwt-client-auth/claims', 'An assertion without iss is refused.'],
  ['3', 'sub', 'MUST', 'jwt-client-auth/claims', 'An assertion without sub is refused.'],
  [
    '3',
    'sub-is-the-client',
    'MUST',
    'jwt-client-auth/claims',
    'An assertion authenticates the client that signed it, never another one that it names.',
  ],
  ['3', 'aud', 'MUST', 'jwt-client-auth/claims', 'An assertion without aud is refused.'],
  ['3', 'other-audience', 'MUST', 'jwt-client-auth/claims', 'An assertion for another server is refused.'],
  [
    '3',
    'simple-string-comparison',
    'MUST',
    'jwt-client-auth/audience',
    'Audiences are compared character by character: the issuer with or without a final slash is another value.',
  ],
  ['3', 'exp', 'MUST', 'jwt-client-auth/claims', 'An assertion without exp is refused.'],
  ['3', 'expired', 'MUST', 'jwt-client-auth/claims', 'An expired assertion is refused.'],
  ['3', 'not-before', 'MUST NOT', 'jwt-client-auth/claims', 'An assertion is not accepted before its nbf.'],
  ['3', 'signature', 'MUST', 'jwt-client-auth/signature', 'An assertion that was signed with another key is refused.'],
  ['3', 'replay', 'MAY', 'jwt-client-auth/replay', 'An assertion that was seen before may be refused.'],
  [
    '3.2',
    'invalid-client',
    'MUST',
    'jwt-client-auth/signature',
    'An assertion that is not valid is refused with invalid_client.',
  ],
]);
