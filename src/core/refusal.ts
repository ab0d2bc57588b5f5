/**
 * The three kinds of failure (src/README.md, "Errors"):
 *   Refusal      the caller's fault; a value that pure code returns, tagged by its reason.
 *   Unavailable  something that we depend on is down; thrown, retryable, its cause kept for the log.
 *   bug          anything else that is thrown.
 * What a caller reads of them is decided in one place, `http/wire.ts`.
 */

/** Why a request was refused. The order is the order of the road. Each has its row in `http/wire.ts`. */
export const REASONS = [
  // 1 parse
  'method_not_allowed',
  'content_type_unsupported',
  'body_too_large',
  'body_malformed',
  'parameter_in_query',
  'parameter_duplicated',
  'parameter_missing',
  // 2 authenticate
  'source_throttled',
  'client_authentication_missing',
  'client_authentication_ambiguous',
  'client_unknown',
  'client_disabled',
  'client_method_not_allowed',
  'client_secret_wrong',
  'client_id_mismatch',
  'client_assertion_type_unsupported',
  'client_assertion_invalid',
  'client_assertion_replayed',
  // 3 limit
  'client_rate_exceeded',
  'resource_rate_exceeded',
  'subject_rate_exceeded',
  // dispatch
  'grant_unsupported',
  'grant_not_allowed',
  // 4 verify
  'token_type_unsupported',
  'requested_token_type_unsupported',
  'subject_token_invalid',
  'subject_token_issuer_unknown',
  'subject_token_issuer_disabled',
  'subject_token_not_meant_for_client',
  'subject_token_unknown',
  'subject_token_bound',
  'subject_token_replayed',
  'subject_token_revoked',
  'subject_disabled',
  'actor_token_invalid',
  'actor_token_issuer_unknown',
  'actor_token_issuer_disabled',
  'actor_token_not_meant_for_client',
  'actor_token_unknown',
  'actor_token_bound',
  'actor_token_replayed',
  'actor_token_revoked',
  'actor_disabled',
  'chain_member_disabled',
  'subject_name_taken',
  // 5 resolve
  'target_missing',
  'target_malformed',
  'target_unknown',
  'target_disabled',
  'targets_not_grouped',
  'target_not_upstream',
  // 6 decide
  'scope_malformed',
  'scope_unknown',
  'call_edge_missing',
  'may_act_mismatch',
  'act_as_denied',
  'chain_invalid',
  'chain_too_deep',
  'all_scopes_denied',
  'some_scopes_denied',
  'no_default_scope_left',
  'caller_not_listed',
  'nothing_left_to_live',
  // 7 obtain a credential
  'credential_not_fetchable',
  'credential_missing',
  'credential_forbidden',
  'credential_not_pinned',
  'credential_refused',
  // egress
  'egress_token_missing',
  'egress_token_invalid',
  'egress_token_not_meant',
  'egress_token_revoked',
  'egress_path_refused',
  'egress_request_not_allowed',
  'egress_scope_missing',
  'egress_body_too_large',
  'egress_calls_exceeded',
  // revocation endpoint
  'token_not_own',
] as const;
export type Reason = (typeof REASONS)[number];

/** Internal facts about a refusal: they go to the record, never to the caller. */
export type RefusalDetail = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface Refusal {
  readonly kind: 'refusal';
  readonly reason: Reason;
  readonly detail: RefusalDetail;
  /** Of a limit: when asking again makes sense. Such refusals are counted, not recorded, or they would fill the log. */
  readonly retryAfterSeconds?: number;
}

export function refuse(reason: Reason, detail: RefusalDetail = {}): Refusal {
  return { kind: 'refusal', reason, detail };
}

/** The refusal of a limit; at least 1 second. */
export function refuseForNow(reason: Reason, retryAfterSeconds: number, detail: RefusalDetail = {}): Refusal {
  return { kind: 'refusal', reason, detail, retryAfterSeconds: Math.max(1, retryAfterSeconds) };
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'refusal';
}

/** A dependency that did not do its part in time. The request may be sent again later. */
export class Unavailable extends Error {
  override readonly name: string = 'Unavailable';
  /** Which dependency, in words that an operator knows: `database`, `trusted issuer corp`, `overload`. */
  readonly dependency: string;

  constructor(dependency: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.dependency = dependency;
  }
}
