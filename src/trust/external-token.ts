/**
 * A token of a trusted issuer, verified: signature, kind, times, and what its claims mean here. The result holds facts,
 * no raw claims, so that nothing unmapped can be used by accident.
 *
 * Not decided here: whether the token is meant for its bearer (audience), whether it was used before, whether its
 * subject is disabled. The caller has already found that this client may use this issuer, before any fetch (A8).
 */
import type { Principal } from '../core/principal.ts';
import { issValuesOfSubject } from '../objects/issuer.ts';
import type { TrustedIssuer } from '../objects/issuer.ts';
import { readAuthentication } from '../tokens/access-token.ts';
import { readChain } from '../tokens/chain.ts';
import type { Actor } from '../tokens/chain.ts';
import { checkTimes, readAudience, tokenIdentity } from '../tokens/claims.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import { verifySignature } from '../tokens/verify.ts';
import type { VerifiedJwt } from '../tokens/verify.ts';
import { readDisplay, readEntitlement, readGroups, readSubject } from './claim-mapping.ts';
import type { Entitlement } from './claim-mapping.ts';
import { keySourceOf } from './key-sets.ts';
import type { KeySets } from './key-sets.ts';
import { candidateKinds, checkKind, faultOfRequired } from './token-kinds.ts';
import type { DeclaredType } from './token-kinds.ts';

/** What an external token says, in our words. */
export interface ExternalToken {
  /** The exact `iss` and the composed subject. */
  readonly principal: Principal;
  /** Short name of the trusted issuer. */
  readonly issuerName: string;
  readonly audience: readonly string[];
  readonly exp: number;
  readonly iat?: number;
  /** For replay marks and records; does not depend on the token's string. */
  readonly identity: string;
  /** As `issuer-short-name:group`. */
  readonly groups: readonly string[];
  readonly email?: string;
  readonly name?: string;
  /** What the token's own scopes mean here; absent where the trusted issuer has no such mapping. */
  readonly entitled?: readonly Entitlement[];
  /** Actors that the token already names, outermost first. */
  readonly chain: readonly Actor[];
  readonly mayAct?: unknown;
  readonly authTime?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
}

export interface ExternalTokenRules {
  readonly spec: TrustedIssuer;
  /** The exact `iss` under which `spec` was found. */
  readonly iss: string;
  readonly nowSeconds: number;
  /** What the request declared; `jwt` accepts every kind that the trusted issuer lists. */
  readonly tokenType: DeclaredType;
  readonly keySets: KeySets;
}

/**
 * Which issuer an unverified token claims: its `iss`, or for a JWT-SVID, which has none, the trust domain of its SPIFFE
 * id. For finding the trusted issuer; nothing is believed yet.
 */
export function issuerOfUnverified(jwt: UnverifiedJwt): string | undefined {
  const { iss, sub } = jwt.unverifiedClaims;
  if (iss !== undefined) return typeof iss === 'string' && iss !== '' ? iss : undefined;
  return typeof sub === 'string' ? /^spiffe:\/\/[a-z0-9._-]+(?=\/)/.exec(sub)?.[0] : undefined;
}

/** Verifies a token of a trusted issuer; throws `Unavailable` where its keys cannot be had. */
export async function verifyExternalToken(
  jwt: UnverifiedJwt,
  rules: ExternalTokenRules,
): Promise<ExternalToken | Fault> {
  const { spec, iss, tokenType } = rules;
  // What the header alone refuses is refused before anything is fetched.
  if (!spec.algorithms.some((alg) => alg === jwt.header.alg)) return fault('algorithm_not_allowed');
  const kinds = candidateKinds(spec, tokenType, jwt.header.typ);
  if (kinds.length === 0) return fault('type_not_allowed', 'typ');

  const keys = await rules.keySets.keysFor(keySourceOf(spec, iss), { kid: jwt.header.kid });
  const verified = await verifySignature(jwt, keys, spec.algorithms);
  if (isFault(verified)) return verified;
  const { claims } = verified;
  // R13: the keys are those of `iss`, so they speak for no other. A JWT-SVID has none; its subject is checked below.
  const expectedIss = iss.startsWith('spiffe://') ? undefined : iss;
  if (claims.iss !== expectedIss) return fault('issuer_mismatch', 'iss');

  const kind = checkKind(claims, kinds);
  if (isFault(kind)) return kind;
  const times = checkTimes(claims, {
    nowSeconds: rules.nowSeconds,
    maxLifetimeSeconds: spec.max_lifetime_seconds,
    requireIat: kind.requireIat,
  });
  if (isFault(times)) return times;
  // R17: binding is not supported yet, so a bound token cannot be traded for an unbound one.
  if (Object.hasOwn(claims, 'cnf')) return fault('bound', 'cnf');
  return readFacts(verified, rules, times);
}

/** The claims of a verified, currently valid token of the right kind, read through the trusted issuer's mapping. */
function readFacts(
  { claims }: VerifiedJwt,
  { spec, iss }: ExternalTokenRules,
  times: { readonly exp: number; readonly iat: number | undefined },
): ExternalToken | Fault {
  const missing = faultOfRequired(claims, spec.required_claims);
  if (missing !== undefined) return missing;
  const sub = readSubject(claims, spec);
  if (isFault(sub)) return sub;
  // The keys of one tenant speak for nobody of another.
  if (!issValuesOfSubject(spec, sub).includes(iss)) return fault('issuer_mismatch', 'sub');
  const audience = readAudience(claims);
  if (isFault(audience)) return audience;
  const groups = readGroups(claims, spec);
  if (isFault(groups)) return groups;
  const entitled = readEntitlement(claims, spec);
  if (isFault(entitled)) return entitled;
  const chain = readChain(claims.act, iss);
  if (isFault(chain)) return chain;
  return {
    principal: { issuer: iss, sub },
    issuerName: spec.name,
    audience,
    exp: times.exp,
    ...(times.iat !== undefined && { iat: times.iat }),
    identity: tokenIdentity(iss, claims),
    groups,
    ...readDisplay(claims, spec),
    ...(entitled !== undefined && { entitled }),
    chain,
    ...(claims.may_act !== undefined && { mayAct: claims.may_act }),
    ...readAuthentication(claims),
  };
}
