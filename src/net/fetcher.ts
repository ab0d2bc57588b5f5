/**
 * The one guarded fetcher: what Cambist reads from remote servers for itself goes through it (R21).
 *
 * It resolves a name once, checks every address, and connects to one of those it checked, so that a name cannot point
 * elsewhere between check and use. It refuses redirects, plain http (but for loopback, where the caller says internal),
 * encoded bodies, anything but JSON, and whatever is too large or takes too long in all. A proxy of the environment is
 * never used. Failures carry a code and a system error's code, never a byte of what the server sent.
 */
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { SpanAttributes, Tracing } from '../core/telemetry.ts';
import type { TraceHeaders } from '../core/trace-context.ts';
import { parseStrictJson } from '../tokens/strict-json.ts';
import { asFailure, checkedAddresses, FetchFailed, pinned, readLocalFile, resolveBySystem } from './guard.ts';
import type { Resolve } from './guard.ts';

export { FetchFailed } from './guard.ts';
export type { FetchFailure, Resolve } from './guard.ts';

export interface FetchOptions {
  /** The configuration allows private addresses for this URL, and plain http on loopback. */
  readonly internal: boolean;
  /** PEM file; where given, no other authority is trusted for this fetch. */
  readonly caFile?: string;
  /** File whose content is sent as bearer token; read at each fetch, since platforms rotate it. */
  readonly bearerFile?: string;
  readonly maxBytes?: number;
}

export interface FetchedJson {
  readonly body: unknown;
  /** `Cache-Control: max-age` less `Age`; 0 for `no-store` or `no-cache`; `undefined` where the server said nothing. */
  readonly maxAgeSeconds: number | undefined;
  /** The server's clock (`Date`), for those who compare clocks; `undefined` where it did not say. */
  readonly serverTimeMs?: number | undefined;
}

export interface PostOptions extends Pick<FetchOptions, 'internal' | 'caFile' | 'maxBytes'> {
  /** Value of `Authorization`. */
  readonly authorization?: string;
}

export interface PostedForm {
  /** 200, or 400 to 499. */
  readonly status: number;
  /** Strict JSON; of another status than 200 also `undefined`, where it is none. */
  readonly body: unknown;
}

export interface Fetcher {
  /** GETs a JSON document; throws `FetchFailed`. */
  getJson(url: string, options: FetchOptions): Promise<FetchedJson>;
  /** Cuts what is in flight; later fetches fail. */
  close(): Promise<void>;
}

export interface FormPoster {
  /** POSTs a form and reads the JSON that comes back; throws `FetchFailed`, but not because of a status of 400 to 499. */
  postForm(url: string, form: URLSearchParams, options: PostOptions): Promise<PostedForm>;
}

/**
 * Builds the fetcher.
 * @param settings.timeoutMs for the whole fetch, name resolution to last byte; default 5000
 * @param settings.maxBytes of a body; default 262144
 * @param settings.resolve how names become addresses; default the system's resolver
 */
