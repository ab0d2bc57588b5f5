/**
 * From the facts of a request to the questions that Cedar is asked: principal, action, resource, entities and the
 * closed context. Everything goes as JSON values, so no id, however odd, can become policy text.
 *
 * Only the parties of a question are among its entities: a policy can reach no one else's attributes or groups.
 */
import type { EntityJson, StatefulAuthorizationCall, TypeAndId } from './cedar.ts';
import { GRANT_NAMES } from '../objects/client.ts';
import { GRANT_IDS } from './schema.ts';
import type { Action, GrantId } from './schema.ts';

/** Somebody that policies can speak of. All facts in it must already have been verified. */
export interface Party {
  readonly type: 'User' | 'Client';
  /** `shortName:sub` for users, the client_id for clients. */
  readonly id: string;
  /** Exact `iss` under which `sub` is unique. */
  readonly issuer: string;
  readonly sub: string;
  readonly email?: string;
  readonly name?: string;
  /** `shortName:group` for groups of trusted issuers, the plain name for groups of clients. */
  readonly groups: readonly string[];
  /** All its roles, however it came to them. */
  readonly roles: readonly string[];
}

/** What a decision is made from; nothing else is. */
export interface DecisionInput {
  readonly subject: Party;
  /** The current actor; `undefined` = self: only the subject's question is asked. */
  readonly actor: Party | undefined;
  /** The authenticated client. */
  readonly client: Party;
  /** The actor is another party than the client: ask `actAs` too. Asked anyway where the two differ. */
  readonly actAs: boolean;
  readonly resource: { readonly name: string; readonly uri: string };
  readonly scopes: readonly string[];
  readonly context: {
    /** `grant_type` on the wire, or the grant's name in configuration. */
    readonly grant: string;
    /** Actors in the chain of the token to be issued, the current one included. */
    readonly depth: number;
    /** Canonical URI of the resource that the subject token was for, on a hop. */
    readonly via: string | undefined;
  };
  /** Roles that a group brings, by group. */
  readonly groupRoles: Readonly<Record<string, readonly string[]>>;
}

/** A question without the names of the preparsed policies and schema. */
export type Question = Omit<
  StatefulAuthorizationCall,
  'preparsedPolicySetId' | 'preparsedSchemaName' | 'validateRequest'
>;

export interface Questions {
  access(scope: string): Question;
  act(actor: Party, scope: string): Question;
  actAs(actor: Party): Question;
  impersonate(scope: string): Question;
}

export function sameParty(a: Party, b: Party): boolean {
  return a.type === b.type && a.id === b.id;
}

/** The questions of one request. Throws where the caller breaks the contract of `DecisionInput`. */
export function questionsOf(input: DecisionInput): Questions {
  const { subject, client, resource } = input;
  if (client.type !== 'Client') throw new TypeError('the authenticated party of a decision is a client');
  const context = contextOf(input);
  const scopeUid = (scope: string) => uid('Scope', `${resource.name}#${scope}`);
  const ask = (action: Action, principal: Party, target: TypeAndId, entities: readonly EntityJson[]): Question => ({
    principal: uid(principal.type, principal.id),
    action: uid('Action', action),
    resource: target,
    context,
    entities: [...entities, subjectEntity(subject)],
  });
  const askScope = (action: Action, principal: Party, scope: string) =>
    ask(action, principal, scopeUid(scope), [
      ...partyEntities([principal, subject, client], input.groupRoles),
      {
        uid: scopeUid(scope),
        attrs: { name: scope, resource: resource.name },
        parents: [uid('Resource', resource.uri)],
      },
    ]);
  return {
    access: (scope) => askScope('access', subject, scope),
    act: (actor, scope) => askScope('act', actor, scope),
    actAs: (actor) =>
      ask('actAs', client, uid(actor.type, actor.id), partyEntities([client, actor, subject], input.groupRoles)),
    impersonate: (scope) => askScope('impersonate', client, scope),
  };
}

/** Every string of a request that comes from outside, for a check of its form. */
export function textsOf(input: DecisionInput): string[] {
  const parties = [input.subject, input.client, ...(input.actor === undefined ? [] : [input.actor])];
  return [
    ...parties.flatMap(({ id, issuer, sub, email, name, groups, roles }) => [
      id,
      issuer,
      sub,
      email ?? '',
      name ?? '',
      ...groups,
      ...roles,
    ]),
    input.resource.name,
    input.resource.uri,
    input.context.via ?? '',
    ...input.scopes,
  ];
}

/** Only the roles of groups that somebody in this request is in. */
export function relevantGroupRoles(input: DecisionInput): Record<string, readonly string[]> {
  const groups = new Set([input.subject, input.client, input.actor].flatMap((party) => party?.groups ?? []));
  const relevant: [string, readonly string[]][] = [];
  for (const group of [...groups].sort()) {
    const roles = Object.hasOwn(input.groupRoles, group) ? input.groupRoles[group] : undefined;
    if (roles !== undefined && roles.length > 0) relevant.push([group, roles]);
  }
  return Object.fromEntries(relevant);
}

function contextOf({ subject, actor, client, context }: DecisionInput): Question['context'] {
  if (!Number.isSafeInteger(context.depth) || context.depth < 0)
    throw new RangeError('the depth of a chain is a whole number');
  return {
    subject: { __entity: uid('Subject', subject.id) },
    client: { __entity: uid('Client', client.id) },
    grant: { __entity: uid('Grant', grantId(context.grant)) },
    delegated: actor !== undefined,
    depth: context.depth,
    ...(context.via === undefined ? {} : { via: { __entity: uid('Resource', context.via) } }),
  };
}

function grantId(grant: string): GrantId {
  const found = GRANT_IDS.find((id) => id === grant || GRANT_NAMES[id] === grant);
  if (found === undefined) throw new TypeError('a grant that the policy schema does not know');
  return found;
}

/** One entity per party, and one per group that brings roles. A party that stands in two places is one entity. */
function partyEntities(parties: readonly Party[], groupRoles: DecisionInput['groupRoles']): EntityJson[] {
  const entities = new Map<string, EntityJson>();
  for (const party of parties) {
    const key = `${party.type}::${party.id}`;
    const known = entities.get(key);
    const parents = [
      ...party.groups.map((group) => uid('Group', group)),
      ...party.roles.map((role) => uid('Role', role)),
    ];
    // The same party may have been described from a token and from configuration: both are verified, both count.
    entities.set(key, {
      uid: uid(party.type, party.id),
      attrs: { ...partyAttributes(party), ...known?.attrs },
      parents: [...(known?.parents ?? []), ...parents],
    });
  }
  for (const group of new Set(parties.flatMap((party) => party.groups))) {
    const roles = Object.hasOwn(groupRoles, group) ? groupRoles[group] : undefined;
    if (roles === undefined || roles.length === 0) continue;
    entities.set(`Group::${group}`, {
      uid: uid('Group', group),
      attrs: {},
      parents: roles.map((role) => uid('Role', role)),
    });
  }
  return [...entities.values()];
}

function partyAttributes({ type, issuer, sub, email, name }: Party): EntityJson['attrs'] {
  if (type === 'Client') return name === undefined ? {} : { name };
  return { issuer, sub, ...(email === undefined ? {} : { email }) };
}

function subjectEntity({ type, id, issuer, sub, email }: Party): EntityJson {
  return {
    uid: uid('Subject', id),
    attrs: { issuer, sub, isClient: type === 'Client', ...(email === undefined ? {} : { email }) },
    parents: [uid(type, id)],
  };
}

function uid(type: string, id: string): TypeAndId {
  return { type, id };
}
