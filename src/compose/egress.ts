/** The way to upstreams: what judges a call, what it is forwarded over, what ends it. */
import { createOpenCalls } from '../egress/open-calls.ts';
import { createEgress } from '../egress/road.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { observeEgress } from '../http/egress-metrics.ts';
import type { EgressEndpointParts } from '../http/egress.ts';
import { DEFAULT_LIMITS } from '../limits/bounds.ts';
import { createUpstreamConnections } from '../net/upstream-connections.ts';
import type { Registry } from '../objects/registry.ts';
import type { Commitment } from '../store/commitment.ts';
import type { Foundation } from './foundation.ts';
import type { ServiceParts } from './parts.ts';
import type { Roads } from './roads.ts';

export interface ComposedEgress {
  endpoint(around: Pick<EgressEndpointParts, 'sourceOf' | 'stopping'>): EgressEndpointParts;
  /** Ends what is open, waits until it is recorded, closes the connections. */
  stop(): Promise<void>;
}

export function createComposedEgress(
  parts: ServiceParts,
  telemetry: Telemetry,
  foundation: Foundation,
  roads: Roads,
): ComposedEgress {
  const { issuer, nodeName, logger, limits = DEFAULT_LIMITS } = parts;
  const { clock, persons, committer, issued } = foundation;
  const { registry, ownTokens, findRevocation, noise } = roads;
  const openCalls = createOpenCalls({
    clock,
    callsMax: limits.egressCallsMax,
    callsPerClientMax: limits.egressCallsPerClientMax,
    registry,
  });
  const connections = createUpstreamConnections({
    clock,
    connectionsMax: limits.egressCallsMax,
    ...(parts.resolve === undefined ? {} : { resolve: parts.resolve }),
  });
  const egress = createEgress({
    issuer,
    ourIssuer: issuer,
    node: nodeName,
    clock,
    logger,
    ownTokens,
    findRevocation,
    credentials: parts.credentials ?? foundation.credentials,
    openCalls,
    noise,
    registry,
    keyFor: (principal) => persons.keyFor(principal),
    commit: (commitment: Commitment) => committer.commit(commitment),
    resourceOf: (ancestors, seen) => resourceOf(ancestors, seen, (jti) => issued.resourcesOf(jti)),
  });
  return {
    endpoint: (around) => ({
      ...around,
      issuer,
      logger,
      egress,
      connections,
      noise,
      load: roads.limits.load,
      observeEgress: observeEgress(telemetry, () => egress.count()),
    }),
    stop: async () => {
      await egress.stop();
      await connections.close();
    },
  };
}

/** The nearest token of ours that was for a resource: the one that the caller received. */
async function resourceOf(
  ancestors: readonly string[],
  registry: Registry,
  resourcesOf: (jti: string) => Promise<readonly string[] | undefined>,
): Promise<string | undefined> {
  for (const ancestor of ancestors) {
    const [uri] = (await resourcesOf(ancestor)) ?? [];
    if (uri !== undefined) return (await registry.resourceByUri(uri))?.name;
  }
  return undefined;
}
