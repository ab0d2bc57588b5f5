/**
 * What happens to a call through the egress, from top to bottom: judge the request by its token, find it a place, obtain
 * the credential, commit that it is opened, hand it over to be forwarded. *Not committed: nothing is forwarded, the
 * caller gets 503.* What became of it is committed when it has ended. Refusals are recorded too; those of callers whose
 * token is nobody's are only counted.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { isRefusal } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { Registry } from '../objects/registry.ts';
import { placeholdersOf } from '../objects/upstream-templates.ts';
import type { Commitment } from '../store/commitment.ts';
import type { CommitOutcome } from '../store/commits.ts';
import type { Credential, Credentials, CredentialUse } from '../upstream/credential.ts';
import { injectCredential } from '../upstream/inject.ts';
import type { Armed, CallEnd, EgressArrival, Ending, OpenCall } from './call.ts';
import { openCallRecords } from './call-record.ts';
import type { CallRecordParts, CallRecords } from './call-record.ts';
import { createClosings } from './closings.ts';
import { judge, whyNoMore } from './judge.ts';
import type { Findings, Judged, JudgeParts } from './judge.ts';
import type { OpenCalls, Place } from './open-calls.ts';

export interface EgressParts extends JudgeParts, CallRecordParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly credentials: Credentials;
  readonly openCalls: OpenCalls;
  readonly noise: { note(sourcePrefix: string, reason: Reason, client?: string): void };
  registry(): Promise<Registry>;
  commit(commitment: Commitment): Promise<CommitOutcome>;
  /** Name of the resource that a token which was exchanged was for; `undefined` where it was for none. */
  resourceOf(ancestors: readonly string[], registry: Registry): Promise<string | undefined>;
}

export interface Egress {
  /** Throws Unavailable where one of our own dependencies does not answer; nothing was forwarded then. */
  open(arrival: EgressArrival): Promise<OpenCall | Refusal>;
  /** Calls that are open. */
  count(): number;
  /** Ends what is still open and waits until it is recorded, for so long at most. */
  stop(): Promise<void>;
}

export function createEgress(parts: EgressParts): Egress {
  const closings = createClosings(parts);
  return {
    open: (arrival) =>
      open(
        parts,
        (build) => {
          closings.commit(build);
        },
        arrival,
      ),
    count: () => parts.openCalls.count(),
    stop: async () => {
      parts.openCalls.stop();
      await closings.idle();
    },
  };
}

async function open(
  parts: EgressParts,
  commitLater: (build: () => RecordRow) => void,
  arrival: EgressArrival,
): Promise<OpenCall | Refusal> {
  const registry = await parts.registry();
  const found: Findings = {};
  const judged = await judge(parts, arrival.request, registry, found);
  const { bearer } = found;
  if (bearer === undefined) {
    if (!isRefusal(judged)) throw new Error('a request was let through without a token');
    parts.noise.note(arrival.sourcePrefix, judged.reason);
    return judged;
  }
  const records = await openCallRecords(parts, arrival, { ...found, bearer }, registry.state.version);
  if (isRefusal(judged)) return refuseKnown(parts, records, judged);
  const place = parts.openCalls.enter(judged.bearer.callerId ?? judged.bearer.own.clientId);
  if (isRefusal(place)) {
    parts.noise.note(arrival.sourcePrefix, place.reason, bearer.own.clientId);
    return place;
  }
  try {
    const opened = await openWith(parts, commitLater, { arrival, judged, records, registry, place });
    if (isRefusal(opened)) place.leave();
    return opened;
  } catch (error) {
    place.leave();
    throw error;
  }
}

async function refuseKnown(parts: EgressParts, records: CallRecords, refusal: Refusal): Promise<Refusal> {
  await parts.commit({ marks: [], record: records.refused(refusal, parts.clock.nowMs()) });
  return refusal;
}

interface Opening {
  readonly arrival: EgressArrival;
  readonly judged: Judged;
  readonly records: CallRecords;
  readonly registry: Registry;
  readonly place: Place;
}

