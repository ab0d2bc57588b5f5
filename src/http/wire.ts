/**
 * Where internal reasons become what a caller reads: one table, complete at compile time. Descriptions are constants,
 * one per error code, so that neither input nor a dependency's text can reach a body; the exact reason is in the record
 * under the request id that the response carries.
 */
import type { ServerResponse } from 'node:http';
import { TOKEN_TYPE_CREDENTIAL } from '../core/protocol.ts';
import { Unavailable } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { Ending } from '../egress/call.ts';
import type { Answer } from '../exchange/answer.ts';
import type { StatusAnswer } from '../status/status-road.ts';
import type { Standing } from '../limits/rates.ts';
import { rateLimitFields } from './rate-limit-fields.ts';

export const REQUEST_ID_HEADER = 'Cambist-Request-Id';
const RETRY_AFTER_SECONDS = 2;

interface Wire {
  readonly status: 400 | 401 | 403 | 405 | 408 | 413 | 429 | 502 | 503 | 504;
  readonly error:
    | 'invalid_request'
    | 'invalid_client'
    | 'unauthorized_client'
    | 'unsupported_grant_type'
    | 'invalid_scope'
    | 'invalid_target'
    | 'invalid_token'
    | 'insufficient_scope'
    | 'bad_gateway'
    | 'gateway_timeout'
    | 'temporarily_unavailable';
}

const invalidRequest: Wire = { status: 400, error: 'invalid_request' };
const invalidClient: Wire = { status: 401, error: 'invalid_client' };
const invalidScope: Wire = { status: 400, error: 'invalid_scope' };
const invalidTarget: Wire = { status: 400, error: 'invalid_target' };
const invalidToken: Wire = { status: 401, error: 'invalid_token' };
const insufficientScope: Wire = { status: 403, error: 'insufficient_scope' };
/** Our choice: RFC 6749 §5.2 has no code for it; 429 is RFC 6585 §4. */
const tooMany: Wire = { status: 429, error: 'temporarily_unavailable' };

const WIRE = {
  method_not_allowed: { status: 405, error: 'invalid_request' },
  content_type_unsupported: invalidRequest,
  body_too_large: { status: 413, error: 'invalid_request' },
  body_malformed: invalidRequest,
  parameter_in_query: invalidRequest,
  parameter_duplicated: invalidRequest,
  parameter_missing: invalidRequest,
  source_throttled: tooMany,
  // RFC 6749 §5.2: 401 invalid_client; two methods at once are invalid_request.
  client_authentication_missing: invalidClient,
  client_authentication_ambiguous: invalidRequest,
  client_unknown: invalidClient,
  client_disabled: invalidClient,
  client_method_not_allowed: invalidClient,
  client_secret_wrong: invalidClient,
  client_id_mismatch: invalidClient,
  client_assertion_type_unsupported: invalidClient,
  client_assertion_invalid: invalidClient,
  client_assertion_replayed: invalidClient,
  client_rate_exceeded: tooMany,
  resource_rate_exceeded: tooMany,
  subject_rate_exceeded: tooMany,
  grant_unsupported: { status: 400, error: 'unsupported_grant_type' },
  grant_not_allowed: { status: 400, error: 'unauthorized_client' },
  // RFC 8693 §2.2.2: an invalid or unacceptable subject or actor token MUST be invalid_request.
  token_type_unsupported: invalidRequest,
  requested_token_type_unsupported: invalidRequest,
  subject_token_invalid: invalidRequest,
  subject_token_issuer_unknown: invalidRequest,
  subject_token_issuer_disabled: invalidRequest,
  subject_token_not_meant_for_client: invalidRequest,
  subject_token_unknown: invalidRequest,
  subject_token_bound: invalidRequest,
  subject_token_replayed: invalidRequest,
  subject_token_revoked: invalidRequest,
  subject_disabled: invalidRequest,
  actor_token_invalid: invalidRequest,
  actor_token_issuer_unknown: invalidRequest,
  actor_token_issuer_disabled: invalidRequest,
  actor_token_not_meant_for_client: invalidRequest,
  actor_token_unknown: invalidRequest,
  actor_token_bound: invalidRequest,
  actor_token_replayed: invalidRequest,
  actor_token_revoked: invalidRequest,
  actor_disabled: invalidRequest,
  chain_member_disabled: invalidRequest,
  subject_name_taken: invalidRequest,
  // RFC 8693 §2.2.2, RFC 8707 §2.
  target_missing: invalidTarget,
  target_malformed: invalidTarget,
  target_unknown: invalidTarget,
  target_disabled: invalidTarget,
  targets_not_grouped: invalidTarget,
  target_not_upstream: invalidTarget,
  scope_malformed: invalidScope,
  scope_unknown: invalidScope,
  call_edge_missing: invalidTarget,
  may_act_mismatch: invalidRequest,
  act_as_denied: invalidRequest,
  chain_invalid: invalidRequest,
  chain_too_deep: invalidRequest,
  all_scopes_denied: invalidTarget,
  some_scopes_denied: invalidScope,
  no_default_scope_left: invalidScope,
  caller_not_listed: invalidTarget,
  nothing_left_to_live: invalidRequest,
  // What is wrong with a credential is the operator's to know; the caller learns that it cannot be had there.
  credential_not_fetchable: invalidTarget,
  credential_missing: invalidTarget,
  credential_forbidden: invalidTarget,
  credential_not_pinned: invalidTarget,
  credential_refused: invalidTarget,
  // RFC 6750 §3.1: a server that is given a bearer token.
  egress_token_missing: invalidToken,
  egress_token_invalid: invalidToken,
  egress_token_not_meant: invalidToken,
  egress_token_revoked: invalidToken,
  egress_path_refused: invalidRequest,
  egress_request_not_allowed: insufficientScope,
  egress_scope_missing: insufficientScope,
  egress_body_too_large: { status: 413, error: 'invalid_request' },
  egress_calls_exceeded: tooMany,
  // RFC 7009 §2.1: the request is refused, and the client is told.
  token_not_own: { status: 400, error: 'unauthorized_client' },
} as const satisfies Record<Reason, Wire>;

