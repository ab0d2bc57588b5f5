/**
 * Why a token was not accepted, as a value. Each reason has its status; neither holds a byte of the token.
 */
import type { Fault, FaultCode } from '../tokens/fault.ts';

/**
 * The reasons of tokens (`FaultCode`), and:
 *   revoked               it verifies, and was withdrawn
 *   insufficient_scope    it is good, but not for what was asked
 *   keys_unavailable      the keys of the issuer cannot be had, or were asked for a moment ago and lack this one:
 *                         nobody can say yet whether the token is good
 *   revocations_unknown   the newest revocation document is too old, or there is none yet: likewise
 */
export type RejectionReason = FaultCode | 'revoked' | 'insufficient_scope' | 'keys_unavailable' | 'revocations_unknown';

export interface Rejection {
  readonly kind: 'rejection';
  readonly reason: RejectionReason;
  /** What a server answers: 401 get another token, 403 ask for more, 503 try again later. */
  readonly status: 401 | 403 | 503;
  /** For `WWW-Authenticate: Bearer error=…` (RFC 6750 §3.1); a 503 has none. */
  readonly error?: 'invalid_token' | 'insufficient_scope';
  /** The claim, header or scope that is at fault; never a value of the token. */
  readonly claim?: string;
}

/** The rejection for a reason; `claim` names what is at fault. */
export function reject(reason: RejectionReason, claim?: string): Rejection {
  const named = claim === undefined ? {} : { claim };
  if (reason === 'keys_unavailable' || reason === 'revocations_unknown')
    return { kind: 'rejection', reason, status: 503, ...named };
  if (reason === 'insufficient_scope')
    return { kind: 'rejection', reason, status: 403, error: 'insufficient_scope', ...named };
  return { kind: 'rejection', reason, status: 401, error: 'invalid_token', ...named };
}

/** The rejection for a fault of a token. */
export function rejectFault({ code, claim }: Fault): Rejection {
  return reject(code, claim);
}
