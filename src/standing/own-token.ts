/**
 * What a token of ours is worth now. The road asks it of a subject token and introspection of any: signed by us, valid
 * now, committed when it was issued, not revoked, and everybody in it still takes part. Whether it is meant for who
 * brings it is the asker's question.
 */
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { openPerson } from '../audit/personal.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import type { IssuedRecord, IssuedTokens } from '../store/issued.ts';
import type { PersonKeys } from '../store/persons.ts';
import { readOwnToken } from '../tokens/access-token.ts';
import type { OwnToken } from '../tokens/access-token.ts';
import type { Actor } from '../tokens/chain.ts';
import { normalizeTyp } from '../tokens/compact.ts';
import type { UnverifiedJwt } from '../tokens/compact.ts';
import { fault, isFault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { factsOfOwnToken } from '../tokens/revocation.ts';
import type { Predicate, TokenFacts } from '../tokens/revocation.ts';
import { verifySignature } from '../tokens/verify.ts';
import { findParty, nameIsTaken } from './party.ts';
import type { Party, PartyClaims } from './party.ts';

/** What was remembered of a token of ours when it was issued. */
export interface IssuedToken {
  readonly ancestors: readonly string[];
  /** `iss` of trusted issuers that vouched for somebody in it and are not named in it. */
  readonly vouchedBy: readonly string[];
  readonly claims: PartyClaims;
  /** Who it is about, as records name them: the ref of a person, or `client:<id>`. */
  readonly subjectRef: string;
}

/** A token of ours that was committed, and who it is about. */
export interface RecalledToken {
  readonly party: Party;
  readonly issued: IssuedToken;
  readonly facts: TokenFacts;
}

/** Why a token of ours that was read is worth nothing. */
export type Fallen =
  | { readonly fallen: 'subject_gone' }
  | { readonly fallen: 'actor_gone' }
  | { readonly fallen: 'requester_disabled'; readonly subjectDisabled: boolean }
  | { readonly fallen: 'not_committed' };

export interface OwnTokens {
  /** Signature, type and times; nothing is looked up before. Keeps the claims as they were signed. */
  read(
    jwt: UnverifiedJwt,
  ): Promise<{ readonly own: OwnToken; readonly claims: Readonly<Record<string, unknown>> } | Fault>;
  /** Who it is about and what was remembered of it. */
  recall(own: OwnToken, registry: Registry): Promise<RecalledToken | Fallen>;
}

export interface OwnTokenParts {
  readonly issuer: string;
  readonly clock: Clock;
  /** Our own public keys. */
  ownKeys(kid: string | undefined): Promise<readonly AdmittedKey[]>;
  readonly issued: IssuedTokens;
  readonly persons: PersonKeys;
}

export function createOwnTokens(parts: OwnTokenParts): OwnTokens {
  return {
    async read(jwt) {
      if (normalizeTyp(jwt.header.typ) !== 'at+jwt') return fault('type_not_allowed');
      const signed = await verifySignature(jwt, await parts.ownKeys(jwt.header.kid), ['ES256', 'RS256']);
      if (isFault(signed)) return signed;
      const own = readOwnToken(signed, { issuer: parts.issuer, nowSeconds: nowSeconds(parts.clock) });
      return isFault(own) ? own : { own, claims: signed.claims };
    },
    async recall(own, registry) {
      const party = await findParty(own.subject, registry, parts.issuer);
      // Its trusted issuer or client was removed since: what it vouched for is worth nothing now.
      if (party === undefined) return { fallen: 'subject_gone' };
      // Who acts now was registered when it was issued; earlier actors may be another issuer's history.
      const [actor] = own.chain;
      if (actor !== undefined && (await findParty(actor, registry, parts.issuer)) === undefined)
        return { fallen: 'actor_gone' };
      // Who asked for it is not always in its chain (impersonation), and takes part in nothing once disabled.
      const requester = await registry.client(own.clientId);
      if (requester === undefined || requester.disabled)
        return { fallen: 'requester_disabled', subjectDisabled: party.disabled };
      const row = await parts.issued.find(own.jti);
      const issued = row === undefined ? undefined : await openIssued(parts.persons, own.jti, party, row);
      if (issued === undefined) return { fallen: 'not_committed' };
      return { party, issued, facts: factsOfOwnToken(own, parts.issuer, issued) };
    },
  };
}

/** The claims of its person are sealed under that person's key; `undefined` when the person was erased since. */
async function openIssued(
  persons: PersonKeys,
  jti: string,
  subject: Party,
  { ancestors, vouchedBy, subjectRef, subjectClaims }: IssuedRecord,
): Promise<IssuedToken | undefined> {
  if (subjectClaims === null) return { ancestors, vouchedBy, subjectRef, claims: { groups: [] } };
  const key = await persons.find(subject.principal);
  // Nobody acts for the person any more.
  if (key === undefined) return undefined;
  try {
    const { groups = [], email, name } = openPerson(key, jti, subjectClaims);
    const claims = { groups, ...(email === undefined ? {} : { email }), ...(name === undefined ? {} : { name }) };
    return { ancestors, vouchedBy, subjectRef, claims };
  } catch {
    // Sealed under an earlier key: erased, and seen again since.
    return undefined;
  }
}

/** Why nobody may use such a token any more, whoever brings it; `undefined` = nothing is against it. */
export type DeadBecause =
  | { readonly dead: 'name_taken' | 'subject_disabled' | 'voucher_disabled' | 'member_disabled' }
  | { readonly dead: 'revoked'; readonly by: Predicate['kind'] };

/**
 * Its subject's name is somebody else's by now (R13), or the subject is disabled, or it was revoked, or an issuer that
 * authenticated a client in it, or somebody in its chain, was disabled. RFC 8693 §4.1: earlier actors are no ground for access; they are one against it.
 */
export async function whyDead(
  token: Pick<IssuedToken, 'vouchedBy'> & {
    readonly party: Party;
    readonly facts: TokenFacts;
    readonly chain: readonly Actor[];
  },
  registry: Registry,
  parts: {
    readonly issuer: string;
    findRevocation(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
  },
): Promise<DeadBecause | undefined> {
  if (await nameIsTaken(token.party, registry)) return { dead: 'name_taken' };
  if (token.party.disabled) return { dead: 'subject_disabled' };
  const revoked = await parts.findRevocation(token.facts, registry.state);
  if (revoked !== undefined) return { dead: 'revoked', by: revoked.kind };
  for (const iss of token.vouchedBy) {
    const issuer = await registry.issuer(iss);
    if (issuer === undefined || issuer.disabled) return { dead: 'voucher_disabled' };
  }
  for (const actor of token.chain) {
    const party = await findParty(actor, registry, parts.issuer);
    const gone = party === undefined && actor.issuer === parts.issuer;
    if (gone || party?.disabled === true) return { dead: 'member_disabled' };
  }
  return undefined;
}
