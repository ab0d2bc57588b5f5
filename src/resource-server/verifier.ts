/**
 * The verifier for servers: says offline whether an access token of one Cambist is good at one resource, and who calls
 * for whom. It asks the issuer for keys and, every few seconds, for what was revoked, and never about a token. Where it
 * cannot know, it says no: no keys, or no young enough revocation document, and every token is rejected.
 *
 * The order of the checks is cheap first, so that a token that is not of this issuer causes no fetch; revocation comes
 * last, so that the newest document decides.
 */
import { nowSeconds, systemClock } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Principal } from '../core/principal.ts';
import { TYP_ACCESS_TOKEN } from '../core/protocol.ts';
import { canonicalTarget } from '../core/uri.ts';
import { readOwnToken } from '../tokens/access-token.ts';
import type { OwnToken } from '../tokens/access-token.ts';
import type { Actor } from '../tokens/chain.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { factsOfOwnToken, findRevocation } from '../tokens/revocation.ts';
import { verifySignature } from '../tokens/verify.ts';
import { createPublishedByIssuer, isSafeUrl } from './issuer.ts';
import { reject, rejectFault } from './rejection.ts';
import type { Rejection } from './rejection.ts';
import { RemoteFailure } from './remote.ts';
import { createRevocations } from './revocations.ts';
import type { Revocations } from './revocations.ts';

/** What Cambist signs access tokens with. */
const ALGORITHMS = ['ES256', 'RS256'] as const;

