/**
 * Which part of the service feeds which metric: the one place that knows both. Parts expose plain numbers and take
 * plain callbacks; none of them knows what becomes of either.
 */
import type { Telemetry } from '../core/telemetry.ts';
import type { SigningKeyRow } from '../store/signing-keys.ts';
import type { JobNumbers } from '../status/housekeeping-jobs.ts';
import type { CheckName, FailingCheck } from '../status/readiness.ts';
import { BREAKER_STATES } from '../secrets/vault/breaker.ts';
import type { VaultState } from '../secrets/vault/vault.ts';
import type { PoolSizes } from '../store/database.ts';
import type { FailureKind } from '../store/observed.ts';
import type { LeaseSweepNumbers } from '../upstream/lease-sweeper.ts';

/** The callbacks that parts are built with. */
export function hooksOf({ metrics, tracing }: Telemetry) {
  let inForce = new Map<string, number>();
  metrics.read('revocationsInForce', () => [...inForce].map(([kind, value]) => ({ labels: { kind }, value })));
  return {
    onDatabaseFailure: (kind: FailureKind) => {
      metrics.add('databaseFailures', { kind });
    },
    onLookup: (cache: string, result: string) => {
      metrics.add('cacheLookups', { cache, result });
    },
    onFetch: (durationMs: number, outcome: string) => {
      metrics.observe('fetchDuration', { outcome }, durationMs / 1000);
    },
    onKeyFetch: ({ label = '' }: { readonly label?: string }, outcome: string) => {
      metrics.add('keyFetches', { source: sourceOf(label), outcome });
    },
    onCommitStatement: (items: number, durationMs: number, outcome: string) => {
      metrics.observe('commitBatch', {}, items);
      metrics.observe('commitDuration', { outcome }, durationMs / 1000);
    },
    onRevocationDocument: (tokens: number, predicates: readonly { readonly kind: string }[]) => {
      inForce = new Map([['token', tokens]]);
      for (const { kind } of predicates) inForce.set(kind, (inForce.get(kind) ?? 0) + 1);
    },
    onVaultAnswer: (outcome: string, durationMs: number) => {
      metrics.observe('vaultDuration', { outcome }, durationMs / 1000);
    },
    onPhase: (phase: string, durationMs: number) => {
      metrics.observe('tokenPhaseDuration', { phase }, durationMs / 1000);
    },
    // The step that is a call to somebody else: one statement, shared with concurrent requests.
    within: <T>(phase: string, work: () => Promise<T>): Promise<T> =>
      phase === 'commit'
        ? tracing.client('cambist.commit', { 'db.system.name': 'postgresql', 'db.operation.name': 'commit' }, work)
        : tracing.step(`cambist.${phase}`, work),
  };
}

/** `trusted issuer corp` → `corp`. The keys of all clients are one source; no issuer can be named so. */
function sourceOf(label: string): string {
  return label.startsWith('trusted issuer ') ? label.slice('trusted issuer '.length) : 'keys of clients';
}

/** What is read at each scrape; nothing here may wait for anything. */
export interface Readings {
  pool(): PoolSizes;
  commits(): { readonly queued: number; readonly unsettled: number };
  keys(): readonly SigningKeyRow[];
  readonly rotateAfterSeconds: number;
  nowMs(): number;
  /** Clock of the database minus our own. */
  clockSkewMs(): number | undefined;
  failingChecks(): readonly FailingCheck[];
  /** `undefined` = there is no Vault. */
  vault(): VaultState | undefined;
  certificateExpiries(): Readonly<Partial<Record<'public' | 'admin', number>>>;
  jobs(): readonly JobNumbers[];
  leases(): LeaseSweepNumbers;
}

/** Complete at compile time. */
const CHECKS = Object.keys({ draining: true, database: true, clock: true, keys: true } satisfies Record<
  CheckName,
  true
>) as CheckName[];

