/**
 * What happens to every request at the status endpoints, from top to bottom: authenticate, limit, look at the token,
 * commit, answer. The same caller, limits and commit as at the token endpoint; only what is asked differs.
 */
import { admitCaller, claimedBy } from '../clients/caller.ts';
import type { Caller, CallerParts } from '../clients/caller.ts';
import type { Arrival } from '../core/arrival.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { RecordRow } from '../audit/record.ts';
import type { RateLimits, Standing } from '../limits/rates.ts';
import type { Commitment } from '../store/commitment.ts';
import type { CommitOutcome } from '../store/commits.ts';
import { openStatusRecord } from './status-record.ts';
import type { StatusFacts } from './status-record.ts';

/** The answer to a request. Without a body: 200 and nothing else (RFC 7009 §2.2). */
export interface StatusAnswer {
  readonly body?: Readonly<Record<string, unknown>>;
  readonly refusal?: Refusal;
  /** What was committed for it. */
  readonly record: RecordRow | undefined;
  readonly standings: readonly Standing[];
}

/** What an endpoint found out about the token that it was asked about. */
export interface StatusFinding extends Pick<StatusFacts, 'token' | 'revocations'> {
  readonly body?: Readonly<Record<string, unknown>>;
  readonly refusal?: Refusal;
}

export interface StatusRoadParts extends CallerParts {
  readonly node: string;
  readonly clock: Clock;
  readonly limits: Pick<RateLimits, 'admitStatus'>;
  readonly noise: { note(sourcePrefix: string, reason: Reason, client?: string): void };
  commit(commitment: Commitment): Promise<CommitOutcome>;
}

/** The road of one endpoint; `look` is asked once the caller is known and within its limit. */
export function createStatusRoad(
  parts: StatusRoadParts,
  endpoint: StatusFacts['endpoint'],
  look: (token: string, caller: Caller) => Promise<StatusFinding>,
): (arrival: Arrival) => Promise<StatusAnswer> {
  return async (arrival) => {
    const turnAway = (refusal: Refusal, standings: readonly Standing[] = [], client?: string): StatusAnswer => {
      parts.noise.note(arrival.sourcePrefix, refusal.reason, client);
      return { refusal, record: undefined, standings };
    };
    const caller = await admitCaller(parts, arrival, (_, work) => work());
    if (isRefusal(caller)) return turnAway(caller);
    const { client, registry } = caller;
    const { refusal: limited, standings } = await parts.limits.admitStatus(client.object);
    if (limited !== undefined) return turnAway(limited, standings, client.id);

    const token = arrival.form.one('token');
    const finding: StatusFinding =
      token === undefined
        ? { refusal: refuse('parameter_missing', { parameter: 'token' }) }
        : await look(token, caller);
    const facts = { endpoint, arrival, client, stateVersion: registry.state.version, ...finding };
    return settle(parts, facts, finding, standings);
  };
}

/** Commits what has to be: what the caller proved itself with, what is revoked, and what is refused to a known caller. */
async function settle(
  parts: StatusRoadParts,
  facts: StatusFacts,
  finding: StatusFinding,
  standings: readonly Standing[],
): Promise<StatusAnswer> {
  const { marks } = facts.client;
  const { revocations = [], refusal, body } = finding;
  const answer = { standings, ...(body === undefined ? {} : { body }), ...(refusal === undefined ? {} : { refusal }) };
  if (marks.length === 0 && revocations.length === 0 && refusal === undefined) return { ...answer, record: undefined };
  const row = openStatusRecord(parts.node, facts, parts.clock.nowMs());
  const kind = refusal !== undefined ? 'refused' : revocations.length > 0 ? 'revoked' : 'introspected';
  const record = row(kind, refusal);
  const replay = refuse('client_assertion_replayed');
  const lost = row('refused', replay);
  const { outcome } = await parts.commit({ marks: marks.map((mark) => ({ ...mark, lost })), record, revocations });
  if (outcome === 'committed') return { ...answer, record };
  // Who presents a used assertion has not authenticated, and does not learn how its client stands.
  parts.failures.note(facts.arrival.source, claimedBy(facts.arrival));
  return { refusal: replay, record: lost, standings: [] };
}
