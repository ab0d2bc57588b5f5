/**
 * RFC 7519, JSON Web Token: what a validator must notice in any JWT.
 */
import { requirementsOf } from './requirement.ts';

export const rfc7519 = requirementsOf('rfc7519', [
  [
    '2',
    'numeric-date',
    'MUST',
    'external-subjects/times',
    'A time is a number: exp as text, list or boolean makes the token invalid.',
  ],
  [
    '3',
    'compact-only',
    'MUST',
    'security/token-type',
    'A JWT has the compact serialization; the JSON serialization is refused.',
  ],
  ['4.1.3', 'audience', 'MUST', 'external-subjects/claims', 'A token for another audience is refused.'],
  ['4.1.4', 'expired', 'MUST NOT', 'external-subjects/times', 'A token that expired an hour ago is not accepted.'],
  [
    '4.1.4',
    'small-leeway',
    'MAY',
    'external-subjects/times',
    'Some leeway for exp, usually no more than a few minutes, is allowed.',
  ],
  ['4.1.5', 'not-before', 'MUST NOT', 'external-subjects/times', 'A token is not accepted an hour before its nbf.'],
  ['4.1.7', 'jti-unique', 'MUST', 'jwt-access-token/unique', 'No two tokens have the same jti.'],
  [
    '7.2',
    'unknown-crit',
    'MUST',
    'security/header',
    'A header extension that is marked critical and not understood makes the token invalid.',
  ],
  [
    '4.1.4',
    'zero-and-negative',
    'MUST NOT',
    'security/time-edges',
    'A token whose exp is zero or negative, times long past, is not accepted.',
  ],
]);
