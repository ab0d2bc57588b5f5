/**
 * Step 7 of the road: the token (RFC 9068). It lives as long as its targets allow, never past the tokens that it was
 * made from, and never past 900 s.
 */
import { randomUUID } from 'node:crypto';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import { MAX_TOKEN_LIFETIME_SECONDS } from '../objects/resource.ts';
import { signAccessToken } from '../tokens/access-token.ts';
import type { AccessTokenClaims, SigningKey } from '../tokens/access-token.ts';
import { writeChain } from '../tokens/chain.ts';
import type { TokenFacts } from '../tokens/revocation.ts';
import type { AuthorizedGrant } from './decision.ts';
import type { VerifiedToken } from './presented.ts';

export const IDENTITY_TOKEN_LIFETIME_SECONDS = 300;

export interface MintedToken {
  readonly kind: 'token';
  readonly jwt: string;
  readonly claims: AccessTokenClaims;
  readonly kid: string;
}

/** What the lifetime and the authentication of a token depend on besides the grant. */
export interface MintRequest {
  readonly issuer: string;
  readonly clientId: string;
  /** `iat`: when the request began, before anything was asked of the state that it is judged by. */
  readonly issuedAtSeconds: number;
  readonly nowSeconds: number;
  readonly subjectToken: Pick<VerifiedToken, 'expiresAtSeconds' | 'authentication'> | undefined;
  readonly actorToken: Pick<VerifiedToken, 'expiresAtSeconds'> | undefined;
}

/** NumericDate of the end of what is issued. Refuses with `nothing_left_to_live`. */
export function expiryOf(grant: AuthorizedGrant, request: MintRequest): number | Refusal {
  const { issuedAtSeconds, nowSeconds, subjectToken, actorToken } = request;
  const lifetimes = grant.targets.map((target) => target.lifetimeSeconds);
  const lifetimeSeconds = Math.min(
    MAX_TOKEN_LIFETIME_SECONDS,
    ...(lifetimes.length > 0 ? lifetimes : [IDENTITY_TOKEN_LIFETIME_SECONDS]),
  );
  const limits = [subjectToken, actorToken].flatMap((token) => (token === undefined ? [] : [token.expiresAtSeconds]));
  const exp = Math.min(issuedAtSeconds + lifetimeSeconds, ...limits);
  return exp <= nowSeconds ? refuse('nothing_left_to_live') : exp;
}

/** The claims of the token to be issued (RFC 9068 §2.2). */
export function tokenClaims(grant: AuthorizedGrant, request: MintRequest): AccessTokenClaims | Refusal {
  const { issuer, issuedAtSeconds, subjectToken } = request;
  const exp = expiryOf(grant, request);
  if (isRefusal(exp)) return exp;
  const { authTime, acr, amr } = subjectToken?.authentication ?? {};
  const act = writeChain(grant.chain);
  const { principal, tokenSub } = grant.subject;
  const [only, ...more] = grant.targets.map((target) => target.uri);
  return {
    iss: issuer,
    sub: tokenSub,
    // RFC 9493 §3.2.3: whose `sub` it is, where the issuer that vouched for it is another.
    sub_id: { format: 'iss_sub', iss: principal.issuer, sub: principal.sub },
    aud: only === undefined ? issuer : more.length === 0 ? only : [only, ...more],
    client_id: request.clientId,
    ...(act === undefined ? {} : { act }),
    ...(grant.scopes.length === 0 ? {} : { scope: grant.scopes.join(' ') }),
    ...(authTime === undefined ? {} : { auth_time: authTime }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr: [...amr] }),
    jti: randomUUID(),
    iat: issuedAtSeconds,
    exp,
  };
}

/** What a revocation can hit of the token to be issued, but for its `jti`, which nobody can know yet; `behind`: what it is made from. */
export function factsOfGrant(
  grant: AuthorizedGrant,
  { issuer, clientId, issuedAtSeconds }: MintRequest,
  behind: Pick<TokenFacts, 'identities' | 'issuers'>,
): TokenFacts {
  const principals = [grant.subject.principal, ...grant.chain];
  const ours = principals.filter((principal) => principal.issuer === issuer).map(({ sub }) => sub);
  return {
    identities: behind.identities,
    subjects: [grant.subject.principal],
    actors: grant.chain,
    clients: [clientId, ...ours],
    resources: grant.targets.map((target) => target.uri),
    issuers: [...principals.map((principal) => principal.issuer).filter((iss) => iss !== issuer), ...behind.issuers],
    issuedAtSeconds,
  };
}

/** Signs the claims with the active key of the algorithm that the targets ask for. */
export async function mint(
  grant: AuthorizedGrant,
  request: MintRequest,
  signingKey: (algorithm: 'ES256' | 'RS256') => Promise<SigningKey>,
): Promise<MintedToken | Refusal> {
  const claims = tokenClaims(grant, request);
  if (isRefusal(claims)) return claims;
  // An old verifier among several audiences decides for all of them.
  const algorithm = grant.targets.some((target) => target.signingAlgorithm === 'RS256') ? 'RS256' : 'ES256';
  const key = await signingKey(algorithm);
  return { kind: 'token', jwt: await signAccessToken(claims, key), claims, kid: key.kid };
}
