/**
 * What can be wrong with a token, a key document or a claim: values that the pure code of this floor returns. Callers
 * turn them into refusals; a fault never reaches the wire and never holds a value of the token, only a claim's name.
 */
export type FaultCode =
  | 'malformed'
  | 'too_large'
  | 'critical_header'
  | 'algorithm_not_allowed'
  | 'type_not_allowed'
  | 'key_unknown'
  | 'signature_invalid'
  | 'expired'
  | 'not_yet_valid'
  | 'issued_in_future'
  | 'lifetime_too_long'
  | 'claim_missing'
  | 'claim_invalid'
  | 'claim_forbidden'
  | 'issuer_mismatch'
  | 'audience_mismatch'
  | 'groups_overage'
  | 'bound';

export interface Fault {
  readonly kind: 'fault';
  readonly code: FaultCode;
  /** The name of the claim (or header, or key member) that is at fault; never its value. */
  readonly claim?: string;
}

/** A fault, by its code and the claim that it concerns. */
export function fault(code: FaultCode, claim?: string): Fault {
  return claim === undefined ? { kind: 'fault', code } : { kind: 'fault', code, claim };
}

export function isFault(value: unknown): value is Fault {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'fault';
}
