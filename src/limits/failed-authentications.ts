/**
 * Where failed authentications come from, in memory of this node: after so many within a minute from one address for one
 * claimed client, or ten times as many from one address, further attempts from there are turned away before their
 * credentials are looked at. Who else is behind the same address is let in until then. A success resets nothing: a
 * client that works must not hide who guesses beside it.
 */
import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import { LRUCache } from 'lru-cache';
import { refuseForNow } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';

const WINDOW_MS = 60_000;
/** One address may fail so many times as often as one address for one client. */
const ADDRESS_FACTOR = 10;

export interface FailedAuthentications {
  /** The refusal of an attempt from there; undefined where it may be made. Nothing of the claim has to be verified. */
  check(source: string, claimedClient: string): Refusal | undefined;
  /** Counts an attempt that failed. */
  note(source: string, claimedClient: string): void;
  /** Entries that are remembered. */
  size(): number;
}

interface Window {
  failures: number;
  readonly endsAtMs: number;
}

export function createFailedAuthentications(parts: {
  readonly perMinute: number;
  /** Milliseconds of a clock that never jumps. */
  elapsedMs(): number;
  readonly entriesMax?: number;
}): FailedAuthentications {
  // Addresses apart from pairs: whoever makes up clients pushes only pairs out.
  const [pairs, addresses] = [0, 0].map(() => new LRUCache<string, Window>({ max: parts.entriesMax ?? 50_000 })) as [
    LRUCache<string, Window>,
    LRUCache<string, Window>,
  ];

  const waitMs = (windows: LRUCache<string, Window>, key: string, max: number): number => {
    const window = windows.get(key);
    return window === undefined || window.failures < max ? 0 : window.endsAtMs - parts.elapsedMs();
  };
  const count = (windows: LRUCache<string, Window>, key: string): void => {
    const nowMs = parts.elapsedMs();
    const window = windows.get(key);
    if (window !== undefined && nowMs < window.endsAtMs) window.failures += 1;
    else windows.set(key, { failures: 1, endsAtMs: nowMs + WINDOW_MS });
  };

  return {
    check(source, claimedClient) {
      const network = networkOf(source);
      const waitedMs = Math.max(
        waitMs(addresses, network, ADDRESS_FACTOR * parts.perMinute),
        waitMs(pairs, pairOf(network, claimedClient), parts.perMinute),
      );
      return waitedMs > 0 ? refuseForNow('source_throttled', Math.ceil(waitedMs / 1000)) : undefined;
    },
    note(source, claimedClient) {
      const network = networkOf(source);
      count(addresses, network);
      count(pairs, pairOf(network, claimedClient));
    },
    size: () => pairs.size + addresses.size,
  };
}

/** An IPv4 address, the /64 of an IPv6 address: whoever has one of its addresses has all of them. */
function networkOf(source: string): string {
  const bare = source.split('%')[0] ?? '';
  if (!ipaddr.isValid(bare)) return 'unknown';
  const address = ipaddr.process(bare);
  return address.kind() === 'ipv4'
    ? address.toString()
    : Buffer.from(address.toByteArray().slice(0, 8)).toString('hex');
}

/** By digest: what a caller claims may be as long as a form. */
function pairOf(network: string, claimedClient: string): string {
  return `${network} ${createHash('sha256').update(claimedClient).digest('base64')}`;
}
