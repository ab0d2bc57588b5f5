/**
 * What callers read, pinned: every reason with its status and error code, the constant descriptions, the headers. The
 * literals are those of the requirements; nothing here is computed by the code under test.
 */
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { REASONS, refuse, refuseForNow, Unavailable } from '../../src/core/refusal.ts';
import type { Ending } from '../../src/egress/call.ts';
import type { Reason } from '../../src/core/refusal.ts';
import { sendFailure, sendCallEnd, sendEgressRefusal, sendRefusal, sendStatus } from '../../src/http/wire.ts';
import type { StatusAnswer } from '../../src/status/status-road.ts';

const WIRE: Readonly<Record<Reason, readonly [status: number, error: string]>> = {
  method_not_allowed: [405, 'invalid_request'],
  content_type_unsupported: [400, 'invalid_request'],
  body_too_large: [413, 'invalid_request'],
  body_malformed: [400, 'invalid_request'],
  parameter_in_query: [400, 'invalid_request'],
  parameter_duplicated: [400, 'invalid_request'],
  parameter_missing: [400, 'invalid_request'],
  source_throttled: [429, 'temporarily_unavailable'],
  client_authentication_missing: [401, 'invalid_client'],
  client_authentication_ambiguous: [400, 'invalid_request'],
  client_unknown: [401, 'invalid_client'],
  client_disabled: [401, 'invalid_client'],
  client_method_not_allowed: [401, 'invalid_client'],
  client_secret_wrong: [401, 'invalid_client'],
  client_id_mismatch: [401, 'invalid_client'],
  client_assertion_type_unsupported: [401, 'invalid_client'],
  client_assertion_invalid: [401, 'invalid_client'],
  client_assertion_replayed: [401, 'invalid_client'],
  client_rate_exceeded: [429, 'temporarily_unavailable'],
  resource_rate_exceeded: [429, 'temporarily_unavailable'],
  subject_rate_exceeded: [429, 'temporarily_unavailable'],
  grant_unsupported: [400, 'unsupported_grant_type'],
  grant_not_allowed: [400, 'unauthorized_client'],
  token_type_unsupported: [400, 'invalid_request'],
  requested_token_type_unsupported: [400, 'invalid_request'],
  subject_token_invalid: [400, 'invalid_request'],
  subject_token_issuer_unknown: [400, 'invalid_request'],
  subject_token_issuer_disabled: [400, 'invalid_request'],
  subject_token_not_meant_for_client: [400, 'invalid_request'],
  subject_token_unknown: [400, 'invalid_request'],
  subject_token_bound: [400, 'invalid_request'],
  subject_token_replayed: [400, 'invalid_request'],
  subject_token_revoked: [400, 'invalid_request'],
  subject_disabled: [400, 'invalid_request'],
  actor_token_invalid: [400, 'invalid_request'],
  actor_token_issuer_unknown: [400, 'invalid_request'],
  actor_token_issuer_disabled: [400, 'invalid_request'],
  actor_token_not_meant_for_client: [400, 'invalid_request'],
  actor_token_unknown: [400, 'invalid_request'],
  actor_token_bound: [400, 'invalid_request'],
  actor_token_replayed: [400, 'invalid_request'],
  actor_token_revoked: [400, 'invalid_request'],
  actor_disabled: [400, 'invalid_request'],
  chain_member_disabled: [400, 'invalid_request'],
  subject_name_taken: [400, 'invalid_request'],
  target_missing: [400, 'invalid_target'],
  target_malformed: [400, 'invalid_target'],
  target_unknown: [400, 'invalid_target'],
  target_disabled: [400, 'invalid_target'],
  targets_not_grouped: [400, 'invalid_target'],
  target_not_upstream: [400, 'invalid_target'],
  scope_malformed: [400, 'invalid_scope'],
  scope_unknown: [400, 'invalid_scope'],
  call_edge_missing: [400, 'invalid_target'],
  may_act_mismatch: [400, 'invalid_request'],
  act_as_denied: [400, 'invalid_request'],
  chain_invalid: [400, 'invalid_request'],
  chain_too_deep: [400, 'invalid_request'],
  all_scopes_denied: [400, 'invalid_target'],
  some_scopes_denied: [400, 'invalid_scope'],
  no_default_scope_left: [400, 'invalid_scope'],
  caller_not_listed: [400, 'invalid_target'],
  nothing_left_to_live: [400, 'invalid_request'],
  credential_not_fetchable: [400, 'invalid_target'],
  credential_missing: [400, 'invalid_target'],
  credential_forbidden: [400, 'invalid_target'],
  credential_not_pinned: [400, 'invalid_target'],
  credential_refused: [400, 'invalid_target'],
  egress_token_missing: [401, 'invalid_token'],
  egress_token_invalid: [401, 'invalid_token'],
  egress_token_not_meant: [401, 'invalid_token'],
  egress_token_revoked: [401, 'invalid_token'],
  egress_path_refused: [400, 'invalid_request'],
  egress_request_not_allowed: [403, 'insufficient_scope'],
  egress_scope_missing: [403, 'insufficient_scope'],
  egress_body_too_large: [413, 'invalid_request'],
  egress_calls_exceeded: [429, 'temporarily_unavailable'],
  token_not_own: [400, 'unauthorized_client'],
};

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  invalid_request: 'The request is malformed, or a token in it is missing, invalid or not acceptable.',
  invalid_client: 'Client authentication failed.',
  unauthorized_client: 'This client may not do what it asked for.',
  unsupported_grant_type: 'This grant type is not supported.',
  invalid_scope: 'A requested scope is unknown, malformed or not permitted.',
  invalid_target: 'A requested resource or audience is missing, unknown or not permitted.',
  temporarily_unavailable: 'The service cannot answer now. Try again later.',
  invalid_token: 'The access token is missing, invalid, expired, revoked or not meant for this upstream.',
  insufficient_scope: 'The access token does not permit this request.',
  bad_gateway: 'The upstream could not be asked, or did not answer properly.',
  gateway_timeout: 'The upstream did not answer in time.',
};

