/**
 * The record of what was asked at the status endpoints: a revocation, a refusal, and an introspection whose caller proved
 * itself with something that may be used once. Persons stand by their ref: what a token says of them is in the record of
 * its issue.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordRow } from '../audit/record.ts';
import type { AuthenticatedClient } from '../clients/authenticate.ts';
import type { Arrival } from '../core/arrival.ts';
import type { Refusal } from '../core/refusal.ts';
import type { RevocationRow } from '../store/commitment.ts';
import type { OwnToken } from '../tokens/access-token.ts';

export interface StatusFacts {
  readonly endpoint: 'introspect' | 'revoke';
  readonly arrival: Arrival;
  readonly client: AuthenticatedClient;
  readonly stateVersion: number;
  /** A token of ours whose signature was verified; with whom it is about, as records name them, where that is known. */
  readonly token?: { readonly own: OwnToken; readonly subjectRef?: string };
  readonly revocations?: readonly RevocationRow[];
}

export type StatusRecordKind = 'introspected' | 'revoked' | 'refused';

/** Builds the rows of one request: they have one id, and one of them will be its row. */
export function openStatusRecord(
  node: string,
  facts: StatusFacts,
  nowMs: number,
): (kind: StatusRecordKind, refusal?: Refusal) => RecordRow {
  const id = uuidv7();
  const { arrival, client, token, endpoint } = facts;
  const person = token?.subjectRef?.startsWith('client:') === false ? [token.subjectRef] : [];
  return (kind, refusal) => ({
    id,
    recordedAtMs: nowMs,
    kind,
    reason: refusal?.reason ?? null,
    requestId: arrival.requestId,
    clientId: client.id,
    resources: token?.own.audience ?? [],
    jti: token?.own.jti ?? null,
    persons: person,
    canonical: canonicalBytes({
      v: RECORD_VERSION,
      id,
      time: new Date(nowMs).toISOString(),
      kind,
      request_id: arrival.requestId,
      ...(arrival.traceId === undefined ? {} : { trace_id: arrival.traceId }),
      node,
      state_version: facts.stateVersion,
      source_prefix: arrival.sourcePrefix,
      client: { id: client.id, method: client.method },
      endpoint,
      ...(token === undefined ? {} : { token: tokenForm(token) }),
      ...(kind === 'revoked' ? { revoked: (facts.revocations ?? []).map(revocationForm) } : {}),
      ...(refusal === undefined ? {} : { refusal: { reason: refusal.reason, detail: refusal.detail } }),
      persons: [],
    }),
  });
}

function tokenForm({ own, subjectRef }: NonNullable<StatusFacts['token']>) {
  return {
    jti: own.jti,
    kid: own.kid,
    aud: own.audience,
    client_id: own.clientId,
    exp: own.exp,
    ...(subjectRef === undefined ? {} : { subject: subjectRef }),
  };
}

function revocationForm({ kind, value, issuedUntil }: RevocationRow) {
  return { kind, value, issued_until: issuedUntil };
}
