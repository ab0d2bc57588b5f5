/**
 * A decision without a request: the same resolve, delegation, entitlement and policy as on the road, over any set of
 * objects, for `cambist policy check`. Nothing is issued and nothing is recorded.
 */
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Registry } from '../objects/registry.ts';
import type { AccessTokenClaims } from '../tokens/access-token.ts';
import type { Decide, DecisionTrace } from './decision.ts';
import { delegate } from './delegation.ts';
import { askScopes } from './entitlement.ts';
import { tokenClaims } from './mint.ts';
import { clientParty, findParty, NO_CLAIMS } from '../standing/party.ts';
import type { Party, PartyClaims } from '../standing/party.ts';
import type { ResourceScopes } from './presented.ts';
import { resolveTargets } from './target.ts';
import { GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE } from '../core/protocol.ts';

/** A question in the words of configuration. */
export interface RehearsalQuestion {
  readonly clientId: string;
  /** Undefined = the client asks for itself. */
  readonly subject: { readonly issuerName: string; readonly sub: string; readonly claims: PartyClaims } | undefined;
  /** Clients that acted before, the latest first. */
  readonly chain: readonly string[];
  /** The presented token is for this resource, with these scopes: a hop. */
  readonly via: { readonly resource: string; readonly scopes: readonly string[] } | undefined;
  readonly targets: readonly string[];
  readonly scope: string | undefined;
}

export interface Rehearsal {
  /** Claims of the token that would be issued; undefined when it would be refused. */
  readonly claims: AccessTokenClaims | undefined;
  readonly refusal: Refusal | undefined;
  readonly trace: DecisionTrace | undefined;
}

export type Rehearse = (registry: Registry, question: RehearsalQuestion) => Promise<Rehearsal>;

export function createRehearsal(parts: {
  readonly issuer: string;
  readonly clock: Clock;
  readonly decide: Decide;
}): Rehearse {
  return async (registry, question) => {
    const refused = (refusal: Refusal, trace?: DecisionTrace): Rehearsal => ({ claims: undefined, refusal, trace });
    const object = await registry.client(question.clientId);
    if (object === undefined) return refused(refuse('client_unknown', { client: question.clientId }));
    if (object.disabled) return refused(refuse('client_disabled', { client: question.clientId }));
    const client = clientParty(object, parts.issuer);
    const subject = await subjectOf(question, client, registry, parts.issuer);
    if (isRefusal(subject)) return refused(subject);

    const targets = await resolveTargets(
      {
        subject: 'self',
        actor: undefined,
        resources: [],
        audiences: question.targets,
        scope: question.scope,
        withoutTarget: 'refuse',
        wants: 'token',
        issuedTokenType: undefined,
      },
      registry,
      parts.issuer,
    );
    if (isRefusal(targets)) return refused(targets);
    const delegation = delegate(client, subject, undefined);
    if (isRefusal(delegation)) return refused(delegation);
    const scopesAt = await heldScopes(question, registry);
    if (isRefusal(scopesAt)) return refused(scopesAt);
    const asked = askScopes(question.scope, targets, scopesAt);
    if (isRefusal(asked)) return refused(asked);

    const grantType =
      question.subject === undefined && question.via === undefined ? GRANT_CLIENT_CREDENTIALS : GRANT_TOKEN_EXCHANGE;
    const { outcome, trace } = await parts.decide({ client, delegation, asked, grantType }, registry);
    if (isRefusal(outcome)) return refused(outcome, trace);
    const now = nowSeconds(parts.clock);
    const claims = tokenClaims(outcome, {
      issuer: parts.issuer,
      clientId: question.clientId,
      issuedAtSeconds: now,
      nowSeconds: now,
      subjectToken: undefined,
      actorToken: undefined,
    });
    return isRefusal(claims) ? refused(claims, trace) : { claims, refusal: undefined, trace };
  };
}

async function subjectOf(question: RehearsalQuestion, client: Party, registry: Registry, ourIssuer: string) {
  const chain = question.chain.map((clientId) => ({ issuer: ourIssuer, sub: clientId, clientId }));
  for (const clientId of question.chain) {
    const member = await registry.client(clientId);
    if (member === undefined || member.disabled) return refuse('chain_member_disabled', { client: clientId });
  }
  if (question.subject === undefined) return { party: client, claims: NO_CLAIMS, chain, ancestors: [] };
  const { issuerName, sub, claims } = question.subject;
  const issuer = await registry.issuerByName(issuerName);
  if (issuer === undefined) return refuse('subject_token_issuer_unknown', { issuer: issuerName });
  const party = await findParty({ issuer: issuer.spec.issuer, sub }, registry, ourIssuer);
  if (party === undefined) return refuse('subject_token_issuer_unknown', { issuer: issuerName });
  return party.disabled ? refuse('subject_disabled') : { party, claims, chain, ancestors: [] };
}

/** The presented token of a hop, as its resource's server would present it. */
async function heldScopes(
  question: RehearsalQuestion,
  registry: Registry,
): Promise<readonly ResourceScopes[] | undefined | Refusal> {
  if (question.via === undefined) return undefined;
  const resource = await registry.resource(question.via.resource);
  if (resource === undefined) return refuse('target_unknown', { target: question.via.resource });
  if (!resource.spec.served_by.includes(question.clientId))
    return refuse('subject_token_not_meant_for_client', { resource: resource.name });
  if (resource.disabled) return refuse('subject_token_not_meant_for_client', { resource: resource.name });
  const scopes = question.via.scopes.filter((scope) => Object.hasOwn(resource.spec.scopes, scope));
  return [{ resource, scopes, origin: 'own-token' }];
}
