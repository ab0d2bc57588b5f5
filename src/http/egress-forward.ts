/**
 * Forwards one open call and streams its answer, both ways with back-pressure, until it has ended or is cut: by the
 * expiry or revocation of its token, a bound of size or time, its caller or its upstream. Once the head of the answer is
 * out, a call that is cut ends with its connection, so that nobody takes what came for the whole.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Armed, CallEnd, Ending, OpenCall } from '../egress/call.ts';
import type { EgressRequest } from '../egress/request.ts';
import { egressUri } from '../objects/target.ts';
import { asFailure } from '../net/guard.ts';
import type { UpstreamConnections } from '../net/upstream-connections.ts';
import { createCallBody } from './egress-body.ts';
import type { CallBody } from './egress-body.ts';
import { answerHeaders, requestHeaders, rewriteLinks, rewriteLocation } from './egress-headers.ts';
import { createScrubber, isScrubbable, SCRUBBED_MAX_BYTES } from './egress-scrub.ts';
import type { Scrubber } from './egress-scrub.ts';

/** Headers that lead somewhere: below the base URL they lead through the egress. */
const REWRITTEN: ReadonlyMap<string, typeof rewriteLocation> = new Map([
  ['location', rewriteLocation],
  ['link', rewriteLinks],
]);

/** On every answer: whether the upstream or Cambist gave it. */
export const EGRESS_HEADER = 'Cambist-Egress';

export interface ForwardParts {
  readonly issuer: string;
  readonly connections: UpstreamConnections;
  /** This node is stopping: what is cut now, it cut. */
  stopping(): boolean;
}

