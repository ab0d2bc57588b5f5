/**
 * Which addresses are the public internet (R21). Everything in the special-purpose registries (RFC 6890 and its
 * successors) is refused, as is every form that carries an IPv4 address inside an IPv6 one: what such an address reaches
 * is decided by a translator somewhere else.
 */
import ipaddr from 'ipaddr.js';

/** Public by number, but answered by the machine's own cloud platform (Azure's WireServer). */
const PLATFORM_ADDRESSES: ReadonlySet<string> = new Set(['168.63.129.16']);

/** All of IPv6 that is allocated as global unicast (RFC 4291 §2.4); the rest is special or not in use. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/** Is this a public unicast address? Only the plain spellings are read; anything else is not an address. */
export function isPublicAddress(ip: string): boolean {
  if (ipaddr.IPv4.isValidFourPartDecimal(ip))
    return ipaddr.IPv4.parse(ip).range() === 'unicast' && !PLATFORM_ADDRESSES.has(ip);
  if (ip.includes('%') || !ipaddr.IPv6.isValid(ip)) return false;
  const address = ipaddr.IPv6.parse(ip);
  // `range` names v4-mapped, NAT64, 6to4, Teredo, documentation and benchmarking networks, among others.
  return address.match(GLOBAL_UNICAST) && address.range() === 'unicast';
}

/** Is this the loopback interface (127.0.0.0/8 or ::1)? A v4-mapped spelling of it is not. */
export function isLoopbackAddress(ip: string): boolean {
  if (ipaddr.IPv4.isValidFourPartDecimal(ip)) return ipaddr.IPv4.parse(ip).range() === 'loopback';
  return !ip.includes('%') && ipaddr.IPv6.isValid(ip) && ipaddr.IPv6.parse(ip).range() === 'loopback';
}
