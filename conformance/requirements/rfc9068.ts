/**
 * RFC 9068, the JWT profile for access tokens. Opaque tokens are allowed; these requirements are then skipped.
 */
import { requirementsOf } from './requirement.ts';

export const rfc9068 = requirementsOf('rfc9068', [
  ['2.1', 'typ', 'MUST', 'jwt-access-token/claims', 'The typ of the header is at+jwt.'],
  ['2.1', 'signed', 'MUST', 'jwt-access-token/claims', 'The token is signed, and not with none.'],
  ['2.2', 'iss', 'MUST', 'jwt-access-token/claims', 'iss is there, and is the issuer of the metadata.'],
  ['2.2', 'exp', 'MUST', 'jwt-access-token/claims', 'exp is there, and in the future.'],
  ['2.2', 'aud', 'MUST', 'jwt-access-token/claims', 'aud is there, and names at least one party.'],
  ['2.2', 'sub', 'MUST', 'jwt-access-token/claims', 'sub is there, and is not empty.'],
  ['2.2', 'client-id', 'MUST', 'jwt-access-token/claims', 'client_id is there, and is the client that asked.'],
  ['2.2', 'iat', 'MUST', 'jwt-access-token/claims', 'iat is there, and not in the future.'],
  ['2.2', 'jti', 'MUST', 'jwt-access-token/claims', 'jti is there, and is not empty.'],
  ['2.2.3', 'scope', 'SHOULD', 'jwt-access-token/scope', 'A token that was asked for with a scope has a scope claim.'],
  ['3', 'aud-is-resource', 'SHOULD', 'jwt-access-token/claims', 'aud is the resource that was asked for.'],
  ['4', 'verifies', 'MUST', 'jwt-access-token/verify', 'The signature verifies with a key that the metadata lead to.'],
]);
