/**
 * RFC 8725, JWT Best Current Practices: attacks on validators of subject tokens and assertions.
 */
import { requirementsOf } from './requirement.ts';

export const rfc8725 = requirementsOf('rfc8725', [
  ['3.1', 'none', 'MUST NOT', 'security/algorithm', 'Algorithm none, in any spelling, is not accepted.'],
  [
    '3.1',
    'hmac-public-key',
    'MUST NOT',
    'security/algorithm',
    'A token with an HMAC under the issuer’s public key is not accepted.',
  ],
  [
    '3.1',
    'one-algorithm',
    'MUST',
    'security/algorithm',
    'A key is used with the one algorithm that it is published for.',
  ],
  ['3.1', 'actor-none', 'MUST NOT', 'delegation/actor-token', 'An actor token with algorithm none is not accepted.'],
  [
    '3.1',
    'assertion-none',
    'MUST NOT',
    'jwt-client-auth/signature',
    'A client assertion with algorithm none is not accepted.',
  ],
  [
    '3.1',
    'assertion-hmac',
    'MUST NOT',
    'jwt-client-auth/signature',
    'A client assertion with an HMAC under the client’s public key is not accepted.',
  ],
  ['3.3', 'signature-cut', 'MUST', 'security/algorithm', 'A token whose signature was cut off is refused.'],
  [
    '3.3',
    'wrong-key',
    'MUST',
    'external-subjects/signature',
    'A token that was signed with another key under the issuer’s key id is refused.',
  ],
  [
    '3.3',
    'tampered',
    'MUST',
    'external-subjects/signature',
    'A token whose claims were changed after it was signed is refused.',
  ],
  [
    '3.8',
    'issuer-is-trusted',
    'MUST',
    'external-subjects/issuer',
    'A token of an issuer that nobody trusts, or that names no issuer, is refused.',
  ],
  [
    '3.8',
    'keys-belong-to-issuer',
    'MUST',
    'external-subjects/issuer',
    'A token that names the trusted issuer but is signed with another issuer’s key is refused.',
  ],
  [
    '3.8',
    'subject',
    'MUST',
    'external-subjects/claims',
    'A token whose sub is missing, empty or no string is refused.',
  ],
  ['3.9', 'audience-present', 'MUST', 'external-subjects/claims', 'A token without an audience is refused.'],
  ['3.10', 'embedded-jwk', 'MUST NOT', 'security/header', 'A key that comes in the token’s own header is not trusted.'],
  ['3.10', 'jku', 'MUST NOT', 'security/header', 'A key that the token’s jku points to is not trusted.'],
  ['3.10', 'x5u', 'MUST NOT', 'security/header', 'A key that the token’s x5u points to is not trusted.'],
  ['3.10', 'no-fetch', 'SHOULD NOT', 'security/header', 'Addresses in a token’s header are not fetched.'],
  [
    '3.10',
    'kid-injection',
    'MUST',
    'security/header',
    'A kid that is a path or a database query is refused as an unknown key.',
  ],
  [
    '3.12',
    'declared-type',
    'MUST',
    'security/token-type',
    'A token of one kind that is declared to be of another is refused.',
  ],
  ['3.12', 'subject-as-assertion', 'MUST', 'security/token-type', 'A subject token does not authenticate a client.'],
  ['3.12', 'assertion-as-subject', 'MUST', 'security/token-type', 'A client assertion is no subject token.'],
]);
