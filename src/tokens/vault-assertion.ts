/**
 * What Cambist shows to Vault's JWT method: a token of a type of its own, about Cambist itself or about a subject, for
 * seconds. No road of ours takes that type for anything.
 */
import { CompactSign } from 'jose';
import { TYP_VAULT_ASSERTION } from '../core/protocol.ts';
import type { SigningKey } from './access-token.ts';

export interface VaultAssertionClaims {
  readonly iss: string;
  /** Our issuer for ourselves, else the subject as our tokens name it. */
  readonly sub: string;
  readonly aud: string;
  readonly jti: string;
  readonly iat: number;
  readonly nbf: number;
  readonly exp: number;
  /** For `bound_claims`: a role for one of the two lets in nobody of the other. */
  readonly cambist_login: 'service' | 'subject';
  /** Of a subject: its segment of a path (`{subject}`), for policies of Vault that are templates. */
  readonly cambist_path?: string;
}

/** Signs with a key of access tokens, which Vault finds in our JWKS. */
export async function signVaultAssertion(claims: VaultAssertionClaims, key: SigningKey): Promise<string> {
  return new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: TYP_VAULT_ASSERTION })
    .sign(key.privateKey);
}