export interface VerifierOptions {
  /** The issuer URL of Cambist, exactly as in its metadata; https, or http on loopback. */
  readonly issuer: string;
  /** The canonical URI of this server, as registered with Cambist. */
  readonly resource: string;
  /** Most seconds between two looks at the revocation document, 0.1 to 60; default 5. */
  readonly revocationsPollSeconds?: number;
  /** Past this age of the newest revocation document every token is rejected, 1 to 300; default 30. */
  readonly revocationsMaxAgeSeconds?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

/** A token that is good here and now. */
export interface VerifiedAccess {
  readonly kind: 'access';
  /** For whom: the pair (issuer, sub), as the subject is known where it comes from. */
  readonly subject: Principal;
  /** The subject under Cambist's own issuer (`sub`). */
  readonly sub: string;
  /** The client that got the token. */
  readonly clientId: string;
  /** Who acts for the subject, the current one first; only that one counts for access (RFC 8693 §4.1). */
  readonly actors: readonly Actor[];
  readonly scopes: readonly string[];
  /** This server, as the options name it. */
  readonly resource: string;
  readonly issuer: string;
  readonly jti: string;
  /** NumericDate. */
  readonly issuedAtSeconds: number;
  /** NumericDate; it is dead from that second on. */
  readonly expiresAtSeconds: number;
  /** When and how the subject signed in (OpenID Connect Core §2), where Cambist knows. */
  readonly authTime?: number;
  readonly acr?: string;
  readonly amr?: readonly string[];
}

export interface VerifierState {
  /** Would a good token be accepted, as far as revocation goes? */
  readonly ready: boolean;
  /** Age of the newest revocation document; `undefined` before the first. */
  readonly revocationsAgeSeconds: number | undefined;
  /** What cannot be had at present, in words for an operator; without anything secret. */
  readonly problems: readonly string[];
}

export interface Verifier {
  /**
   * Is this token good here, with all of these scopes? Never throws for what is wrong with the token or the issuer.
   * @param token as it stands after `Bearer `; `undefined` where the request has none
   */
  verify(
    token: string | undefined,
    wanted?: { readonly scopes?: readonly string[] },
  ): Promise<VerifiedAccess | Rejection>;
  /** Resolves when the first revocation document is there. Rejects when `signal` aborts or the verifier is closed. */
  ready(signal?: AbortSignal): Promise<void>;
  /** For health checks and logs. */
  state(): VerifierState;
  /** Stops polling; from then on every token is rejected. */
  close(): void;
}

/** Builds a verifier, which begins to poll at once. Throws `TypeError` that names the option for options that are no use. */
export function createVerifier(options: VerifierOptions): Verifier {
  const { issuer, resource, clock = systemClock, fetch: fetchIt = fetch } = options;
  const { pollSeconds, maxAgeSeconds } = checkOptions(options);
  const target = canonicalTarget(resource);
  const closing = new AbortController();
  const { signal } = closing;
  const published = createPublishedByIssuer({ issuer, fetch: fetchIt, clock, signal });
  const revocations = createRevocations({
    issuer,
    published,
    fetch: fetchIt,
    clock,
    pollSeconds,
    maxAgeSeconds,
    signal,
    random: Math.random,
  });
  revocations.start();

  async function readToken(token: string | undefined): Promise<OwnToken | Fault | Rejection> {
    const jwt = decodeCompact(token ?? '');
    if (isFault(jwt)) return jwt;
    const { header, unverifiedClaims } = jwt;
    // Before any key is looked for: somebody else's token must not make us ask for keys.
    if (header.typ !== TYP_ACCESS_TOKEN) return fault('type_not_allowed', 'typ');
    if (!ALGORITHMS.some((alg) => alg === header.alg)) return fault('algorithm_not_allowed');
    if (unverifiedClaims.iss !== issuer) return fault('issuer_mismatch', 'iss');
    if (header.kid === undefined) return fault('key_unknown', 'kid');
    let keys: readonly AdmittedKey[];
    try {
      keys = await published.accessTokenKeys(header.kid);
    } catch (error) {
      if (error instanceof RemoteFailure) return reject('keys_unavailable');
      throw error;
    }
    const verified = await verifySignature(jwt, keys, ALGORITHMS);
    return isFault(verified) ? verified : readOwnToken(verified, { issuer, nowSeconds: nowSeconds(clock) });
  }

  return {
    async verify(token, { scopes = [] } = {}) {
      const own = await readToken(token);
      if (isFault(own)) return rejectFault(own);
      if ('kind' in own) return own;
      // RFC 9068 §4: meant for this resource. A trailing slash makes no difference: SDKs add one to a bare origin.
      if (!own.audience.some((aud) => canonicalTarget(aud) === target)) return reject('audience_mismatch', 'aud');
      const document = revocations.current();
      if (document === undefined) return reject('revocations_unknown');
      if (findRevocation(factsOfOwnToken(own, issuer), (key) => document.predicates.get(key)) !== undefined)
        return reject('revoked');
      const lacking = scopes.find((scope) => !own.scopes.includes(scope));
      return lacking === undefined ? accessOf(own, { issuer, resource }) : reject('insufficient_scope', lacking);
    },
    ready: (given) => untilCurrent(revocations, signal, given),
    state: () => ({
      ready: revocations.current() !== undefined,
      revocationsAgeSeconds: revocations.ageSeconds(),
      problems: [...new Set([...published.problems(), ...[revocations.problem() ?? []].flat()])],
    }),
    close: () => {
      closing.abort();
      revocations.close();
    },
  };
}

/** Resolves when there is a document to judge by; rejects when the verifier is closed or `given` aborts. */
async function untilCurrent(revocations: Revocations, closed: AbortSignal, given?: AbortSignal): Promise<void> {
  const stopped = AbortSignal.any([closed, ...(given === undefined ? [] : [given])]);
  const aborted = new Promise<void>((resolve) => {
    const onAbort = () => {
      resolve();
    };
    if (stopped.aborted) onAbort();
    else stopped.addEventListener('abort', onAbort, { once: true });
  });
  // Polls alone keep no process alive; one that waits for them must live on.
  const alive = setInterval(() => undefined, 60_000);
  try {
    while (revocations.current() === undefined) {
      if (closed.aborted) throw new Error('the verifier is closed');
      given?.throwIfAborted();
      await Promise.race([revocations.afterPoll(), aborted]);
    }
  } finally {
    clearInterval(alive);
  }
}

function accessOf(own: OwnToken, { issuer, resource }: { issuer: string; resource: string }): VerifiedAccess {
  const { subject, sub, clientId, chain, scopes, jti, iat, exp, authTime, acr, amr } = own;
  return {
    kind: 'access',
    subject,
    sub,
    clientId,
    actors: chain,
    scopes,
    resource,
    issuer,
    jti,
    issuedAtSeconds: iat,
    expiresAtSeconds: exp,
    ...(authTime !== undefined && { authTime }),
    ...(acr !== undefined && { acr }),
    ...(amr !== undefined && { amr }),
  };
}

function checkOptions(options: VerifierOptions): { readonly pollSeconds: number; readonly maxAgeSeconds: number } {
  const { issuer, resource, revocationsPollSeconds = 5, revocationsMaxAgeSeconds = 30 } = options;
  if (typeof issuer !== 'string' || !isSafeUrl(issuer))
    throw new TypeError('issuer must be the https URL of Cambist, without query or fragment (http on loopback only)');
  if (typeof resource !== 'string' || canonicalTarget(resource) === undefined)
    throw new TypeError('resource must be the canonical URI of this server, as registered with Cambist');
  // Written so that what is no number is refused too.
  if (!(revocationsPollSeconds >= 0.1 && revocationsPollSeconds <= 60))
    throw new TypeError('revocationsPollSeconds must be 0.1 to 60');
  if (!(revocationsMaxAgeSeconds >= 1 && revocationsMaxAgeSeconds <= 300))
    throw new TypeError('revocationsMaxAgeSeconds must be 1 to 300');
  if (revocationsPollSeconds >= revocationsMaxAgeSeconds)
    throw new TypeError('revocationsPollSeconds must be less than revocationsMaxAgeSeconds');
  return { pollSeconds: revocationsPollSeconds, maxAgeSeconds: revocationsMaxAgeSeconds };
}
