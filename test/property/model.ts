/**
 * The oracle: what the requirements say about a request, written a second time and from their text. It imports nothing
 * of Cambist. It knows a company as plain tables and tokens by the facts that went into them, and says for a request
 * what must come out of it, or every reason for which it may be refused.
 */

export type Effect = 'permit' | 'forbid';

/** Somebody: a client of ours, or a user of a trusted issuer by its short name. */
export interface Somebody {
  readonly kind: 'client' | 'user';
  /** `client id`, or `issuer:sub`. */
  readonly id: string;
  readonly iss: string;
  readonly sub: string;
  readonly groups: readonly string[];
}

/** Whom a rule is about. */
export interface Who {
  readonly by: 'anyone' | 'client' | 'user' | 'group' | 'role';
  readonly id: string;
}

/** One row of the policy table; `via` restricts it to hops (true) or to first exchanges (false). */
export interface Rule {
  readonly effect: Effect;
  readonly action: 'access' | 'act' | 'impersonate';
  readonly who: Who;
  /** Undefined = every resource. */
  readonly resource?: string | undefined;
  /** Undefined = every scope of it. */
  readonly scope?: string | undefined;
  readonly via?: boolean | undefined;
}

export interface ActAsRule {
  readonly client: string;
  /** `client id` or `issuer:sub`. */
  readonly actor: string;
  readonly actorKind: 'client' | 'user';
}

export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly needs: readonly string[];
  readonly gives: readonly string[];
}

/** A resource, or an upstream: that has callers, and nobody who serves it. */
export interface ResourceFacts {
  readonly name: string;
  readonly uri: string;
  readonly alias: string;
  readonly scopes: readonly string[];
  readonly defaults: readonly string[];
  readonly servers: readonly string[];
  readonly callers?: readonly string[];
  readonly lifetimeSeconds: number;
  readonly audienceGroup: string | undefined;
}

export interface Company {
  readonly ourIssuer: string;
  readonly resources: readonly ResourceFacts[];
  readonly edges: readonly Edge[];
  readonly rules: readonly Rule[];
  readonly actAs: readonly ActAsRule[];
  /** Role → groups that have it. */
  readonly roleGroups: Readonly<Record<string, readonly string[]>>;
  /** Users (`issuer:sub`) with roles of their own. */
  readonly userRoles: Readonly<Record<string, readonly string[]>>;
  /** Audience of external tokens → clients that may present it. */
  readonly audiences: Readonly<Record<string, readonly string[]>>;
  /** Ids of disabled clients, `issuer:sub` of disabled users, names of disabled resources, `issuerId`s. */
  readonly disabled: ReadonlySet<string>;
}

export interface ChainMember {
  readonly iss: string;
  readonly sub: string;
}

/** Everything that matters of a token that is presented. */
export interface TokenFacts {
  readonly origin: 'external' | 'identity' | 'resource';
  /** False for a token whose issuer nobody registered. */
  readonly issuerKnown: boolean;
  readonly subject: Somebody;
  readonly chain: readonly ChainMember[];
  readonly exp: number;
  /** External: the one audience. Ours: names of resources; empty for an identity token. */
  readonly audience: readonly string[];
  /** Identity tokens: whose. */
  readonly holder?: string | undefined;
  /** Scopes at resources; undefined where the token says nothing about scopes here. */
  readonly scopes?: Readonly<Record<string, readonly string[]>> | undefined;
  readonly mayAct?: { readonly iss?: string; readonly sub?: string; readonly client_id?: string } | undefined;
  /** Whom `may_act` means: the party behind its (iss, sub), as `iss|sub`. */
  readonly mayActMeans?: string | undefined;
  readonly bound?: boolean | undefined;
  /** Expired, or signed by nobody that its issuer knows. */
  readonly flawed?: boolean | undefined;
  /** Its issuer by short name, where that is a trusted one. */
  readonly issuerName?: string | undefined;
  /** Of a single-use issuer, and presented before. */
  readonly used?: boolean | undefined;
  /** Call edges between the first resource and this token. */
  readonly hops: number;
}

export interface Request {
  readonly client: Somebody;
  readonly subject: TokenFacts | 'self';
  readonly actor: TokenFacts | undefined;
  /** How each target was written, and what it names. */
  readonly targets: readonly { readonly resource: string | undefined; readonly malformed: boolean }[];
  readonly scope: { readonly names: readonly string[]; readonly malformed: boolean } | undefined;
}

export interface Expected {
  readonly subject: Somebody;
  readonly scopes: ReadonlySet<string>;
  readonly audience: readonly string[];
  readonly chain: readonly ChainMember[];
  readonly lifetimeSeconds: number;
  /** NumericDate: no later than this, whatever the lifetime. */
  readonly notAfter: number;
  readonly hops: number;
}

export type Verdict =
  | { readonly permitted: true; readonly expected: Expected }
  | { readonly permitted: false; readonly reasons: ReadonlySet<string> };

const MAX_DEPTH = 8;

