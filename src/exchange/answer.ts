/**
 * Steps 8 and 9 of the road: what was decided is committed, whole or not at all, and only then answered. A credential that
 * was had and is not answered with is ended.
 */
import type { RecordRow } from '../audit/record.ts';
import type { PendingMark } from '../clients/authenticate.ts';
import { claimedBy } from '../clients/caller.ts';
import type { CallerParts } from '../clients/caller.ts';
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { Standing } from '../limits/rates.ts';
import type { Commitment, IssuedRow } from '../store/commitment.ts';
import type { CommitOutcome } from '../store/commits.ts';
import type { FetchedCredential } from './fetch.ts';
import type { MintedToken } from './mint.ts';
import { timed } from './phases.ts';
import type { Timing } from './phases.ts';
import type { Role, VerifiedToken } from './presented.ts';
import { openRecording } from './recorder.ts';
import type { Facts, RecorderParts, Recording } from './recorder.ts';

/** The answer to a request. `record` is what was committed; refusals of unauthenticated callers have none of their own. */
export type Answer =
  | {
      readonly kind: 'issued';
      readonly minted: MintedToken;
      readonly issuedTokenType: string | undefined;
      readonly record: RecordRow;
      readonly standings: readonly Standing[];
    }
  | {
      readonly kind: 'fetched';
      readonly fetched: FetchedCredential;
      /** From now on. */
      readonly expiresInSeconds: number;
      readonly record: RecordRow;
      readonly standings: readonly Standing[];
      /** Nobody got it. */
      undelivered(): void;
    }
  | {
      readonly kind: 'refused';
      readonly refusal: Refusal;
      readonly record: RecordRow | undefined;
      readonly standings: readonly Standing[];
    };

/** What step 7 made, or why it did not come to that. */
export type Result = MintedToken | FetchedCredential | Refusal;

export interface AnswerParts extends RecorderParts, Timing, Pick<CallerParts, 'failures'> {
  readonly clock: Clock;
  commit(commitment: Commitment): Promise<CommitOutcome>;
}

/** Commits what came of a request, and says what it is answered with. */
export async function answerWith(parts: AnswerParts, facts: Facts, result: Result): Promise<Answer> {
  let answered: Answer | undefined;
  try {
    answered = await commitAndAnswer(parts, facts, result);
    return answered;
  } finally {
    // Not committed, or refused after all: nobody will ever know that it was.
    if (result.kind === 'credential' && answered?.kind !== 'fetched') await result.discard();
  }
}

/** Step 8: marks, the issued row and the record in one commit; a token that was used already turns it into a refusal. */
async function commitAndAnswer(parts: AnswerParts, facts: Facts, result: Result): Promise<Answer> {
  const recording = await timed(parts, 'record', () => openRecording(parts, facts));
  const nowMs = parts.clock.nowMs();
  const marks = pendingMarks(facts);
  const replays = marks.map(({ mark, reason }) => ({ refusal: refuse(reason), mark }));
  const { standings = [] } = facts;
  const refusal = isRefusal(result) ? result : undefined;
  const record = refusal === undefined ? recording.row('issued', nowMs) : recording.row('refused', nowMs, refusal);
  const commitment: Commitment = {
    marks: replays.map((replay) => ({ ...replay.mark, lost: recording.row('refused', nowMs, replay.refusal) })),
    ...(result.kind === 'token' ? { issued: issuedRow(facts, recording, result) } : {}),
    record,
  };
  const committed = await timed(parts, 'commit', () => parts.commit(commitment));
  if (committed.outcome === 'replayed') {
    const lost = replays[committed.mark];
    if (lost === undefined) throw new Error('the store named a mark that was not asked for');
    const refused = { kind: 'refused', refusal: lost.refusal, record: commitment.marks[committed.mark]?.lost } as const;
    if (lost.refusal.reason !== 'client_assertion_replayed') return { ...refused, standings };
    // Who presents a used assertion has not authenticated: they must not use up the client's quota with it for long, and
    // do not learn how it stands.
    parts.failures.note(facts.arrival.source, claimedBy(facts.arrival));
    return { ...refused, standings: [] };
  }
  if (result.kind === 'refusal') return { kind: 'refused', refusal: result, record, standings };
  if (result.kind === 'credential') return handOut(parts.clock, result, record, standings);
  const issuedTokenType = facts.dispatched?.request.issuedTokenType;
  return { kind: 'issued', minted: result, issuedTokenType, record, standings };
}

function handOut(clock: Clock, fetched: FetchedCredential, record: RecordRow, standings: readonly Standing[]): Answer {
  const expiresInSeconds = Math.max(0, fetched.expiresAtSeconds - nowSeconds(clock));
  const undelivered = () => {
    void fetched.discard();
  };
  return { kind: 'fetched', fetched, expiresInSeconds, record, standings, undelivered };
}

/** What the presented values use up, each once. */
export function pendingMarks(facts: Facts): readonly { readonly mark: PendingMark; readonly reason: Reason }[] {
  const presented = (role: Role, token: VerifiedToken | undefined) =>
    (token?.marks ?? []).map((mark) => ({ mark, reason: `${role}_token_replayed` as const }));
  const all = [
    ...facts.client.marks.map((mark) => ({ mark, reason: 'client_assertion_replayed' as const })),
    ...presented('subject', facts.subjectToken),
    ...presented('actor', facts.actorToken),
  ];
  // One token in two places of one request is used once.
  const keyOf = ({ mark }: (typeof all)[number]) => JSON.stringify([mark.purpose, mark.issuer, mark.id]);
  return all.filter((entry, index) => all.findIndex((other) => keyOf(other) === keyOf(entry)) === index);
}

function issuedRow(facts: Facts, recording: Recording, minted: MintedToken): IssuedRow {
  const { delegation } = facts;
  if (delegation === undefined) throw new Error('a token was minted without a delegation');
  const shown = facts.impersonation === true ? [] : delegation.chain;
  const named = [delegation.subject.principal, ...shown].map(({ issuer }) => issuer);
  return {
    jti: minted.claims.jti,
    ancestors: lineageOf(facts),
    vouchedBy: vouchersOf(facts).filter((iss) => !named.includes(iss)),
    subjectRef: recording.refOf(delegation.subject),
    clientId: facts.client.id,
    actors: recording.actorRefs(shown),
    resources: (facts.targets ?? []).map((target) => target.uri),
    kid: minted.kid,
    issuedAtSeconds: minted.claims.iat,
    expiresAtSeconds: minted.claims.exp,
    subjectClaims: recording.sealClaims(minted.claims.jti, delegation.subject, delegation.subjectClaims) ?? null,
  };
}

/** The presented tokens, and every token that they descend from. */
export function lineageOf({ subjectToken, actorToken }: Facts): readonly string[] {
  const tokens = [subjectToken, actorToken].filter((token) => token !== undefined);
  return [...new Set(tokens.flatMap(({ identity, ancestors }) => [identity, ...ancestors]))];
}

/** `iss` of the trusted issuers that vouched for somebody who takes part: the caller, the subject, an actor. */
export function vouchersOf({ client, subjectToken, actorToken }: Facts): readonly string[] {
  const tokens = [subjectToken, actorToken].filter((token) => token !== undefined);
  return [...new Set([client.vouchedBy ?? [], ...tokens.map(({ facts }) => facts.issuers)].flat())];
}
