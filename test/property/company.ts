/**
 * Generated companies: the cast is fixed (users, agents, one server per resource), everything that decides is generated:
 * policies, call edges (cycles too), default scopes, lifetimes, audience groups, memberships. One description, two
 * readings: the oracle's tables, and the objects that `cambist apply` is given.
 */
import fc from 'fast-check';
import { issuerId } from './model.ts';
import type { ActAsRule, Company, Edge, ResourceFacts, Rule, Somebody, Who } from './model.ts';

export const RESOURCES = ['r0', 'r1', 'r2', 'r3', 'r4', 'r5'] as const;
export const UPSTREAMS = ['up0', 'up1'] as const;
const TARGETS = [...RESOURCES, ...UPSTREAMS];
/** These two share an audience group. */
export const GROUPED = ['r3', 'r4'] as const;
export const AGENTS = ['a0', 'a1', 'a2'] as const;
/** The workload that a2 is, at the trusted issuer `cluster`. */
export const WORKLOAD = 'system:serviceaccount:prod:a2';
export const USERS = ['u0', 'u1', 'u2', 'u3'] as const;
/** What a run may disable and enable again. */
export const SWITCHED = [
  { kind: 'client', name: 'ghost', id: 'ghost' },
  { kind: 'subject', name: 'corp:u3', id: 'corp:u3' },
  { kind: 'resource', name: 'r5', id: 'r5' },
] as const;
/** Disabled for one step only: what it does to tokens that descend from its own is not the oracle's matter. */
export const SINGLE_USE_SWITCH = { kind: 'issuer', name: 'once', id: issuerId('once') } as const;

export interface Issuers {
  readonly ours: string;
  readonly corp: string;
  readonly partner: string;
  readonly cluster: string;
  readonly once: string;
}

export interface Plan {
  readonly edges: readonly Edge[];
  readonly rules: readonly Rule[];
  readonly actAs: readonly ActAsRule[];
  readonly defaults: readonly (readonly string[])[];
  readonly lifetimes: readonly number[];
  readonly extraServers: readonly (string | undefined)[];
  /** Of each upstream. */
  readonly callers: readonly (readonly string[])[];
  readonly memberships: readonly (readonly string[])[];
}

export function scopesOf(resource: string): readonly string[] {
  return ['a', 'b', 'c'].map((name) => `${resource}:${name}`);
}

/** What a2 may never do, so that every run meets these refusals. */
const ALWAYS: readonly Rule[] = [
  { effect: 'forbid', action: 'act', who: { by: 'client', id: 'a2' }, resource: 'r1' },
  { effect: 'forbid', action: 'act', who: { by: 'client', id: 'a2' }, resource: 'r2', scope: 'r2:b' },
];

/** True in so many of a hundred cases; the simple value, to which a failing case shrinks, is true. */
export function chance(percent: number): fc.Arbitrary<boolean> {
  return fc.noBias(fc.nat(99)).map((n) => n < percent);
}

const anyResource = fc.constantFrom(...RESOURCES);
const anyTarget = fc.constantFrom(...TARGETS);
const someScopes = (resource: string): fc.Arbitrary<string[]> =>
  fc.noBias(fc.subarray([...scopesOf(resource)], { minLength: 1 }));
const CLIENTS = [...AGENTS, ...RESOURCES.map((name) => `s${name.slice(1)}`), 'ghost'];

const anyWho: fc.Arbitrary<Who> = fc.oneof(
  fc.constantFrom(...CLIENTS).map((id) => ({ by: 'client' as const, id })),
  fc.constantFrom(...USERS).map((sub) => ({ by: 'user' as const, id: `corp:${sub}` })),
  fc.constantFrom('corp:staff', 'corp:eng', 'agents').map((id) => ({ by: 'group' as const, id })),
  fc.constantFrom('lead', 'clerk').map((id) => ({ by: 'role' as const, id })),
  fc.constant({ by: 'anyone' as const, id: '' }),
);

