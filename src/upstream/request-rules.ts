/**
 * Which requests an upstream takes, judged on the bytes that are forwarded: nothing is decoded, normalized or repaired on
 * the way, so what is matched is what is sent. Whatever two parsers could read differently is refused before any rule is
 * looked at: encoded slashes, dots and semicolons, backslashes, empty segments, double encoding, bytes that are no UTF-8,
 * and everything that asks the upstream to take the request for one of another method.
 */
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { RequestRule } from '../objects/upstream.ts';

/** Header lists as `IncomingMessage.headersDistinct` has them, names in lower case; lists that are joined will do. */
export type HeaderLists = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A request as it will be forwarded. */
export interface ForwardedRequest {
  readonly method: string;
  /** Below the base URL, from its slash on, without the query. */
  readonly path: string;
  /** With its `?`; empty where there is none. */
  readonly query: string;
  readonly headers: HeaderLists;
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const PATH_CHARS_MAX = 8192;
const QUERY_CHARS_MAX = 16_384;

/** Read by frameworks as the method in place of the one of the request line. */
const METHOD_OVERRIDES: ReadonlySet<string> = new Set(['x-http-method-override', 'x-http-method', 'x-method-override']);
const METHOD_PARAMETERS: ReadonlySet<string> = new Set(['_method', ...METHOD_OVERRIDES]);

/** RFC 3986 §3.3: `pchar` without `;`, and the slash. */
const PATH_CHARS = /^[A-Za-z0-9._~!$&'()*+,=:@%/-]*$/;
/** Visible ASCII without `#`, which would end the query. */
const QUERY_CHARS = /^[!"$-~]*$/;
/** `/`, `\`, `.`, `;`, controls: what is decoded from them would be structure. */
const ENCODED_STRUCTURE = /%(2f|5c|2e|3b|[01][0-9a-f]|7f)/i;

/**
 * The rule that lets a request through: the first that its method and path match, in the order in which they are listed.
 * Refuses with `egress_path_refused` what is not unmistakable, and with `egress_request_not_allowed` what no rule names.
 */
export function matchRequest(rules: readonly RequestRule[], request: ForwardedRequest): RequestRule | Refusal {
  const fault = requestFault(request);
  if (fault !== undefined) return refuse('egress_path_refused', { fault });
  const { method, path } = request;
  if (!METHODS.has(method)) return refuse('egress_request_not_allowed', { fault: 'method_unknown' });
  const segments = segmentsOf(path);
  const ofMethod = rules.filter(({ methods }) => methods.some((name) => name === '*' || name === method));
  const matched = ofMethod.find((rule) => matches(segmentsOf(rule.path), segments));
  // An upstream decodes: what it then takes for a path of another rule must not pass under a wildcard of this one.
  const decoded = segments.map(decodeURIComponent);
  const asRead = ofMethod.find((rule) => matches(segmentsOf(rule.path).map(decodedLiteral), decoded));
  if (asRead !== matched) return refuse('egress_path_refused', { fault: 'encoding_ambiguous' });
  return matched ?? refuse('egress_request_not_allowed', { fault: 'no_rule' });
}

/** Does the token have what the rule asks for? Refuses with `egress_scope_missing`. */
export function checkScopes(rule: RequestRule, scopes: readonly string[]): Refusal | undefined {
  const missing = rule.scopes.filter((scope) => !scopes.includes(scope));
  return missing.length === 0 ? undefined : refuse('egress_scope_missing', { missing });
}

/** Names of the query's parameters as a server might read them; `undefined` where one cannot be decoded. */
export function parameterNames(query: string): readonly string[] | undefined {
  const names = query
    .slice(1)
    .split(/[&;]/)
    .map((pair) => pair.split('=', 1)[0] ?? '');
  try {
    return names.map((name) => decodeURIComponent(name.replaceAll('+', ' ')).trim().toLowerCase());
  } catch {
    return undefined;
  }
}

function requestFault({ path, query, headers }: ForwardedRequest): string | undefined {
  return pathFault(path) ?? queryFault(query) ?? methodOverride(headers);
}

function pathFault(path: string): string | undefined {
  if (path.length > PATH_CHARS_MAX) return 'path_too_long';
  if (!path.startsWith('/')) return 'path_not_absolute';
  if (!PATH_CHARS.test(path)) return 'character';
  const encoding = encodingFault(path);
  if (encoding !== undefined) return encoding;
  if (ENCODED_STRUCTURE.test(path)) return 'encoded_structure';
  const segments = segmentsOf(path);
  if (segments.some((segment) => /^\.+$/.test(segment))) return 'dot_segment';
  // Only a last one may be empty: the trailing slash.
  return segments.slice(0, -1).includes('') ? 'empty_segment' : undefined;
}

function queryFault(query: string): string | undefined {
  if (query === '') return undefined;
  if (query.length > QUERY_CHARS_MAX) return 'query_too_long';
  if (!query.startsWith('?') || !QUERY_CHARS.test(query)) return 'query_character';
  if (/%(?![0-9a-f]{2})/i.test(query)) return 'query_encoding';
  const names = parameterNames(query);
  if (names === undefined) return 'query_encoding';
  return names.some((name) => METHOD_PARAMETERS.has(name)) ? 'method_override' : undefined;
}

/** Bad percent-encoding, bytes that are no UTF-8 (overlong slashes among them), and what is encoded twice. */
function encodingFault(path: string): string | undefined {
  if (/%(?![0-9a-f]{2})/i.test(path)) return 'percent_encoding';
  if (/%25[0-9a-f]{2}/i.test(path)) return 'double_encoding';
  try {
    decodeURIComponent(path);
    return undefined;
  } catch {
    return 'not_utf8';
  }
}

/** Many servers take `_` in a name for `-`. */
function methodOverride(headers: HeaderLists): string | undefined {
  const names = Object.keys(headers).map((name) => name.toLowerCase().replaceAll('_', '-'));
  return names.some((name) => METHOD_OVERRIDES.has(name)) ? 'method_override' : undefined;
}

function segmentsOf(path: string): readonly string[] {
  return path.slice(1).split('/');
}

/** `*` is one segment that is not empty; `**` at the end is any rest, of one segment at least, which may be empty. */
function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  const open = pattern.at(-1) === '**';
  const fixed = open ? pattern.slice(0, -1) : pattern;
  if (open ? segments.length <= fixed.length : segments.length !== fixed.length) return false;
  return fixed.every((part, index) => (part === '*' ? segments[index] !== '' : part === segments[index]));
}

/** A literal of a rule as an upstream reads it; one that is no proper encoding stands as it is, and matches nothing. */
function decodedLiteral(part: string): string {
  try {
    const decoded = decodeURIComponent(part);
    // `%2A` is a star, not any segment.
    return decoded.startsWith('*') ? part : decoded;
  } catch {
    return part;
  }
}
