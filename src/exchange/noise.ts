/**
 * Refusals of callers that did not prove who they are, or that ask more often than a limit lets them: counted per source
 * prefix and reason (and client, where it is proved), and recorded as one row per window, so that neither garbage nor
 * zeal can fill the log. Single ones are found by request id in the operational log.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordRow } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Reason } from '../core/refusal.ts';

export const NOISE_WINDOW_MS = 10_000;
/** Distinct (prefix, reason, client) per window; what is beyond is counted under the prefix `other`, whoever it was. */
const MAX_ENTRIES = 1000;

interface Entry {
  readonly prefix: string;
  readonly reason: Reason;
  /** Only of a client that has authenticated. */
  readonly client: string | undefined;
  readonly count: number;
}

export interface Noise {
  note(sourcePrefix: string, reason: Reason, client?: string): void;
  /** Records what was counted since the last flush. */
  flush(): Promise<void>;
  /** Stops the timer and records the rest. */
  stop(): Promise<void>;
}

export function createNoise(parts: {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  commit(row: RecordRow): Promise<unknown>;
}): Noise {
  let counts = new Map<string, Entry>();
  let since = parts.clock.nowMs();

  const keyOf = ({ prefix, reason, client }: Entry) => `${prefix} ${reason} ${client ?? ''}`;
  const add = (seen: Entry) => {
    const known = counts.has(keyOf(seen)) || counts.size < MAX_ENTRIES;
    const entry = known ? seen : { ...seen, prefix: 'other', client: undefined };
    const before = counts.get(keyOf(entry))?.count ?? 0;
    counts.set(keyOf(entry), { ...entry, count: before + seen.count });
  };

  const flush = async () => {
    if (counts.size === 0) return;
    const [entries, from, to] = [[...counts.values()], since, parts.clock.nowMs()];
    counts = new Map();
    since = to;
    const id = uuidv7();
    const body = {
      v: RECORD_VERSION,
      id,
      time: new Date(to).toISOString(),
      kind: 'noise' as const,
      request_id: id,
      node: parts.node,
      from: new Date(from).toISOString(),
      refused: entries.map(({ prefix, reason, client, count }) => ({
        source_prefix: prefix,
        reason,
        ...(client === undefined ? {} : { client }),
        count,
      })),
    };
    try {
      await parts.commit({
        id,
        recordedAtMs: to,
        kind: 'noise',
        reason: null,
        requestId: id,
        clientId: null,
        resources: [],
        jti: null,
        persons: [],
        canonical: canonicalBytes(body),
      });
    } catch (error) {
      // Counted again in the next window: the database is down, and these callers were refused whatever happens.
      for (const entry of entries) add(entry);
      parts.logger.warn(
        { err: error, refused: entries.length },
        'refusals of unauthenticated callers could not be recorded',
      );
    }
  };

  const timer = setInterval(() => void flush(), NOISE_WINDOW_MS);
  timer.unref();
  return {
    note: (prefix, reason, client) => {
      add({ prefix, reason, client, count: 1 });
    },
    flush,
    stop: async () => {
      clearInterval(timer);
      await flush();
    },
  };
}
