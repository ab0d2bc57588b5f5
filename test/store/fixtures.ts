/** Values that store tests commit: small records whose bytes say what they are. */
import { v7 as newUuid } from 'uuid';
import { canonicalBytes } from '../../src/audit/record.ts';
import type { RecordKind, RecordRow } from '../../src/audit/record.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import type { Commitment, IssuedRow, ReplayMark } from '../../src/store/commitment.ts';
import { createCommitter } from '../../src/store/commits.ts';
import type { Committer, CommitterOptions } from '../../src/store/commits.ts';
import type { Database } from '../../src/store/database.ts';
import type { SettlementRecords } from '../../src/store/settlement.ts';

export const silentLogger = createLogger('silent');

export function record(kind: RecordKind, fields: Partial<RecordRow> = {}): RecordRow {
  const id = fields.id ?? newUuid();
  const recordedAtMs = fields.recordedAtMs ?? Date.now();
  const requestId = fields.requestId ?? newUuid();
  return {
    id,
    recordedAtMs,
    kind,
    reason: kind === 'refused' ? 'client_assertion_replayed' : null,
    requestId,
    clientId: 'agent-1',
    resources: ['https://crm.example/mcp'],
    jti: null,
    persons: [],
    canonical: canonicalBytes({
      v: 1,
      id,
      time: new Date(recordedAtMs).toISOString(),
      kind,
      request_id: requestId,
      node: 'n',
    }),
    ...fields,
  };
}

export function mark(id: string, standsFor: RecordRow, fields: Partial<ReplayMark> = {}): ReplayMark {
  return {
    purpose: 'client_assertion',
    issuer: 'agent-1',
    id,
    expiresAtSeconds: Math.floor(Date.now() / 1000) + 300,
    lost: record('refused', {
      id: standsFor.id,
      recordedAtMs: standsFor.recordedAtMs,
      requestId: standsFor.requestId,
      reason: `lost ${id}`,
    }),
    ...fields,
  };
}

export function issuedRow(jti: string, fields: Partial<IssuedRow> = {}): IssuedRow {
  const now = Math.floor(Date.now() / 1000);
  return {
    jti,
    ancestors: [],
    vouchedBy: [],
    subjectRef: newUuid(),
    clientId: 'agent-1',
    actors: ['agent-1'],
    resources: ['https://crm.example/mcp'],
    kid: 'key_1',
    issuedAtSeconds: now,
    expiresAtSeconds: now + 300,
    subjectClaims: null,
    ...fields,
  };
}

/** A request that issues a token, after consuming these marks. */
export function issue(markIds: readonly string[] = [], fields: Partial<RecordRow> = {}): Commitment {
  const jti = newUuid();
  const own = record('issued', { jti, ...fields });
  return { marks: markIds.map((id) => mark(id, own)), issued: issuedRow(jti), record: own };
}

export const settle: SettlementRecords = {
  failed: ({ id, recordedAtMs, requestId }) => record('failed', { id, recordedAtMs, requestId }),
  undelivered: ({ requestId, jti }) => record('undelivered', { requestId, jti }),
};

export function committer(db: Database, options: Partial<CommitterOptions> = {}): Committer {
  return createCommitter({ db, clock: systemClock, logger: silentLogger, settle, ...options });
}

/** Every record of the database, oldest first: kind, reason and request. */
export async function recordsOf(
  db: Database,
): Promise<{ id: string; kind: RecordKind; reason: string | null; request_id: string }[]> {
  return db.query('SELECT id, kind, reason, request_id FROM audit_record ORDER BY recorded_at, id');
}