export function createFetcher(settings: {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
  readonly resolve?: Resolve;
  /** Makes a span of each fetch, and gives the headers that carry the trace along. */
  readonly tracing?: Pick<Tracing, 'client'>;
  /** Told of every fetch how long it took. */
  readonly onFetch?: (durationMs: number, outcome: 'done' | 'failed') => void;
}): Fetcher & FormPoster {
  const { clock, logger, timeoutMs = 5000, maxBytes = 262_144, resolve = resolveBySystem } = settings;
  const closing = new AbortController();
  const inFlight = new Set<Promise<unknown>>();

  async function observed<T>(url: string, ask: Ask<T>): Promise<T> {
    const { tracing, onFetch } = settings;
    const startedMs = performance.now();
    let outcome: 'done' | 'failed' = 'failed';
    try {
      const fetched = await (tracing === undefined
        ? guarded(url, ask, {})
        : tracing.client(ask.method, serverOf(url, ask.method), (headers) => guarded(url, ask, headers)));
      outcome = 'done';
      return fetched;
    } finally {
      onFetch?.(performance.now() - startedMs, outcome);
    }
  }

  async function guarded<T>(url: string, ask: Ask<T>, trace: Partial<TraceHeaders>): Promise<T> {
    const startedMs = clock.nowMs();
    const target = URL.canParse(url) ? new URL(url) : undefined;
    const host = target?.host ?? 'unknown';
    // AbortSignal.timeout would keep no timer alive, but it cannot be cleared: one per fetch would pile up.
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort();
    }, timeoutMs);
    const signal = AbortSignal.any([deadline.signal, closing.signal]);
    try {
      if (target === undefined) throw new FetchFailed('scheme_refused', host);
      const bounded = { ...ask, maxBytes: ask.options.maxBytes ?? maxBytes, trace };
      const fetched = await fetchOnce(target, bounded, resolve, signal);
      logger.debug({ host, durationMs: clock.nowMs() - startedMs }, 'fetched');
      return fetched;
    } catch (error) {
      const failure = closing.signal.aborted
        ? new FetchFailed('closed', host)
        : deadline.signal.aborted
          ? new FetchFailed('timeout', host)
          : asFailure(error, host);
      logger.debug({ host, code: failure.code, durationMs: clock.nowMs() - startedMs }, 'fetch failed');
      throw failure;
    } finally {
      clearTimeout(timer);
    }
  }

  function begin<T>(url: string, ask: Ask<T>): Promise<T> {
    const fetching = observed(url, ask);
    inFlight.add(fetching);
    const forget = () => inFlight.delete(fetching);
    fetching.then(forget, forget);
    return fetching;
  }

  return {
    getJson: (url, options) => begin(url, { method: 'GET', options, read: readDocument }),
    postForm: (url, form, options) => begin(url, { method: 'POST', options, form, read: readPosted }),
    async close() {
      closing.abort();
      await Promise.allSettled(inFlight);
    },
  };
}

/** One request, and how its answer is read. */
interface Ask<T> {
  readonly method: 'GET' | 'POST';
  readonly options: FetchOptions & PostOptions;
  readonly form?: URLSearchParams;
  read(response: Dispatcher.ResponseData, host: string, maxBytes: number): Promise<T>;
}

/** Where a fetch goes, as a span says it (OpenTelemetry semantic conventions, HTTP client); never the path. */
function serverOf(url: string, method: string): SpanAttributes {
  if (!URL.canParse(url)) return { 'http.request.method': method };
  const { hostname, port, protocol } = new URL(url);
  const usual = protocol === 'http:' ? 80 : 443;
  return {
    'http.request.method': method,
    'server.address': hostname,
    'server.port': port === '' ? usual : Number(port),
  };
}

async function fetchOnce<T>(
  target: URL,
  ask: Ask<T> & { readonly maxBytes: number; readonly trace: Partial<TraceHeaders> },
  resolve: Resolve,
  signal: AbortSignal,
): Promise<T> {
  const { options, form } = ask;
  const addresses = await checkedAddresses(target, options.internal, resolve, signal);
  const [ca, bearer] = await Promise.all([
    options.caFile === undefined ? undefined : readLocalFile(options.caFile, target.host),
    options.bearerFile === undefined ? undefined : readBearer(options.bearerFile, target.host),
  ]);
  signal.throwIfAborted();
  const authorization = bearer === undefined ? options.authorization : `Bearer ${bearer}`;
  // An agent per fetch: fetches are rare, and a connection is never reused beyond the check of its address.
  const agent = new Agent({
    connect: { lookup: pinned(addresses), ...(ca !== undefined && { ca }) },
    maxHeaderSize: 16_384,
    pipelining: 0,
  });
  try {
    const response = await request(target, {
      dispatcher: agent,
      signal,
      method: ask.method,
      headers: {
        accept: form === undefined ? 'application/json, application/jwk-set+json;q=0.9' : 'application/json',
        'accept-encoding': 'identity',
        'user-agent': 'cambist',
        ...ask.trace,
        ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...(authorization !== undefined && { authorization }),
      },
      ...(form !== undefined && { body: form.toString() }),
    });
    return await ask.read(response, target.host, ask.maxBytes);
  } finally {
    // Also destroys the socket of an answer that was not read to its end.
    await agent.destroy();
  }
}

