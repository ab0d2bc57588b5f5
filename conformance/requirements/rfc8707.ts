/**
 * RFC 8707, Resource Indicators: how a target is named, and that the token is for it.
 */
import { requirementsOf } from './requirement.ts';

export const rfc8707 = requirementsOf('rfc8707', [
  ['2', 'audience-restricted', 'SHOULD', 'core/target', 'The token is restricted to the resource that was asked for.'],
  [
    '2',
    'no-fragment',
    'SHOULD',
    'core/resource-syntax',
    'A resource with a fragment is refused: it must not have one.',
  ],
  ['2', 'absolute', 'SHOULD', 'core/resource-syntax', 'A resource that is no absolute URI is refused.'],
]);
