/**
 * Parties: principals as the registry knows them. A workload identity that is bound to a client *is* that client,
 * wherever it appears; a party that was disabled, or whose trusted issuer was, takes part in nothing.
 */
import type { Principal } from '../core/principal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { Registry } from '../objects/registry.ts';
import type { Party as PolicyParty } from '../policy/engine.ts';

export interface Party {
  /** Canonical: a bound workload identity is replaced by its client. */
  readonly principal: Principal;
  readonly kind: 'client' | 'user';
  /** `sub` in tokens of ours: unique under our issuer (RFC 7519 §4.1.2). */
  readonly tokenSub: string;
  /** Short name of the trusted issuer; undefined for clients and for issuers that are not registered. */
  readonly issuerName: string | undefined;
  readonly client: StoredObject<'client'> | undefined;
  /** Roles from configuration, of this very subject. */
  readonly roles: readonly string[];
  readonly disabled: boolean;
}

/** What a verified token says about its subject, for policy and record. */
export interface PartyClaims {
  readonly groups: readonly string[];
  readonly email?: string;
  readonly name?: string;
}

export const NO_CLAIMS: PartyClaims = { groups: [] };

export function clientParty(client: StoredObject<'client'>, ourIssuer: string): Party {
  return {
    principal: { issuer: ourIssuer, sub: client.spec.id },
    kind: 'client',
    tokenSub: client.spec.id,
    issuerName: undefined,
    client,
    roles: [],
    disabled: client.disabled,
  };
}

/**
 * The party behind a principal. Undefined when its issuer is not registered (or a client of ours does not exist): what
 * that means is the caller's to say; as subject or current actor it is refused, in an external token's history it is
 * history.
 */
export async function findParty(
  principal: Principal,
  registry: Registry,
  ourIssuer: string,
): Promise<Party | undefined> {
  if (principal.issuer === ourIssuer) {
    const client = await registry.client(principal.sub);
    return client === undefined ? undefined : clientParty(client, ourIssuer);
  }
  const issuer = await registry.issuer(principal.issuer);
  if (issuer === undefined) return undefined;
  const { name, subject: mapping } = issuer.spec;
  const [bound, subject] = await Promise.all([
    registry.clientByIdentity(name, principal.sub),
    registry.subject(name, principal.sub),
  ]);
  if (bound !== undefined) {
    const party = clientParty(bound, ourIssuer);
    return { ...party, disabled: party.disabled || issuer.disabled || subject?.disabled === true };
  }
  return {
    principal,
    kind: 'user',
    tokenSub: mapping.verbatim ? principal.sub : `${name}:${principal.sub}`,
    issuerName: name,
    client: undefined,
    roles: subject?.spec.roles ?? [],
    disabled: issuer.disabled || subject?.disabled === true,
  };
}

/** R13: where subjects are written verbatim, one that is spelled like a client of ours, or like another issuer's, is taken. */
export async function nameIsTaken(party: Party, registry: Registry): Promise<boolean> {
  if (party.kind !== 'user' || party.tokenSub !== party.principal.sub) return false;
  const colon = party.tokenSub.indexOf(':');
  if (colon > 0 && (await registry.issuerByName(party.tokenSub.slice(0, colon))) !== undefined) return true;
  return (await registry.client(party.tokenSub)) !== undefined;
}

/** The party as policy sees it. */
export function policyParty(party: Party, claims: PartyClaims): PolicyParty {
  if (party.client !== undefined) {
    const { id, name, groups } = party.client.spec;
    return { type: 'Client', id, ...party.principal, ...(name === undefined ? {} : { name }), groups, roles: [] };
  }
  return {
    type: 'User',
    id: `${party.issuerName ?? ''}:${party.principal.sub}`,
    ...party.principal,
    ...(claims.email === undefined ? {} : { email: claims.email }),
    ...(claims.name === undefined ? {} : { name: claims.name }),
    groups: claims.groups,
    roles: party.roles,
  };
}