/** How a disabled issuer is told from a client or resource of the same name. */
export function issuerId(name: string): string {
  return `issuer ${name}`;
}

/** What the requirements say about a request. */
export function judge(company: Company, request: Request): Verdict {
  const verdict = judgeFirstUse(company, request);
  const used = [
    ...(request.subject !== 'self' && request.subject.used === true ? ['subject_token_replayed'] : []),
    ...(request.actor?.used === true ? ['actor_token_replayed'] : []),
  ];
  if (used.length === 0) return verdict;
  return { permitted: false, reasons: new Set([...used, ...(verdict.permitted ? [] : verdict.reasons)]) };
}

function judgeFirstUse(company: Company, request: Request): Verdict {
  const { client } = request;
  const subjectToken = request.subject === 'self' ? undefined : request.subject;
  const subject = subjectToken?.subject ?? client;
  const history = subjectToken?.chain ?? [];
  const actor = request.actor?.subject ?? client;

  const reasons = new Set<string>();
  if (subjectToken !== undefined) tokenReasons(company, client, 'subject', subjectToken, reasons);
  if (request.actor !== undefined) tokenReasons(company, client, 'actor', request.actor, reasons);
  const targets = targetReasons(company, request, reasons);

  // "Client = subject with no `act` in the subject token is self"; a chain that is there is never lost; the same actor
  // twice in a row adds no level.
  const actAs = !same(actor, client);
  const self = same(actor, subject) && history.length === 0 && !actAs;
  const last = history[0];
  const chain = self || (last !== undefined && same(last, actor)) ? history : [memberOf(actor), ...history];
  if ((request.actor?.chain.length ?? 0) > 0) reasons.add('chain_invalid');
  if (chain.length > MAX_DEPTH) reasons.add('chain_too_deep');
  if (!self && !mayActPermits(company, subjectToken, actor)) reasons.add('may_act_mismatch');

  const named = request.scope?.names;
  if (request.scope?.malformed === true) reasons.add('scope_malformed');
  else if (named?.some((scope) => !targets.some((target) => target.scopes.includes(scope))) === true)
    reasons.add('scope_unknown');

  // "Never wider": the closure of the call edges, from the scopes that the presented token has.
  const ceilings = new Map(targets.map((target) => [target.name, ceilingOf(company, subjectToken, client, target)]));
  for (const ceiling of ceilings.values()) if (ceiling?.size === 0) reasons.add('call_edge_missing');
  if (reasons.size > 0) return { permitted: false, reasons };

  // Policy's two questions per scope, both must permit.
  if (actAs && !company.actAs.some((rule) => rule.client === client.id && rule.actor === actor.id))
    return { permitted: false, reasons: new Set(['act_as_denied']) };
  const via = subjectToken?.origin === 'resource';
  const granted = targets.map((target) =>
    (named ?? target.defaults)
      .filter((scope) => target.scopes.includes(scope))
      .filter((scope) => ceilings.get(target.name)?.has(scope) ?? true)
      .filter((scope) => allows(company, 'access', subject, target.name, scope, via))
      .filter((scope) => self || allows(company, 'act', actor, target.name, scope, via)),
  );
  const scopes = new Set(granted.flat());
  if (named !== undefined && scopes.size < new Set(named).size)
    return { permitted: false, reasons: new Set([scopes.size === 0 ? 'all_scopes_denied' : 'some_scopes_denied']) };
  if (granted.some((list) => list.length === 0))
    return { permitted: false, reasons: new Set(['no_default_scope_left']) };

  // Impersonation only where policy says so by name, and never at the price of a chain or an actor token.
  const impersonated =
    !self &&
    history.length === 0 &&
    request.actor === undefined &&
    !same(actor, subject) &&
    targets.every((target, index) =>
      (granted[index] ?? []).every((scope) => allows(company, 'impersonate', client, target.name, scope, via)),
    );
  // "Its current actor (`act.sub`, else `client_id`) listed among the upstream's `callers`": a client of ours, by its id.
  const endChain = impersonated ? [] : chain;
  const current = endChain[0] ?? memberOf(client);
  if (
    targets.some(
      ({ callers }) => callers !== undefined && !(current.iss === company.ourIssuer && callers.includes(current.sub)),
    )
  )
    return { permitted: false, reasons: new Set(['caller_not_listed']) };
  const ends = [subjectToken?.exp, request.actor?.exp].filter((exp) => exp !== undefined);
  const hopped = via && targets.some((target) => !subjectToken.audience.includes(target.name));
  return {
    permitted: true,
    expected: {
      subject,
      scopes,
      audience: targets.map((target) => target.uri),
      chain: endChain,
      lifetimeSeconds: Math.min(900, ...targets.map((target) => target.lifetimeSeconds)),
      notAfter: Math.min(...ends, Number.MAX_SAFE_INTEGER),
      hops: via ? subjectToken.hops + (hopped ? 1 : 0) : 0,
    },
  };
}

