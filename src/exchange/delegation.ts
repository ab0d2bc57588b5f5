/**
 * Who acts for whom (RFC 8693 §1.1, §4.1, §4.4). The authenticated client becomes the actor when it differs from the
 * subject; a chain that is there is never lost; earlier actors are history.
 */
import { samePrincipal } from '../core/principal.ts';
import type { Principal } from '../core/principal.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Registry } from '../objects/registry.ts';
import { MAX_ACT_BYTES, MAX_CHAIN_DEPTH, writeChain } from '../tokens/chain.ts';
import type { Actor } from '../tokens/chain.ts';
import { findParty } from '../standing/party.ts';
import type { Party, PartyClaims } from '../standing/party.ts';
import type { VerifiedToken } from './presented.ts';

/** Tokens that one token may descend from. Loops that add no level to the chain add one here. */
const MAX_ANCESTORS = 64;

export interface Delegation {
  readonly subject: Party;
  readonly subjectClaims: PartyClaims;
  /** Who acts now; undefined = self: the subject asks for itself and nobody acted before. */
  readonly actor: { readonly party: Party; readonly claims: PartyClaims } | undefined;
  /** The actor is not the authenticated client: policy must permit `actAs`. */
  readonly actAs: boolean;
  /** `act` of the token to be issued, the current actor first. */
  readonly chain: readonly Actor[];
  /** Could policy turn this into impersonation (no `act`) without a chain being lost? */
  readonly mayImpersonate: boolean;
}

export function delegate(
  client: Party,
  subject: Pick<VerifiedToken, 'party' | 'claims' | 'chain' | 'ancestors'>,
  actorToken: VerifiedToken | undefined,
): Delegation | Refusal {
  // The actor of an actor token with a history of its own would be lost in ours, or ours in it.
  if (actorToken !== undefined && actorToken.chain.length > 0) return refuse('chain_invalid', { chain: 'actor_token' });
  // Before self is told apart: its loops add no level either.
  const lineage = Math.max(subject.ancestors.length, actorToken?.ancestors.length ?? 0);
  if (lineage >= MAX_ANCESTORS) return refuse('chain_too_deep', { limit: 'ancestors' });
  const actor = actorToken ?? { party: client, claims: { groups: [] } };
  const actAs = !samePrincipal(actor.party.principal, client.principal);
  const common = { subject: subject.party, subjectClaims: subject.claims, actAs };

  if (samePrincipal(actor.party.principal, subject.party.principal) && subject.chain.length === 0 && !actAs)
    return { ...common, actor: undefined, chain: [], mayImpersonate: false };

  const [current] = subject.chain;
  const again = current !== undefined && samePrincipal(current, actor.party.principal);
  const chain = again ? subject.chain : [actorOf(actor.party), ...subject.chain];
  if (chain.length > MAX_CHAIN_DEPTH) return refuse('chain_too_deep', { depth: chain.length });
  if (JSON.stringify(writeChain(chain)).length > MAX_ACT_BYTES) return refuse('chain_too_deep', { limit: 'bytes' });
  return {
    ...common,
    actor: { party: actor.party, claims: actor.claims },
    chain,
    mayImpersonate: actorToken === undefined && subject.chain.length === 0,
  };
}

function actorOf(party: Party): Actor {
  return { ...party.principal, ...(party.client === undefined ? {} : { clientId: party.client.spec.id }) };
}

/**
 * RFC 8693 §4.4: `may_act` names the party that may become the actor. Without `iss` it is one of the token's own
 * issuer. A statement that cannot be read whole is not guessed at.
 */
export async function checkMayAct(
  mayAct: unknown,
  tokenIssuer: string,
  delegation: Delegation,
  registry: Registry,
  ourIssuer: string,
): Promise<Refusal | undefined> {
  if (mayAct === undefined || delegation.actor === undefined) return undefined;
  const named = readMayAct(mayAct, tokenIssuer, ourIssuer);
  if (isRefusal(named)) return named;
  const { party } = delegation.actor;
  if (named.clientId !== undefined && named.clientId !== party.client?.spec.id) return refuse('may_act_mismatch');
  if (named.principal === undefined) return undefined;
  const principal = (await findParty(named.principal, registry, ourIssuer))?.principal ?? named.principal;
  return samePrincipal(principal, party.principal) ? undefined : refuse('may_act_mismatch');
}

function readMayAct(
  mayAct: unknown,
  tokenIssuer: string,
  ourIssuer: string,
): { readonly principal: Principal | undefined; readonly clientId: string | undefined } | Refusal {
  const unreadable = refuse('may_act_mismatch', { may_act: 'unreadable' });
  if (typeof mayAct !== 'object' || mayAct === null || Array.isArray(mayAct)) return unreadable;
  const { sub, iss, client_id: clientId, ...others } = mayAct as Record<string, unknown>;
  if (Object.keys(others).length > 0) return unreadable;
  for (const value of [sub, iss, clientId])
    if (value !== undefined && (typeof value !== 'string' || value === '')) return unreadable;
  if (sub === undefined && clientId === undefined) return unreadable;
  // Another server's client ids are names of another space: ours are meant only where the statement says so.
  if (clientId !== undefined && (iss ?? tokenIssuer) !== ourIssuer) return unreadable;
  return {
    principal:
      sub === undefined ? undefined : { issuer: (iss as string | undefined) ?? tokenIssuer, sub: sub as string },
    clientId: clientId as string | undefined,
  };
}
