/**
 * RFC 7009, Token Revocation.
 */
import { requirementsOf } from './requirement.ts';

export const rfc7009 = requirementsOf('rfc7009', [
  ['2', 'token-is-dead', 'MUST', 'revocation/effect', 'A revoked token is no longer active.'],
  [
    '2.1',
    'caller-authenticates',
    'MUST',
    'revocation/requests',
    'A confidential client that does not authenticate revokes nothing.',
  ],
  ['2.1', 'only-own-tokens', 'MUST', 'revocation/effect', 'A client cannot revoke a token that was issued to another.'],
  [
    '2.1',
    'token-required',
    'MUST',
    'revocation/requests',
    'token is required: without it the request is invalid_request.',
  ],
  ['2.1', 'wrong-hint', 'MUST', 'revocation/effect', 'A wrong token_type_hint does not save a token.'],
  ['2.2', 'success-is-200', 'MUST', 'revocation/effect', 'A revocation is answered with 200.'],
  ['2.2', 'unknown-is-200', 'MUST', 'revocation/requests', 'An unknown token is answered with 200 too.'],
]);
