/**
 * What every endpoint that takes an OAuth form has in common: a request gets its id, is parsed strictly and bounded, goes
 * down its road, and its answer is put on the wire. An answer that was committed but could not be delivered is reported,
 * so that the record says so.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { v7 as uuidv7 } from 'uuid';
import type { RecordRow } from '../audit/record.ts';
import type { Arrival } from '../core/arrival.ts';
import type { Logger } from '../core/log.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Noise } from '../exchange/noise.ts';
import type { Load } from '../limits/load.ts';
import { readForm } from './form.ts';
import type { Endpoint, ObserveRequest, SeenRequest } from './metrics.ts';
import { prefixOf } from './source-address.ts';
import type { SourceOf } from './source-address.ts';
import { REQUEST_ID_HEADER, sendFailure, sendRefusal } from './wire.ts';

export interface FormEndpointParts {
  readonly noise: Noise;
  readonly logger: Logger;
  readonly sourceOf: SourceOf;
  readonly load: Load;
  readonly observe: ObserveRequest;
  /** Told of a record whose answer the caller never got. */
  reportUndelivered(record: RecordRow): void;
}

/** What a road answers; `record` is what was committed for it. */
interface RoadAnswer {
  readonly record: RecordRow | undefined;
  readonly refusal?: Refusal;
  /** Called, besides what is reported, when the caller never got the answer. */
  undelivered?(): void;
}

/** One endpoint: its road, and how its answers are sent. */
export interface FormRoad<A extends RoadAnswer> {
  readonly endpoint: Endpoint;
  /** What became of a request that was not refused, in the words of the endpoint's metric. */
  outcomeOf(answer: A): string;
  travel(arrival: Arrival): Promise<A>;
  send(response: ServerResponse, answer: A, usedHeader: boolean): void;
}

export function createFormEndpoint<A extends RoadAnswer>(
  parts: FormEndpointParts,
  road: FormRoad<A>,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const requestId = uuidv7();
    const handled = (seen: SeenRequest) => handle(parts, road, request, response, requestId, seen);
    void parts.observe(road.endpoint, request, response, requestId, handled);
  };
}

async function handle<A extends RoadAnswer>(
  parts: FormEndpointParts,
  road: FormRoad<A>,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  seen: SeenRequest,
): Promise<void> {
  const { traceId } = seen;
  const logger = parts.logger.child({ request_id: requestId, ...(traceId === undefined ? {} : { trace_id: traceId }) });
  const source = parts.sourceOf(request);
  const sourcePrefix = prefixOf(source);
  const { authorization } = request.headers;
  const usedHeader = authorization !== undefined;
  response.setHeader(REQUEST_ID_HEADER, requestId);
  try {
    const form = request.method === 'POST' ? await readForm(request) : refuse('method_not_allowed');
    if (isRefusal(form)) {
      parts.noise.note(sourcePrefix, form.reason);
      logRefusal(logger, form);
      sendRefusal(response, form, usedHeader);
      seen.refused(form.reason);
      return;
    }
    seen.parsed(form);
    // Counted from when the whole request is there: a body that never comes holds a connection, not a place here.
    const answer = await parts.load.run(() =>
      road.travel({ requestId, form, authorization, source, sourcePrefix, traceId }),
    );
    if (answer.refusal !== undefined) logRefusal(logger, answer.refusal);
    deliver(parts, road, response, answer, usedHeader);
    if (answer.refusal === undefined) seen.answered(road.outcomeOf(answer));
    else seen.refused(answer.refusal.reason);
  } catch (error) {
    if (error instanceof Unavailable) logger.warn({ dependency: error.dependency, err: error }, 'answered 503');
    else if (request.destroyed && !request.complete) return;
    else logger.error({ err: error }, 'answered 500');
    sendFailure(response, error);
    seen.failed(error);
  }
}

function deliver<A extends RoadAnswer>(
  parts: FormEndpointParts,
  road: FormRoad<A>,
  response: ServerResponse,
  answer: A,
  usedHeader: boolean,
): void {
  const lost = () => {
    answer.undelivered?.();
    if (answer.record !== undefined) parts.reportUndelivered(answer.record);
  };
  response.once('close', () => {
    if (!response.writableFinished) lost();
  });
  // `close` has come and gone when the caller hung up while we were at work.
  if (response.destroyed) {
    lost();
    return;
  }
  road.send(response, answer, usedHeader);
}

function logRefusal(logger: Logger, refusal: Refusal): void {
  logger.info({ reason: refusal.reason, detail: refusal.detail }, 'refused');
}
