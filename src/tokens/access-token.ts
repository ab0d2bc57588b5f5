/**
 * Cambist's own access tokens (RFC 9068): their claims, their signing, and reading one back that came in as a subject
 * or actor token. Audience and revocation are not checked here: whether a token is meant for its bearer is a question
 * about clients and resources, asked on the road.
 */
import { CompactSign } from 'jose';
import type { KeyObject } from 'node:crypto';
import type { Principal } from '../core/principal.ts';
import { TYP_ACCESS_TOKEN } from '../core/protocol.ts';
import { readChain } from './chain.ts';
import type { Actor } from './chain.ts';
import { checkTimes, readAudience, readString } from './claims.ts';
import { fault, isFault } from './fault.ts';
import type { Fault } from './fault.ts';
import { isJsonObject } from './strict-json.ts';
import type { VerifiedJwt } from './verify.ts';

/** No token of ours lives longer (exp − iat, inclusive). */
const MAX_OWN_LIFETIME_SECONDS = 900;

/** What we write into an access token (RFC 9068 §2.2, RFC 8693 §4.1, RFC 9493 §3.2.3). */
export interface AccessTokenClaims {
  readonly iss: string;
  /** Unique under our issuer; `sub_id` holds the pair that it stands for. */
  readonly sub: string;
  readonly aud: string | readonly string[];
  readonly client_id: string;
  readonly jti: string;
  readonly iat: number;
  readonly exp: number;
  readonly scope?: string;
  readonly sub_id?: { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string };
  readonly act?: Readonly<Record<string, unknown>>;
  readonly auth_time?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
}

export interface SigningKey {
  readonly kid: string;
  readonly alg: 'ES256' | 'RS256';
  readonly privateKey: KeyObject;
}

/** Signs an access token; its header is exactly `alg`, `kid` and `typ` (RFC 9068 §2.1). */
export async function signAccessToken(claims: AccessTokenClaims, key: SigningKey): Promise<string> {
  return new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: TYP_ACCESS_TOKEN })
    .sign(key.privateKey);
}

/** One of our own access tokens, read back. */
export interface OwnToken {
  /** The subject under its own issuer, from `sub_id`. */
  readonly subject: Principal;
  /** The subject as our tokens name it. */
  readonly sub: string;
  readonly audience: readonly string[];
  readonly clientId: string;
  readonly jti: string;
  readonly iat: number;
  readonly exp: number;
  readonly scopes: readonly string[];
  readonly chain: readonly Actor[];
  readonly authTime?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
  /** The key that signed it. */
  readonly kid: string;
}

/** Reads a verified token as one of ours, valid now. The caller verified it with *our* keys and no others. */
export function readOwnToken(
  verified: VerifiedJwt,
  expected: { readonly issuer: string; readonly nowSeconds: number },
): OwnToken | Fault {
  const { header, claims } = verified;
  // We write exactly this spelling, so no other can be ours.
  if (header.typ !== TYP_ACCESS_TOKEN) return fault('type_not_allowed', 'typ');
  if (header.kid === undefined) return fault('key_unknown', 'kid');
  if (claims.iss !== expected.issuer) return fault('issuer_mismatch', 'iss');
  const times = checkTimes(claims, {
    nowSeconds: expected.nowSeconds,
    maxLifetimeSeconds: MAX_OWN_LIFETIME_SECONDS,
    requireIat: true,
  });
  if (isFault(times)) return times;
  const { exp, iat } = times;
  if (iat === undefined) return fault('claim_missing', 'iat');
  // Binding is not supported yet; a bound token is never taken for an unbound one (R17).
  if (Object.hasOwn(claims, 'cnf')) return fault('bound', 'cnf');

  const sub = readString(claims, 'sub');
  if (isFault(sub)) return sub;
  const clientId = readString(claims, 'client_id');
  if (isFault(clientId)) return clientId;
  const jti = readString(claims, 'jti');
  if (isFault(jti)) return jti;
  const audience = readAudience(claims);
  if (isFault(audience)) return audience;
  const subject = readSubjectId(claims.sub_id);
  if (isFault(subject)) return subject;
  const chain = readChain(claims.act, expected.issuer);
  if (isFault(chain)) return chain;
  const { scope = '' } = claims;
  if (typeof scope !== 'string') return fault('claim_invalid', 'scope');
  const scopes = scope.split(' ').filter((name) => name !== '');
  const authentication = readAuthentication(claims);
  return { subject, sub, audience, clientId, jti, iat, exp, scopes, chain, kid: header.kid, ...authentication };
}

/**
 * `auth_time`, `acr`, `amr` (OpenID Connect Core §2) where they are there and well-formed. They inform policy and are
 * never required, so one of a wrong type is treated as absent.
 */
export function readAuthentication(claims: VerifiedJwt['claims']): Pick<OwnToken, 'authTime' | 'acr' | 'amr'> {
  const { auth_time: authTime, acr, amr } = claims;
  return {
    ...(typeof authTime === 'number' && Number.isSafeInteger(authTime) && authTime >= 0 && { authTime }),
    ...(typeof acr === 'string' && acr !== '' && { acr }),
    ...(isStringList(amr) && { amr }),
  };
}

/** `sub_id` in the format `iss_sub` (RFC 9493 §3.2.3). */
function readSubjectId(subId: unknown): Principal | Fault {
  if (subId === undefined) return fault('claim_missing', 'sub_id');
  if (!isJsonObject(subId) || subId.format !== 'iss_sub') return fault('claim_invalid', 'sub_id');
  const { iss, sub } = subId;
  if (typeof iss !== 'string' || iss === '' || typeof sub !== 'string' || sub === '')
    return fault('claim_invalid', 'sub_id');
  return { issuer: iss, sub };
}

function isStringList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= 32 && value.every((item) => typeof item === 'string');
}
