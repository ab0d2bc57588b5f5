/**
 * What a caller presented to prove who it is: exactly one method per request (RFC 6749 §2.3). Nothing here is verified.
 */
import { ASSERTION_TYPE_JWT_BEARER, ASSERTION_TYPE_JWT_SPIFFE } from '../core/protocol.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Form } from '../core/form.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';

export type PresentedCredentials =
  | {
      readonly method: 'client_secret_basic' | 'client_secret_post';
      readonly clientId: string;
      readonly secret: string;
    }
  | {
      readonly method: 'assertion';
      readonly type: 'jwt-bearer' | 'jwt-spiffe';
      readonly assertion: string;
      readonly clientId: string | undefined;
    };

/** Reads the one credential of a request; refuses none, two, or halves of one. */
export function readCredentials(authorization: string | undefined, form: Form): PresentedCredentials | Refusal {
  const clientId = form.one('client_id');
  const secret = form.one('client_secret');
  const assertion = form.one('client_assertion');
  const assertionType = form.one('client_assertion_type');

  const methods = [
    authorization !== undefined,
    secret !== undefined,
    assertion !== undefined || assertionType !== undefined,
  ];
  const presented = methods.filter(Boolean).length;
  if (presented > 1) return refuse('client_authentication_ambiguous');
  if (presented === 0) return refuse('client_authentication_missing');

  if (authorization !== undefined) return readBasic(authorization, clientId);
  if (secret !== undefined)
    return clientId === undefined
      ? refuse('client_authentication_missing', { missing: 'client_id' })
      : { method: 'client_secret_post', clientId, secret };
  if (assertion === undefined || assertionType === undefined)
    return refuse('parameter_missing', {
      parameter: assertion === undefined ? 'client_assertion' : 'client_assertion_type',
    });
  if (assertionType === ASSERTION_TYPE_JWT_BEARER)
    return { method: 'assertion', type: 'jwt-bearer', assertion, clientId };
  if (assertionType === ASSERTION_TYPE_JWT_SPIFFE)
    return { method: 'assertion', type: 'jwt-spiffe', assertion, clientId };
  return refuse('client_assertion_type_unsupported');
}

/** RFC 6749 §2.3.1: id and secret are form-urlencoded, then joined with a colon and base64-encoded (RFC 7617). */
function readBasic(authorization: string, bodyClientId: string | undefined): PresentedCredentials | Refusal {
  const match = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization);
  if (match?.[1] === undefined) return refuse('client_authentication_missing', { header: 'not Basic' });
  const pair = Buffer.from(match[1], 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  const clientId = colon < 0 ? undefined : formDecode(pair.slice(0, colon));
  const secret = colon < 0 ? undefined : formDecode(pair.slice(colon + 1));
  if (clientId === undefined || clientId === '' || secret === undefined || secret === '')
    return refuse('client_authentication_missing', { header: 'malformed' });
  if (bodyClientId !== undefined && bodyClientId !== clientId) return refuse('client_id_mismatch');
  return { method: 'client_secret_basic', clientId, secret };
}

/**
 * Who a caller says it is, before anything of it is looked at: for counting, never for deciding. Of an assertion, its
 * unverified `iss` and `sub`; '' where nothing can be read.
 */
export function claimedClient(presented: PresentedCredentials | Refusal): string {
  if (isRefusal(presented)) return '';
  if (presented.method !== 'assertion') return presented.clientId;
  const jwt = decodeCompact(presented.assertion);
  if (isFault(jwt)) return presented.clientId ?? '';
  const { iss, sub } = jwt.unverifiedClaims;
  return iss === sub && typeof sub === 'string' ? sub : JSON.stringify([iss, sub]);
}

function formDecode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}
