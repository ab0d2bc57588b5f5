/**
 * Principals: who a token is about and who acts. Always the pair (issuer, sub), never `sub` alone
 * (RFC 7519 §4.1.2: `sub` is unique only in the context of its issuer).
 */
export interface Principal {
  /** The `iss` under which `sub` is unique. Cambist's own issuer for clients registered here. */
  readonly issuer: string;
  readonly sub: string;
}

export function samePrincipal(a: Principal, b: Principal): boolean {
  return a.issuer === b.issuer && a.sub === b.sub;
}

/** A string that is equal exactly when the pairs are equal; for map keys. */
export function principalKey(principal: Principal): string {
  return JSON.stringify([principal.issuer, principal.sub]);
}
