/**
 * RFC 7662, Token Introspection.
 */
import { requirementsOf } from './requirement.ts';

export const rfc7662 = requirementsOf('rfc7662', [
  [
    '2.1',
    'caller-authenticates',
    'MUST',
    'introspection/caller',
    'A caller that does not authenticate learns nothing.',
  ],
  ['2.1', 'token-required', 'MUST', 'introspection/caller', 'token is required: without it nothing is active.'],
  ['2.1', 'post', 'MUST', 'introspection/caller', 'The token comes by POST: a GET tells nothing.'],
  ['2.1', 'wrong-hint', 'MUST', 'introspection/active', 'A wrong token_type_hint does not hide a live token.'],
  ['2.2', 'active', 'MUST', 'introspection/active', 'A live token is active, as a boolean.'],
  ['2.2', 'json', 'MUST', 'introspection/active', 'The answer is application/json.'],
  [
    '2.2',
    'member-types',
    'MUST',
    'introspection/active',
    'Members have the types that the RFC gives them: times are integers, scope is text.',
  ],
  ['2.2', 'agrees-with-token', 'MUST', 'introspection/active', 'What is said of a token is what stands in it.'],
  [
    '2.2',
    'unknown-is-inactive',
    'MUST',
    'introspection/inactive',
    'An unknown token is answered with active false, and is no error.',
  ],
  [
    '2.2',
    'nothing-about-inactive',
    'SHOULD NOT',
    'introspection/inactive',
    'Nothing else is said of a token that is not active.',
  ],
  ['4', 'signature-is-checked', 'MUST', 'introspection/inactive', 'A token whose claims were changed is not active.'],
]);
