/**
 * The record of one request, filled with facts as the road learns them and built exactly once, for a permit or a
 * refusal alike. Persons are sealed here; clients stand by their ids.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordKind, RecordRow } from '../audit/record.ts';
import { openPerson, sealPerson } from '../audit/personal.ts';
import type { PersonalFields } from '../audit/personal.ts';
import { collectPersons } from '../audit/sealed-persons.ts';
import type { Persons, PersonSource } from '../audit/sealed-persons.ts';
import type { AuthenticatedClient } from '../clients/authenticate.ts';
import type { Principal } from '../core/principal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Standing } from '../limits/rates.ts';
import type { Party as PolicyParty } from '../policy/engine.ts';
import type { PersonKeys } from '../store/persons.ts';
import type { Actor } from '../tokens/chain.ts';
import type { Arrival } from '../core/arrival.ts';
import type { DecisionTrace } from './decision.ts';
import type { Delegation } from './delegation.ts';
import type { Dispatched } from './dispatch.ts';
import type { FetchedCredential } from './fetch.ts';
import type { MintedToken } from './mint.ts';
import { named } from './named.ts';
import type { Party, PartyClaims } from '../standing/party.ts';
import type { VerifiedToken } from './presented.ts';
import type { Targets } from './target.ts';

/** What is known so far; each step adds its own. */
export interface Facts {
  readonly arrival: Arrival;
  readonly stateVersion: number;
  /** `iat` of what is issued: not later than the state that was read for this request. */
  readonly issuedAtSeconds: number;
  readonly client: AuthenticatedClient;
  dispatched?: Dispatched;
  subjectToken?: VerifiedToken;
  actorToken?: VerifiedToken;
  targets?: Targets;
  delegation?: Delegation;
  trace?: DecisionTrace;
  minted?: MintedToken;
  fetched?: FetchedCredential;
  impersonation?: boolean;
  /** With the limits that applied so far; told to the caller, not recorded. */
  standings?: readonly Standing[];
}

export interface RecorderParts extends PersonSource {
  readonly node: string;
}

/** Builds the row of one request, or those of which one will be its row: they all have one id. */
export interface Recording {
  row(kind: RecordKind, nowMs: number, refusal?: Refusal): RecordRow;
  /** How a party is named in searchable columns: a client by its id, a person by the ref of their key. */
  refOf(party: Party): string;
  actorRefs(chain: readonly Actor[]): readonly string[];
  /** What a later exchange of the issued token has to know of its person, sealed; undefined for a client. */
  sealClaims(jti: string, party: Party, claims: PartyClaims): string | undefined;
}

export async function openRecording(parts: RecorderParts, facts: Facts): Promise<Recording> {
  const persons = await personsIn(parts, facts);
  const id = uuidv7();
  const sealed = persons.seal(id);
  const refOfPrincipal = (principal: Principal): string => persons.refOf(principal);
  return {
    refOf: (party) => refOfPrincipal(party.principal),
    actorRefs: (chain) => chain.map(refOfPrincipal),
    sealClaims: (jti, party, claims) => {
      const person = persons.get(party.principal);
      return person === undefined
        ? undefined
        : sealPerson(person.key, jti, { iss: party.principal.issuer, sub: party.principal.sub, ...claims }).sealed;
    },
    row: (kind, nowMs, refusal) => {
      const { arrival, client, minted, fetched, targets, dispatched } = facts;
      const body = {
        v: RECORD_VERSION,
        id,
        time: new Date(nowMs).toISOString(),
        kind,
        request_id: arrival.requestId,
        ...(arrival.traceId === undefined ? {} : { trace_id: arrival.traceId }),
        node: parts.node,
        state_version: facts.stateVersion,
        source_prefix: arrival.sourcePrefix,
        client: { id: client.id, method: client.method },
        ...(dispatched === undefined ? {} : { grant: dispatched.grantType, asked: asked(dispatched) }),
        ...(facts.subjectToken === undefined ? {} : { subject_token: presentedForm(facts.subjectToken) }),
        ...(facts.actorToken === undefined ? {} : { actor_token: presentedForm(facts.actorToken) }),
        ...(facts.delegation === undefined
          ? {}
          : delegationForm(facts.delegation, facts.impersonation === true, refOfPrincipal)),
        ...(targets === undefined ? {} : { target: targets.map((target) => target.uri) }),
        ...(facts.trace === undefined ? {} : { decision: decisionForm(facts.trace) }),
        ...(facts.impersonation === true ? { impersonation: true } : {}),
        ...(refusal === undefined ? {} : { refusal: { reason: refusal.reason, detail: refusal.detail } }),
        ...(minted === undefined || kind !== 'issued' ? {} : { token: tokenForm(minted) }),
        ...(fetched === undefined || kind !== 'issued' ? {} : fetchedForm(fetched)),
        persons: sealed,
      };
      return {
        id,
        recordedAtMs: nowMs,
        kind,
        reason: refusal?.reason ?? null,
        requestId: arrival.requestId,
        clientId: client.id,
        resources: targets?.map((target) => target.uri) ?? [],
        jti: kind === 'issued' ? (minted?.claims.jti ?? null) : null,
        persons: sealed.map((person) => person.ref),
        canonical: canonicalBytes(body),
      };
    },
  };
}

