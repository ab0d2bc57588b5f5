/**
 * The one guarded fetcher: everything that Cambist reads from a remote server goes through it (R21).
 *
 * It resolves a name once, checks every address, and connects to one of those it checked, so that a name cannot point
 * elsewhere between check and use. It refuses redirects, plain http (but for loopback, where the caller says internal),
 * encoded bodies, anything but JSON, and whatever is too large or takes too long in all. A proxy of the environment is
 * never used. Failures carry a code and a system error's code, never a byte of what the server sent.
 */
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import type { SpanAttributes, Tracing } from '../core/telemetry.ts';
import type { TraceHeaders } from '../core/trace-context.ts';
import { parseStrictJson } from '../tokens/strict-json.ts';
import { isLoopbackAddress, isPublicAddress } from './addresses.ts';

export const FETCH_FAILURES = {
  address_refused: 'its address is not public, and it is not marked as internal',
  scheme_refused: 'only https is allowed (http only on loopback, where marked as internal)',
  redirect: 'it answered with a redirect',
  status: 'it answered with a status other than 200',
  encoding: 'it answered with an encoded body',
  too_large: 'its answer is too large',
  timeout: 'it did not answer in time',
  not_json: 'its answer is not JSON',
  connect: 'it could not be reached',
  tls: 'its TLS certificate was not accepted',
  local_file: 'the CA or bearer file could not be read',
  closed: 'the fetcher is closed',
} as const;
export type FetchFailure = keyof typeof FETCH_FAILURES;

/** A fetch that failed; `code` is stable, and nothing in it comes from the server. */
export class FetchFailed extends Unavailable {
  readonly code: FetchFailure;

  constructor(code: FetchFailure, host: string, detail?: string) {
    super(`server ${host}`, FETCH_FAILURES[code] + (detail === undefined ? '' : ` (${detail})`));
    this.code = code;
  }
}

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

export interface Fetcher {
  /** GETs a JSON document; throws `FetchFailed`. */
  getJson(url: string, options: FetchOptions): Promise<FetchedJson>;
  /** Cuts what is in flight; later fetches fail. */
  close(): Promise<void>;
}

/** All addresses of a host name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const MAX_LOCAL_FILE_BYTES = 1_048_576;

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
}): Fetcher {
  const { clock, logger, timeoutMs = 5000, maxBytes = 262_144, resolve = resolveBySystem } = settings;
  const closing = new AbortController();
  const inFlight = new Set<Promise<unknown>>();

  async function getJson(url: string, options: FetchOptions): Promise<FetchedJson> {
    const { tracing, onFetch } = settings;
    const startedMs = performance.now();
    let outcome: 'done' | 'failed' = 'failed';
    try {
      const fetched = await (tracing === undefined
        ? guarded(url, options, {})
        : tracing.client('GET', serverOf(url), (headers) => guarded(url, options, headers)));
      outcome = 'done';
      return fetched;
    } finally {
      onFetch?.(performance.now() - startedMs, outcome);
    }
  }

  async function guarded(url: string, options: FetchOptions, trace: Partial<TraceHeaders>): Promise<FetchedJson> {
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
      const bounded = { ...options, maxBytes: options.maxBytes ?? maxBytes, trace };
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

  return {
    getJson(url, options) {
      const fetching = getJson(url, options);
      inFlight.add(fetching);
      const forget = () => inFlight.delete(fetching);
      fetching.then(forget, forget);
      return fetching;
    },
    async close() {
      closing.abort();
      await Promise.allSettled(inFlight);
    },
  };
}

/** Where a fetch goes, as a span says it (OpenTelemetry semantic conventions, HTTP client); never the path. */
function serverOf(url: string): SpanAttributes {
  if (!URL.canParse(url)) return { 'http.request.method': 'GET' };
  const { hostname, port, protocol } = new URL(url);
  const usual = protocol === 'http:' ? 80 : 443;
  return {
    'http.request.method': 'GET',
    'server.address': hostname,
    'server.port': port === '' ? usual : Number(port),
  };
}

