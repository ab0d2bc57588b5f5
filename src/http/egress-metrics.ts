/**
 * What is told of calls through the egress: a span around each, and how they ended. Only words from closed lists go in:
 * no upstream, no path, no caller.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PATHS } from '../core/protocol.ts';
import type { Reason } from '../core/refusal.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { readTraceContext } from '../core/trace-context.ts';
import type { Ending } from '../egress/call.ts';
import { failureOf, methodLabel } from './metrics.ts';

/** What the endpoint tells of a call as it goes on. */
export interface SeenCall {
  readonly traceId: string | undefined;
  refused(reason: Reason): void;
  ended(ending: Ending): void;
  /** It was answered 500 or 503. */
  failed(error: unknown): void;
}

/** Runs one call and counts what became of it. */
export type ObserveEgress = (
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  work: (seen: SeenCall) => Promise<void>,
) => Promise<void>;

/** @param open how many calls are open on this node */
export function observeEgress({ metrics, tracing }: Telemetry, open: () => number): ObserveEgress {
  metrics.read('egressOpen', () => [{ labels: {}, value: open() }]);
  return (request, response, requestId, work) => {
    const begin = {
      name: 'cambist.egress',
      incoming: readTraceContext(request.headers),
      attributes: {
        'http.request.method': methodLabel(request.method),
        'http.route': `${PATHS.egress}/{upstream}/{path}`,
        'cambist.request_id': requestId,
      },
    };
    return tracing.request(begin, async (trace) => {
      const startedMs = performance.now();
      const tell = (outcome: string, reason: string) => {
        metrics.add('egressCalls', { outcome, reason });
        metrics.observe('egressDuration', { outcome }, (performance.now() - startedMs) / 1000);
        trace.set({
          'cambist.outcome': outcome,
          'cambist.reason': reason,
          'http.response.status_code': response.statusCode,
        });
        if (outcome === 'failed' || outcome === 'shed') trace.fail(reason);
      };
      await work({
        traceId: trace.traceId,
        refused: (reason) => {
          tell('refused', reason);
        },
        ended: (ending) => {
          tell(ending === 'done' ? 'done' : 'cut', ending === 'done' ? 'none' : ending);
        },
        failed: (error) => {
          const { outcome, reason } = failureOf(error);
          tell(outcome, reason);
        },
      });
    });
  };
}
