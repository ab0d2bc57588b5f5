/**
 * Step 4 of the road: what the presented tokens are worth. A token counts when its issuer is trusted and this client
 * may present its tokens, its signature, type and times are right, it is meant for us or for this client, it was not
 * revoked, and nobody in it is disabled. What can be refused without fetching a key is refused before.
 */
import { KEPT_AFTER_EXPIRY_SECONDS, nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { AuthenticatedClient, PendingMark } from '../clients/authenticate.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { TrustedIssuer } from '../objects/issuer.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import type { Actor } from '../tokens/chain.ts';
import { readAudience } from '../tokens/claims.ts';
import { decodeCompact } from '../tokens/compact.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import { issuerOfUnverified, verifyExternalToken } from '../trust/external-token.ts';
import type { ExternalToken } from '../trust/external-token.ts';
import type { KeySets } from '../trust/key-sets.ts';
import type { Presented } from './grant.ts';
import { whyDead } from '../standing/own-token.ts';
import type { DeadBecause, Fallen, OwnTokens } from '../standing/own-token.ts';
import { findParty, NO_CLAIMS } from '../standing/party.ts';
import type { Party, PartyClaims } from '../standing/party.ts';

/** Which of the two tokens of a request is meant; names its refusals. */
export type Role = 'subject' | 'actor';

declare const verified: unique symbol;

/** A token that counts. Only this module makes one. */
export interface VerifiedToken {
  readonly [verified]: true;
  readonly party: Party;
  readonly claims: PartyClaims;
  /** Actors so far, the current one first. */
  readonly chain: readonly Actor[];
  /** NumericDate; what is made of it ends no later. */
  readonly expiresAtSeconds: number;
  /** Identity of the token itself (its `jti` where it is ours), for lineage. */
  readonly identity: string;
  readonly ancestors: readonly string[];
  /** Of one of ours: `iss` of trusted issuers that vouched for somebody in it and are not named in it. */
  readonly vouchedBy: readonly string[];
  /** `iss` of the token: what an absent `iss` in its `may_act` means. */
  readonly issuer: string;
  readonly mayAct: unknown;
  /** What a revocation can hit of it. */
  readonly facts: TokenFacts;
  /** One of ours for a resource that the caller serves: its scopes there. Undefined for what carries no scopes here. */
  readonly scopesAt: readonly ResourceScopes[] | undefined;
  /** How the subject authenticated, as far as the token says (RFC 9068 §2.2.1). */
  readonly authentication: { readonly authTime?: number; readonly acr?: string; readonly amr?: readonly string[] };
  readonly marks: readonly PendingMark[];
}

/** Scopes that a token has at one resource. */
export interface ResourceScopes {
  readonly resource: StoredObject<'resource'>;
  readonly scopes: readonly string[];
  /** May these scopes be had there again by exchange, or are they only what call edges need? Both, for our own tokens. */
  readonly origin: 'own-token' | 'mapping';
}

export interface VerifierParts {
  readonly issuer: string;
  readonly clock: Clock;
  readonly keySets: KeySets;
  readonly ownTokens: OwnTokens;
  /** The revocation that hits such a token, if there is one. */
  findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
}

export type VerifyPresented = (
  role: Role,
  presented: Presented,
  client: AuthenticatedClient,
  registry: Registry,
  /** Told of a token as soon as it is verified, so that a refusal after that is recorded with whom it concerns. */
  seen: (token: VerifiedToken) => void,
) => Promise<VerifiedToken | Refusal>;

export function createPresentedVerifier(parts: VerifierParts): VerifyPresented {
  return async (role, presented, client, registry, seen) => {
    const jwt = decodeCompact(presented.token);
    if (isFault(jwt)) return invalid(role, jwt);
    const iss = issuerOfUnverified(jwt);
    if (iss === undefined) return refuse(`${role}_token_invalid`, { fault: 'claim_missing', claim: 'iss' });
    const token = await (iss === parts.issuer
      ? verifyOwn(parts, role, presented, jwt, client, registry)
      : verifyExternal(parts, role, presented, jwt, iss, client, registry));
    if (isRefusal(token)) return token;
    seen(token);
    const dead = await whyDead(token, registry, parts);
    return dead === undefined ? token : refuseDead(role, dead);
  };
}

/** One of ours (RFC 9068): an identity token of the caller, or a token for a resource that the caller serves. */
async function verifyOwn(
  parts: VerifierParts,
  role: Role,
  presented: Presented,
  jwt: UnverifiedJwt,
  client: AuthenticatedClient,
  registry: Registry,
): Promise<VerifiedToken | Refusal> {
  // RFC 8725 §3.11: an access token is no ID token. Type `jwt` takes it, as RFC 8693 §3 allows.
  if (presented.type === 'id_token') return refuse(`${role}_token_invalid`, { fault: 'type_not_allowed' });
  const read = await parts.ownTokens.read(jwt);
  if (isFault(read)) return invalid(role, read);
  const { own } = read;
  const scopesAt = await servedScopes(parts, role, own, client, registry);
  if (isRefusal(scopesAt)) return scopesAt;
  const recalled = await parts.ownTokens.recall(own, registry);
  if ('fallen' in recalled) return refuseFallen(role, recalled, own.clientId);
  const { party, issued, facts } = recalled;
  return made({
    party,
    claims: issued.claims,
    chain: own.chain,
    expiresAtSeconds: own.exp,
    identity: own.jti,
    ancestors: issued.ancestors,
    vouchedBy: issued.vouchedBy,
    issuer: parts.issuer,
    mayAct: undefined,
    facts,
    scopesAt,
    authentication: authenticationOf(own),
    marks: [],
  });
}

function refuseDead(role: Role, because: DeadBecause): Refusal {
  switch (because.dead) {
    case 'name_taken':
      return refuse('subject_name_taken');
    case 'subject_disabled':
      return refuse(`${role}_disabled`);
    case 'revoked':
      return refuse(`${role}_token_revoked`, { revoked: because.by });
    case 'voucher_disabled':
      return refuse(`${role}_token_issuer_disabled`);
    case 'member_disabled':
      return refuse('chain_member_disabled');
  }
}

function refuseFallen(role: Role, fallen: Fallen, client: string): Refusal {
  switch (fallen.fallen) {
    case 'subject_gone':
      return refuse(`${role}_disabled`);
    case 'actor_gone':
      return refuse('chain_member_disabled');
    case 'requester_disabled':
      return refuse(fallen.subjectDisabled ? `${role}_disabled` : 'chain_member_disabled', { client });
    case 'not_committed':
      return refuse(`${role}_token_unknown`);
  }
}

/** Meant for us (an identity token, only in its own client's hands), or for a resource that the caller serves (R9). */
async function servedScopes(
  parts: VerifierParts,
  role: Role,
  own: { readonly audience: readonly string[]; readonly clientId: string; readonly scopes: readonly string[] },
  client: AuthenticatedClient,
  registry: Registry,
): Promise<readonly ResourceScopes[] | undefined | Refusal> {
  const notMeant = refuse(`${role}_token_not_meant_for_client`);
  if (own.audience.includes(parts.issuer))
    return own.audience.length === 1 && own.clientId === client.id ? undefined : notMeant;
  const resources = await Promise.all(own.audience.map((uri) => registry.resourceByUri(uri)));
  const served = resources.filter(
    (resource) => resource !== undefined && !resource.disabled && resource.spec.served_by.includes(client.id),
  ) as StoredObject<'resource'>[];
  if (served.length === 0) return notMeant;
  // Scope names are disjoint within an audience group, so a scope belongs to exactly one audience.
  return served.map((resource) => ({
    resource,
    scopes: own.scopes.filter((scope) => Object.hasOwn(resource.spec.scopes, scope)),
    origin: 'own-token' as const,
  }));
}

/** A JWT of a trusted issuer, meant for us or for an audience that this client may present. */
async function verifyExternal(
  parts: VerifierParts,
  role: Role,
  presented: Presented,
  jwt: UnverifiedJwt,
  iss: string,
  client: AuthenticatedClient,
  registry: Registry,
): Promise<VerifiedToken | Refusal> {
  const issuer = await registry.issuer(iss);
  if (issuer === undefined) return refuse(`${role}_token_issuer_unknown`);
  if (issuer.disabled) return refuse(`${role}_token_issuer_disabled`, { issuer: issuer.name });
  const audience = readAudience(jwt.unverifiedClaims);
  if (isFault(audience)) return invalid(role, audience);
  // A8: the client's right to use this issuer is settled before its keys are fetched.
  if (!mayPresent(issuer.spec, audience, client.id, parts.issuer))
    return refuse(`${role}_token_not_meant_for_client`, { issuer: issuer.name });

  const external = await verifyExternalToken(jwt, {
    spec: issuer.spec,
    iss,
    nowSeconds: nowSeconds(parts.clock),
    tokenType: presented.type,
    keySets: parts.keySets,
  });
  if (isFault(external)) return external.code === 'bound' ? refuse(`${role}_token_bound`) : invalid(role, external);
  // Where a subject is made of several claims, `act` and `may_act` with a bare `sub` name nobody that we know.
  const composed = issuer.spec.subject.claims.length > 1 || issuer.spec.subject.claims[0] !== 'sub';
  if (composed && (external.mayAct !== undefined || external.chain.some((actor) => actor.issuer === iss)))
    return refuse(`${role}_token_invalid`, { fault: 'claim_invalid', claim: 'act' });
  const party = await findParty(external.principal, registry, parts.issuer);
  if (party === undefined) return refuse(`${role}_token_issuer_unknown`);
  const chain = await canonicalChain(external.chain, registry, parts.issuer);
  return made({
    party,
    claims: party.kind === 'client' ? NO_CLAIMS : claimsOf(external),
    chain,
    expiresAtSeconds: external.exp,
    identity: external.identity,
    ancestors: [],
    vouchedBy: [],
    issuer: iss,
    mayAct: external.mayAct,
    facts: factsOfExternal(external, issuer.spec, party, chain),
    scopesAt: external.entitled === undefined ? undefined : await mappedScopes(external.entitled, registry),
    authentication: authenticationOf(external),
    marks: issuer.spec.single_use
      ? [
          {
            purpose: 'external_token',
            issuer: iss,
            id: external.identity,
            expiresAtSeconds: external.exp + KEPT_AFTER_EXPIRY_SECONDS,
          },
        ]
      : [],
  });
}

function mayPresent(spec: TrustedIssuer, audience: readonly string[], clientId: string, ourIssuer: string): boolean {
  if (spec.clients !== undefined && !spec.clients.includes(clientId)) return false;
  return audience.some(
    (value) =>
      value === ourIssuer ||
      spec.audiences.some(
        (entry) => entry.value === value && (entry.clients.includes(clientId) || entry.clients.includes('*')),
      ),
  );
}

/** Actors of an external token: a bound workload identity is its client; a `client_id` of another server means nothing here. */
async function canonicalChain(
  chain: readonly Actor[],
  registry: Registry,
  ourIssuer: string,
): Promise<readonly Actor[]> {
  return Promise.all(
    chain.map(async ({ issuer, sub }) => {
      const party = await findParty({ issuer, sub }, registry, ourIssuer);
      return party?.client === undefined ? { issuer, sub } : { ...party.principal, clientId: party.client.spec.id };
    }),
  );
}

async function mappedScopes(
  entitled: readonly { readonly resource: string; readonly scopes: readonly string[] }[],
  registry: Registry,
): Promise<readonly ResourceScopes[]> {
  const found = await Promise.all(
    entitled.map(async ({ resource, scopes }) => ({ resource: await registry.resourceByUri(resource), scopes })),
  );
  return found.flatMap(({ resource, scopes }) =>
    resource === undefined ? [] : [{ resource, scopes, origin: 'mapping' as const }],
  );
}

/** A workload that is bound to a client goes by both names. */
function factsOfExternal(
  external: ExternalToken,
  { max_lifetime_seconds: maxLifetimeSeconds }: TrustedIssuer,
  party: Party,
  chain: readonly Actor[],
): TokenFacts {
  const clients = [party.client?.spec.id, ...chain.map(({ clientId }) => clientId)];
  return {
    identities: [external.identity],
    subjects: [external.principal, party.principal],
    actors: [...external.chain, ...chain],
    clients: clients.filter((id) => id !== undefined),
    resources: [],
    issuers: [external.principal.issuer, ...external.chain.map(({ issuer }) => issuer)],
    issuedAtSeconds: external.iat ?? external.exp - maxLifetimeSeconds,
  };
}

function claimsOf(external: ExternalToken): PartyClaims {
  return {
    groups: external.groups,
    ...(external.email === undefined ? {} : { email: external.email }),
    ...(external.name === undefined ? {} : { name: external.name }),
  };
}

function authenticationOf(token: {
  readonly authTime?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
}): VerifiedToken['authentication'] {
  return {
    ...(token.authTime === undefined ? {} : { authTime: token.authTime }),
    ...(token.acr === undefined ? {} : { acr: token.acr }),
    ...(token.amr === undefined ? {} : { amr: token.amr }),
  };
}

function made(token: Omit<VerifiedToken, typeof verified>): VerifiedToken {
  return token as VerifiedToken;
}

function invalid(role: Role, fault: Fault): Refusal {
  const reason: Reason = `${role}_token_invalid`;
  return refuse(reason, { fault: fault.code, ...(fault.claim === undefined ? {} : { claim: fault.claim }) });
}
