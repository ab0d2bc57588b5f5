/**
 * Carries a generated run out against the real service: mints the external tokens, sends each request over HTTP, asks
 * the oracle about the same request, and compares. Tokens that were issued go into the pool from which hops are made.
 */
import { decodeProtectedHeader } from 'jose';
import { expect } from 'vitest';
import type { TestCambist } from '../support/cambist.ts';
import { claimsOf } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { mintExternal } from './external-tokens.ts';
import type { Held, Mints } from './external-tokens.ts';
import { AGENTS, clientNamed, companyOf, GROUPED, SINGLE_USE_SWITCH, SWITCHED } from './company.ts';
import type { Plan } from './company.ts';
import { judge } from './model.ts';
import type { ChainMember, Company, Expected, Request, ResourceFacts, Somebody } from './model.ts';
import type { ActorChoice, ExternalToken, ScopeChoice, Step, TargetChoice } from './steps.ts';

const TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

export interface Counts {
  requests: number;
  granted: number;
  delegatedAndGranted: number;
  impersonated: number;
  /** Requests with a token that has this many call edges behind it (index), and those that were granted one more. */
  readonly presentedHops: number[];
  readonly grantedHops: number[];
  readonly reasons: Map<string, number>;
}

export interface Stage extends Mints {
  readonly cambist: TestCambist;
  readonly counts: Counts;
  /** Makes the clock jump over the next second between verification and minting. */
  freezeUntilVerified(nowMs: number): void;
  thaw(): void;
}

type Form = Record<string, string | string[] | undefined>;

export async function play(stage: Stage, plan: Plan, steps: readonly Step[]): Promise<void> {
  const session = new Session(stage, plan);
  try {
    for (const step of steps) await session.take(step);
  } finally {
    await session.enableAll();
  }
}

class Session {
  private readonly pool: Held[] = [];
  private readonly disabled = new Set<string>();
  private readonly stage: Stage;
  private readonly plan: Plan;