async function fetchOnce(
  target: URL,
  options: FetchOptions & { readonly maxBytes: number; readonly trace: Partial<TraceHeaders> },
  resolve: Resolve,
  signal: AbortSignal,
): Promise<FetchedJson> {
  const addresses = await checkedAddresses(target, options.internal, resolve, signal);
  const [ca, bearer] = await Promise.all([
    options.caFile === undefined ? undefined : readLocalFile(options.caFile, target.host),
    options.bearerFile === undefined ? undefined : readBearer(options.bearerFile, target.host),
  ]);
  signal.throwIfAborted();
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
      headers: {
        accept: 'application/json, application/jwk-set+json;q=0.9',
        'accept-encoding': 'identity',
        'user-agent': 'cambist',
        ...options.trace,
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      },
    });
    return await readResponse(response, target.host, options.maxBytes);
  } finally {
    // Also destroys the socket of an answer that was not read to its end.
    await agent.destroy();
  }
}

/**
 * The addresses of the target, all of them allowed. One that is not allowed refuses the whole name: a name that mixes
 * public and private addresses is an attack or a mistake.
 */
async function checkedAddresses(
  target: URL,
  internal: boolean,
  resolve: Resolve,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const https = target.protocol === 'https:';
  if (!https && !(target.protocol === 'http:' && internal)) throw new FetchFailed('scheme_refused', target.host);
  // Credentials in a URL end up in logs; nothing here needs them.
  if (target.username !== '' || target.password !== '') throw new FetchFailed('scheme_refused', target.host);
  // The URL parser has already turned odd notations (0x7f.1, 2130706433, 127.1) into plain addresses.
  const hostname = target.hostname.replace(/^\[(.*)\]$/, '$1');
  const addresses = isIP(hostname) === 0 ? await unlessAborted(resolve(hostname), signal) : [hostname];
  if (addresses.length === 0) throw new FetchFailed('connect', target.host);
  if (!https && !addresses.every(isLoopbackAddress)) throw new FetchFailed('scheme_refused', target.host);
  if (!internal && !addresses.every(isPublicAddress)) throw new FetchFailed('address_refused', target.host);
  return addresses;
}

async function readResponse(response: Dispatcher.ResponseData, host: string, maxBytes: number): Promise<FetchedJson> {
  const { statusCode, headers, body } = response;
  if (statusCode >= 300 && statusCode < 400) throw new FetchFailed('redirect', host, String(statusCode));
  if (statusCode !== 200) throw new FetchFailed('status', host, String(statusCode));
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
  return {
    body: value,
    maxAgeSeconds: maxAgeOf(headers['cache-control'], headers['age']),
    serverTimeMs: timeOf(headers['date']),
  };
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

/** A lookup that knows the checked addresses and nothing else. */
function pinned(addresses: readonly string[]): LookupFunction {
  const answers = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_hostname, options, callback) => {
    const [first] = answers;
    if (options.all === true) callback(null, answers);
    else if (first === undefined) callback(new Error('no address'), '', 0);
    else callback(null, first.address, first.family);
  };
}

async function resolveBySystem(hostname: string): Promise<readonly string[]> {
  return (await lookup(hostname, { all: true })).map(({ address }) => address);
}

/** The system's resolver cannot be interrupted, so the wait for it is. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(new Error('aborted'));
    };
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort);
    });
  });
}

async function readLocalFile(path: string, host: string): Promise<string> {
  try {
    const content = await readFile(path, 'utf8');
    if (content.length <= MAX_LOCAL_FILE_BYTES) return content;
  } catch (error) {
    throw new FetchFailed('local_file', host, systemCodeOf(error));
  }
  throw new FetchFailed('local_file', host);
}

async function readBearer(path: string, host: string): Promise<string> {
  const bearer = (await readLocalFile(path, host)).trim();
  // A service account's token is a JWT; another secret that a wrong path leads to is not sent to anybody.
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(bearer)) throw new FetchFailed('local_file', host);
  return bearer;
}

/** The original error is not kept as cause: a parser's error carries the bytes that it could not parse. */
function asFailure(error: unknown, host: string): FetchFailed {
  if (error instanceof FetchFailed) return error;
  const code = systemCodeOf(error);
  const tls = code !== undefined && /CERT|TLS|SSL|SIGNATURE|EPROTO|CRL/.test(code);
  return new FetchFailed(tls ? 'tls' : 'connect', host, code);
}

function systemCodeOf(error: unknown): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : undefined;
}
