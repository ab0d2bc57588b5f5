/**
 * Where a request came from, for throttles and records. A forwarded address is believed only from a proxy that the
 * settings name, and only as far as the chain of such proxies goes: everything further left was written by whoever sent
 * the request. Nothing else is taken from a proxy: never host, scheme or issuer (R20).
 *
 * `Forwarded` (RFC 7239) is not read: a proxy that writes one of the two headers passes the other one through as it
 * came, and then the sender has chosen its own address. `X-Forwarded-For` is the one that every proxy writes.
 */
import type { IncomingMessage } from 'node:http';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = readonly [Address, number];

/** Gives the address of a request's sender: its canonical text, an IPv4 address in IPv6 form as IPv4. */
export type SourceOf = (request: IncomingMessage) => string;

/** `trustedProxies`: CIDR ranges that were checked with the settings. */
export function createSourceOf(trustedProxies: readonly string[]): SourceOf {
  const ranges: Range[] = trustedProxies.map((cidr) => ipaddr.parseCIDR(cidr));
  const isTrusted = (address: Address) =>
    ranges.some((range) => address.kind() === range[0].kind() && address.match(range as [Address, number]));
  return (request) => {
    const { remoteAddress } = request.socket;
    if (remoteAddress === undefined) return 'unknown';
    const peer = parseAddress(remoteAddress);
    if (peer === undefined) return remoteAddress;
    return (isTrusted(peer) ? behind(request, isTrusted) : undefined)?.toString() ?? peer.toString();
  };
}

/** The first address from the right that is no trusted proxy; undefined where the header is missing or malformed. */
function behind(request: IncomingMessage, isTrusted: (address: Address) => boolean): Address | undefined {
  // Node joins repeated headers with ", ", which is what their repetition means (RFC 9110 §5.3).
  const header = request.headers['x-forwarded-for'];
  const entries = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',');
  let address: Address | undefined;
  for (const entry of entries.toReversed()) {
    address = parseAddress(withoutPort(entry.trim()));
    if (address === undefined || !isTrusted(address)) return address;
  }
  return address;
}

/** Some proxies write `192.0.2.1:4711` or `[2001:db8::1]:4711`. */
function withoutPort(entry: string): string {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5})$/.exec(entry);
  return match?.[1] ?? match?.[2] ?? entry;
}

/** Only the plain spellings: `10.1` and `0x7f.1` are addresses to some parsers and none to others. */
function parseAddress(text: string): Address | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  if (!text.includes(':') || !ipaddr.IPv6.isValid(text)) return undefined;
  const address = ipaddr.IPv6.parse(text);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

/** /24 of an IPv4 address, /48 of an IPv6 address: enough to see where noise comes from, too little to name a person. */
export function prefixOf(address: string): string {
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
