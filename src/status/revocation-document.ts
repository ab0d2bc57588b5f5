/**
 * The revocation document of this moment, for servers that verify offline: what was revoked, what was exchanged from it,
 * and who was disabled. Made anew when something was revoked or changed since, and every few seconds in any case, because
 * its age is how a reader knows that it is not kept from newer ones.
 */
import { createHash } from 'node:crypto';
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Registry } from '../objects/registry.ts';
import { OWN_TOKEN_ALIVE_SECONDS } from '../store/revocations.ts';
import type { RevokedNow } from '../store/revocations.ts';
import type { SigningKey } from '../tokens/access-token.ts';
import type { Predicate } from '../tokens/revocation.ts';
import { REVOCATION_DOCUMENT_MAX_BYTES, signRevocationDocument } from '../tokens/revocation-document.ts';
import { contentsOf } from './revocation-content.ts';

/** Oldest document that is handed out: where tokens are revoked, what is exchanged from them meanwhile must get in. */
const AGE_MAX_MS = { withTokens: 1_000, without: 5_000 } as const;
/** Tokens are listed up to here; beyond it, those of the client that has most of them give way to that client. */
const TOKENS_MAX = 10_000;

export interface PublishedDocument {
  readonly jwt: string;
  /** Strong entity tag (RFC 9110 §8.8.3), with its quotes. */
  readonly etag: string;
}

export interface RevocationDocumentParts {
  readonly issuer: string;
  readonly clock: Clock;
  /** The registered objects and the state, at least as new as this call. */
  registry(): Promise<Registry>;
  inForce(options: { readonly ownLifetimeSeconds: number; readonly tokensMax: number }): Promise<RevokedNow>;
  signingKey(): Promise<SigningKey>;
  /** Told of each document that was made how much is in it. */
  onMade?(tokens: number, predicates: readonly Predicate[]): void;
}

interface Held extends PublishedDocument {
  readonly state: string;
  readonly madeAtMs: number;
  readonly ageMaxMs: number;
}

/** Hands the document out; throws Unavailable where what is revoked cannot be read. */
export function createRevocationPublisher(parts: RevocationDocumentParts): () => Promise<PublishedDocument> {
  let held: Held | undefined;
  let making: { readonly state: string; readonly document: Promise<Held> } | undefined;

  /** One at a time for one state: anybody can ask, and must not be able to keep the database busy by it. */
  function makeOnce(state: string, registry: Registry): Promise<Held> {
    if (making?.state === state) return making.document;
    const madeAtMs = parts.clock.nowMs();
    const document = make(parts, registry).then((made) => ({ ...made, state, madeAtMs }));
    const mine = { state, document };
    making = mine;
    const done = () => {
      if (making === mine) making = undefined;
    };
    document.then(done, done);
    return document;
  }

  return async () => {
    const registry = await parts.registry();
    const { version, revocations, keys } = registry.state;
    const state = `${version} ${revocations} ${keys}`;
    const nowMs = parts.clock.nowMs();
    if (held?.state === state && nowMs >= held.madeAtMs && nowMs - held.madeAtMs < held.ageMaxMs) return held;
    held = await makeOnce(state, registry);
    return held;
  };
}

async function make(
  parts: RevocationDocumentParts,
  registry: Registry,
): Promise<PublishedDocument & { readonly ageMaxMs: number }> {
  const iat = nowSeconds(parts.clock);
  const found = await parts.inForce({
    ownLifetimeSeconds: OWN_TOKEN_ALIVE_SECONDS,
    tokensMax: TOKENS_MAX,
  });
  const tokens = found.tokens.map(({ jti }) => jti);
  const { jwt, predicates } = await signWithinBound(parts, { iat, tokens }, contentsOf(found, registry));
  parts.onMade?.(tokens.length, predicates);
  const etag = `"${createHash('sha256').update(jwt).digest('base64url')}"`;
  return { jwt, etag, ageMaxMs: tokens.length > 0 ? AGE_MAX_MS.withTokens : AGE_MAX_MS.without };
}

/** The most exact of these contents with which the document is not longer than readers take. */
async function signWithinBound(
  parts: RevocationDocumentParts,
  document: { readonly iat: number; readonly tokens: readonly string[] },
  contents: AsyncIterable<readonly Predicate[]>,
): Promise<{ readonly jwt: string; readonly predicates: readonly Predicate[] }> {
  const key = await parts.signingKey();
  for await (const predicates of contents) {
    const jwt = await signRevocationDocument(parts.issuer, { ...document, predicates }, key);
    if (jwt.length <= REVOCATION_DOCUMENT_MAX_BYTES) return { jwt, predicates };
  }
  throw new Error('what is revoked does not fit into any revocation document');
}
