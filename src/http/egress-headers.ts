/**
 * Which headers of a call go to the upstream, and which of its answer to the caller. What belongs to one connection ends
 * here (RFC 9110 §7.6.1), and so does everything by which a caller could speak as somebody else: its own credentials,
 * cookies, forwarded addresses, what is ours. Names are compared with `_` as `-`, since many servers take them for one.
 */
import type { Refusal } from '../core/refusal.ts';
import { refuse } from '../core/refusal.ts';

/** Name, value, name, value: as Node and undici have them. */
export type RawHeaders = readonly string[];

const HOP_BY_HOP = ['connection', 'proxy-connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade'];

/** Never forwarded, whoever sends them. */
const NOT_FORWARDED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...['host', 'expect', 'http2-settings', 'max-forwards', 'via', 'forwarded', 'content-length'],
  ...['authorization', 'cookie', 'cookie2'],
  // Addresses of senders and paths of requests, as proxies write them and applications believe them.
  ...['x-real-ip', 'x-client-ip', 'x-cluster-client-ip', 'true-client-ip', 'cf-connecting-ip', 'fastly-client-ip'],
  ...['x-original-url', 'x-rewrite-url', 'x-original-uri', 'x-original-host', 'x-host', 'front-end-https'],
  // Of the caller's trace; what upstreams of others are told of ours is nothing.
  ...['traceparent', 'tracestate', 'baggage'],
]);
const NOT_FORWARDED_PREFIXES = ['proxy-', 'x-forwarded-', 'cambist-'];

/** They would make another request of the one that was judged (`request-rules.ts` knows them by their proper names). */
const METHOD_OVERRIDES: ReadonlySet<string> = new Set(['x-http-method', 'x-http-method-override', 'x-method-override']);

const NOT_ANSWERED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...['set-cookie', 'set-cookie2'],
  // Said about a host, which would be ours.
  ...['alt-svc', 'strict-transport-security', 'clear-site-data', 'public-key-pins', 'nel', 'report-to'],
  ...['reporting-endpoints', 'origin-agent-cluster', 'service-worker-allowed', 'content-location'],
]);
/** The egress is not for scripts of web sites, whatever the upstream says. */
const NOT_ANSWERED_PREFIXES = ['proxy-', 'cambist-', 'access-control-'];

/**
 * What must not be in a request at all: another method than the one that it has, or the wish for another protocol. HTTP/2
 * over plain connections may be ignored (RFC 9110 §7.8), and Java's client wishes for it every time; a WebSocket may not:
 * whoever wants one can do nothing with an answer in HTTP.
 */
export function refuseHeaders(raw: RawHeaders): Refusal | undefined {
  for (const [name, value] of pairs(raw)) {
    const known = normalize(name);
    const upgrade = known === 'upgrade' && value.trim().toLowerCase() !== 'h2c';
    if (METHOD_OVERRIDES.has(known) || upgrade) return refuse('egress_path_refused', { header: known });
  }
  return undefined;
}

/**
 * The headers that are sent to the upstream, the credential's own not yet among them.
 * @param token of the caller: no header that holds it is forwarded, wherever it was put
 * @param places names in lower case of the headers that the token, or the credential, goes into
 */
export function requestHeaders(
  raw: RawHeaders,
  { token, places }: { readonly token: string; readonly places: readonly string[] },
): string[] {
  const named = namedByConnection(raw);
  const own = new Set(places.map(normalize));
  return pairs(raw).flatMap(([name, value]) => {
    const known = normalize(name);
    const dropped =
      NOT_FORWARDED.has(known) ||
      NOT_FORWARDED_PREFIXES.some((prefix) => known.startsWith(prefix)) ||
      named.has(known) ||
      own.has(known) ||
      value.includes(token);
    return dropped ? [] : [name, value];
  });
}

/** The headers of the upstream's answer that its caller gets; where `Location` and `Link` lead is for the caller of this to rewrite. */
export function answerHeaders(raw: RawHeaders): readonly (readonly [string, string])[] {
  const named = namedByConnection(raw);
  return pairs(raw).filter(([name]) => {
    const known = normalize(name);
    return !(
      NOT_ANSWERED.has(known) ||
      NOT_ANSWERED_PREFIXES.some((prefix) => known.startsWith(prefix)) ||
      named.has(known)
    );
  });
}

/**
 * Where a redirect leads, as the caller should follow it: below the base URL, through the egress again; anywhere else, as
 * the upstream said, without what the credential would need to come along.
 */
export function rewriteLocation(location: string, requested: URL, baseUrl: string, egressBase: string): string {
  if (!URL.canParse(location, requested.href)) return location;
  const target = new URL(location, requested);
  const base = new URL(baseUrl);
  const path = base.pathname.replace(/\/$/, '');
  const below = target.origin === base.origin && (target.pathname === path || target.pathname.startsWith(`${path}/`));
  if (!below) return target.href;
  return egressBase + target.pathname.slice(path.length) + target.search + target.hash;
}

/** RFC 8288 §3: a quoted parameter, which may hold anything, or the target of a link. */
const QUOTED_OR_TARGET = /"(?:[^"\\]|\\.)*"|<([^<>]*)>/g;

/**
 * Where links lead (RFC 8288), each as `rewriteLocation` has it: libraries follow `rel="next"` with what they authenticate
 * with, which is a token of ours and no business of the upstream.
 */
export function rewriteLinks(value: string, ...to: [requested: URL, baseUrl: string, egressBase: string]): string {
  return value.replace(QUOTED_OR_TARGET, (text, target: string | undefined) =>
    target === undefined ? text : `<${rewriteLocation(target, ...to)}>`,
  );
}

/** RFC 9110 §7.6.1: what `Connection` names is of this connection too. */
function namedByConnection(raw: RawHeaders): ReadonlySet<string> {
  const named = pairs(raw).flatMap(([name, value]) =>
    normalize(name) === 'connection' ? value.split(',').map((one) => normalize(one.trim())) : [],
  );
  return new Set(named);
}

function pairs(raw: RawHeaders): (readonly [string, string])[] {
  const found: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) found.push([raw[at] ?? '', raw[at + 1] ?? '']);
  return found;
}

function normalize(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}
