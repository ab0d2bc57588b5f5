/**
 * THE road: what happens to every request at the token endpoint, whatever its grant, from top to bottom.
 *
 *   1 parse (http/form.ts)  2 authenticate  3 limit  dispatch  4 verify  5 resolve  6 decide  7 mint, or obtain
 *   8 commit  9 answer (http/wire.ts)
 *
 * A refusal takes the same road from where it happened: recorded, then answered. No commit, no token, no credential.
 */
import { admitCaller } from '../clients/caller.ts';
import type { CallerParts } from '../clients/caller.ts';
import type { Clock } from '../core/clock.ts';
import { nowSeconds } from '../core/clock.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { RateLimits, Standing } from '../limits/rates.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import type { SigningKey } from '../tokens/access-token.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import type { Credentials } from '../upstream/credential.ts';
import type { Arrival } from '../core/arrival.ts';
import { answerWith, lineageOf, pendingMarks, vouchersOf } from './answer.ts';
import type { Answer, AnswerParts, Result } from './answer.ts';
import { authorizeIdentity } from './decision.ts';
import type { AuthorizedGrant, Decide } from './decision.ts';
import { checkMayAct, delegate } from './delegation.ts';
import type { Dispatch, Dispatched } from './dispatch.ts';
import { askScopes } from './entitlement.ts';
import { fetchCredential } from './fetch.ts';
import type { FetchRequest } from './fetch.ts';
import { factsOfGrant, mint } from './mint.ts';
import type { MintRequest } from './mint.ts';
import type { Noise } from './noise.ts';
import { timed } from './phases.ts';
import { clientParty, NO_CLAIMS } from '../standing/party.ts';
import type { VerifyPresented } from './presented.ts';
import { openRecording } from './recorder.ts';
import type { Facts } from './recorder.ts';
import { namedTargets, resolveTargets } from './target.ts';
import type { Targets } from './target.ts';

export interface RoadParts extends AnswerParts, CallerParts {
  readonly clock: Clock;
  readonly limits: RateLimits;
  readonly dispatch: Dispatch;
  readonly verifyPresented: VerifyPresented;
  readonly decide: Decide;
  signingKey(algorithm: 'ES256' | 'RS256'): Promise<SigningKey>;
  readonly credentials: Pick<Credentials, 'obtain'>;
  /** The revocation that hits such a token, if there is one. */
  findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
  readonly noise: Noise;
}

export type Road = (arrival: Arrival) => Promise<Answer>;

export function createRoad(parts: RoadParts): Road {
  return async (arrival) => {
    // Taken before the state is read: a revocation of which this request knows nothing then comes after what it issues, and
    // its "issued until now" covers that, however long the request takes.
    const issuedAtSeconds = nowSeconds(parts.clock);
    const caller = await admitCaller(parts, arrival, (phase, work) => timed(parts, phase, work));
    if (isRefusal(caller)) return turnAway(parts, arrival, caller);
    const { client, registry } = caller;
    const facts: Facts = { arrival, stateVersion: registry.state.version, issuedAtSeconds, client };
    let result: Result;
    try {
      result = await travel(parts, facts, registry);
    } catch (error) {
      // With the database down there is nothing to record it in, and nobody to use the assertion again.
      if (!(error instanceof Unavailable && error.dependency === 'database')) await recordFailure(parts, facts);
      throw error;
    }
    if (isRefusal(result) && result.retryAfterSeconds !== undefined)
      return turnAway(parts, arrival, result, facts.standings, client.id);
    return answerWith(parts, facts, result);
  };
}

/**
 * Refuses without a record of its own: who did not authenticate, and who is over a limit, could fill the log with them.
 * What such a request presented is not used up: nothing came of it.
 */
function turnAway(
  parts: RoadParts,
  { sourcePrefix }: Arrival,
  refusal: Refusal,
  standings: readonly Standing[] = [],
  client?: string,
): Answer {
  parts.noise.note(sourcePrefix, refusal.reason, client);
  return { kind: 'refused', refusal, record: undefined, standings };
}

/** A step failed: what was used up stays used, and the failure has its record, as far as the database can be reached. */
async function recordFailure(parts: RoadParts, facts: Facts): Promise<void> {
  try {
    const recording = await openRecording(parts, facts);
    const record = recording.row('failed', parts.clock.nowMs());
    await parts.commit({ marks: pendingMarks(facts).map(({ mark }) => ({ ...mark, lost: record })), record });
  } catch {
    // The caller is told what failed first.
  }
}