export interface Forwarded {
  readonly call: OpenCall;
  readonly asked: EgressRequest;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** What became of it; where the head of an answer is not out yet, the caller of this has to answer. */
export async function forward(parts: ForwardParts, forwarded: Forwarded): Promise<CallEnd> {
  const { call, request, response } = forwarded;
  const cutting = cuttingOf(parts, forwarded);
  const limits = call.upstream;
  const body = createCallBody(request, {
    bytesMax: limits.request_bytes_max,
    onPiece: () => {
      cutting.within(limits.idle_timeout_ms, 'request_stalled');
    },
    onComplete: () => {
      cutting.within(limits.timeout_ms, 'upstream_timeout');
    },
    onTooLarge: () => {
      cutting.cut('request_too_large');
    },
  });
  const seen = { status: undefined as number | undefined, responseBytes: 0, repeated: false };
  const endOf = (ended: Ending, failure?: string): CallEnd => ({
    ended,
    ...seen,
    requestBytes: body.bytes(),
    failure,
  });
  try {
    cutting.within(limits.idle_timeout_ms, 'request_stalled');
    const sent = await sendTwice(parts, forwarded, body, cutting.signal, () => {
      seen.repeated = true;
    });
    seen.status = sent.answer.statusCode;
    const tooLarge = await passOn(parts, forwarded, sent, cutting, (bytes) => {
      seen.responseBytes += bytes;
    });
    return endOf(tooLarge ? 'answer_too_large' : 'done');
  } catch (error) {
    if (cutting.signal.aborted) return endOf(cutting.signal.reason as Ending);
    return endOf('upstream_failed', asFailure(error, 'upstream').code);
  } finally {
    cutting.end();
    // Nobody reads what is left of the body.
    if (!request.complete) response.shouldKeepAlive = false;
    if (response.headersSent && !response.writableFinished && !response.writableEnded) response.destroy();
  }
}

interface Cutting {
  readonly signal: AbortSignal;
  cut(ending: Ending): void;
  /** Cut unless asked again, or ended, within so long. */
  within(ms: number, ending: Ending): void;
  end(): void;
}

function cuttingOf(parts: ForwardParts, { call, response }: Forwarded): Cutting {
  const controller = new AbortController();
  const cut = (ending: Ending) => {
    controller.abort(ending);
  };
  const onCut = () => {
    cut(call.cut.reason as Ending);
  };
  const onClose = () => {
    if (!response.writableFinished) cut(parts.stopping() ? 'stopped' : 'caller_gone');
  };
  if (call.cut.aborted) onCut();
  call.cut.addEventListener('abort', onCut, { once: true });
  // `close` has come and gone when the caller hung up while the call was opened.
  if (response.destroyed) onClose();
  response.once('close', onClose);
  let timer: NodeJS.Timeout | undefined;
  let timed: { readonly ms: number; readonly ending: Ending } | undefined;
  return {
    signal: controller.signal,
    cut,
    within(ms, ending) {
      if (timed?.ms === ms && timed.ending === ending) {
        timer?.refresh();
        return;
      }
      clearTimeout(timer);
      timed = { ms, ending };
      timer = setTimeout(cut, ms, ending);
    },
    end() {
      clearTimeout(timer);
      call.cut.removeEventListener('abort', onCut);
      response.off('close', onClose);
    },
  };
}

interface Sent {
  readonly answer: Dispatcher.ResponseData;
  readonly armed: Armed;
  readonly url: URL;
}

/** Once, and a second time with a fresh credential where the upstream did not take the first and the body is still here. */
async function sendTwice(
  parts: ForwardParts,
  forwarded: Forwarded,
  body: CallBody,
  signal: AbortSignal,
  onRepeat: () => void,
): Promise<Sent> {
  const { call } = forwarded;
  const first = await send(parts, forwarded, call.armed, body, signal);
  if (first.answer.statusCode !== 401) return first;
  if (!body.repeatable()) {
    call.reject();
    return first;
  }
  const fresh = await call.renew();
  if (fresh === undefined) return first;
  await first.answer.body.dump({ limit: 65_536, signal });
  onRepeat();
  return send(parts, forwarded, fresh, body, signal);
}

async function send(
  parts: ForwardParts,
  { call, asked, request }: Forwarded,
  armed: Armed,
  body: CallBody,
  signal: AbortSignal,
): Promise<Sent> {
  const { upstream, baseUrl } = call;
  const base = new URL(baseUrl);
  const place = { url: base, internal: upstream.internal, caFile: upstream.ca_file };
  const dispatcher = await parts.connections.to(place);
  signal.throwIfAborted();
  const { injected } = armed;
  const places = [...injected.dropped, ...Object.keys(injected.headers)];
  const headers = requestHeaders(request.rawHeaders, { token: call.token, places });
  for (const [name, value] of Object.entries(injected.headers)) headers.push(name, value);
  if (asked.contentLength !== undefined && asked.contentLength > 0)
    headers.push('content-length', String(asked.contentLength));
  const below = base.pathname.replace(/\/$/, '') + asked.path;
  const answer = await dispatcher.request({
    // One of those that a rule can name.
    method: asked.method,
    path: below + injected.query,
    headers,
    body: body.next(),
    signal,
    responseHeaders: 'raw',
  });
  // Parsed for redirects alone; what was sent is the string.
  return { answer, armed, url: new URL(base.origin + below) };
}

/** Answers `true` where nothing was passed on because the whole would be too large. */
async function passOn(
  parts: ForwardParts,
  forwarded: Forwarded,
  sent: Sent,
  cutting: Cutting,
  count: (bytes: number) => void,
): Promise<boolean> {
  const { call, response } = forwarded;
  const { answer, armed } = sent;
  const { response_bytes_max: bytesMax, idle_timeout_ms: idleMs } = call.upstream;
  const headers = answerHeaders(answer.headers as unknown as readonly string[]);
  const byName = new Map(headers.map(([name, value]) => [name.toLowerCase(), value]));
  const scrubber = createScrubber([
    armed.credential.secret,
    // What `Basic` makes of a key is another text than the key, and holds a user name.
    ...Object.values(armed.injected.headers).map((value) => value.replace(/^[A-Za-z]+ /, '')),
  ]);
  cutting.within(idleMs, 'upstream_timeout');
  if (Number(byName.get('content-length') ?? 0) > bytesMax && forwarded.asked.method !== 'HEAD') {
    answer.body.on('error', () => undefined).destroy();
    return true;
  }
  writeHead(parts, forwarded, sent, headers, scrubber);
  let pieces: Buffer[] | undefined = isScrubbable(byName, answer.statusCode) ? [] : undefined;
  let bytes = 0;
  for await (const piece of answer.body as AsyncIterable<Buffer>) {
    bytes += piece.length;
    count(piece.length);
    cutting.within(idleMs, 'upstream_timeout');
    if (bytes > bytesMax) return true;
    pieces?.push(piece);
    if (pieces !== undefined && bytes <= SCRUBBED_MAX_BYTES) continue;
    // It did not say how long it would be.
    const passed = pieces === undefined ? piece : scrubber.bytes(Buffer.concat(pieces));
    pieces = undefined;
    if (!response.write(passed)) await drained(response, cutting.signal);
  }
  await finished(response, pieces && scrubber.bytes(Buffer.concat(pieces)), cutting.signal);
  return false;
}

function writeHead(
  parts: ForwardParts,
  { asked, call, request, response }: Forwarded,
  { answer, url }: Sent,
  headers: readonly (readonly [string, string])[],
  scrubber: Scrubber,
): void {
  const label = asked.label === undefined ? '' : `:${asked.label}`;
  const egressBase = egressUri(parts.issuer, asked.upstreamName) + label;
  response.statusCode = answer.statusCode;
  for (const [name, value] of headers) {
    const rewrite = REWRITTEN.get(name.toLowerCase());
    const told = rewrite === undefined ? value : rewrite(value, url, call.baseUrl, egressBase);
    response.appendHeader(name, scrubber.text(told));
  }
  response.setHeader(EGRESS_HEADER, 'upstream');
  // An early answer: the rest of the body is not waited for, and nothing can follow it on this connection.
  if (!request.complete) response.shouldKeepAlive = false;
  response.flushHeaders();
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return until(response, 'drain', signal);
}

async function finished(response: ServerResponse, last: Buffer | undefined, signal: AbortSignal): Promise<void> {
  const finishing = until(response, 'finish', signal);
  response.end(last);
  await finishing;
}

function until(response: ServerResponse, event: 'drain' | 'finish', signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      response.off(event, onEvent);
      reject(new Error('cut'));
    };
    const onEvent = () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    if (signal.aborted) {
      reject(new Error('cut'));
      return;
    }
    response.once(event, onEvent);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
