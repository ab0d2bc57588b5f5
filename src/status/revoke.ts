/**
 * Revocation by a client (RFC 7009): of tokens that were issued to it, and with them of everything that was exchanged from
 * them. Effective with the next request on every node, and at servers that verify offline when they read the next
 * revocation document. A token that is none of ours, or dead already, is as good as revoked: 200 (§2.2).
 */
import type { Caller } from '../clients/caller.ts';
import { KEPT_AFTER_EXPIRY_SECONDS, nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/refusal.ts';
import type { OwnTokens } from '../standing/own-token.ts';
import type { RevocationRow } from '../store/commitment.ts';
import type { IssuedTokens } from '../store/issued.ts';
import type { OwnToken } from '../tokens/access-token.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import type { StatusFinding } from './status-road.ts';

export interface RevokeParts {
  readonly clock: Clock;
  readonly ownTokens: OwnTokens;
  readonly issued: IssuedTokens;
}

/** Revokes one token for one client. */
export function createRevocation(parts: RevokeParts) {
  return async (token: string, { client }: Caller): Promise<StatusFinding> => {
    const jwt = decodeCompact(token);
    if (isFault(jwt)) return {};
    const read = await parts.ownTokens.read(jwt);
    if (isFault(read)) return {};
    const { own } = read;
    // RFC 7009 §2.1: only the client that it was issued to.
    if (own.clientId !== client.id) return { refusal: refuse('token_not_own'), token: { own } };
    const row = await parts.issued.find(own.jti);
    if (row === undefined) return {};
    const { subjectRef } = row;
    return { token: { own, subjectRef }, revocations: [revocationOf(own, nowSeconds(parts.clock))] };
  };
}

/** The revocation of one token of ours; it kills what descends from it as well. */
export function revocationOf(own: Pick<OwnToken, 'jti' | 'exp'>, now: number): RevocationRow {
  return {
    kind: 'token',
    value: own.jti,
    issuedUntil: null,
    lifetimeSeconds: Math.max(0, own.exp - now) + KEPT_AFTER_EXPIRY_SECONDS,
  };
}