const badGateway: Wire = { status: 502, error: 'bad_gateway' };
const unavailable: Wire = { status: 503, error: 'temporarily_unavailable' };

/** What is another answer at the egress: there the caller is a bearer, and asks for no token. */
const AT_EGRESS: Readonly<Partial<Record<Reason, Wire>>> = {
  caller_not_listed: insufficientScope,
  credential_missing: badGateway,
  credential_forbidden: badGateway,
  credential_not_pinned: badGateway,
  credential_refused: badGateway,
};

/** Calls that ended before the head of an answer was out. Who hung up or was answered reads nothing. */
const ENDED = {
  done: badGateway,
  expired: invalidToken,
  revoked: invalidToken,
  state_unknown: unavailable,
  stopped: unavailable,
  caller_gone: badGateway,
  request_too_large: { status: 413, error: 'invalid_request' },
  answer_too_large: badGateway,
  request_stalled: { status: 408, error: 'invalid_request' },
  upstream_timeout: { status: 504, error: 'gateway_timeout' },
  upstream_failed: badGateway,
} as const satisfies Record<Ending, Wire>;

const DESCRIPTIONS = {
  invalid_request: 'The request is malformed, or a token in it is missing, invalid or not acceptable.',
  invalid_client: 'Client authentication failed.',
  unauthorized_client: 'This client may not do what it asked for.',
  unsupported_grant_type: 'This grant type is not supported.',
  invalid_scope: 'A requested scope is unknown, malformed or not permitted.',
  invalid_target: 'A requested resource or audience is missing, unknown or not permitted.',
  invalid_token: 'The access token is missing, invalid, expired, revoked or not meant for this upstream.',
  insufficient_scope: 'The access token does not permit this request.',
  bad_gateway: 'The upstream could not be asked, or did not answer properly.',
  gateway_timeout: 'The upstream did not answer in time.',
  temporarily_unavailable: 'The service cannot answer now. Try again later.',
  server_error: 'The service failed to answer.',
} as const;

/** RFC 6749 §5.1: token answers are never stored, errors included. */
function head(response: ServerResponse, status: number, extra: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    Pragma: 'no-cache',
    'X-Content-Type-Options': 'nosniff',
    ...extra,
  });
}

function sendError(
  response: ServerResponse,
  status: number,
  error: keyof typeof DESCRIPTIONS,
  extra: Readonly<Record<string, string>> = {},
): void {
  head(response, status, extra);
  response.end(JSON.stringify({ error, error_description: DESCRIPTIONS[error] }));
}

/** Sends an answer of the road (RFC 6749 §5.1 and §5.2, RFC 8693 §2.2). */
export function sendAnswer(response: ServerResponse, answer: Answer, usedHeader: boolean): void {
  if (answer.kind === 'refused') {
    sendRefusal(response, answer.refusal, usedHeader, answer.standings);
    return;
  }
  if (answer.kind === 'fetched') {
    sendCredential(response, answer);
    return;
  }
  const { jwt, claims } = answer.minted;
  head(response, 200, rateLimitFields(answer.standings));
  response.end(
    JSON.stringify({
      access_token: jwt,
      ...(answer.issuedTokenType === undefined ? {} : { issued_token_type: answer.issuedTokenType }),
      token_type: 'Bearer',
      expires_in: claims.exp - claims.iat,
      ...(claims.scope === undefined ? {} : { scope: claims.scope }),
    }),
  );
}

