/**
 * What others meet: both listeners with their routes, the heartbeat that says whether this node is ready, and what is
 * measured. Nothing of it is open before it is asked to listen.
 */
import { readFileSync } from 'node:fs';
import { CLOCK_MARGIN_SECONDS } from '../core/clock.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { measureProcess } from '../core/telemetry/process.ts';
import { adminRoutes } from '../http/admin-server.ts';
import { createListeners } from '../http/listeners.ts';
import { METRICS_CONTENT_TYPE, observeRequests } from '../http/metrics.ts';
import { routes, subtrees } from '../http/server.ts';
import { createSourceOf } from '../http/source-address.ts';
import { DEFAULT_TIMES } from '../keys/open.ts';
import { createPublishedJwks } from '../keys/published.ts';
import { slotsOf } from '../keys/slots.ts';
import { createHeartbeat } from '../status/heartbeat.ts';
import type { HousekeepingRunner } from '../status/housekeeping-jobs.ts';
import { measureClockSkew } from '../store/clock-skew.ts';
import type { Foundation } from './foundation.ts';
import { readGauges } from './instruments.ts';
import type { ServiceParts } from './parts.ts';
import { GRANTS } from './roads.ts';
import type { Roads } from './roads.ts';
import type { ComposedEgress } from './egress.ts';

/** From `src/` and from `dist/src/` alike: the package's root has it. */
const OPENAPI_PATH = import.meta.url.includes('/dist/src/') ? '../../../openapi.yaml' : '../../openapi.yaml';

export function createFront(
  parts: ServiceParts,
  telemetry: Telemetry,
  foundation: Foundation,
  roads: Roads,
  egress: ComposedEgress,
  housekeeping: HousekeepingRunner,
) {
  const { issuer, logger } = parts;
  const { clock, database, objects, keys, committer } = foundation;
  const { ring } = keys;
  const heartbeat = createHeartbeat({
    readState: () => objects.feed.current(),
    measureSkew: () => measureClockSkew(database, clock),
    countMissingKeys: () => Promise.resolve(slotsOf().filter((slot) => !ring.has(slot)).length),
    vault: foundation.vault?.vault,
    clockSkewLimitMs: parts.clockSkewLimitMs ?? CLOCK_MARGIN_SECONDS * 1000,
    logger,
  });
  const { readiness } = heartbeat;
  const publishedJwks = createPublishedJwks({ ring, refresh: () => objects.feed.current() });
  const { limits, ...shown } = roads;
  const sourceOf = createSourceOf(parts.trustedProxies ?? []);
  const publicRoutes = routes({
    ...shown,
    issuer,
    logger,
    readiness,
    sourceOf,
    load: limits.load,
    observe: observeRequests(telemetry),
    grantTypes: GRANTS.map((grant) => grant.grantType),
    jwks: () => publishedJwks('access-token'),
    revocationKeys: () => publishedJwks('revocation-document'),
    openapi: readFileSync(new URL(OPENAPI_PATH, import.meta.url), 'utf8'),
    reportUndelivered: (record) => {
      committer.reportUndelivered(record);
    },
  });
  const ofOperators = adminRoutes({
    readiness,
    metrics: () => Promise.resolve({ contentType: METRICS_CONTENT_TYPE, body: telemetry.metrics.render() }),
  });
  const stopping = () => readiness.failing().some(({ name }) => name === 'draining');
  const below = subtrees(egress.endpoint({ sourceOf, stopping }));
  const listeners = createListeners({ public: publicRoutes, admin: ofOperators }, below, heartbeat, logger);
  readGauges(telemetry, {
    pool: () => database.pool(),
    commits: () => committer.sizes(),
    keys: () => ring.list(),
    rotateAfterSeconds: (parts.keyTimes ?? DEFAULT_TIMES).rotateAfterSeconds,
    nowMs: () => clock.nowMs(),
    clockSkewMs: () => heartbeat.clockSkewMs(),
    failingChecks: () => readiness.failing(),
    vault: () => foundation.vault?.vault.state(),
    certificateExpiries: listeners.certificateExpiries,
    jobs: () => housekeeping.numbers(),
    leases: () => foundation.leaseSweeper.numbers(),
  });
  return { heartbeat, listeners, stopMeasuring: measureProcess(telemetry.metrics, parts.version ?? 'unknown') };
}