async function openWith(
  parts: EgressParts,
  commitLater: (build: () => RecordRow) => void,
  opening: Opening,
): Promise<OpenCall | Refusal> {
  const { judged, records, registry, place } = opening;
  const use = await useOf(parts, judged, registry);
  const arm = () => obtain(parts, use, opening.arrival.request.query);
  const armed = await arm();
  if (isRefusal(armed)) return refuseKnown(parts, records, armed);
  const startedMs = performance.now();
  const record = records.opened(armed.credential.mark, parts.clock.nowMs());
  try {
    // No record, no call: whatever goes wrong here, nothing has left this process yet.
    await parts.commit({ marks: [], record });
  } catch (error) {
    await armed.credential.discard();
    throw error;
  }
  const cutting = watch(parts, judged, registry, place);
  const reject = (last: Credential) => {
    parts.credentials.reject(use, last);
  };
  return openCall({ parts, judged, armed, arm, reject, cut: cutting.signal }, (end, last) => {
    place.leave();
    const [durationMs, nowMs] = [performance.now() - startedMs, parts.clock.nowMs()];
    commitLater(() => records.closed(end, last.mark, durationMs, record, nowMs));
  });
}

/** The credential, put into the request. */
async function obtain(parts: EgressParts, use: CredentialUse, query: string): Promise<Armed | Refusal> {
  const credential = await parts.credentials.obtain(use);
  if (isRefusal(credential)) return credential;
  const injected = injectCredential(use.upstream.spec.inject, credential, query);
  if (!isRefusal(injected)) return { credential, injected };
  await credential.discard();
  return injected;
}

/** Ends the call at the expiry of its token, and when what let it in holds no more. */
function watch(parts: EgressParts, judged: Judged, registry: Registry, place: Place): AbortController {
  const cutting = new AbortController();
  const { upstream, bearer } = judged;
  place.watch({
    expiresAtSeconds: bearer.own.exp,
    state: registry.state,
    stillHolds: async (now) => (await whyNoMore(parts, { name: upstream.name, bearer }, now)) === undefined,
    cut: (ending: Ending) => {
      cutting.abort(ending);
    },
  });
  return cutting;
}

function openCall(
  call: {
    readonly parts: EgressParts;
    readonly judged: Judged;
    readonly armed: Armed;
    readonly cut: AbortSignal;
    arm(): Promise<Armed | Refusal>;
    reject(credential: Credential): void;
  },
  onEnd: (end: CallEnd, last: Credential) => void,
): OpenCall {
  const { parts, judged, armed, cut } = call;
  let last = armed.credential;
  let ended = false;
  return {
    upstream: judged.upstream.spec,
    baseUrl: judged.baseUrl,
    token: judged.bearer.token,
    armed,
    cut,
    reject: () => {
      call.reject(last);
    },
    async renew() {
      call.reject(last);
      try {
        const fresh = await call.arm();
        if (isRefusal(fresh) || fresh.credential.secret === last.secret) return undefined;
        last = fresh.credential;
        return fresh;
      } catch (error) {
        parts.logger.warn({ err: error, upstream: judged.upstream.name }, 'no fresh credential after a 401');
        return undefined;
      }
    },
    close(end) {
      if (ended) return;
      ended = true;
      onEnd(end, last);
    },
  };
}

async function useOf(parts: EgressParts, { upstream, bearer }: Judged, registry: Registry): Promise<CredentialUse> {
  const { own, recalled, callerId } = bearer;
  const { ancestors } = recalled.issued;
  // Another look-up, for those alone whose secrets lie by resource.
  const byResource = placeholdersOf(upstream.spec.credential.path).includes('resource');
  return {
    upstream,
    purpose: 'inject',
    subject: recalled.party.principal,
    subjectName: recalled.party.tokenSub,
    clientId: callerId ?? own.clientId,
    resource: byResource ? await parts.resourceOf(ancestors, registry) : undefined,
    token: { identity: own.jti, ancestors, expiresAtSeconds: own.exp, facts: recalled.facts },
  };
}