/** Lets every gauge read its part. */
export function readGauges({ metrics }: Telemetry, readings: Readings): void {
  const one = (value: number) => [{ labels: {}, value }];
  metrics.read('commitQueue', () => one(readings.commits().queued));
  metrics.read('commitsUnsettled', () => one(readings.commits().unsettled));
  metrics.read('databaseConnections', () => {
    const { total, idle } = readings.pool();
    return [
      { labels: { state: 'busy' }, value: total - idle },
      { labels: { state: 'idle' }, value: idle },
    ];
  });
  metrics.read('databaseWaiting', () => one(readings.pool().waiting));
  metrics.read('clockSkew', () => {
    const skewMs = readings.clockSkewMs();
    return skewMs === undefined ? [] : one(-skewMs / 1000);
  });
  metrics.read('ready', () => {
    const failing = new Set(readings.failingChecks().map(({ name }) => name));
    return CHECKS.map((check) => ({ labels: { check }, value: failing.has(check) ? 0 : 1 }));
  });
  metrics.read('certificateExpiry', () =>
    Object.entries(readings.certificateExpiries()).map(([listener, value]) => ({ labels: { listener }, value })),
  );
  readKeys(metrics, readings);
  readVault(metrics, readings);
  readJobs(metrics, readings);
  readLeases(metrics, readings);
}

function readKeys(metrics: Telemetry['metrics'], readings: Readings): void {
  const ageSeconds = (sinceMs: number) => (readings.nowMs() - sinceMs) / 1000;
  // Oldest first, so that of several keys of one kind the youngest stands.
  const sorted = () => [...readings.keys()].sort((a, b) => a.createdAtMs - b.createdAtMs);
  metrics.read('signingKeyAge', () =>
    sorted().map(({ purpose, algorithm, state, createdAtMs }) => ({
      labels: { purpose, algorithm, state },
      value: ageSeconds(createdAtMs),
    })),
  );
  metrics.read('signingKeyRotation', () =>
    readings
      .keys()
      .filter(({ state }) => state === 'active')
      .map(({ purpose, algorithm, activatedAtMs, createdAtMs }) => ({
        labels: { purpose, algorithm },
        value: readings.rotateAfterSeconds - ageSeconds(activatedAtMs ?? createdAtMs),
      })),
  );
}

function readVault(metrics: Telemetry['metrics'], readings: Readings): void {
  metrics.read('vaultLoginAge', () => {
    const since = readings.vault()?.loggedInSinceMs;
    return since === undefined ? [] : [{ labels: {}, value: (performance.now() - since) / 1000 }];
  });
  metrics.read('vaultBreaker', () => {
    const now = readings.vault()?.breaker;
    return now === undefined
      ? []
      : BREAKER_STATES.map((state) => ({ labels: { state }, value: state === now ? 1 : 0 }));
  });
}

function readJobs(metrics: Telemetry['metrics'], readings: Readings): void {
  metrics.read('jobRuns', () =>
    readings.jobs().flatMap(({ name, runs, failures: { unavailable, bug } }) => [
      { labels: { job: name, outcome: 'done' }, value: runs - unavailable - bug },
      { labels: { job: name, outcome: 'unavailable' }, value: unavailable },
      { labels: { job: name, outcome: 'bug' }, value: bug },
    ]),
  );
  metrics.read('jobRemoved', () =>
    readings.jobs().map(({ name, removed }) => ({ labels: { job: name }, value: removed })),
  );
  metrics.read('jobSuccess', () =>
    readings
      .jobs()
      .flatMap(({ name, lastSuccessMs }) =>
        lastSuccessMs === undefined ? [] : [{ labels: { job: name }, value: lastSuccessMs / 1000 }],
      ),
  );
}

function readLeases(metrics: Telemetry['metrics'], readings: Readings): void {
  metrics.read('leases', () => {
    const { alive, ending } = readings.leases();
    return [
      { labels: { state: 'alive' }, value: alive },
      { labels: { state: 'ending' }, value: ending },
    ];
  });
  metrics.read('leaseEndings', () => {
    const { ended, failed } = readings.leases();
    return [
      { labels: { outcome: 'ended' }, value: ended },
      { labels: { outcome: 'failed' }, value: failed },
    ];
  });
  metrics.read('leaseEndingAge', () => [{ labels: {}, value: readings.leases().oldestEndingSeconds ?? 0 }]);
}
