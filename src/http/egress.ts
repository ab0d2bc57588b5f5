/**
 * The egress on the wire: `/egress/<upstream>[:<label>]/<path>`. A request is judged before a byte of its body is read,
 * forwarded, and answered by its upstream; what Cambist itself answers is JSON, by the one table of `wire.ts`, and says
 * `Cambist-Egress: refused`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { v7 as uuidv7 } from 'uuid';
import type { Logger } from '../core/log.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { CallEnd } from '../egress/call.ts';
import type { Egress } from '../egress/road.ts';
import { readTarget } from '../egress/request.ts';
import type { EgressRequest } from '../egress/request.ts';
import type { Load } from '../limits/load.ts';
import { EGRESS_HEADER, forward } from './egress-forward.ts';
import type { ForwardParts } from './egress-forward.ts';
import { refuseHeaders } from './egress-headers.ts';
import { prefixOf } from './source-address.ts';
import type { SourceOf } from './source-address.ts';
import type { ObserveEgress, SeenCall } from './egress-metrics.ts';
import { REQUEST_ID_HEADER, sendCallEnd, sendEgressRefusal, sendFailure } from './wire.ts';

export interface EgressEndpointParts extends ForwardParts {
  readonly egress: Egress;
  readonly logger: Logger;
  readonly sourceOf: SourceOf;
  readonly load: Load;
  readonly observeEgress: ObserveEgress;
  readonly noise: { note(sourcePrefix: string, reason: Refusal['reason']): void };
}

/** @param base path of the egress on this listener, as request targets begin with it */
export function createEgressEndpoint(
  parts: EgressEndpointParts,
  base: string,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const requestId = uuidv7();
    void parts.observeEgress(request, response, requestId, (seen) =>
      handle(parts, base, request, response, requestId, seen),
    );
  };
}

async function handle(
  parts: EgressEndpointParts,
  base: string,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  seen: SeenCall,
): Promise<void> {
  const { traceId } = seen;
  const logger = parts.logger.child({ request_id: requestId, ...(traceId === undefined ? {} : { trace_id: traceId }) });
  const source = parts.sourceOf(request);
  const sourcePrefix = prefixOf(source);
  response.setHeader(REQUEST_ID_HEADER, requestId);
  // An upstream's answer replaces it; whatever else is answered is ours.
  response.setHeader(EGRESS_HEADER, 'refused');
  // The body of a request that is refused is not read.
  const refused = (refusal: Refusal) => {
    logger.info({ reason: refusal.reason, detail: refusal.detail }, 'refused');
    if (!request.complete) response.shouldKeepAlive = false;
    sendEgressRefusal(response, refusal);
    seen.refused(refusal.reason);
  };
  try {
    const asked = readRequest(request, base);
    if (isRefusal(asked)) {
      parts.noise.note(sourcePrefix, asked.reason);
      refused(asked);
      return;
    }
    const call = await parts.load.run(() =>
      parts.egress.open({ requestId, traceId, source, sourcePrefix, request: asked }),
    );
    if (isRefusal(call)) {
      refused(call);
      return;
    }
    await forwardAndClose(parts, { call, asked, request, response }, logger, seen);
  } catch (error) {
    if (error instanceof Unavailable) logger.warn({ dependency: error.dependency, err: error }, 'answered 503');
    else logger.error({ err: error }, 'answered 500');
    if (!request.complete) response.shouldKeepAlive = false;
    if (response.headersSent) response.destroy();
    else sendFailure(response, error);
    seen.failed(error);
  }
}

async function forwardAndClose(
  parts: EgressEndpointParts,
  forwarded: Parameters<typeof forward>[1],
  logger: Logger,
  seen: SeenCall,
): Promise<void> {
  const { call, response } = forwarded;
  let end: CallEnd = {
    ended: 'upstream_failed',
    status: undefined,
    requestBytes: 0,
    responseBytes: 0,
    repeated: false,
  };
  try {
    end = await forward(parts, forwarded);
  } finally {
    call.close(end);
  }
  if (end.ended !== 'done')
    logger.info({ ended: end.ended, failure: end.failure, upstream: call.upstream.name }, 'a call was cut short');
  if (!response.headersSent && !response.destroyed) sendCallEnd(response, end.ended);
  seen.ended(end.ended);
}

function readRequest(request: IncomingMessage, base: string): EgressRequest | Refusal {
  const { url = '', method = '', rawHeaders } = request;
  const target = readTarget(url.slice(base.length));
  if (target === undefined) return refuse('egress_path_refused', { fault: 'upstream_missing' });
  const length = request.headers['content-length'];
  return (
    refuseHeaders(rawHeaders) ?? {
      ...target,
      method,
      headers: request.headersDistinct,
      contentLength: length === undefined ? undefined : Number(length),
    }
  );
}
