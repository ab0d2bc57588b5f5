/**
 * Step 7 of the road where a credential of an upstream is asked for instead of a token: had from where it lies, for this
 * one answer. It ends no later than the tokens that it was had with, and it is in nobody's hands before it is committed
 * that it was given.
 */
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { TokenFacts } from '../tokens/revocation.ts';
import type { Credential, CredentialMark, Credentials } from '../upstream/credential.ts';
import type { AuthorizedGrant } from './decision.ts';
import { expiryOf } from './mint.ts';
import type { MintRequest } from './mint.ts';
import type { VerifiedToken } from './presented.ts';

export interface FetchedCredential {
  readonly kind: 'credential';
  /** By name; secret. */
  readonly fields: Credential['fields'];
  readonly mark: CredentialMark;
  readonly scopes: readonly string[];
  /** NumericDate: the first of its own end, that of the presented tokens, and the lifetime of the upstream. */
  readonly expiresAtSeconds: number;
  /** It did not reach anybody: a lease is ended now. Never throws. */
  discard(): Promise<void>;
}

export interface FetchRequest {
  readonly grant: AuthorizedGrant;
  readonly minting: MintRequest;
  readonly subjectToken: Pick<VerifiedToken, 'identity' | 'scopesAt'>;
  /** What a revocation can hit of it. */
  readonly facts: TokenFacts;
}

/** Refuses with what the credential is refused with, and with `nothing_left_to_live`. Throws Unavailable. */
export async function fetchCredential(
  parts: { readonly credentials: Pick<Credentials, 'obtain'>; readonly clock: Clock },
  { grant, minting, subjectToken, facts }: FetchRequest,
): Promise<FetchedCredential | Refusal> {
  const upstream = grant.targets[0]?.upstream;
  if (upstream === undefined || grant.targets.length > 1 || grant.callerId === undefined)
    throw new Error('a credential was to be had for something else than one upstream and its caller');
  const latestSeconds = expiryOf(grant, minting);
  if (isRefusal(latestSeconds)) return latestSeconds;
  const credential = await parts.credentials.obtain({
    upstream,
    purpose: 'fetch',
    subject: grant.subject.principal,
    subjectName: grant.subject.tokenSub,
    clientId: grant.callerId,
    resource: subjectToken.scopesAt?.find(({ origin }) => origin === 'own-token')?.resource.name,
    token: {
      identity: subjectToken.identity,
      ancestors: facts.identities.filter((identity) => identity !== subjectToken.identity),
      expiresAtSeconds: latestSeconds,
      facts,
    },
  });
  if (isRefusal(credential)) return credential;
  const expiresAtSeconds = Math.min(latestSeconds, credential.expiresAtSeconds ?? latestSeconds);
  // It may have taken long.
  if (expiresAtSeconds <= nowSeconds(parts.clock)) {
    await credential.discard();
    return refuse('nothing_left_to_live');
  }
  return {
    kind: 'credential',
    fields: credential.fields,
    mark: credential.mark,
    scopes: grant.scopes,
    expiresAtSeconds,
    discard: () => credential.discard(),
  };
}