/** RFC 8693 §2.2.1: what is issued is no access token of ours, so its `token_type` is `N_A`. */
function sendCredential(response: ServerResponse, answer: Extract<Answer, { kind: 'fetched' }>): void {
  const { fields, scopes } = answer.fetched;
  const [only, ...more] = Object.values(fields);
  head(response, 200, rateLimitFields(answer.standings));
  response.end(
    JSON.stringify({
      access_token: only !== undefined && more.length === 0 ? only : JSON.stringify(fields),
      issued_token_type: TOKEN_TYPE_CREDENTIAL,
      token_type: 'N_A',
      expires_in: answer.expiresInSeconds,
      ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
    }),
  );
}

/** Sends an answer of a status endpoint (RFC 7662 §2.2; RFC 7009 §2.2: 200, and the body means nothing). */
export function sendStatus(response: ServerResponse, answer: StatusAnswer, usedHeader: boolean): void {
  if (answer.refusal !== undefined) {
    sendRefusal(response, answer.refusal, usedHeader, answer.standings);
    return;
  }
  head(response, 200, rateLimitFields(answer.standings));
  response.end(JSON.stringify(answer.body ?? {}));
}

/** Sends a refusal; `usedHeader`: the caller used the `Authorization` header, so it is told the scheme (RFC 6749 §5.2). */
export function sendRefusal(
  response: ServerResponse,
  refusal: Refusal,
  usedHeader: boolean,
  standings: readonly Standing[] = [],
): void {
  const wire: Wire = WIRE[refusal.reason];
  const challenge =
    wire.status === 401 && usedHeader ? { 'WWW-Authenticate': 'Basic realm="cambist", charset="UTF-8"' } : undefined;
  const allow = wire.status === 405 ? { Allow: 'POST' } : undefined;
  // What was not read of an oversized body is not waited for.
  const close = wire.status === 413 ? { Connection: 'close' } : undefined;
  const retry = wire.status === 429 ? { 'Retry-After': String(refusal.retryAfterSeconds ?? 1) } : undefined;
  const limits = rateLimitFields(standings);
  sendError(response, wire.status, wire.error, { ...challenge, ...allow, ...close, ...limits, ...retry });
}

/** Sends what a thrown error becomes: 503 for a dependency, 500 for a bug. Neither says more. */
export function sendFailure(response: ServerResponse, error: unknown): void {
  if (error instanceof Unavailable)
    sendError(response, 503, 'temporarily_unavailable', { 'Retry-After': String(RETRY_AFTER_SECONDS) });
  else sendError(response, 500, 'server_error');
}

/** Sends a refusal of the egress: to a bearer (RFC 6750 §3), who is told the scopes that the request needs. */
export function sendEgressRefusal(response: ServerResponse, refusal: Refusal): void {
  const wire: Wire = AT_EGRESS[refusal.reason] ?? WIRE[refusal.reason];
  const retry = wire.status === 429 ? { 'Retry-After': String(refusal.retryAfterSeconds ?? 1) } : undefined;
  sendError(response, wire.status, wire.error, { ...challengeOf(wire, refusal), ...retry });
}

/** RFC 6750 §3: no error code for who showed no token at all; scopes are those of a registered rule. */
function challengeOf(wire: Wire, { reason, detail }: Refusal): Readonly<Record<string, string>> {
  if (wire.status !== 401 && wire.status !== 403) return {};
  const error = reason === 'egress_token_missing' ? '' : `, error="${wire.error}"`;
  const { missing } = detail;
  const scope = reason === 'egress_scope_missing' && Array.isArray(missing) ? `, scope="${missing.join(' ')}"` : '';
  return { 'WWW-Authenticate': `Bearer realm="cambist"${error}${scope}` };
}

/** Sends what a call becomes that ended before its upstream answered. */
export function sendCallEnd(response: ServerResponse, ending: Ending): void {
  const wire: Wire = ENDED[ending];
  const challenge = wire.status === 401 ? { 'WWW-Authenticate': 'Bearer realm="cambist", error="invalid_token"' } : {};
  const retry = wire.status === 503 ? { 'Retry-After': String(RETRY_AFTER_SECONDS) } : {};
  sendError(response, wire.status, wire.error, { ...challenge, ...retry });
}
