/**
 * Records that belong to no request of their own: what settlement finds out, answers that never arrived, changes of
 * registered objects.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordKind, RecordRow, SealedPerson } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';

/** The builders of one node. */
export function createBareRecords(node: string, clock: Clock) {
  const row = (
    kind: RecordKind,
    place: { readonly id: string; readonly recordedAtMs: number },
    fields: Readonly<Record<string, unknown>>,
    like?: RecordRow,
    sealed: readonly SealedPerson[] = [],
  ): RecordRow => {
    const { id, recordedAtMs } = place;
    const requestId = like?.requestId ?? id;
    const time = new Date(recordedAtMs).toISOString();
    return {
      id,
      recordedAtMs,
      kind,
      reason: null,
      requestId,
      clientId: like?.clientId ?? null,
      resources: like?.resources ?? [],
      jti: kind === 'undelivered' ? (like?.jti ?? null) : null,
      persons: like?.persons ?? sealed.map(({ ref }) => ref),
      canonical: canonicalBytes({
        v: RECORD_VERSION,
        id,
        time,
        kind,
        request_id: requestId,
        node,
        ...fields,
        persons: sealed,
      }),
    };
  };
  const newPlace = () => ({ id: uuidv7(), recordedAtMs: clock.nowMs() });
  return {
    /** Stands in for a record that was never committed, in its place: its request was answered 503. */
    failed: (original: RecordRow) => row('failed', original, { meant: original.kind }, original),
    /** Follows a record whose answer never reached its caller. */
    undelivered: (original: RecordRow) =>
      row('undelivered', newPlace(), { of: original.id, jti: original.jti }, original),
    changed: (change: Readonly<Record<string, unknown>>, seal: (recordId: string) => readonly SealedPerson[]) => {
      const place = newPlace();
      return row('changed', place, { change }, undefined, seal(place.id));
    },
  };
}
