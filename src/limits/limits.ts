/**
 * Everything that bounds what callers may ask of one process, built together: requests per minute over all nodes, failed
 * authentications per source, requests under way. The token endpoint and the status endpoints share one of each.
 */
import { createRates } from '../store/rates.ts';
import type { Database } from '../store/database.ts';
import type { LimitSettings } from './bounds.ts';
import { createFailedAuthentications } from './failed-authentications.ts';
import type { FailedAuthentications } from './failed-authentications.ts';
import { createLoad, watchEventLoop } from './load.ts';
import type { Load } from './load.ts';
import { createPermits } from './permits.ts';
import { createRateLimits } from './rates.ts';
import type { LimitName, RateLimits } from './rates.ts';

export interface Limits {
  readonly rates: RateLimits;
  readonly failures: FailedAuthentications;
  readonly load: Load;
  /** Plain numbers for metrics. */
  sizes(): {
    readonly rateKeys: number;
    readonly failureEntries: number;
    readonly underWay: number;
    readonly shed: number;
  };
  stop(): void;
}

export function createLimits(parts: {
  readonly database: Database;
  readonly settings: LimitSettings;
  hashOf(limit: LimitName, key: string): string;
}): Limits {
  const { settings } = parts;
  const elapsedMs = () => performance.now();
  const permits = createPermits({ rates: createRates(parts.database), elapsedMs });
  const failures = createFailedAuthentications({ perMinute: settings.failedAuthenticationsPerMinute, elapsedMs });
  const eventLoop = watchEventLoop();
  const load = createLoad({ underWayMax: settings.requestsUnderWayMax, latenessMs: () => eventLoop.latenessMs() });
  return {
    rates: createRateLimits({ settings, permits, hashOf: (limit, key) => parts.hashOf(limit, key) }),
    failures,
    load,
    sizes: () => ({
      rateKeys: permits.size(),
      failureEntries: failures.size(),
      underWay: load.underWay(),
      shed: load.shed(),
    }),
    stop: () => {
      eventLoop.stop();
    },
  };
}
