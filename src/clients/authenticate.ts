/**
 * Step 2 of the road: who is calling. By a secret that we generated, by an assertion that the client signed, or by a
 * platform's token for a workload that is bound to the client.
 *
 * Everything that can be known from the unverified assertion (client, method, binding, audience) is checked before a
 * key is fetched or a signature is verified; what a client signed itself is single use, and counts as used as soon as
 * its signature verified, whatever becomes of the request (but for one that is over a limit: nothing came of it).
 */
import { KEPT_AFTER_EXPIRY_SECONDS, nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { AuthMethod } from '../objects/client.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import { checkTimes, readAudience, tokenIdentity } from '../tokens/claims.ts';
import { decodeCompact, normalizeTyp } from '../tokens/compact.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import type { Fault } from '../tokens/fault.ts';
import { verifySignature } from '../tokens/verify.ts';
import { readSubject } from '../trust/claim-mapping.ts';
import { issuerOfUnverified, verifyExternalToken } from '../trust/external-token.ts';
import { keySourceOfClient } from '../trust/key-sets.ts';
import type { KeySets } from '../trust/key-sets.ts';
import type { PresentedCredentials } from './credentials.ts';

/** An assertion that a client signs itself may live this long at most. */
export const MAX_ASSERTION_LIFETIME_SECONDS = 3600;

/** A token that counts as used once this request is committed. */
export interface PendingMark {
  /** What a client signs for itself, and external tokens of issuers that say `single_use`, in whatever place they come. */
  readonly purpose: 'client_assertion' | 'external_token';
  readonly issuer: string;
  readonly id: string;
  readonly expiresAtSeconds: number;
}

declare const authenticated: unique symbol;

/** A client that proved who it is. Only this module makes one. */
export interface AuthenticatedClient {
  readonly [authenticated]: true;
  readonly id: string;
  readonly object: StoredObject<'client'>;
  readonly method: AuthMethod;
  /** `iss` of the trusted issuer whose token it authenticated with. */
  readonly vouchedBy: string | undefined;
  readonly marks: readonly PendingMark[];
}

/** Does the secret match one of the client's valid ones? In constant time, also for an unknown client. */
export interface SecretVerifier {
  verify(clientId: string, secret: string): Promise<boolean>;
}

export interface AuthenticatorParts {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly secrets: SecretVerifier;
  readonly keySets: KeySets;
  readonly clock: Clock;
  /** The revocation that hits such a token, if there is one. */
  findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
}

export type Authenticate = (
  presented: PresentedCredentials,
  registry: Registry,
) => Promise<AuthenticatedClient | Refusal>;

export function createAuthenticator(parts: AuthenticatorParts): Authenticate {
  return (presented, registry) =>
    presented.method === 'assertion' ? byAssertion(parts, presented, registry) : bySecret(parts, presented, registry);
}

async function bySecret(
  parts: AuthenticatorParts,
  presented: Extract<PresentedCredentials, { secret: string }>,
  registry: Registry,
): Promise<AuthenticatedClient | Refusal> {
  const object = await registry.client(presented.clientId);
  // The comparison is made for an unknown client too, so that time does not tell which ids exist.
  const right = await parts.secrets.verify(presented.clientId, presented.secret);
  const client = admit(object, presented.method);
  if (isRefusal(client)) return client;
  return right ? made(client, presented.method, []) : refuse('client_secret_wrong');
}

async function byAssertion(
  parts: AuthenticatorParts,
  presented: Extract<PresentedCredentials, { method: 'assertion' }>,
  registry: Registry,
): Promise<AuthenticatedClient | Refusal> {
  const jwt = decodeCompact(presented.assertion);
  if (isFault(jwt)) return invalid(jwt);
  const iss = issuerOfUnverified(jwt);
  if (iss === undefined) return refuse('client_assertion_invalid', { fault: 'claim_missing', claim: 'iss' });
  // draft-ietf-oauth-spiffe-client-auth: its assertion type is for JWT-SVIDs, and they are for it.
  if (iss.startsWith('spiffe://') !== (presented.type === 'jwt-spiffe'))
    return refuse('client_assertion_type_unsupported');
  return iss === jwt.unverifiedClaims['sub']
    ? bySelfSigned(parts, jwt, iss, presented.clientId, registry)
    : byPlatform(parts, jwt, iss, presented.clientId, registry);
}

/** RFC 7523 §2.2 and §3: `iss` and `sub` are the client, `aud` is us, and nobody may present it twice. */
async function bySelfSigned(
  parts: AuthenticatorParts,
  jwt: UnverifiedJwt,
  clientId: string,
  bodyClientId: string | undefined,
  registry: Registry,
): Promise<AuthenticatedClient | Refusal> {
  if (bodyClientId !== undefined && bodyClientId !== clientId) return refuse('client_id_mismatch');
  const client = admit(await registry.client(clientId), 'private_key_jwt');
  if (isRefusal(client)) return client;
  const { spec } = client;
  // RFC 8725 §3.11: an access token or ID token is not an assertion.
  if (!['', 'jwt', 'client-authentication+jwt'].includes(normalizeTyp(jwt.header.typ)))
    return refuse('client_assertion_invalid', { fault: 'type_not_allowed' });
  const meant = checkAudience(parts, jwt, spec.token_endpoint_audience);
  if (meant !== undefined) return meant;
  const times = checkTimes(jwt.unverifiedClaims, {
    nowSeconds: nowSeconds(parts.clock),
    maxLifetimeSeconds: MAX_ASSERTION_LIFETIME_SECONDS,
    requireIat: false,
  });
  if (isFault(times)) return invalid(times);

  const keys = await parts.keySets.keysFor(keySourceOfClient(spec), { kid: jwt.header.kid });
  const verified = await verifySignature(jwt, keys, spec.algorithms);
  if (isFault(verified)) return invalid(verified);
  const mark: PendingMark = {
    purpose: 'client_assertion',
    issuer: clientId,
    id: tokenIdentity(clientId, verified.claims),
    expiresAtSeconds: times.exp + KEPT_AFTER_EXPIRY_SECONDS,
  };
  const facts: TokenFacts = {
    ...NO_FACTS,
    identities: [mark.id],
    clients: [clientId],
    issuedAtSeconds: times.iat ?? times.exp - MAX_ASSERTION_LIFETIME_SECONDS,
  };
  if ((await parts.findRevocation(facts, registry.state)) !== undefined)
    return refuse('client_assertion_invalid', { fault: 'revoked', client: clientId });
  return made(client, 'private_key_jwt', [mark]);
}

/** A platform's token for a workload (Kubernetes, SPIFFE, GitHub Actions) that is bound to a client by `identities`. */
async function byPlatform(
  parts: AuthenticatorParts,
  jwt: UnverifiedJwt,
  iss: string,
  bodyClientId: string | undefined,
  registry: Registry,
): Promise<AuthenticatedClient | Refusal> {
  const issuer = await registry.issuer(iss);
  if (issuer === undefined || issuer.disabled) return refuse('client_assertion_invalid', { fault: 'issuer_mismatch' });
  const sub = readSubject(jwt.unverifiedClaims, issuer.spec);
  if (isFault(sub)) return invalid(sub);
  // Before any fetch: is this workload a client at all, and may it authenticate so?
  const client = admit(await registry.clientByIdentity(issuer.spec.name, sub), 'workload_identity');
  if (isRefusal(client)) return client;
  if (bodyClientId !== undefined && bodyClientId !== client.spec.id) return refuse('client_id_mismatch');
  if (issuer.spec.clients?.includes(client.spec.id) === false)
    return refuse('client_assertion_invalid', { fault: 'issuer_mismatch', client: client.spec.id });
  if ((await registry.subject(issuer.spec.name, sub))?.disabled === true)
    return refuse('client_disabled', { client: client.spec.id, disabled: 'identity' });
  const meant = checkAudience(parts, jwt, client.spec.token_endpoint_audience);
  if (meant !== undefined) return meant;

  const token = await verifyExternalToken(jwt, {
    spec: issuer.spec,
    iss,
    nowSeconds: nowSeconds(parts.clock),
    tokenType: 'platform',
    keySets: parts.keySets,
  });
  if (isFault(token)) return invalid(token);
  const marks: PendingMark[] = issuer.spec.single_use
    ? [
        {
          purpose: 'external_token',
          issuer: iss,
          id: token.identity,
          expiresAtSeconds: token.exp + KEPT_AFTER_EXPIRY_SECONDS,
        },
      ]
    : [];
  const revoked = await parts.findRevocation(
    {
      ...NO_FACTS,
      identities: [token.identity],
      subjects: [token.principal],
      issuers: [iss],
      issuedAtSeconds: token.iat ?? token.exp - issuer.spec.max_lifetime_seconds,
    },
    registry.state,
  );
  // "Every token" means what is exchanged: a platform token that may be used again is a credential, as a secret is.
  if (revoked !== undefined && (revoked.kind !== 'all' || marks.length > 0))
    return refuse('client_assertion_invalid', { fault: 'revoked', client: client.spec.id });
  return made(client, 'workload_identity', marks, iss);
}

/** Nothing that a revocation could hit, to be filled in. */
const NO_FACTS = { identities: [], subjects: [], actors: [], clients: [], resources: [], issuers: [] } as const;

/** draft-ietf-oauth-rfc7523bis: the issuer as sole audience; for some clients the token endpoint, where allowed by name. */
function checkAudience(parts: AuthenticatorParts, jwt: UnverifiedJwt, tokenEndpointToo: boolean): Refusal | undefined {
  const audience = readAudience(jwt.unverifiedClaims);
  if (isFault(audience)) return invalid(audience);
  const [sole] = audience;
  const meant = audience.length === 1 && (sole === parts.issuer || (tokenEndpointToo && sole === parts.tokenEndpoint));
  return meant ? undefined : refuse('client_assertion_invalid', { fault: 'audience_mismatch' });
}

function admit(object: StoredObject<'client'> | undefined, method: AuthMethod): StoredObject<'client'> | Refusal {
  if (object === undefined) return refuse('client_unknown');
  if (object.disabled) return refuse('client_disabled', { client: object.spec.id });
  if (!object.spec.auth.includes(method))
    return refuse('client_method_not_allowed', { client: object.spec.id, method });
  return object;
}

function made(
  object: StoredObject<'client'>,
  method: AuthMethod,
  marks: readonly PendingMark[],
  vouchedBy?: string,
): AuthenticatedClient {
  return { id: object.spec.id, object, method, vouchedBy, marks } as AuthenticatedClient;
}

function invalid(fault: Fault): Refusal {
  return refuse('client_assertion_invalid', {
    fault: fault.code,
    ...(fault.claim === undefined ? {} : { claim: fault.claim }),
  });
}