/** A rule about somebody and one scope, or a whole resource. */
const narrowRule: fc.Arbitrary<Rule> = fc
  .record({
    effect: fc.noBias(fc.constantFrom('permit' as const, 'permit' as const, 'forbid' as const)),
    action: fc.noBias(fc.constantFrom('access' as const, 'act' as const, 'act' as const)),
    who: fc.noBias(anyWho),
    resource: anyTarget,
    scope: fc.noBias(fc.constantFrom(0, 1, 2)),
    whole: chance(20),
    via: fc.noBias(fc.constantFrom(undefined, undefined, undefined, true, false)),
  })
  .map(({ whole, scope, ...rule }) => ({
    ...rule,
    // A forbid over everything, for anyone, would end the run before it began.
    who: rule.effect === 'forbid' && rule.who.by === 'anyone' ? { by: 'client', id: 'a1' } : rule.who,
    scope: whole && rule.effect === 'permit' ? undefined : scopesOf(rule.resource)[scope],
  }));

const impersonationRule: fc.Arbitrary<Rule> = fc
  .record({
    client: fc.noBias(fc.constantFrom('a1', 'a1', 's2')),
    everywhere: chance(40),
    resource: anyTarget,
    scope: fc.noBias(fc.constantFrom(undefined, 0, 1)),
  })
  .map(({ client, everywhere, resource, scope }) => ({
    effect: 'permit',
    action: 'impersonate',
    who: { by: 'client', id: client },
    ...(everywhere ? {} : { resource, scope: scope === undefined ? undefined : scopesOf(resource)[scope] }),
  }));

/** Most resources are open to most; which are not is what is generated. */
const broadRules: fc.Arbitrary<Rule[]> = fc.tuple(...TARGETS.map(() => fc.tuple(chance(95), chance(96)))).map((open) =>
  open.flatMap(([access, act], index) => {
    const resource = TARGETS[index];
    const rule = (action: 'access' | 'act', who: Who): Rule => ({ effect: 'permit', action, who, resource });
    return [
      ...(access ? [rule('access', { by: 'anyone', id: '' })] : [rule('access', { by: 'role', id: 'lead' })]),
      ...(act ? [rule('act', { by: 'anyone', id: '' })] : [rule('act', { by: 'group', id: 'agents' })]),
    ];
  }),
);

const actAsRules: fc.Arbitrary<ActAsRule[]> = fc
  .array(
    fc.record({
      client: fc.constantFrom('a0', 's0', 's1'),
      actor: fc.constantFrom(
        { actor: 'a2', actorKind: 'client' as const },
        { actor: 'corp:u1', actorKind: 'user' as const },
        { actor: 'corp:u2', actorKind: 'user' as const },
      ),
    }),
    { maxLength: 5 },
  )
  .map((rules) => rules.map(({ client, actor }) => ({ client, ...actor })));

/** A ring over the first four resources, so that loops and long ways exist, some edges anywhere, and some to upstreams. */
const edges: fc.Arbitrary<Edge[]> = fc
  .tuple(
    ...[0, 1, 2, 3].map((from) => edgeBetween(`r${from}`, `r${(from + 1) % 4}`)),
    fc.array(
      fc.tuple(anyResource, anyResource).chain(([from, to]) => edgeBetween(from, to)),
      { minLength: 2, maxLength: 8 },
    ),
    fc.array(
      fc.tuple(anyResource, fc.constantFrom(...UPSTREAMS)).chain(([from, to]) => edgeBetween(from, to)),
      { minLength: 1, maxLength: 2 },
    ),
  )
  .map((parts) => parts.flat());

function edgeBetween(from: string, to: string): fc.Arbitrary<Edge> {
  return fc.record({
    from: fc.constant(from),
    to: fc.constant(to),
    needs: fc.oneof(
      { weight: 4, arbitrary: fc.noBias(fc.subarray([...scopesOf(from)], { minLength: 1, maxLength: 1 })) },
      { weight: 1, arbitrary: fc.noBias(fc.subarray([...scopesOf(from)], { minLength: 2, maxLength: 2 })) },
    ),
    gives: someScopes(to),
  });
}

