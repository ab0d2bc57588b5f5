/**
 * RFC 8414, Authorization Server Metadata.
 */
import { requirementsOf } from './requirement.ts';

export const rfc8414 = requirementsOf('rfc8414', [
  [
    '2',
    'issuer-form',
    'MUST',
    'metadata/document',
    'The issuer is an https URL without query and fragment (http is excused on loopback).',
  ],
  ['2', 'token-endpoint', 'MUST', 'metadata/document', 'token_endpoint is there.'],
  ['2', 'response-types', 'MUST', 'metadata/document', 'response_types_supported is there, as a list.'],
  [
    '2',
    'grant-listed',
    'MUST',
    'metadata/document',
    'grant_types_supported lists token exchange: its default, when it is left out, says that there is none.',
  ],
  [
    '2',
    'signing-algorithms',
    'MUST',
    'metadata/document',
    'Where JWT client authentication is offered its algorithms are listed, and none is not among them.',
  ],
  ['2', 'endpoint-urls', 'MUST', 'metadata/document', 'Every endpoint is an https URL (http is excused on loopback).'],
  [
    '2',
    'auth-methods-work',
    'MUST',
    'core/advertised-methods',
    'Every advertised way of client authentication works for a client that is set up for it.',
  ],
  ['2', 'jwks', 'MUST', 'metadata/keys', 'jwks_uri leads to a set of keys.'],
  ['2', 'unique-kids', 'SHOULD', 'metadata/keys', 'Every published key has a kid of its own.'],
  [
    '3',
    'location',
    'MUST',
    'metadata/location',
    'The metadata are at the address that is made by inserting the well-known path into the issuer.',
  ],
  ['3.2', 'json', 'MUST', 'metadata/document', 'The metadata are application/json.'],
  ['3.2', 'no-empty-lists', 'MUST', 'metadata/document', 'A list without elements is left out.'],
  [
    '3.3',
    'issuer-identical',
    'MUST',
    'metadata/document',
    'The issuer in the metadata is identical to the one that the address was made from.',
  ],
]);