const ALWAYS = {
  'Content-Type': 'application/json',
  'Cache-Control': 'no-store',
  Pragma: 'no-cache',
  'X-Content-Type-Options': 'nosniff',
};

interface Sent {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Takes down what is written to a response. */
function written(send: (response: ServerResponse) => void): Sent {
  const sent: Sent = { status: 0, headers: {}, body: '' };
  const response = {
    writeHead: (status: number, headers: Record<string, string>) => {
      sent.status = status;
      sent.headers = headers;
    },
    end: (body: string) => {
      sent.body = body;
    },
  };
  send(response as unknown as ServerResponse);
  return sent;
}

const refusedAs = (reason: Reason, usedHeader = false) =>
  written((response) => sendRefusal(response, refuse(reason, { secret: 'never shown' }), usedHeader));

describe('errors of the egress on the wire (RFC 6750 §3)', () => {
  const refusedThere = (reason: Reason, detail = {}) =>
    written((response) => {
      sendEgressRefusal(response, refuse(reason, detail));
    });

  it.each<[Reason, number, string, string | undefined]>([
    ['egress_token_missing', 401, 'invalid_token', 'Bearer realm="cambist"'],
    ['egress_token_invalid', 401, 'invalid_token', 'Bearer realm="cambist", error="invalid_token"'],
    ['egress_scope_missing', 403, 'insufficient_scope', 'Bearer realm="cambist", error="insufficient_scope"'],
    ['caller_not_listed', 403, 'insufficient_scope', 'Bearer realm="cambist", error="insufficient_scope"'],
    ['target_disabled', 400, 'invalid_target', undefined],
    ['credential_missing', 502, 'bad_gateway', undefined],
    ['credential_forbidden', 502, 'bad_gateway', undefined],
    ['credential_not_pinned', 502, 'bad_gateway', undefined],
    ['credential_refused', 502, 'bad_gateway', undefined],
    ['egress_calls_exceeded', 429, 'temporarily_unavailable', undefined],
  ])('%s is %i %s', (reason, status, error, challenge) => {
    const { status: sent, headers, body } = refusedThere(reason, { secret: 'never shown' });
    expect(sent).toBe(status);
    expect(JSON.parse(body)).toEqual({ error, error_description: DESCRIPTIONS[error] });
    expect(headers['WWW-Authenticate']).toBe(challenge);
    expect(body + JSON.stringify(headers)).not.toContain('never shown');
  });

  it('names the scopes that are missing', () => {
    const { headers } = refusedThere('egress_scope_missing', { missing: ['api:use', 'api:admin'] });
    expect(headers['WWW-Authenticate']).toBe(
      'Bearer realm="cambist", error="insufficient_scope", scope="api:use api:admin"',
    );
  });

  it.each<[Ending, number, string]>([
    ['expired', 401, 'invalid_token'],
    ['revoked', 401, 'invalid_token'],
    ['state_unknown', 503, 'temporarily_unavailable'],
    ['stopped', 503, 'temporarily_unavailable'],
    ['request_too_large', 413, 'invalid_request'],
    ['request_stalled', 408, 'invalid_request'],
    ['answer_too_large', 502, 'bad_gateway'],
    ['upstream_timeout', 504, 'gateway_timeout'],
    ['upstream_failed', 502, 'bad_gateway'],
  ])('a call that ends %s before its answer is %i %s', (ending, status, error) => {
    const { status: sent, body } = written((response) => {
      sendCallEnd(response, ending);
    });
    expect(sent).toBe(status);
    expect(JSON.parse(body)).toEqual({ error, error_description: DESCRIPTIONS[error] });
  });
});

describe('errors on the wire (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 8707 §2)', () => {
  it('pins every reason that there is, and none that there is not', () => {
    expect(Object.keys(WIRE).sort()).toEqual([...REASONS].sort());
  });

  it.each(Object.entries(WIRE) as [Reason, readonly [number, string]][])(
    '%s is %j, with a constant description and nothing of the request',
    (reason, [status, error]) => {
      const { status: sent, headers, body } = refusedAs(reason);
      expect({ sent, headers, body: JSON.parse(body) }).toMatchObject({
        sent: status,
        headers: ALWAYS,
        body: { error, error_description: DESCRIPTIONS[error] },
      });
      expect(Object.keys(JSON.parse(body))).toEqual(['error', 'error_description']);
      expect(body + JSON.stringify(headers)).not.toContain('never shown');
    },
  );

  it('challenges with Basic on 401 where the Authorization header was used, and only there (RFC 6749 §5.2)', () => {
    for (const [reason, [status]] of Object.entries(WIRE) as [Reason, readonly [number, string]][]) {
      expect(refusedAs(reason, false).headers).not.toHaveProperty('WWW-Authenticate');
      const { headers } = refusedAs(reason, true);
      if (status === 401) expect(headers['WWW-Authenticate']).toBe('Basic realm="cambist", charset="UTF-8"');
      else expect(headers).not.toHaveProperty('WWW-Authenticate');
    }
  });

  it('says when to come back on 429 (RFC 6585 §4), and how the caller stands with its limits', () => {
    const standings = [
      { limit: 'client' as const, quota: 6000, remaining: 12, resetSeconds: 42 },
      { limit: 'subject' as const, quota: 600, remaining: 0, resetSeconds: 17 },
    ];
    const { headers } = written((response) => {
      sendRefusal(response, refuseForNow('subject_rate_exceeded', 17), false, standings);
    });
    expect(headers).toEqual({
      ...ALWAYS,
      'Retry-After': '17',
      'RateLimit-Policy': '"client";q=6000;w=60, "subject";q=600;w=60',
      RateLimit: '"client";r=12;t=42, "subject";r=0;t=17',
    });
    expect(written((response) => sendRefusal(response, refuseForNow('source_throttled', 0.2), false)).headers).toEqual({
      ...ALWAYS,
      'Retry-After': '1',
    });
  });

  it('says which method is allowed on 405 (RFC 9110 §15.5.6), and closes what it did not read on 413', () => {
    expect(refusedAs('method_not_allowed').headers['Allow']).toBe('POST');
    expect(refusedAs('body_too_large').headers['Connection']).toBe('close');
  });
});

describe('status answers on the wire', () => {
  const sent = (answer: Pick<StatusAnswer, 'body' | 'refusal'>) =>
    written((response) => {
      sendStatus(response, { record: undefined, standings: [], ...answer }, false);
    });

  it('RFC 7662 §2.2 an introspection is its JSON, never stored; what is not active says nothing more', () => {
    expect(sent({ body: { active: false } })).toEqual({ status: 200, headers: ALWAYS, body: '{"active":false}' });
  });

  it('RFC 7009 §2.2 a revocation is 200 with nothing in it; a refusal has the form of every refusal', () => {
    expect(sent({})).toEqual({ status: 200, headers: ALWAYS, body: '{}' });
    expect(sent({ refusal: refuse('token_not_own') })).toEqual({
      status: 400,
      headers: ALWAYS,
      body: '{"error":"unauthorized_client","error_description":"This client may not do what it asked for."}',
    });
  });
});

describe('failures on the wire', () => {
  it('F1 a dependency that is down is 503 with Retry-After, and does not say which', () => {
    const error = new Unavailable('database', 'connect ECONNREFUSED 10.0.0.5 password=hunter2');
    expect(written((response) => sendFailure(response, error))).toEqual({
      status: 503,
      headers: { ...ALWAYS, 'Retry-After': '2' },
      body: '{"error":"temporarily_unavailable","error_description":"The service cannot answer now. Try again later."}',
    });
  });

  it.each([new Error('boom at /srv/secret.ts'), 'a string', undefined, null])(
    'a bug is 500 and says nothing',
    (bug) => {
      expect(written((response) => sendFailure(response, bug))).toEqual({
        status: 500,
        headers: ALWAYS,
        body: '{"error":"server_error","error_description":"The service failed to answer."}',
      });
    },
  );
});
