/**
 * Connections to upstreams, kept open between calls: a pool for each origin, pinned to addresses that were checked
 * (`guard.ts`). Names are resolved again every so often; where they moved, new calls get a new pool and those under way
 * end on the old one. No redirect is followed and no proxy of the environment is used. Nothing here knows a credential:
 * what is sent is the caller's to decide, and so is how long it may take.
 */
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../core/clock.ts';
import { asFailure, checkedAddresses, pinned, readLocalFile, resolveBySystem } from './guard.ts';
import type { Resolve } from './guard.ts';

/** After so long a name is resolved, and its addresses are checked, again. */
const CHECKED_FOR_MS = 30_000;
/** A pool that nobody asked for is closed. */
const UNUSED_FOR_MS = 600_000;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_HEADER_BYTES = 32_768;

export interface UpstreamPlace {
  readonly url: URL;
  /** The configuration allows private addresses, and plain http on loopback. */
  readonly internal: boolean;
  /** PEM file; where given, no other authority is trusted. */
  readonly caFile: string | undefined;
}

export interface UpstreamConnections {
  /** What requests to this origin are sent with. Throws `FetchFailed`. */
  to(place: UpstreamPlace): Promise<Dispatcher>;
  /** Cuts what is in flight. */
  close(): Promise<void>;
}

interface Pinned {
  readonly pool: Pool;
  /** Addresses and authority: where they change, the pool does. */
  readonly pinnedTo: string;
  checkedAtMs: number;
  usedAtMs: number;
}

/**
 * @param settings.connectionsMax to one origin
 * @param settings.resolve how names become addresses; default the system's resolver
 */
export function createUpstreamConnections(settings: {
  readonly clock: Clock;
  readonly connectionsMax: number;
  readonly resolve?: Resolve;
}): UpstreamConnections {
  const { clock, connectionsMax, resolve = resolveBySystem } = settings;
  const closing = new AbortController();
  const pools = new Map<string, Pinned>();
  const checks = new Map<string, Promise<Pinned>>();
  /** Replaced, with calls that still use them. */
  const ending = new Set<Promise<void>>();

  const retire = ({ pool }: Pinned) => {
    const ended = pool.close().catch(() => undefined);
    ending.add(ended);
    void ended.then(() => ending.delete(ended));
  };

  async function check(key: string, { url, internal, caFile }: UpstreamPlace): Promise<Pinned> {
    try {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]);
      const addresses = await checkedAddresses(url, internal, resolve, signal);
      const ca = caFile === undefined ? undefined : await readLocalFile(caFile, url.host);
      closing.signal.throwIfAborted();
      const nowMs = clock.nowMs();
      const pinnedTo = JSON.stringify([[...addresses].sort(), ca]);
      const before = pools.get(key);
      if (before?.pinnedTo === pinnedTo) {
        before.checkedAtMs = nowMs;
        return before;
      }
      if (before !== undefined) retire(before);
      const pool = new Pool(url.origin, {
        connections: connectionsMax,
        pipelining: 1,
        connect: { lookup: pinned(addresses), timeout: CONNECT_TIMEOUT_MS, ...(ca !== undefined && { ca }) },
        maxHeaderSize: MAX_HEADER_BYTES,
        // Timed by whoever sends: the low-resolution timers of the client would be late by up to a second.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      const made = { pool, pinnedTo, checkedAtMs: nowMs, usedAtMs: nowMs };
      pools.set(key, made);
      return made;
    } catch (error) {
      // What may not be reached now is not reached over a connection from before.
      const before = pools.get(key);
      if (before !== undefined) retire(before);
      pools.delete(key);
      throw asFailure(error, url.host);
    }
  }

  const closeUnused = (nowMs: number) => {
    for (const [key, pinnedPool] of pools)
      if (nowMs - pinnedPool.usedAtMs > UNUSED_FOR_MS) {
        pools.delete(key);
        retire(pinnedPool);
      }
  };

  return {
    async to(place) {
      const key = JSON.stringify([place.url.origin, place.internal, place.caFile]);
      const nowMs = clock.nowMs();
      const known = pools.get(key);
      if (known !== undefined && Math.abs(nowMs - known.checkedAtMs) < CHECKED_FOR_MS) {
        known.usedAtMs = nowMs;
        return known.pool;
      }
      closeUnused(nowMs);
      let checking = checks.get(key);
      if (checking === undefined) {
        checking = check(key, place).finally(() => checks.delete(key));
        checks.set(key, checking);
      }
      const checked = await checking;
      checked.usedAtMs = nowMs;
      return checked.pool;
    },
    async close() {
      closing.abort();
      const open = [...pools.values()];
      pools.clear();
      await Promise.all(open.map(({ pool }) => pool.destroy()));
      // Every call has ended by now, so the replaced ones have nothing left to wait for.
      await Promise.all(ending);
    },
  };
}
