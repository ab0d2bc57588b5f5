/**
 * The token endpoint: gives a request its id, parses it, sends it down the road and puts the answer on the wire. An
 * answer that was committed but could not be delivered is reported, so that the record says so.
 */
import { isIPv4 } from 'node:net';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { v7 as uuidv7 } from 'uuid';
import type { RecordRow } from '../audit/record.ts';
import type { Logger } from '../core/log.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Noise } from '../exchange/noise.ts';
import type { Answer, Road } from '../exchange/road.ts';
import { readForm } from './form.ts';
import { REQUEST_ID_HEADER, sendAnswer, sendFailure, sendRefusal } from './wire.ts';

/** Requests under way beyond this are told to come back: a queue that grows helps nobody (F10). */
const MAX_UNDER_WAY = 1000;

export interface TokenEndpointParts {
  readonly road: Road;
  readonly noise: Noise;
  readonly logger: Logger;
  /** Told of a record whose answer the caller never got. */
  reportUndelivered(record: RecordRow): void;
}

export function createTokenEndpoint(
  parts: TokenEndpointParts,
): (request: IncomingMessage, response: ServerResponse) => void {
  let underWay = 0;
  // Counted from when the whole request is there: a body that never comes holds a connection, not a place here.
  const boundedRoad: Road = async (arrival) => {
    if (underWay >= MAX_UNDER_WAY) throw new Unavailable('overload', 'too many requests under way');
    underWay += 1;
    try {
      return await parts.road(arrival);
    } finally {
      underWay -= 1;
    }
  };
  return (request, response) => void handle({ ...parts, road: boundedRoad }, request, response);
}

async function handle(parts: TokenEndpointParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const requestId = uuidv7();
  const logger = parts.logger.child({ request_id: requestId });
  const source = request.socket.remoteAddress ?? 'unknown';
  const usedHeader = request.headers.authorization !== undefined;
  response.setHeader(REQUEST_ID_HEADER, requestId);
  try {
    const form = request.method === 'POST' ? await readForm(request) : refuse('method_not_allowed');
    if (isRefusal(form)) {
      parts.noise.note(prefixOf(source), form.reason);
      logRefusal(logger, form);
      sendRefusal(response, form, usedHeader);
      return;
    }
    const answer = await parts.road({
      requestId,
      form,
      authorization: request.headers.authorization,
      source,
      sourcePrefix: prefixOf(source),
    });
    if (answer.kind === 'refused') logRefusal(logger, answer.refusal);
    deliver(parts, response, answer, usedHeader);
  } catch (error) {
    if (error instanceof Unavailable) logger.warn({ dependency: error.dependency, err: error }, 'answered 503');
    else if (request.destroyed && !request.complete) return;
    else logger.error({ err: error }, 'answered 500');
    sendFailure(response, error);
  }
}

function deliver(parts: TokenEndpointParts, response: ServerResponse, answer: Answer, usedHeader: boolean): void {
  const { record } = answer;
  if (record !== undefined)
    response.once('close', () => {
      if (!response.writableFinished) parts.reportUndelivered(record);
    });
  // `close` has come and gone when the caller hung up while we were at work.
  if (response.destroyed) {
    if (record !== undefined) parts.reportUndelivered(record);
    return;
  }
  sendAnswer(response, answer, usedHeader);
}

function logRefusal(logger: Logger, refusal: Refusal): void {
  logger.info({ reason: refusal.reason, detail: refusal.detail }, 'refused');
}

/** /24 of an IPv4 address, /48 of an IPv6 address: enough to see where noise comes from, too little to name a person. */
function prefixOf(address: string): string {
  const bare = address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address;
  if (isIPv4(bare)) return `${bare.split('.').slice(0, 3).join('.')}.0/24`;
  if (!bare.includes(':')) return 'unknown';
  const [front = '', back] = (bare.split('%')[0] ?? '').split('::');
  const head = front === '' ? [] : front.split(':');
  const tail = back === undefined || back === '' ? [] : back.split(':');
  const groups =
    back === undefined
      ? head
      : [...head, ...Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0'), ...tail];
  return `${groups.slice(0, 3).join(':')}::/48`;
}
