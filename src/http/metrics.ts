/**
 * What is told of requests: around each request at an endpoint that takes forms its span, its numbers and the trace that
 * it belongs to. Only words from closed lists go in; what a caller sent does not.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Form } from '../core/form.ts';
import { PATHS } from '../core/protocol.ts';
import { Unavailable } from '../core/refusal.ts';
import type { Reason } from '../core/refusal.ts';
import type { Metrics, RequestTrace, Telemetry } from '../core/telemetry.ts';
import { readTraceContext } from '../core/trace-context.ts';

/** Prometheus text format; the version is part of the type. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Endpoints whose requests are counted one by one. */
export type Endpoint = 'token' | 'introspection' | 'revocation';

/** What the endpoint tells of a request as it goes on. */
export interface SeenRequest {
  readonly traceId: string | undefined;
  /** The whole request is there. */
  parsed(form: Form): void;
  /** In the words of the endpoint's metric: `issued`, `active`, `done`. */
  answered(outcome: string): void;
  refused(reason: Reason): void;
  /** It was answered 500 or 503. */
  failed(error: unknown): void;
}

/** Runs the work of one request and counts what became of it; a request that its caller broke off is not counted. */
export type ObserveRequest = (
  endpoint: Endpoint,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  work: (seen: SeenRequest) => Promise<void>,
) => Promise<void>;

interface Told {
  readonly outcome: string;
  readonly reason: string;
}

export function observeRequests({ metrics, tracing }: Telemetry): ObserveRequest {
  let underWay = 0;
  metrics.read('tokenUnderWay', () => [{ labels: {}, value: underWay }]);

  return async (endpoint, request, response, requestId, work) => {
    const counted = endpoint === 'token' ? 1 : 0;
    underWay += counted;
    try {
      await tracing.request(beginOf(endpoint, request, requestId), async (trace) => {
        const seen = watch(trace);
        await work(seen);
        const { told, grant } = seen.result();
        if (told === undefined) return;
        count(metrics, endpoint, told, grant, seen.durationSeconds());
        trace.set({
          ...(endpoint === 'token' ? { 'cambist.grant': grant } : {}),
          'cambist.outcome': told.outcome,
          'cambist.reason': told.reason,
          'http.response.status_code': response.statusCode,
        });
        if (told.outcome === 'failed' || told.outcome === 'shed') trace.fail(told.reason);
      });
    } finally {
      underWay -= counted;
    }
  };
}

/** Notes what is told of one request. */
function watch({ traceId }: RequestTrace) {
  let startedMs = performance.now();
  let grant = 'none';
  let told: Told | undefined;
  return {
    traceId,
    parsed: (form: Form) => {
      startedMs = performance.now();
      grant = grantOf(form);
    },
    answered: (outcome: string) => {
      told = { outcome, reason: 'none' };
    },
    refused: (reason: Reason) => {
      told = { outcome: 'refused', reason };
    },
    failed: (error: unknown) => {
      told = failureOf(error);
    },
    result: () => ({ told, grant }),
    durationSeconds: () => (performance.now() - startedMs) / 1000,
  };
}

function count(metrics: Metrics, endpoint: Endpoint, told: Told, grant: string, durationSeconds: number): void {
  const { outcome } = told;
  if (endpoint === 'token') {
    metrics.add('tokenRequests', { grant, ...told });
    metrics.observe('tokenDuration', { outcome }, durationSeconds);
  } else {
    metrics.add(endpoint === 'introspection' ? 'introspections' : 'revocationRequests', { outcome });
    metrics.observe('statusDuration', { endpoint }, durationSeconds);
  }
  const limit = LIMITS.get(told.reason);
  if (limit !== undefined) metrics.add('limited', { kind: limit });
}

function beginOf(endpoint: Endpoint, request: IncomingMessage, requestId: string) {
  const { method = '', headers } = request;
  return {
    name: `cambist.${endpoint}`,
    incoming: readTraceContext(headers),
    attributes: {
      'http.request.method': methodLabel(method),
      'http.route': ROUTES[endpoint],
      'cambist.request_id': requestId,
    },
  };
}

const ROUTES = {
  token: PATHS.token,
  introspection: PATHS.introspect,
  revocation: PATHS.revoke,
} as const satisfies Record<Endpoint, string>;

/** Refusals of a limit, answered 429. */
const LIMITS = new Map<string, string>([
  ['client_rate_exceeded', 'client'],
  ['resource_rate_exceeded', 'resource'],
  ['subject_rate_exceeded', 'subject'],
  ['source_throttled', 'source'],
] satisfies [Reason, string][]);

/** OpenTelemetry: a method that is not known is `_OTHER`. */
const METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'CONNECT',
  'TRACE',
]);

/** The method of a request as spans say it. */
export function methodLabel(method: string | undefined): string {
  return method !== undefined && METHODS.has(method) ? method : '_OTHER';
}

const GRANT_LABELS = new Map([
  ['client_credentials', 'client_credentials'],
  ['urn:ietf:params:oauth:grant-type:token-exchange', 'token_exchange'],
]);

function grantOf(form: Form): string {
  const grant = form.one('grant_type');
  return grant === undefined ? 'none' : (GRANT_LABELS.get(grant) ?? 'other');
}

/** `Unavailable` names a dependency in words; the first of them say which kind it is, others are their own label. */
export function failureOf(error: unknown): Told {
  if (!(error instanceof Unavailable)) return { outcome: 'failed', reason: 'bug' };
  const { dependency } = error;
  if (dependency === 'overload') return { outcome: 'shed', reason: 'overload' };
  if (dependency.startsWith('trusted issuer')) return { outcome: 'failed', reason: 'trusted_issuer' };
  if (dependency.startsWith('client ')) return { outcome: 'failed', reason: 'client_keys' };
  if (dependency.startsWith('upstream ')) return { outcome: 'failed', reason: 'upstream' };
  return { outcome: 'failed', reason: dependency };
}