async function readDocument(response: Dispatcher.ResponseData, host: string, maxBytes: number): Promise<FetchedJson> {
  const { statusCode, headers } = response;
  refuseRedirect(statusCode, host);
  if (statusCode !== 200) throw new FetchFailed('status', host, String(statusCode));
  return {
    body: await readJson(response, host, maxBytes),
    maxAgeSeconds: maxAgeOf(headers['cache-control'], headers['age']),
    serverTimeMs: timeOf(headers['date']),
  };
}

async function readPosted(response: Dispatcher.ResponseData, host: string, maxBytes: number): Promise<PostedForm> {
  const { statusCode: status } = response;
  refuseRedirect(status, host);
  if (status === 200) return { status, body: await readJson(response, host, maxBytes) };
  if (status < 400 || status > 499) throw new FetchFailed('status', host, String(status));
  try {
    return { status, body: await readJson(response, host, maxBytes) };
  } catch (error) {
    // A page instead of JSON: the status says enough.
    if (error instanceof FetchFailed) return { status, body: undefined };
    throw error;
  }
}

function refuseRedirect(status: number, host: string): void {
  if (status >= 300 && status < 400) throw new FetchFailed('redirect', host, String(status));
}

async function readJson(response: Dispatcher.ResponseData, host: string, maxBytes: number): Promise<unknown> {
  const { headers, body } = response;
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') throw new FetchFailed('encoding', host);
  if (!isJsonType(headers['content-type'])) throw new FetchFailed('not_json', host, 'content type');
  if (Number(headers['content-length']) > maxBytes) throw new FetchFailed('too_large', host);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new FetchFailed('too_large', host);
    chunks.push(chunk);
  }
  const value = parseStrictJson(Buffer.concat(chunks));
  if (value === undefined) throw new FetchFailed('not_json', host);
  return value;
}

type HeaderValue = string | string[] | undefined;

/**
 * JSON types only: `application/json` and every `application/…+json`. No type at all is let through (static file
 * servers send none), since the body must be strict JSON anyway; a wrong type is not, because an error page or a
 * captive portal says so by its type.
 */
function isJsonType(contentType: HeaderValue): boolean {
  if (contentType === undefined) return true;
  return typeof contentType === 'string' && /^application\/([a-z0-9.-]+\+)?json\s*(;|$)/i.test(contentType);
}

function maxAgeOf(cacheControl: HeaderValue, age: HeaderValue): number | undefined {
  const directives = [cacheControl ?? []].flat().join(',').toLowerCase();
  if (/(^|[\s,])no-(store|cache)\b/.test(directives)) return 0;
  const maxAge = /(?:^|[\s,])max-age=(\d{1,9})\b/.exec(directives)?.[1];
  if (maxAge === undefined) return undefined;
  const ageSeconds = typeof age === 'string' && /^\d{1,9}$/.test(age) ? Number(age) : 0;
  return Math.max(0, Number(maxAge) - ageSeconds);
}

function timeOf(date: HeaderValue): number | undefined {
  const timeMs = typeof date === 'string' ? Date.parse(date) : NaN;
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

async function readBearer(path: string, host: string): Promise<string> {
  const bearer = (await readLocalFile(path, host)).trim();
  // A service account's token is a JWT; another secret that a wrong path leads to is not sent to anybody.
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(bearer)) throw new FetchFailed('local_file', host);
  return bearer;
}