export const plans: fc.Arbitrary<Plan> = fc.record({
  edges,
  rules: fc
    .tuple(
      broadRules,
      fc.array(narrowRule, { maxLength: 6 }),
      fc.array(impersonationRule, { minLength: 1, maxLength: 3 }),
    )
    .map((parts) => [...ALWAYS, ...parts.flat()]),
  actAs: actAsRules,
  defaults: fc.tuple(
    ...TARGETS.map((name) => fc.tuple(chance(92), someScopes(name)).map(([some, scopes]) => (some ? scopes : []))),
  ),
  lifetimes: fc.tuple(...TARGETS.map(() => fc.constantFrom(300, 60, 120, 900))),
  extraServers: fc.tuple(...RESOURCES.map(() => fc.constantFrom(undefined, undefined, 's0', 's1'))),
  callers: fc.tuple(...UPSTREAMS.map(() => fc.noBias(fc.subarray(CLIENTS, { minLength: 4 })))),
  memberships: fc.tuple(...USERS.map(() => fc.noBias(fc.subarray(['staff', 'eng', 'ops'])))),
});

/** The plan as the oracle reads it. */
export function companyOf(plan: Plan, issuers: Issuers, disabled: ReadonlySet<string>): Company {
  const resources = RESOURCES.map((name, index): ResourceFacts => ({
    name,
    uri: `https://${name}.example/mcp`,
    alias: `urn:example:${name}`,
    scopes: scopesOf(name),
    defaults: plan.defaults[index] ?? [],
    servers: [...new Set([`s${index}`, ...[plan.extraServers[index]].filter((id) => id !== undefined)])],
    lifetimeSeconds: plan.lifetimes[index] ?? 300,
    audienceGroup: GROUPED.some((grouped) => grouped === name) ? 'pair' : undefined,
  }));
  const upstreams = UPSTREAMS.map((name, index): ResourceFacts => {
    const uri = `${issuers.ours}/egress/${name}`;
    const at = RESOURCES.length + index;
    return {
      ...{ name, uri, alias: uri, scopes: scopesOf(name), defaults: plan.defaults[at] ?? [], servers: [] },
      ...{ callers: plan.callers[index] ?? [], lifetimeSeconds: plan.lifetimes[at] ?? 300, audienceGroup: undefined },
    };
  });
  return {
    ourIssuer: issuers.ours,
    resources: [...resources, ...upstreams],
    edges: plan.edges,
    rules: plan.rules,
    actAs: plan.actAs,
    roleGroups: { lead: ['corp:eng'], clerk: ['corp:staff'] },
    userRoles: { 'corp:u0': ['lead'] },
    audiences: { portal: ['a0', 'a1', 'a2'], 'partner-portal': ['a0', 'a1'] },
    disabled,
  };
}

export function clientNamed(id: string, issuers: Issuers): Somebody {
  const groups = AGENTS.some((agent) => agent === id) ? ['agents'] : [];
  return { kind: 'client', id, iss: issuers.ours, sub: id, groups };
}

/** What the partner's scopes mean here. */
export const PARTNER_SCOPES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'p:read': { r0: ['r0:a'] },
  'p:all': { r0: ['r0:a', 'r0:b'], r1: ['r1:a'] },
};

