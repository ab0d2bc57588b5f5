/**
 * The roads: token endpoint, introspection, revocation, and the revocation document. They share one way of finding out
 * who calls, one set of limits and one commit.
 */
import { createAuthenticator } from '../clients/authenticate.ts';
import { PATHS } from '../core/protocol.ts';
import { createDecider } from '../exchange/decision.ts';
import { createDispatch } from '../exchange/dispatch.ts';
import type { Grant } from '../exchange/grant.ts';
import { clientCredentialsGrant } from '../exchange/grants/client-credentials.ts';
import { tokenExchangeGrant } from '../exchange/grants/token-exchange.ts';
import { createNoise } from '../exchange/noise.ts';
import { createPresentedVerifier } from '../exchange/presented.ts';
import { createRoad } from '../exchange/road.ts';
import { DEFAULT_LIMITS } from '../limits/bounds.ts';
import { createLimits } from '../limits/limits.ts';
import { registryOf } from '../objects/registry.ts';
import { createPolicyEngine } from '../policy/engine.ts';
import { createOwnTokens } from '../standing/own-token.ts';
import { createIntrospection } from '../status/introspect.ts';
import { createRevocationPublisher } from '../status/revocation-document.ts';
import { createRevocation } from '../status/revoke.ts';
import { createStatusRoad } from '../status/status-road.ts';
import { readInTime } from '../store/clock-skew.ts';
import type { Commitment } from '../store/commitment.ts';
import { hex } from '../store/values.ts';
import type { Foundation } from './foundation.ts';
import type { ServiceParts } from './parts.ts';

/** Every grant there is. A further one is a file in `exchange/grants/` and a name here. */
export const GRANTS: readonly Grant[] = [clientCredentialsGrant, tokenExchangeGrant];

export type Roads = ReturnType<typeof createRoads>;

export function createRoads(parts: ServiceParts, foundation: Foundation) {
  const { issuer, logger, nodeName } = parts;
  const { clock, hooks, database, instance, objects, persons, issued, revocations, keys, keySets, committer } =
    foundation;
  const { ring } = keys;
  const findRevocation: typeof revocations.find = (facts, state) => revocations.find(facts, state);
  const ownTokens = createOwnTokens({ issuer, clock, ownKeys: (kid) => ring.verification(kid), issued, persons });
  const limits = createLimits({
    database,
    settings: parts.limits ?? DEFAULT_LIMITS,
    hashOf: (limit, key) => hex(instance.blindIndex({ issuer: `limit:${limit}`, sub: key })),
  });
  const noise = createNoise({
    node: nodeName,
    clock,
    logger,
    commit: (record) => committer.commit({ marks: [], record }),
  });
  const shared = {
    node: nodeName,
    clock,
    registry: async () => registryOf(await readInTime(clock, () => objects.current())),
    authenticate: createAuthenticator({
      issuer,
      tokenEndpoint: issuer + PATHS.token,
      secrets: foundation.clientSecrets,
      keySets,
      clock,
      findRevocation,
    }),
    failures: limits.failures,
    limits: limits.rates,
    commit: (commitment: Commitment) => committer.commit(commitment),
    noise,
  };
  const road = createRoad({
    ...shared,
    ourIssuer: issuer,
    dispatch: createDispatch(GRANTS),
    verifyPresented: createPresentedVerifier({ issuer, clock, keySets, ownTokens, findRevocation }),
    decide: createDecider(createPolicyEngine()),
    signingKey: (algorithm) => ring.signing('access-token', algorithm),
    credentials: parts.credentials ?? foundation.credentials,
    keyFor: (principal) => persons.keyFor(principal),
    findRevocation,
    observe: (phase, durationMs) => {
      hooks.onPhase(phase, durationMs);
      parts.observe?.(phase, durationMs);
    },
    within: hooks.within,
  });
  return {
    limits,
    noise,
    registry: shared.registry,
    ownTokens,
    findRevocation,
    road,
    introspect: createStatusRoad(shared, 'introspect', createIntrospection({ issuer, ownTokens, findRevocation })),
    revoke: createStatusRoad(shared, 'revoke', createRevocation({ clock, ownTokens, issued })),
    revocations: createRevocationPublisher({
      issuer,
      clock,
      registry: shared.registry,
      inForce: (options) => revocations.inForce(options),
      signingKey: () => ring.signing('revocation-document', 'ES256'),
      onMade: hooks.onRevocationDocument,
    }),
  };
}