/** Everybody in the request who is not a client, the subject first. */
async function personsIn(parts: RecorderParts, facts: Facts): Promise<Persons> {
  const persons = collectPersons(parts);
  const { subjectToken, actorToken, arrival } = facts;
  if (subjectToken !== undefined)
    await persons.add(subjectToken.party.principal, {
      ...subjectToken.claims,
      roles: subjectToken.party.roles,
      source: arrival.source,
    });
  if (actorToken !== undefined)
    await persons.add(actorToken.party.principal, { ...actorToken.claims, roles: actorToken.party.roles });
  for (const actor of subjectToken?.chain ?? []) await persons.add(actor, {});
  return persons;
}

/** RFC 8693 §3: the identifiers have this in common. */
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

function asked({ request }: Dispatched) {
  const bounded = (values: readonly string[]) => values.slice(0, 16).map(named);
  return {
    resource: bounded(request.resources),
    audience: bounded(request.audiences),
    ...(request.scope === undefined ? {} : { scope: request.scope.split(' ').slice(0, 64).map(named).join(' ') }),
    ...(request.issuedTokenType === undefined ? {} : { requested_token_type: request.issuedTokenType }),
    ...(request.subject === 'self' ? {} : { subject_token_type: TOKEN_TYPE + request.subject.type }),
    ...(request.actor === undefined ? {} : { actor_token_type: TOKEN_TYPE + request.actor.type }),
  };
}

function presentedForm(token: VerifiedToken) {
  return {
    identity: token.identity,
    exp: token.expiresAtSeconds,
    ...(token.party.issuerName === undefined ? {} : { issuer: token.party.issuerName }),
  };
}

function delegationForm(delegation: Delegation, impersonation: boolean, refOf: (principal: Principal) => string) {
  const act = impersonation ? [] : delegation.chain.map(refOf);
  return { subject: refOf(delegation.subject.principal), act, act_as: delegation.actAs };
}

/**
 * The inputs of the decision without what is personal: of a person, groups, roles and names are in the sealed part,
 * so the two together are the question as it was asked.
 */
function decisionForm(trace: DecisionTrace) {
  return {
    // Named one by one: what is added to the inputs one day is not in clear here by accident.
    inputs: trace.inputs.map(
      ({ subject, actor, client, groupRoles, resource, scopes, context, actAs, mayImpersonate }) => ({
        resource,
        scopes,
        context: { grant: context.grant, depth: context.depth, via: context.via ?? null },
        act_as: actAs,
        may_impersonate: mayImpersonate,
        subject: partyForm(subject),
        actor: actor === undefined ? null : partyForm(actor),
        client: partyForm(client),
        group_roles: rolesOfClients(groupRoles, [subject, actor, client]),
      }),
    ),
    answers: trace.decisions.map((decision) => ({
      policy_digest: decision.digest,
      verdicts: decision.verdicts.map(({ scope, permitted, subject, actor }) => ({
        scope,
        permitted,
        subject,
        actor: actor ?? null,
      })),
      act_as: decision.actAs ?? null,
      impersonation: decision.impersonation,
      impersonation_policies: decision.impersonationPolicies,
    })),
    beyond_token: trace.beyond,
  };
}

function partyForm(party: PolicyParty) {
  return party.type === 'Client' ? { type: party.type, id: party.id, groups: party.groups } : { type: party.type };
}

/** Roles that come by a client's groups; those of a person's groups follow from the roles at `state_version`. */
function rolesOfClients(
  groupRoles: Readonly<Record<string, readonly string[]>>,
  parties: readonly (PolicyParty | undefined)[],
) {
  const groups = new Set(parties.flatMap((party) => (party?.type === 'Client' ? party.groups : [])));
  return Object.fromEntries(Object.entries(groupRoles).filter(([group]) => groups.has(group)));
}

function tokenForm({ claims, kid }: MintedToken) {
  return { jti: claims.jti, kid, aud: claims.aud, scope: claims.scope ?? null, iat: claims.iat, exp: claims.exp };
}

/** Which credential it was, never what. A key that lives on was handed out: said where nobody can overlook it. */
function fetchedForm({ mark, scopes, expiresAtSeconds }: FetchedCredential) {
  const { kind, store, path, version } = mark;
  return {
    credential: { kind, store, path, version, scope: scopes.join(' '), exp: expiresAtSeconds },
    ...(kind === 'static' ? { static_fetched: true } : {}),
  };
}

/** The personal fields of a record, of those who were not erased since. */
export async function openPersons(
  persons: PersonKeys,
  row: { readonly id: string; readonly canonical: Uint8Array },
): Promise<readonly (PersonalFields & { readonly ref: string })[]> {
  const body = JSON.parse(new TextDecoder().decode(row.canonical)) as {
    persons?: readonly { ref: string; sealed: string }[];
  };
  const opened: (PersonalFields & { ref: string })[] = [];
  for (const { ref, sealed } of body.persons ?? []) {
    const key = await persons.open(ref);
    if (key !== undefined) opened.push({ ref, ...openPerson({ ref, key }, row.id, sealed) });
  }
  return opened;
}