/** The plan as `cambist apply` reads it: YAML is a superset of JSON. */
export function objectsOf(plan: Plan, issuers: Issuers): string {
  const company = companyOf(plan, issuers, new Set());
  const meaning = (scope: string) =>
    Object.entries(PARTNER_SCOPES[scope] ?? {}).map(([name, scopes]) => ({
      resource: `https://${name}.example/mcp`,
      scopes,
    }));
  const external = (name: 'corp' | 'partner' | 'cluster' | 'once') => ({ name, issuer: issuers[name], internal: true });
  return JSON.stringify({
    issuers: [
      {
        ...external('corp'),
        audiences: [{ value: 'portal', clients: company.audiences['portal'] }],
        token_types: { id_token: {}, access_token: {} },
        algorithms: ['ES256'],
        claims: { groups: 'groups' },
      },
      {
        ...external('partner'),
        audiences: [{ value: 'partner-portal', clients: company.audiences['partner-portal'] }],
        token_types: { access_token: {} },
        algorithms: ['ES256'],
        claims: { scope: { values: { 'p:read': meaning('p:read'), 'p:all': meaning('p:all') } } },
      },
      { ...external('cluster'), token_types: { jwt: {} }, algorithms: ['ES256'] },
      {
        ...external('once'),
        audiences: [{ value: 'portal', clients: company.audiences['portal'] }],
        algorithms: ['ES256'],
        single_use: true,
      },
    ],
    clients: CLIENTS.map((id) => ({
      id,
      auth: ['client_secret_basic'],
      groups: clientNamed(id, issuers).groups,
      ...(id === 'a2' ? { identities: [{ issuer: 'cluster', sub: WORKLOAD }] } : {}),
    })),
    resources: company.resources
      .filter(({ callers }) => callers === undefined)
      .map((resource) => ({
        ...targetOf(resource),
        uri: resource.uri,
        aliases: [resource.alias],
        served_by: resource.servers,
        ...(resource.audienceGroup === undefined ? {} : { audience_group: resource.audienceGroup }),
        calls: company.edges
          .filter((edge) => edge.from === resource.name)
          .map(({ to, needs, gives }) => ({
            [UPSTREAMS.some((name) => name === to) ? 'upstream' : 'resource']: to,
            ...{ needs, gives },
          })),
      })),
    upstreams: company.resources
      .filter(({ callers }) => callers !== undefined)
      .map((upstream) => ({
        ...targetOf(upstream),
        callers: upstream.callers,
        base_url: 'https://api.example',
        requests: [{ methods: ['*'], path: '/**', scopes: upstream.scopes }],
        credential: { kind: 'static', store: 'embedded', path: 'generated', field: 'key' },
      })),
    roles: Object.entries(company.roleGroups).map(([name, groups]) => ({ name, groups })),
    subjects: [
      { issuer: 'corp', sub: 'u0', roles: ['lead'] },
      { issuer: 'corp', sub: 'u3' },
    ],
    policies: [{ id: 'generated', cedar: [...plan.rules.map(cedarOf), ...plan.actAs.map(cedarOfActAs)].join('\n') }],
  });
}

function targetOf({ name, scopes, defaults, lifetimeSeconds }: ResourceFacts) {
  return {
    name,
    scopes: Object.fromEntries(scopes.map((scope) => [scope, 'generated'])),
    default_scopes: defaults,
    lifetime_seconds: lifetimeSeconds,
  };
}

function cedarOf({ effect, action, who, resource, scope, via }: Rule): string {
  const principal = {
    anyone: 'principal',
    client: `principal == Client::"${who.id}"`,
    user: `principal == User::"${who.id}"`,
    group: `principal in Group::"${who.id}"`,
    role: `principal in Role::"${who.id}"`,
  }[who.by];
  const conditions = [
    ...(resource === undefined ? [] : [`resource.resource == "${resource}"`]),
    ...(scope === undefined ? [] : [`resource.name == "${scope}"`]),
    ...(via === undefined ? [] : [via ? 'context has via' : '!(context has via)']),
  ];
  const when = conditions.length === 0 ? '' : ` when { ${conditions.join(' && ')} }`;
  return `${effect} (${principal}, action == Action::"${action}", resource)${when};`;
}

function cedarOfActAs({ client, actor, actorKind }: ActAsRule): string {
  const party = `${actorKind === 'client' ? 'Client' : 'User'}::"${actor}"`;
  return `permit (principal == Client::"${client}", action == Action::"actAs", resource == ${party});`;
}
