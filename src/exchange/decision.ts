/**
 * Step 6 of the road: permit or deny, with inputs and reasons. Two questions per scope, both must permit: may this
 * subject have it here, may this actor use it for this subject. What is asked for by name is refused, never dropped,
 * where it is not permitted; of the defaults, what is permitted is kept.
 */
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Registry } from '../objects/registry.ts';
import type { Target } from '../objects/target.ts';
import type { Decision, DecisionInput, PolicyEngine, PolicySet } from '../policy/engine.ts';
import type { Actor } from '../tokens/chain.ts';
import { checkCallers, currentClient } from './callers.ts';
import type { Delegation } from './delegation.ts';
import type { Asked, AskedScopes } from './entitlement.ts';
import { policyParty } from '../standing/party.ts';
import type { Party } from '../standing/party.ts';

/** What policy was asked and what it answered, kept with the record so that it can be explained and replayed. */
export interface DecisionTrace {
  readonly inputs: readonly (DecisionInput & { readonly mayImpersonate: boolean })[];
  readonly decisions: readonly Decision[];
  /** Scopes asked for by name that the presented token does not reach; policy was not asked about them. */
  readonly beyond: readonly string[];
}

declare const authorized: unique symbol;

/** What may be issued. Only this module makes one. */
export interface AuthorizedGrant {
  readonly [authorized]: true;
  readonly subject: Party;
  /** `act` of the token; empty for self and for impersonation. */
  readonly chain: readonly Actor[];
  readonly targets: readonly Target[];
  /** The client that will use it: the current actor, else who asks; `undefined`: a person acts. */
  readonly callerId: string | undefined;
  readonly scopes: readonly string[];
  readonly impersonation: boolean;
}

export interface Decided {
  readonly outcome: AuthorizedGrant | Refusal;
  readonly trace: DecisionTrace;
}

export type Decide = (
  question: {
    readonly client: Party;
    readonly delegation: Delegation;
    readonly asked: Asked;
    readonly grantType: string;
  },
  registry: Registry,
) => Promise<Decided>;

export function createDecider(engine: PolicyEngine): Decide {
  const policiesOf = policyLoader(engine);
  return async ({ client, delegation, asked, grantType }, registry) => {
    const policies = await policiesOf(registry);
    const groupRoles = await rolesByGroup(registry);
    const inputs = asked.byTarget.map((entry) => inputFor(entry, client, delegation, grantType, groupRoles));
    const decisions = inputs.map((input) => engine.decide(policies, input));
    return {
      outcome: conclude(client, delegation, asked, decisions),
      trace: { inputs, decisions, beyond: asked.beyond },
    };
  };
}

function inputFor(
  entry: AskedScopes,
  client: Party,
  delegation: Delegation,
  grantType: string,
  groupRoles: DecisionInput['groupRoles'],
): DecisionTrace['inputs'][number] {
  const { subject, subjectClaims, actor } = delegation;
  return {
    subject: policyParty(subject, subjectClaims),
    actor: actor === undefined ? undefined : policyParty(actor.party, actor.claims),
    client: policyParty(client, { groups: [] }),
    actAs: delegation.actAs,
    resource: { name: entry.target.name, uri: entry.target.uri },
    scopes: entry.scopes,
    context: { grant: grantType, depth: delegation.chain.length, via: entry.via?.spec.uri },
    groupRoles,
    mayImpersonate: delegation.mayImpersonate,
  };
}

function conclude(
  client: Party,
  delegation: Delegation,
  asked: Asked,
  decisions: readonly Decision[],
): AuthorizedGrant | Refusal {
  const verdicts = decisions.flatMap((decision) => decision.verdicts);
  const permitted = verdicts.filter((verdict) => verdict.permitted).map((verdict) => verdict.scope);
  const denied = [...verdicts.filter((verdict) => !verdict.permitted).map((verdict) => verdict.scope), ...asked.beyond];
  if (delegation.actAs && decisions.some((decision) => decision.actAs?.permitted !== true))
    return refuse('act_as_denied');
  if (asked.explicit && denied.length > 0)
    return refuse(permitted.length === 0 ? 'all_scopes_denied' : 'some_scopes_denied', { scopes: denied.slice(0, 20) });
  if (permitted.length === 0) return refuse('no_default_scope_left');
  // A token has no audience at which it can do nothing.
  const idle = asked.byTarget.find(
    (_, index) => decisions[index]?.verdicts.some((verdict) => verdict.permitted) !== true,
  );
  if (idle !== undefined) return refuse('no_default_scope_left', { target: idle.target.name });

  const impersonation = delegation.mayImpersonate && decisions.every((decision) => decision.impersonation);
  const targets = asked.byTarget.map((entry) => entry.target);
  const callerId = currentClient(client, delegation, impersonation);
  const unlisted = checkCallers(targets, callerId);
  if (unlisted !== undefined) return unlisted;
  return {
    subject: delegation.subject,
    chain: impersonation ? [] : delegation.chain,
    targets,
    callerId,
    scopes: permitted,
    impersonation,
  } as unknown as AuthorizedGrant;
}

/** An identity token: the client about itself, for Cambist alone; policy has nothing to decide. */
export function authorizeIdentity(client: Party): AuthorizedGrant {
  return {
    subject: client,
    chain: [],
    targets: [],
    callerId: client.client?.spec.id,
    scopes: [],
    impersonation: false,
  } as unknown as AuthorizedGrant;
}

/** Compiles the policies of a registry once for as long as it hands out the same list. */
function policyLoader(engine: PolicyEngine): (registry: Registry) => Promise<PolicySet> {
  let loaded: { readonly from: unknown; readonly set: PolicySet } | undefined;
  return async (registry) => {
    const objects = await registry.policies();
    if (loaded?.from === objects) return loaded.set;
    const sources = objects
      .filter((policy) => !policy.disabled)
      .map(({ spec }) => ({ id: spec.id, cedar: spec.cedar }));
    const set = engine.load(sources);
    // `apply` compiled them before they were stored: what cannot be read now is a fault of ours, and nothing is issued.
    if (!('digest' in set))
      throw new Error(`stored policies do not compile: ${set.map((fault) => fault.policy).join(', ')}`);
    loaded = { from: objects, set };
    return set;
  };
}

async function rolesByGroup(registry: Registry): Promise<Readonly<Record<string, readonly string[]>>> {
  // Group names come from outside: no name may be one that every object has.
  const byGroup = Object.create(null) as Record<string, string[]>;
  for (const role of await registry.roles())
    if (!role.disabled) for (const group of role.spec.groups) (byGroup[group] ??= []).push(role.name);
  return byGroup;
}