  constructor(stage: Stage, plan: Plan) {
    this.stage = stage;
    this.plan = plan;
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'switch':
        await this.toggle(step.which);
        return;
      case 'self':
        await this.takeSelf(step);
        return;
      case 'external': {
        const client = this.client(AGENTS[step.client] ?? 'a0');
        const subject = await mintExternal(this.stage, this.plan, step.token, client, step.lastSecond);
        // An actor token would have expired by then.
        const actor = step.lastSecond ? undefined : await this.actor(step.actor, client);
        await this.exchange(client, subject, actor, this.resource(step.resource), step);
        if (step.again && !step.lastSecond)
          await this.exchange(client, used(subject), actor && used(actor), this.resource(step.resource), step);
        return;
      }
      case 'onward':
        await this.takeOnward(step);
        return;
    }
  }

  async enableAll(): Promise<void> {
    for (const id of this.disabled) {
      const { kind, name } = [...SWITCHED, SINGLE_USE_SWITCH].find((entry) => entry.id === id)!;
      await this.stage.cambist.enable(kind, name);
    }
  }

  private get company(): Company {
    return companyOf(this.plan, this.stage.issuers, this.disabled);
  }

  private client(id: string): Somebody {
    return clientNamed(id, this.stage.issuers);
  }

  private resource(name: string): ResourceFacts {
    return this.company.resources.find((resource) => resource.name === name)!;
  }

  private async toggle({ kind, name, id }: Extract<Step, { kind: 'switch' }>['which']): Promise<void> {
    if (this.disabled.delete(id)) await this.stage.cambist.enable(kind, name);
    else {
      this.disabled.add(id);
      await this.stage.cambist.disable(kind, name);
    }
  }

  private async takeSelf(step: Extract<Step, { kind: 'self' }>): Promise<void> {
    const clients = [...AGENTS, 's0', 's1', 's2'];
    const client = this.client(clients[step.client % clients.length]!);
    const resource = this.resource(step.resource);
    if (step.byIdentityToken) {
      await this.exchange(client, await this.identity(client), undefined, resource, step);
      return;
    }
    // Without a target this grant has another meaning: an identity token.
    const target = step.target.how === 'none' ? { ...step.target, how: 'uri' as const } : step.target;
    const asked = this.targets(target, resource);
    const scope = this.scope(step.scope, resource, undefined);
    await this.send(
      { grant_type: 'client_credentials', ...asked.form, scope: scope?.text },
      { client, subject: 'self', actor: undefined, targets: asked.targets, scope: scope?.asked },
    );
  }

  private async takeOnward(step: Extract<Step, { kind: 'onward' }>): Promise<void> {
    const { company } = this;
    const ways = this.pool.flatMap((held) =>
      company.edges
        .filter((edge) => held.facts.audience.includes(edge.from))
        .map((edge) => ({
          held,
          edge,
          open: edge.needs.every((need) => held.facts.scopes?.[edge.from]?.includes(need)),
        })),
    );
    const fresh = ways.filter(({ held }) => held.facts.exp > Date.now() / 1000 + 5);
    const open = fresh.filter((way) => way.open === step.open);
    const deep = open.filter(({ held }) => held.facts.hops > 0);
    const choice = step.deep && deep.length > 0 ? deep : open.length > 0 ? open : fresh;
    const way = choice[step.pick % choice.length];
    if (way === undefined) return;
    const from = this.resource(way.edge.from);
    const others = [...AGENTS, 's0', 's1', 's2', 's3', 's4'];
    const id = step.byServer ? from.servers[step.edge % from.servers.length] : others[step.client % others.length];
    const client = this.client(id!);
    const actor = await this.actor(step.actor, client);
    await this.exchange(client, way.held, actor, this.resource(way.edge.to), step, way.edge.gives);
  }

  private async exchange(
    client: Somebody,
    subject: Held,
    actor: Held | undefined,
    resource: ResourceFacts,
    step: { readonly target: TargetChoice; readonly scope: ScopeChoice; readonly lastSecond?: boolean },
    gives?: readonly string[],
  ): Promise<void> {
    const asked = this.targets(step.target, resource);
    const scope = this.scope(step.scope, resource, gives);
    const form: Form = {
      grant_type: EXCHANGE,
      subject_token: subject.jwt,
      subject_token_type: TYPE + subject.type,
      ...(actor === undefined ? {} : { actor_token: actor.jwt, actor_token_type: TYPE + actor.type }),
      ...asked.form,
      scope: scope?.text,
    };
    const request = {
      client,
      subject: subject.facts,
      actor: actor?.facts,
      targets: asked.targets,
      scope: scope?.asked,
    };
    if (step.lastSecond === true) {
      this.stage.freezeUntilVerified(subject.facts.exp * 1000 - 1000);
      await this.send(form, request, new Set(['nothing_left_to_live'])).finally(() => this.stage.thaw());
    } else await this.send(form, request);
  }

  /** Sends a request and holds the answer against the oracle's. `instead`: refused for this where it would be granted. */
  private async send(form: Form, request: Request, instead?: ReadonlySet<string>): Promise<void> {
    const { cambist, counts } = this.stage;
    const judged = judge(this.company, request);
    const verdict =
      judged.permitted && instead !== undefined ? { permitted: false as const, reasons: instead } : judged;
    const answer = await cambist.token(form, { basic: [request.client.id, cambist.secretOf(request.client.id)] });
    const records = await cambist.records(answer.headers.get('cambist-request-id') ?? '');
    expect(records).toHaveLength(1);
    const reason = (records[0]?.body as { refusal?: { reason: string } }).refusal?.reason;
    const told = { status: answer.status, reason, asked: printable(form), request, verdict };

    counts.requests += 1;
    const hops = request.subject === 'self' ? 0 : request.subject.hops;
    counts.presentedHops[hops] = (counts.presentedHops[hops] ?? 0) + 1;
    if (!verdict.permitted) {
      if (answer.status !== 400 || reason === undefined || !verdict.reasons.has(reason))
        expect.fail(`wider, or refused for another reason than the model's: ${JSON.stringify(told, show, 1)}`);
      counts.reasons.set(reason, (counts.reasons.get(reason) ?? 0) + 1);
      return;
    }
    if (answer.status !== 200) expect.fail(`uselessly narrow: ${JSON.stringify(told, show, 1)}`);
    expect(records[0]?.body.kind).toBe('issued');
    this.compare(answer, request, verdict.expected);
    counts.granted += 1;
    if (verdict.expected.chain.length > 0) counts.delegatedAndGranted += 1;
    else if (request.client.id !== verdict.expected.subject.id) counts.impersonated += 1;
    counts.grantedHops[verdict.expected.hops] = (counts.grantedHops[verdict.expected.hops] ?? 0) + 1;
    this.keep(answer, verdict.expected);
  }

  /** "Never wider", claim by claim: exactly what the model expects. */
  private compare(answer: TokenAnswer, request: Request, expected: Expected): void {
    const claims = claimsOf(answer.body.access_token);
    const { ours } = this.stage.issuers;
    expect(decodeProtectedHeader(answer.body.access_token)).toMatchObject({ typ: 'at+jwt', alg: 'ES256' });
    const { subject } = expected;
    expect(claims).toMatchObject({
      iss: ours,
      sub: subject.id,
      sub_id: { format: 'iss_sub', iss: subject.iss, sub: subject.sub },
      client_id: request.client.id,
      aud: expected.audience.length === 1 ? expected.audience[0] : expected.audience,
    });
    expect(new Set(String(claims.scope).split(' '))).toEqual(expected.scopes);
    expect(answer.body.scope).toBe(claims.scope);
    expect(readAct(claims.act, ours)).toEqual(expected.chain.map(({ iss, sub }) => ({ iss, sub })));
    expect(claims.exp).toBe(Math.min(Number(claims.iat) + expected.lifetimeSeconds, expected.notAfter));
    expect(answer.body.expires_in).toBe(claims.exp - claims.iat);
  }

  private keep(answer: TokenAnswer, expected: Expected): void {
    const claims = claimsOf(answer.body.access_token);
    const resources = this.company.resources.filter((resource) => expected.audience.includes(resource.uri));
    this.pool.push({
      jwt: answer.body.access_token,
      type: 'access_token',
      facts: {
        origin: 'resource',
        issuerKnown: true,
        subject: expected.subject,
        chain: expected.chain,
        exp: claims.exp,
        audience: resources.map((resource) => resource.name),
        scopes: Object.fromEntries(
          resources.map(({ name, scopes }) => [name, scopes.filter((scope) => expected.scopes.has(scope))]),
        ),
        hops: expected.hops,
      },
    });
  }

  private targets(choice: TargetChoice, resource: ResourceFacts): { form: Form; targets: Request['targets'] } {
    const here = { resource: resource.name, malformed: false };
    const first = {
      uri: { resource: [resource.uri] },
      slash: { resource: [`${resource.uri}/`] },
      alias: { resource: [resource.alias] },
      name: { audience: [resource.name] },
      audience_uri: { audience: [resource.uri] },
      unknown: { resource: [`${resource.uri}/other`] },
      fragment: { resource: [`${resource.uri}#part`] },
      relative: { resource: ['/mcp'] },
      none: {},
    }[choice.how] as { resource?: string[]; audience?: string[] };
    const isHere = ['uri', 'slash', 'alias', 'name', 'audience_uri'].includes(choice.how);
    const named = isHere ? here : { resource: undefined, malformed: ['fragment', 'relative'].includes(choice.how) };
    const targets: Request['targets'][number][] = choice.how === 'none' ? [] : [named];
    const grouped = GROUPED.find((name) => name !== resource.name);
    const beside = {
      nothing: undefined,
      'itself by alias': resource,
      'its group': GROUPED.some((name) => name === resource.name) ? this.resource(grouped!) : undefined,
      another: this.resource(resource.name === 'r0' ? 'r1' : 'r0'),
    }[choice.beside];
    if (beside === undefined || choice.how === 'none') return { form: first, targets };
    const second = { resource: beside.name, malformed: false };
    // `resource` is read before `audience`, so the second target is a resource where the first is one.
    const key = first.resource === undefined ? 'audience' : 'resource';
    return { form: { ...first, [key]: [...(first[key] ?? []), beside.alias] }, targets: [...targets, second] };
  }

  private scope(
    choice: ScopeChoice,
    resource: ResourceFacts,
    gives: readonly string[] | undefined,
  ): { text: string; asked: NonNullable<Request['scope']> } | undefined {
    if (choice.kind === 'default') return undefined;
    if (choice.kind === 'malformed') return { text: `${resource.name}:a  "`, asked: { names: [], malformed: true } };
    if (choice.kind === 'unknown') {
      const names = [`${resource.name}:a`, `${resource.name}:z`];
      return { text: names.join(' '), asked: { names, malformed: false } };
    }
    const from = choice.within && gives !== undefined ? gives : resource.scopes;
    const names = [...new Set(choice.picks.map((pick) => from[pick % from.length]!))];
    return { text: names.join(' '), asked: { names, malformed: false } };
  }

  private async identity(client: Somebody): Promise<Held> {
    const { cambist, issuers } = this.stage;
    const answer = await cambist.token(
      { grant_type: 'client_credentials' },
      { basic: [client.id, cambist.secretOf(client.id)] },
    );
    expect(answer.status, answer.text).toBe(200);
    const claims = claimsOf(answer.body.access_token);
    expect(claims).toMatchObject({ aud: issuers.ours, sub: client.id, client_id: client.id });
    expect(claims).not.toHaveProperty('scope');
    expect(claims).not.toHaveProperty('act');
    return {
      jwt: answer.body.access_token,
      type: 'access_token',
      facts: {
        origin: 'identity',
        issuerKnown: true,
        subject: client,
        chain: [],
        exp: claims.exp,
        audience: [],
        holder: client.id,
        hops: 0,
      },
    };
  }

  private async actor(choice: ActorChoice, client: Somebody): Promise<Held | undefined> {
    const plain: ExternalToken = {
      issuer: 'corp',
      user: client.id === 's1' ? 'u2' : 'u1',
      audience: 'cambist',
      lifeSeconds: 45,
      partnerScope: 'p:read',
      mayAct: 'absent',
      bound: false,
      flaw: 'none',
      actors: [],
    };
    switch (choice) {
      case 'none':
        return undefined;
      case 'own':
        return this.identity(client);
      case 'of another client':
        return this.identity(this.client(client.id === 'a1' ? 'a0' : 'a1'));
      case 'workload':
        return mintExternal(this.stage, this.plan, { ...plain, issuer: 'cluster' }, client);
      case 'user':
        return mintExternal(this.stage, this.plan, plain, client);
      case 'another user':
        return mintExternal(this.stage, this.plan, { ...plain, user: 'u3' }, client);
      case 'single use':
        return mintExternal(this.stage, this.plan, { ...plain, issuer: 'once' }, client);
      case 'expired':
        return mintExternal(this.stage, this.plan, { ...plain, flaw: 'expired' }, client);
      case 'chained':
        return mintExternal(this.stage, this.plan, { ...plain, actors: ['foreign'] }, client);
      case 'stranger':
        return mintExternal(this.stage, this.plan, { ...plain, issuer: 'stranger' }, client);
      case 'bound':
        return mintExternal(this.stage, this.plan, { ...plain, bound: true }, client);
    }
  }
}

/** What a token is once it was presented. */
function used(token: Held): Held {
  return { ...token, facts: { ...token.facts, used: token.facts.issuerName === 'once' } };
}

/** The actors of an `act` claim, outermost first; each of ours names its client. */
function readAct(act: unknown, ours: string): ChainMember[] {
  const members: ChainMember[] = [];
  for (let level = act as any; level !== undefined; level = level.act) {
    members.push({ iss: level.iss, sub: level.sub });
    if (level.iss === ours && level.client_id !== undefined) expect(level.client_id).toBe(level.sub);
  }
  return members;
}

function printable(form: Form): Form {
  return Object.fromEntries(Object.entries(form).filter(([name]) => !name.endsWith('_token')));
}

function show(_key: string, value: unknown): unknown {
  return value instanceof Set ? [...(value as Set<unknown>)] : value;
}
