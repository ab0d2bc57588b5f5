/**
 * The records of a call: `opened` before anything is forwarded, `closed` after, `refused` where it did not come to that.
 * They hold no query and no path in clear: either may name a person or be a secret. The rule that matched stands in clear,
 * the path only sealed, with the person that the token is about; of a client's own calls it is not kept.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordKind, RecordRow } from '../audit/record.ts';
import { collectPersons } from '../audit/sealed-persons.ts';
import type { Persons, PersonSource } from '../audit/sealed-persons.ts';
import type { Refusal } from '../core/refusal.ts';
import type { CredentialMark } from '../upstream/credential.ts';
import type { CallEnd, EgressArrival } from './call.ts';
import { egressUri } from '../objects/target.ts';
import type { RequestRule } from '../objects/upstream.ts';
import type { Bearer, Findings } from './judge.ts';

const PATH_MAX_CHARS = 1024;
/** Anything else that a request line can hold is no method that a rule can name. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

export interface CallRecordParts extends PersonSource {
  readonly node: string;
}

export interface CallRecords {
  refused(refusal: Refusal, nowMs: number): RecordRow;
  opened(credential: CredentialMark, nowMs: number): RecordRow;
  /** `opened` is the record that it follows. */
  closed(end: CallEnd, credential: CredentialMark, durationMs: number, opened: RecordRow, nowMs: number): RecordRow;
}

/** Builds the records of one call whose token was verified. */
export async function openCallRecords(
  parts: CallRecordParts,
  arrival: EgressArrival,
  found: Findings & { readonly bearer: Bearer },
  stateVersion: number,
): Promise<CallRecords> {
  const { own, token } = found.bearer;
  const { request } = arrival;
  // Whoever puts its token there must not find it again in a record.
  const path = request.path.replaceAll(token, '*').slice(0, PATH_MAX_CHARS);
  const persons = collectPersons(parts);
  const { party } = found.bearer.recalled;
  await persons.add(party.principal, { source: arrival.source, path });
  for (const actor of own.chain) await persons.add(actor, {});
  const upstreamName = found.upstream?.name ?? request.upstreamName;
  const common = {
    request_id: arrival.requestId,
    ...(arrival.traceId === undefined ? {} : { trace_id: arrival.traceId }),
    node: parts.node,
    client: { id: own.clientId },
    subject: persons.refOf(party.principal),
    act: own.chain.map((actor) => persons.refOf(actor)),
    upstream: upstreamName,
    ...(request.label === undefined ? {} : { label: request.label }),
    method: METHODS.has(request.method) ? request.method : 'other',
    token: { jti: own.jti, kid: own.kid, scope: own.scopes.join(' '), exp: own.exp },
  };
  const row = (
    kind: RecordKind,
    nowMs: number,
    more: Readonly<Record<string, unknown>>,
    reason?: string,
  ): RecordRow => {
    const id = uuidv7();
    const sealed = kind === 'closed' ? [] : persons.seal(id);
    const body = { v: RECORD_VERSION, id, time: new Date(nowMs).toISOString(), kind, ...common, ...more };
    return {
      id,
      recordedAtMs: nowMs,
      kind,
      reason: reason ?? null,
      requestId: arrival.requestId,
      clientId: own.clientId,
      resources: [egressUri(parts.ourIssuer, upstreamName)],
      jti: own.jti,
      persons: refsOf(persons, found.bearer),
      canonical: canonicalBytes({ ...body, persons: sealed }),
    };
  };
  const seen = { state_version: stateVersion, source_prefix: arrival.sourcePrefix };
  const rule = () => (found.rule === undefined ? {} : { rule: ruleForm(found.rule) });
  return {
    refused: (refusal, nowMs) =>
      row(
        'refused',
        nowMs,
        { ...seen, ...rule(), refusal: { reason: refusal.reason, detail: refusal.detail } },
        refusal.reason,
      ),
    opened: (credential, nowMs) => row('opened', nowMs, { ...seen, ...rule(), credential: markForm(credential) }),
    closed: (end, credential, durationMs, opened, nowMs) =>
      row('closed', nowMs, {
        opened: opened.id,
        ended: end.ended,
        ...(end.status === undefined ? {} : { status: end.status }),
        request_bytes: end.requestBytes,
        response_bytes: end.responseBytes,
        duration_ms: Math.round(durationMs),
        credential: markForm(credential),
        repeated: end.repeated,
        ...(end.failure === undefined ? {} : { failure: end.failure }),
      }),
  };
}

/** The subject first, each once. */
function refsOf(persons: Persons, { own, recalled }: Bearer): readonly string[] {
  const refs = [recalled.party.principal, ...own.chain].flatMap((one) => persons.get(one)?.key.ref ?? []);
  return [...new Set(refs)];
}

function ruleForm({ path, scopes }: RequestRule) {
  return { path, scopes };
}

/** Named one by one: a mark that is given more one day does not tell it here by accident. */
function markForm({ kind, store, path, version }: CredentialMark) {
  return { kind, store, path, version };
}
