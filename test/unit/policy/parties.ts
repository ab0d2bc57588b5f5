/** The people and programs of the policy tests, and how a test asks about them. */
import { createPolicyEngine } from '../../../src/policy/engine.ts';
import type { Decision, DecisionInput, Party, PolicyEngine } from '../../../src/policy/engine.ts';
import { isPolicySet } from '../../../src/policy/policy-set.ts';
import type { PolicySet, PolicySource } from '../../../src/policy/policy-set.ts';

export type Input = DecisionInput & { readonly mayImpersonate: boolean };

export const NOTES = { name: 'notes', uri: 'https://notes.example/mcp' };
export const CALENDAR = { name: 'calendar', uri: 'https://calendar.example/mcp' };

export function user(name: string, groups: readonly string[] = [], roles: readonly string[] = []): Party {
  return { type: 'User', id: `corp:${name}`, issuer: 'https://idp.corp.example', sub: name, groups, roles };
}

export function client(id: string, groups: readonly string[] = [], roles: readonly string[] = []): Party {
  return { type: 'Client', id, issuer: 'https://sts.example', sub: id, groups, roles };
}

/** Ada of engineering, for whom the travel agent asks to read notes. */
export const DELEGATED: Input = {
  subject: user('ada', ['corp:engineering', 'corp:staff']),
  actor: client('travel-agent'),
  client: client('travel-agent'),
  actAs: false,
  mayImpersonate: false,
  resource: NOTES,
  scopes: ['notes:read'],
  context: { grant: 'token_exchange', depth: 1, via: undefined },
  groupRoles: {},
};

export const ACCESS = `permit (principal in Group::"corp:engineering", action == Action::"access", resource);`;
export const ACT = `permit (principal == Client::"travel-agent", action == Action::"act", resource);`;

export function sourcesOf(policies: Readonly<Record<string, string>>): PolicySource[] {
  return Object.entries(policies).map(([id, cedar]) => ({ id, cedar }));
}

export function loadInto(engine: PolicyEngine, policies: Readonly<Record<string, string>>): PolicySet {
  const set = engine.load(sourcesOf(policies));
  if (!isPolicySet(set)) throw new Error(JSON.stringify(set));
  return set;
}

const unremembering = createPolicyEngine({ memoMax: 0 });

export function decide(policies: Readonly<Record<string, string>>, changes: Partial<Input> = {}): Decision {
  return unremembering.decide(loadInto(unremembering, policies), { ...DELEGATED, ...changes });
}

export function permittedScopes(decision: Decision): string[] {
  return decision.verdicts.filter((verdict) => verdict.permitted).map((verdict) => verdict.scope);
}
