/**
 * The record of one decision: what auditors ask for, as canonical bytes (RFC 8785) that are stored verbatim.
 *
 * Personal fields (PERSONAL_FIELDS below) never stand in clear: they are sealed under a key of the person they are
 * about (`audit/personal.ts`), and the sealed form is what the canonical bytes hold. Deleting that key erases the
 * person and breaks no proof.
 */
import { canonicalJson } from '../core/canonical.ts';

export const RECORD_VERSION = 1 as const;

/** What happened. `noise` = refusals of unauthenticated callers, counted; `undelivered` = committed, never answered. */
export type RecordKind =
  | 'issued'
  | 'refused'
  | 'failed'
  | 'undelivered'
  | 'noise'
  | 'changed'
  | 'revoked'
  | 'introspected'
  | 'opened'
  | 'closed';

/**
 * The personal fields, each sealed as one JSON object under the key of its person:
 * `iss`, `sub`, `email`, `name`, `groups`, `roles` (of subject or actor), `source` (the caller's address, for the
 * subject), `path` (of a call to an upstream), and the policy inputs that repeat them. Clients are not persons: their ids stand in clear.
 */
export interface SealedPerson {
  /** Random id of the person's key row; not derived from the person. */
  readonly ref: string;
  /** AES-256-GCM, base64url of nonce ‖ ciphertext ‖ tag, AAD = record id ‖ ref. */
  readonly sealed: string;
}

export interface RecordBody {
  readonly v: typeof RECORD_VERSION;
  readonly id: string;
  /** RFC 3339, milliseconds, UTC. */
  readonly time: string;
  readonly kind: RecordKind;
  readonly request_id: string;
  readonly node: string;
  readonly [field: string]: unknown;
}

/** A record ready for its row: the canonical bytes and the columns by which it is found. */
export interface RecordRow {
  readonly id: string;
  readonly recordedAtMs: number;
  readonly kind: RecordKind;
  readonly reason: string | null;
  readonly requestId: string;
  readonly clientId: string | null;
  readonly resources: readonly string[];
  readonly jti: string | null;
  /** Refs of the persons in it, the subject first. */
  readonly persons: readonly string[];
  readonly canonical: Uint8Array;
}

/** Canonical JSON (RFC 8785) as UTF-8. Throws on values that JSON has no form for. */
export function canonicalBytes(body: RecordBody): Uint8Array {
  return new TextEncoder().encode(canonicalJson(body));
}
