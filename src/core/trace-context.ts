/**
 * W3C Trace Context (Level 2): reads the `traceparent` and `tracestate` that a caller sent and writes those that we
 * send on. Strict and bounded, because anybody can send them: what is malformed counts as absent and is never an error.
 */

/** What a request carried, checked. */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hexadecimal digits, not all zero: the caller's span. */
  readonly parentId: string;
  /** 0 to 255; bit 0 = sampled. */
  readonly flags: number;
  /** Vendors' own, opaque to us; absent where there was none or it was malformed. */
  readonly state?: string;
}

export type TraceHeaders = { readonly traceparent: string; readonly tracestate?: string };

const VERSION_0_LENGTH = 55;
/** A later version may say more behind these 55 characters; so much of it is looked at. */
const PARENT_MAX_LENGTH = 256;
/** §3.3.1.5: at least 512 characters are passed on; more than that we drop. */
const STATE_MAX_LENGTH = 512;
const STATE_MEMBERS_MAX = 32;

/** Reads the headers of a request; Node joins repeated headers with a comma, which makes a `traceparent` malformed. */
export function readTraceContext(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): TraceContext | undefined {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== 'string' || traceparent.length > PARENT_MAX_LENGTH) return undefined;
  // §3.2.2: version, trace-id, parent-id, trace-flags; lower case only.
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(traceparent);
  const [, version, traceId, parentId, flags] = match ?? [];
  if (version === undefined || traceId === undefined || parentId === undefined || flags === undefined) return undefined;
  // §3.2.2.1: ff is no version; version 00 ends here, a later one may go on behind a dash (§3.2.4).
  if (version === 'ff' || (version === '00' && traceparent.length !== VERSION_0_LENGTH)) return undefined;
  // §3.2.2.3, §3.2.2.4: all zero is no id.
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined;
  const state = readTraceState(Array.isArray(tracestate) ? tracestate.join(',') : tracestate);
  return { traceId, parentId, flags: Number.parseInt(flags, 16), ...(state === undefined ? {} : { state }) };
}

/** §3.3.1.3: a simple key, or `tenant@system`; values are printable, without comma and equals sign. */
const STATE_MEMBER =
  /^([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/** The list without its empty members, or nothing: one bad member spoils the whole (§3.3.1). */
function readTraceState(text: string | undefined): string | undefined {
  if (text === undefined || text.length > STATE_MAX_LENGTH) return undefined;
  const members = text.split(',').map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''));
  const present = members.filter((member) => member !== '');
  const keys = present.map((member) => member.slice(0, member.indexOf('=')));
  const good = present.every((member) => STATE_MEMBER.test(member)) && new Set(keys).size === keys.length;
  return good && present.length > 0 && present.length <= STATE_MEMBERS_MAX ? present.join(',') : undefined;
}

/** The headers to send on, in version 00, whose flags are `sampled` and `random` (Level 2 §3.2.2.5). */
export function traceHeaders({ traceId, parentId, flags, state }: TraceContext): TraceHeaders {
  const known = (flags & 0x03).toString(16).padStart(2, '0');
  const traceparent = `00-${traceId}-${parentId}-${known}`;
  return state === undefined ? { traceparent } : { traceparent, tracestate: state };
}
