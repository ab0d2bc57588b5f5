/**
 * Whether a request may use an upstream: the token is ours, alive and meant for exactly this upstream, who holds it now is
 * among its callers, and its scopes cover the rule that lets the request through. Nothing is obtained or sent here.
 */
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import { egressUri } from '../objects/target.ts';
import type { RequestRule, Upstream } from '../objects/upstream.ts';
import { whyDead } from '../standing/own-token.ts';
import type { OwnTokens, RecalledToken } from '../standing/own-token.ts';
import { findParty } from '../standing/party.ts';
import type { OwnToken } from '../tokens/access-token.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import { readCallerToken } from '../upstream/inject.ts';
import { checkScopes, matchRequest } from '../upstream/request-rules.ts';
import type { EgressRequest } from './request.ts';

export interface JudgeParts {
  readonly issuer: string;
  readonly clock: Clock;
  readonly ownTokens: OwnTokens;
  findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
}

/** Whose token it is: known from when its signature was verified. */
export interface Bearer {
  /** The token as it came; for being kept out of what is forwarded. */
  readonly token: string;
  readonly own: OwnToken;
  readonly recalled: RecalledToken;
  /** Client id of the current actor: `act.sub`, else `client_id`. `undefined`: the actor is no client. */
  readonly callerId: string | undefined;
}

/** What a judgement found out on its way; filled as it goes on, for the record. */
export interface Findings {
  upstream?: StoredObject<'upstream'>;
  bearer?: Bearer;
  rule?: RequestRule;
}

export interface Judged {
  readonly upstream: StoredObject<'upstream'>;
  readonly bearer: Bearer;
  readonly rule: RequestRule;
  readonly baseUrl: string;
}

/** The steps, in order. `found` keeps what was verified before a refusal. */
export async function judge(
  parts: JudgeParts,
  request: EgressRequest,
  registry: Registry,
  found: Findings,
): Promise<Judged | Refusal> {
  const upstream = await registry.upstream(request.upstreamName);
  // Answered like a bad token: who has none does not learn which upstreams there are.
  if (upstream === undefined) return refuse('egress_token_invalid', { fault: 'upstream_unknown' });
  found.upstream = upstream;
  const bearer = await readBearer(parts, upstream.spec, request, registry);
  if (isRefusal(bearer)) return bearer;
  found.bearer = bearer;
  // RFC 9700 §4.3.2: no token belongs in a URL, which the upstream would get, and log.
  if ((request.path + request.query).includes(bearer.token)) return refuse('egress_path_refused', { fault: 'token' });
  const standing = await whyNoMore(parts, { name: upstream.name, bearer }, registry);
  if (standing !== undefined) return standing;
  const baseUrl = baseUrlOf(upstream.spec, request.label);
  if (baseUrl === undefined) return refuse('egress_request_not_allowed', { fault: 'label_unknown' });
  const rule = matchRequest(upstream.spec.requests, request);
  if (isRefusal(rule)) return rule;
  found.rule = rule;
  const short = checkScopes(rule, bearer.own.scopes);
  if (short !== undefined) return short;
  if ((request.contentLength ?? 0) > upstream.spec.request_bytes_max)
    return refuse('egress_body_too_large', { bytes: request.contentLength ?? 0 });
  return { upstream, bearer, rule, baseUrl };
}

function baseUrlOf({ base_url: baseUrl, more_urls: more }: Upstream, label: string | undefined): string | undefined {
  if (label === undefined) return baseUrl;
  return Object.hasOwn(more, label) ? more[label] : undefined;
}

async function readBearer(
  parts: JudgeParts,
  spec: Upstream,
  request: EgressRequest,
  registry: Registry,
): Promise<Bearer | Refusal> {
  const token = readCallerToken(spec.inject, request.headers);
  if (isRefusal(token)) return token;
  const jwt = decodeCompact(token);
  if (isFault(jwt)) return refuse('egress_token_invalid', { fault: jwt.code });
  const read = await parts.ownTokens.read(jwt);
  if (isFault(read)) return refuse('egress_token_invalid', { fault: read.code });
  const recalled = await parts.ownTokens.recall(read.own, registry);
  if ('fallen' in recalled)
    return refuse(recalled.fallen === 'not_committed' ? 'egress_token_invalid' : 'egress_token_revoked', {
      fault: recalled.fallen,
    });
  return { token, own: read.own, recalled, callerId: await callerOf(parts.issuer, read.own, registry) };
}

/** RFC 8693 §4.1: the outermost actor acts now; a workload identity that is bound to a client is that client. */
async function callerOf(issuer: string, own: OwnToken, registry: Registry): Promise<string | undefined> {
  const [actor] = own.chain;
  if (actor === undefined) return own.clientId;
  return (await findParty(actor, registry, issuer))?.client?.spec.id;
}

/**
 * What must hold for as long as a call lasts, asked before it and again whenever something changed: the upstream is there,
 * takes requests, is the one that the token is for, and lets this caller use it; nobody in the token was switched off.
 */
export async function whyNoMore(
  parts: Pick<JudgeParts, 'issuer' | 'findRevocation'>,
  { name, bearer }: { readonly name: string; readonly bearer: Bearer },
  registry: Registry,
): Promise<Refusal | undefined> {
  const { own, recalled, callerId } = bearer;
  if (own.audience.length !== 1 || own.audience[0] !== egressUri(parts.issuer, name))
    return refuse('egress_token_not_meant', { aud: own.audience });
  const subject = await findParty(own.subject, registry, parts.issuer);
  if (subject === undefined || subject.disabled) return refuse('egress_token_revoked', { fault: 'subject_disabled' });
  const requester = await registry.client(own.clientId);
  if (requester === undefined || requester.disabled)
    return refuse('egress_token_revoked', { fault: 'requester_disabled' });
  const dead = await whyDead(
    { ...recalled.issued, party: subject, facts: recalled.facts, chain: own.chain },
    registry,
    parts,
  );
  if (dead !== undefined)
    return refuse('egress_token_revoked', dead.dead === 'revoked' ? { by: dead.by } : { fault: dead.dead });
  const upstream = await registry.upstream(name);
  if (upstream === undefined || upstream.disabled) return refuse('target_disabled');
  if (callerId === undefined || !upstream.spec.callers.includes(callerId)) return refuse('caller_not_listed');
  return undefined;
}