/** From an authenticated client to what is issued, or the refusal at the step where it was refused. */
async function travel(parts: RoadParts, facts: Facts, registry: Registry): Promise<Result> {
  const { client, arrival } = facts;
  const limited = await timed(parts, 'limit', () => limitRequest(parts, facts, registry));
  if (limited !== undefined) return limited;

  const dispatched = await timed(parts, 'dispatch', () => parts.dispatch(client, arrival.form));
  if (isRefusal(dispatched)) return dispatched;
  facts.dispatched = dispatched;

  const tokens = await timed(parts, 'verify', () => verifyTokens(parts, facts, dispatched, registry));
  if (isRefusal(tokens)) return tokens;
  const exhausted = await timed(parts, 'limit', () => limitSubject(parts, facts));
  if (exhausted !== undefined) return exhausted;

  const targets = await timed(parts, 'resolve', () => resolveTargets(dispatched.request, registry, parts.ourIssuer));
  if (isRefusal(targets)) return targets;
  facts.targets = targets;

  const grant = await timed(parts, 'decide', () => decide(parts, facts, dispatched, targets, registry));
  if (isRefusal(grant)) return grant;
  facts.impersonation = grant.impersonation;

  const minting: MintRequest = {
    issuer: parts.ourIssuer,
    clientId: client.id,
    issuedAtSeconds: facts.issuedAtSeconds,
    nowSeconds: nowSeconds(parts.clock),
    subjectToken: facts.subjectToken,
    actorToken: facts.actorToken,
  };
  const ofGrant = factsOfGrant(grant, minting, { identities: lineageOf(facts), issuers: vouchersOf(facts) });
  const stillborn = await checkStillborn(parts, ofGrant, registry);
  if (stillborn !== undefined) return stillborn;
  if (dispatched.request.wants === 'credential') return obtain(parts, facts, { grant, minting, facts: ofGrant });
  const minted = await timed(parts, 'mint', () => mint(grant, minting, (algorithm) => parts.signingKey(algorithm)));
  if (!isRefusal(minted)) facts.minted = minted;
  return minted;
}

/** Step 7 where the credential itself is asked for; there is always somebody's token that it is had with. */
async function obtain(parts: RoadParts, facts: Facts, wanted: Omit<FetchRequest, 'subjectToken'>): Promise<Result> {
  const { subjectToken } = facts;
  if (subjectToken === undefined) throw new Error('a credential was asked for without a subject token');
  const fetched = await timed(parts, 'obtain', () => fetchCredential(parts, { ...wanted, subjectToken }));
  if (!isRefusal(fetched)) facts.fetched = fetched;
  return fetched;
}

/**
 * A revocation covers what is issued up to its second, by clocks that may differ: a token of that moment would be born
 * dead, so its caller is asked to come again. One whose ancestor was revoked meanwhile is refused.
 */
async function checkStillborn(parts: RoadParts, token: TokenFacts, registry: Registry): Promise<Refusal | undefined> {
  const revoked = await parts.findRevocation(token, registry.state);
  if (revoked === undefined) return undefined;
  if (revoked.kind === 'token') return refuse('subject_token_revoked', { revoked: revoked.kind });
  throw new Unavailable('revocation', `tokens of this moment are revoked (${revoked.kind})`);
}

/** Step 3, before any work on signatures: the client, then what it names; who is over the first takes nothing of the others. */
async function limitRequest(parts: RoadParts, facts: Facts, registry: Registry): Promise<Refusal | undefined> {
  const { client, arrival } = facts;
  const admission = await parts.limits.admitRequest(client.object, () =>
    namedTargets(arrival.form, registry, parts.ourIssuer),
  );
  facts.standings = admission.standings;
  return admission.refusal;
}

/** Step 3 for the subject, only now that its token is verified: or anybody could use up somebody's quota. */
async function limitSubject(parts: RoadParts, facts: Facts): Promise<Refusal | undefined> {
  if (facts.subjectToken === undefined) return undefined;
  const admission = await parts.limits.admitSubject(facts.subjectToken.party.principal);
  facts.standings = [...(facts.standings ?? []), ...admission.standings];
  return admission.refusal;
}

async function verifyTokens(
  parts: RoadParts,
  facts: Facts,
  { request }: Dispatched,
  registry: Registry,
): Promise<Refusal | undefined> {
  if (request.subject !== 'self') {
    const token = await parts.verifyPresented('subject', request.subject, facts.client, registry, (seen) => {
      facts.subjectToken = seen;
    });
    if (isRefusal(token)) return token;
  }
  if (request.actor !== undefined) {
    const token = await parts.verifyPresented('actor', request.actor, facts.client, registry, (seen) => {
      facts.actorToken = seen;
    });
    if (isRefusal(token)) return token;
  }
  return undefined;
}

async function decide(
  parts: RoadParts,
  facts: Facts,
  { request, grantType }: Dispatched,
  targets: Targets,
  registry: Registry,
): Promise<AuthorizedGrant | Refusal> {
  const client = clientParty(facts.client.object, parts.ourIssuer);
  const { subjectToken, actorToken } = facts;
  const subject = subjectToken ?? { party: client, claims: NO_CLAIMS, chain: [], ancestors: [] };
  const delegation = delegate(client, subject, actorToken);
  if (isRefusal(delegation)) return delegation;
  facts.delegation = delegation;
  const mayAct = await checkMayAct(
    subjectToken?.mayAct,
    subjectToken?.issuer ?? parts.ourIssuer,
    delegation,
    registry,
    parts.ourIssuer,
  );
  if (mayAct !== undefined) return mayAct;

  if (targets.length === 0)
    return request.scope === undefined ? authorizeIdentity(client) : refuse('scope_unknown', { target: 'none' });
  const asked = askScopes(request.scope, targets, subjectToken?.scopesAt);
  if (isRefusal(asked)) return asked;
  const decided = await parts.decide({ client, delegation, asked, grantType }, registry);
  facts.trace = decided.trace;
  return decided.outcome;
}