function tokenReasons(
  company: Company,
  client: Somebody,
  role: 'subject' | 'actor',
  token: TokenFacts,
  reasons: Set<string>,
): void {
  if (!token.issuerKnown) reasons.add(`${role}_token_issuer_unknown`);
  if (token.issuerName !== undefined && company.disabled.has(issuerId(token.issuerName)))
    reasons.add(`${role}_token_issuer_disabled`);
  if (token.flawed === true) reasons.add(`${role}_token_invalid`);
  const meant = {
    external: () =>
      token.audience.some((value) => value === company.ourIssuer || company.audiences[value]?.includes(client.id)),
    identity: () => token.holder === client.id,
    resource: () => servedOf(company, token, client).length > 0,
  }[token.origin]();
  if (!meant) reasons.add(`${role}_token_not_meant_for_client`);
  if (token.bound === true) reasons.add(`${role}_token_bound`);
  if (company.disabled.has(token.subject.id)) reasons.add(`${role}_disabled`);
  if (token.chain.length > MAX_DEPTH) reasons.add(`${role}_token_invalid`);
  if (token.chain.some(({ iss, sub }) => iss === company.ourIssuer && company.disabled.has(sub)))
    reasons.add('chain_member_disabled');
}

/** The resources that are asked for, each once, in the order asked. */
function targetReasons(company: Company, request: Request, reasons: Set<string>): readonly ResourceFacts[] {
  if (request.targets.length === 0) reasons.add('target_missing');
  const found = new Map<string, ResourceFacts>();
  for (const { resource: name, malformed } of request.targets) {
    const resource = company.resources.find((candidate) => candidate.name === name);
    if (malformed) reasons.add('target_malformed');
    else if (resource === undefined) reasons.add('target_unknown');
    else if (company.disabled.has(resource.name)) reasons.add('target_disabled');
    else found.set(resource.name, resource);
  }
  const targets = [...found.values()];
  const groups = new Set(targets.map((target) => target.audienceGroup));
  if (targets.length > 1 && (groups.size > 1 || groups.has(undefined))) reasons.add('targets_not_grouped');
  return targets;
}

function servedOf(company: Company, token: TokenFacts, client: Somebody): readonly string[] {
  return company.resources
    .filter((resource) => token.audience.includes(resource.name))
    .filter((resource) => resource.servers.includes(client.id) && !company.disabled.has(resource.name))
    .map((resource) => resource.name);
}

/** Scopes that a token can become at a resource; undefined = it sets no limit. */
function ceilingOf(
  company: Company,
  token: TokenFacts | undefined,
  client: Somebody,
  target: ResourceFacts,
): ReadonlySet<string> | undefined {
  if (token?.scopes === undefined) return undefined;
  if (token.origin === 'external') return new Set(token.scopes[target.name] ?? []);
  const ceiling = new Set<string>();
  for (const name of servedOf(company, token, client)) {
    const held = token.scopes[name] ?? [];
    if (name === target.name) for (const scope of held) ceiling.add(scope);
    for (const edge of company.edges)
      if (edge.from === name && edge.to === target.name && edge.needs.every((scope) => held.includes(scope)))
        for (const scope of edge.gives) ceiling.add(scope);
  }
  return ceiling;
}

/** RFC 8693 §4.4: who is named in `may_act`, and nobody else, may become the actor. */
function mayActPermits(company: Company, token: TokenFacts | undefined, actor: Somebody): boolean {
  const statement = token?.mayAct;
  if (statement === undefined) return true;
  if (statement.client_id !== undefined) {
    // Client ids are names of one server: ours are meant only where the statement says so.
    if (statement.iss !== company.ourIssuer) return false;
    if (!(actor.kind === 'client' && actor.id === statement.client_id)) return false;
  }
  return statement.sub === undefined || token?.mayActMeans === `${actor.iss}|${actor.sub}`;
}

function allows(
  company: Company,
  action: Rule['action'],
  party: Somebody,
  resource: string,
  scope: string,
  via: boolean,
): boolean {
  const matching = company.rules.filter(
    (rule) =>
      rule.action === action &&
      isIn(company, party, rule.who) &&
      (rule.resource ?? resource) === resource &&
      (rule.scope ?? scope) === scope &&
      (rule.via ?? via) === via,
  );
  return matching.some((rule) => rule.effect === 'permit') && !matching.some((rule) => rule.effect === 'forbid');
}

function isIn(company: Company, party: Somebody, who: Who): boolean {
  switch (who.by) {
    case 'anyone':
      return true;
    case 'client':
    case 'user':
      return party.kind === who.by && party.id === who.id;
    case 'group':
      return party.groups.includes(who.id);
    case 'role':
      return (
        (company.userRoles[party.id] ?? []).includes(who.id) ||
        (company.roleGroups[who.id] ?? []).some((group) => party.groups.includes(group))
      );
  }
}

function same(a: ChainMember, b: ChainMember): boolean {
  return a.iss === b.iss && a.sub === b.sub;
}

function memberOf({ iss, sub }: Somebody): ChainMember {
  return { iss, sub };
}
