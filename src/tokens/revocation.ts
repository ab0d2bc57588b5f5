/**
 * Revocation, as values: what may be revoked (predicates), what of a token a predicate can hit (facts), and whether it
 * does. The same few lines decide on our road, at introspection and at a server that verifies offline, so that the three
 * cannot come to differ. Where predicates are kept, and how they travel, is not known here.
 */
import { createHash } from 'node:crypto';
import type { Principal } from '../core/principal.ts';
import { canonicalTarget } from '../core/uri.ts';
import type { OwnToken } from './access-token.ts';

/**
 * What a predicate names:
 *   token     one token and everything that was exchanged from it; value = its identity (`jti` of ours)
 *   subject   tokens about somebody; value = `principalDigest`
 *   actor     tokens in whose chain somebody is, at any depth; value = `principalDigest`
 *   client    tokens that a client asked for, or is subject or actor of; value = client id
 *   resource  tokens for a resource; value = its URI, canonical
 *   issuer    what a trusted issuer vouched for, as subject or actor; value = its `iss`
 *   key       tokens signed with one of our keys; value = `kid`
 *   all       every token
 */
export const REVOCATION_KINDS = ['token', 'subject', 'actor', 'client', 'resource', 'issuer', 'key', 'all'] as const;
export type RevocationKind = (typeof REVOCATION_KINDS)[number];

export interface Predicate {
  readonly kind: RevocationKind;
  /** Empty for `all`. */
  readonly value: string;
  /** NumericDate, inclusive: hits what was issued up to then; `null` hits whenever it was issued. */
  readonly issuedUntilSeconds: number | null;
}

/** What predicates can hit of one token. */
export interface TokenFacts {
  /** Its own identity and those of every token that it descends from, as far as they are known. */
  readonly identities: readonly string[];
  /** The subject, under every name that it goes by. */
  readonly subjects: readonly Principal[];
  readonly actors: readonly Principal[];
  readonly clients: readonly string[];
  readonly resources: readonly string[];
  /** `iss` of the trusted issuers that vouched for somebody in it. */
  readonly issuers: readonly string[];
  /** Of our own tokens. */
  readonly kid?: string;
  /** `iat`, or the earliest that it can have been issued at. */
  readonly issuedAtSeconds: number;
}

/** Names somebody without telling who: SHA-256 over (issuer, sub), base64url. Whoever can guess the pair can confirm it. */
export function principalDigest({ issuer, sub }: Principal): string {
  return createHash('sha256')
    .update(JSON.stringify(['cambist principal', issuer, sub]))
    .digest('base64url');
}

const NOT_REMEMBERED = { ancestors: [], vouchedBy: [] };

/** What a token of ours offers to predicates; with what was remembered of it, where that is known. */
export function factsOfOwnToken(
  own: OwnToken,
  ourIssuer: string,
  remembered: { readonly ancestors: readonly string[]; readonly vouchedBy: readonly string[] } = NOT_REMEMBERED,
): TokenFacts {
  const principals = [own.subject, ...own.chain];
  const ours = principals.filter(({ issuer }) => issuer === ourIssuer).map(({ sub }) => sub);
  return {
    identities: [own.jti, ...remembered.ancestors],
    subjects: [own.subject],
    actors: own.chain,
    clients: [own.clientId, ...ours],
    resources: own.audience,
    issuers: [
      ...principals.map(({ issuer }) => issuer).filter((issuer) => issuer !== ourIssuer),
      ...remembered.vouchedBy,
    ],
    kid: own.kid,
    issuedAtSeconds: own.iat,
  };
}

/** Kind and value of every predicate that could hit such a token. */
export function predicatesToAsk(facts: TokenFacts): readonly Pick<Predicate, 'kind' | 'value'>[] {
  const of = (kind: RevocationKind, values: readonly string[]) =>
    [...new Set(values)].map((value) => ({ kind, value }));
  return [
    ...of('token', facts.identities),
    ...of('subject', facts.subjects.map(principalDigest)),
    ...of('actor', facts.actors.map(principalDigest)),
    ...of('client', facts.clients),
    ...of('resource', facts.resources.map(canonicalResource)),
    ...of('issuer', facts.issuers),
    ...of('key', facts.kid === undefined ? [] : [facts.kid]),
    { kind: 'all', value: '' },
  ];
}

/** A resource as predicates name it: a trailing slash makes no difference. */
export function canonicalResource(uri: string): string {
  return canonicalTarget(uri) ?? uri;
}

/** What a predicate is found under in a map. */
export function predicateKey({ kind, value }: Pick<Predicate, 'kind' | 'value'>): string {
  return `${kind}|${value}`;
}

/** The first predicate that hits such a token; `find` knows the predicates in force, by `predicateKey`. */
export function findRevocation(facts: TokenFacts, find: (key: string) => Predicate | undefined): Predicate | undefined {
  for (const asked of predicatesToAsk(facts)) {
    const predicate = find(predicateKey(asked));
    if (predicate !== undefined && hits(predicate, facts)) return predicate;
  }
  return undefined;
}

function hits({ issuedUntilSeconds }: Predicate, { issuedAtSeconds }: TokenFacts): boolean {
  // Written so that a time that is no number spares nothing.
  return issuedUntilSeconds === null || !(issuedAtSeconds > issuedUntilSeconds);
}
