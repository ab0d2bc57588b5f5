/**
 * Refusals of callers that did not prove who they are: counted per source prefix and reason, and recorded as one row
 * per window, so that garbage cannot fill the log. Single ones are found by request id in the operational log.
 */
import { v7 as uuidv7 } from 'uuid';
import { canonicalBytes, RECORD_VERSION } from '../audit/record.ts';
import type { RecordRow } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Reason } from '../core/refusal.ts';

export const NOISE_WINDOW_MS = 10_000;
/** Distinct (prefix, reason) pairs per window; what is beyond is counted under the prefix `other`. */
const MAX_PAIRS = 1000;

export interface Noise {
  note(sourcePrefix: string, reason: Reason): void;
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
  let counts = new Map<string, { prefix: string; reason: Reason; count: number }>();
  let since = parts.clock.nowMs();

  const add = (sourcePrefix: string, reason: Reason, count: number) => {
    const known = counts.has(`${sourcePrefix} ${reason}`) || counts.size < MAX_PAIRS;
    const prefix = known ? sourcePrefix : 'other';
    const key = `${prefix} ${reason}`;
    const before = counts.get(key)?.count ?? 0;
    counts.set(key, { prefix, reason, count: before + count });
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
      refused: entries.map(({ prefix, reason, count }) => ({ source_prefix: prefix, reason, count })),
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
      for (const { prefix, reason, count } of entries) add(prefix, reason, count);
      parts.logger.warn(
        { err: error, refused: entries.length },
        'refusals of unauthenticated callers could not be recorded',
      );
    }
  };

  const timer = setInterval(() => void flush(), NOISE_WINDOW_MS);
  timer.unref();
  return {
    note: (sourcePrefix, reason) => {
      add(sourcePrefix, reason, 1);
    },
    flush,
    stop: async () => {
      clearInterval(timer);
      await flush();
    },
  };
}
