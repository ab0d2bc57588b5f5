/**
 * The revocation document of this moment, for servers that verify offline: what was revoked, what was exchanged from it,
 * and who was disabled. Made anew when something was revoked or changed since, and every few seconds in any case, because
 * its age is how a reader knows that it is not kept from newer ones.
 */
import { createHash } from 'node:crypto';
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { issValues } from '../objects/issuer.ts';
import type { Specs } from '../objects/kinds.ts';
import type { Registry } from '../objects/registry.ts';
import { OWN_TOKEN_ALIVE_SECONDS } from '../store/revocations.ts';
import type { RevokedNow, SwitchedOff } from '../store/revocations.ts';
import type { SigningKey } from '../tokens/access-token.ts';
import { canonicalResource, predicateKey, principalDigest } from '../tokens/revocation.ts';
import type { Predicate } from '../tokens/revocation.ts';
import { signRevocationDocument } from '../tokens/revocation-document.ts';

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
  const off = (await Promise.all(found.switchedOff.map((object) => predicatesOf(object, registry)))).flat();
  const tokens = found.tokens.map(({ jti }) => jti);
  const crowded = found.crowded.map(({ clientId, issuedUntilSeconds }): Predicate => ({
    kind: 'client',
    value: clientId,
    issuedUntilSeconds,
  }));
  const predicates = widest([...found.predicates, ...off, ...crowded]);
  parts.onMade?.(tokens.length, predicates);
  const jwt = await signRevocationDocument(parts.issuer, { iat, tokens, predicates }, await parts.signingKey());
  const etag = `"${createHash('sha256').update(jwt).digest('base64url')}"`;
  return { jwt, etag, ageMaxMs: tokens.length > 0 ? AGE_MAX_MS.withTokens : AGE_MAX_MS.without };
}

/** What was disabled or removed, whenever its tokens were issued: while it is off, none of them counts. */
async function predicatesOf({ kind, spec }: SwitchedOff, registry: Registry): Promise<readonly Predicate[]> {
  if (spec === null) return [];
  const all = (of: Predicate['kind'], values: readonly string[]) =>
    values.map((value): Predicate => ({ kind: of, value, issuedUntilSeconds: null }));
  switch (kind) {
    case 'client':
      return all('client', [(spec as Specs['client']).id]);
    case 'resource':
      return all('resource', [canonicalResource((spec as Specs['resource']).uri)]);
    case 'issuer':
      return all('issuer', issValues(spec as Specs['issuer']));
    case 'subject': {
      const { issuer: name, sub } = spec as Specs['subject'];
      const issuer = await registry.issuerByName(name);
      const digests =
        issuer === undefined ? [] : issValues(issuer.spec).map((iss) => principalDigest({ issuer: iss, sub }));
      return [...all('subject', digests), ...all('actor', digests)];
    }
    // Its tokens are for our own egress alone, which asks what is registered now.
    case 'upstream':
    case 'policy':
    case 'role':
      return [];
  }
}

/** One predicate per kind and value: the one that hits most. */
function widest(predicates: readonly Predicate[]): readonly Predicate[] {
  const byKey = new Map<string, Predicate>();
  for (const predicate of predicates) {
    const before = byKey.get(predicateKey(predicate));
    const until = ({ issuedUntilSeconds }: Predicate) => issuedUntilSeconds ?? Infinity;
    if (before === undefined || until(before) < until(predicate)) byKey.set(predicateKey(predicate), predicate);
  }
  return [...byKey.values()];
}
