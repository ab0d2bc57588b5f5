/**
 * Spans of a request: one for the whole of it, one per step, one per call to somebody else. Carries the caller's W3C
 * trace context along, so that what a request causes is found under one id. Without an SDK nothing is made: a request
 * that brought no trace context then costs a comparison per step.
 *
 * What stands in a span leaves this process: names and attributes are constants, ids of our own, reasons and status
 * codes. No token, no secret, no person, and no message of an error.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  context,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Context, Span, Tracer } from '@opentelemetry/api';
import { isRefusal } from '../refusal.ts';
import { traceHeaders } from '../trace-context.ts';
import type { TraceContext, TraceHeaders } from '../trace-context.ts';

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A request under way. */
export interface RequestTrace {
  /** Of the caller, or of the span where an SDK made one; absent where there is neither. */
  readonly traceId: string | undefined;
  /** Adds to the span of the request. */
  set(attributes: SpanAttributes): void;
  /** Marks the span as an error of ours; `type` is one of a few constants. */
  fail(type: string): void;
}

export interface Tracing {
  /** Whether spans go anywhere. */
  readonly active: boolean;
  /** The server span of a request. `incoming` must have been checked by `readTraceContext`. */
  request<T>(
    begin: { readonly name: string; readonly incoming: TraceContext | undefined; readonly attributes: SpanAttributes },
    work: (request: RequestTrace) => Promise<T>,
  ): Promise<T>;
  /** A step of the request at hand. */
  step<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** A call to somebody else, with the headers that carry the trace there: none where there is no trace. */
  client<T>(name: string, attributes: SpanAttributes, work: (headers: Partial<TraceHeaders>) => Promise<T>): Promise<T>;
}

/** What travels with the asynchronous work of one request. */
interface Carried {
  readonly parent: Context;
  /** Passed on as it came when no span of ours is in between. */
  readonly passed: TraceContext | undefined;
}

/** `tracer`: of an SDK, or the one of the API, which makes nothing. */
export function createTracing(tracer: Tracer): Tracing {
  const carried = new AsyncLocalStorage<Carried>();
  // Only an SDK gives a root span an id. Asked once: an SDK is there before anything is composed, or not at all.
  const active = isSpanContextValid(tracer.startSpan('probe', { root: true }).spanContext());

  /** Runs work under a span, which ends with it. */
  async function under<T>(span: Span, parent: Context, work: () => Promise<T>): Promise<T> {
    const within = trace.setSpan(parent, span);
    try {
      // Ours for the spans made here, the API's for those of instrumentations that somebody loaded besides.
      const result = await carried.run({ parent: within, passed: undefined }, () => context.with(within, work));
      if (isRefusal(result)) span.setAttribute('cambist.reason', result.reason);
      return result;
    } catch (error) {
      markFailed(span, typeOf(error));
      throw error;
    } finally {
      span.end();
    }
  }

  return {
    active,
    request({ name, incoming, attributes }, work) {
      if (!active) {
        const bare = { traceId: incoming?.traceId, set: () => undefined, fail: () => undefined };
        if (incoming === undefined) return work(bare);
        return carried.run({ parent: ROOT_CONTEXT, passed: incoming }, () => work(bare));
      }
      const parent = parentOf(incoming);
      const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes: { ...attributes } }, parent);
      const request: RequestTrace = {
        traceId: span.spanContext().traceId,
        set: (more) => span.setAttributes(more),
        fail: (type) => {
          markFailed(span, type);
        },
      };
      return under(span, parent, () => work(request));
    },
    step(name, work) {
      const here = active ? carried.getStore() : undefined;
      return here === undefined ? work() : under(tracer.startSpan(name, {}, here.parent), here.parent, work);
    },
    client(name, attributes, work) {
      const here = carried.getStore();
      if (!active) return work(here?.passed === undefined ? {} : traceHeaders(here.passed));
      const parent = here?.parent ?? ROOT_CONTEXT;
      const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes: { ...attributes } }, parent);
      return under(span, parent, () => work(headersOf(span)));
    },
  };
}

/** The span of an instrumentation around us, else the caller's, else none. */
function parentOf(incoming: TraceContext | undefined): Context {
  const around = context.active();
  if (trace.getSpan(around) !== undefined || incoming === undefined) return around;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: incoming.traceId,
    spanId: incoming.parentId,
    traceFlags: incoming.flags,
    isRemote: true,
    ...(incoming.state === undefined ? {} : { traceState: createTraceState(incoming.state) }),
  });
}

function headersOf(span: Span): TraceHeaders {
  const { traceId, spanId, traceFlags, traceState } = span.spanContext();
  const state = traceState?.serialize() ?? '';
  return traceHeaders({ traceId, parentId: spanId, flags: traceFlags, ...(state === '' ? {} : { state }) });
}

function markFailed(span: Span, type: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR });
  span.setAttribute('error.type', type);
}

/** What kind of error it was, never what it said. */
function typeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  if (typeof code === 'string' && /^[A-Za-z0-9_]{1,40}$/.test(code)) return code;
  return error instanceof Error && /^[A-Za-z]{1,40}$/.test(error.name) ? error.name : 'unknown';
}
