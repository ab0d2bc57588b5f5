/**
 * Introspection (RFC 7662): what a token of ours is worth at this moment, for the servers that it is meant for. Anybody
 * else, and anything else than a living token, gets exactly `{"active":false}` (§2.2): a scan tells nothing (§4).
 */
import type { Caller } from '../clients/caller.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import { whyDead } from '../standing/own-token.ts';
import type { OwnTokens } from '../standing/own-token.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import type { StatusFinding } from './status-road.ts';

export interface IntrospectParts {
  readonly issuer: string;
  readonly ownTokens: OwnTokens;
  /** The revocation that hits such a token, if there is one. */
  findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
}

const INACTIVE: StatusFinding = { body: { active: false } };

/** Claims that are told as they were signed (RFC 7662 §2.2, RFC 8693 §4.1, RFC 9493). */
const TOLD = [
  'iss',
  'sub',
  'sub_id',
  'aud',
  'client_id',
  'act',
  'scope',
  'auth_time',
  'acr',
  'amr',
  'jti',
  'iat',
  'exp',
] as const;

/** Answers for one token; the signature is checked before anything is looked up (R18). */
export function createIntrospection(parts: IntrospectParts) {
  return async (token: string, { client, registry }: Caller): Promise<StatusFinding> => {
    const jwt = decodeCompact(token);
    if (isFault(jwt)) return INACTIVE;
    const read = await parts.ownTokens.read(jwt);
    if (isFault(read)) return INACTIVE;
    const { own, claims } = read;
    if (!(await serves(client.id, own.audience, registry))) return INACTIVE;
    const recalled = await parts.ownTokens.recall(own, registry);
    if ('fallen' in recalled) return INACTIVE;
    const { party, facts, issued } = recalled;
    if ((await whyDead({ ...issued, party, facts, chain: own.chain }, registry, parts)) !== undefined) return INACTIVE;
    const told = TOLD.flatMap((name) => (claims[name] === undefined ? [] : [[name, claims[name]] as const]));
    return {
      body: { active: true, token_type: 'Bearer', ...Object.fromEntries(told) },
      token: { own, subjectRef: issued.subjectRef },
    };
  };
}

/** Is the caller one of the servers that the token is meant for? */
async function serves(clientId: string, audience: readonly string[], registry: Registry): Promise<boolean> {
  const resources = await Promise.all(audience.map((uri) => registry.resourceByUri(uri)));
  return resources.some(
    (resource) => resource !== undefined && !resource.disabled && resource.spec.served_by.includes(clientId),
  );
}
