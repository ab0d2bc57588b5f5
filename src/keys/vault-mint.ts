/** The tokens that Cambist shows to Vault's JWT method, about itself or about a subject, signed with the key of the moment. */
import { v7 as newUuid } from 'uuid';
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { fillPath } from '../objects/upstream-templates.ts';
import type { MintForVault } from '../secrets/vault/login.ts';
import type { SigningKey } from '../tokens/access-token.ts';
import { signVaultAssertion } from '../tokens/vault-assertion.ts';

const LIFETIME_SECONDS = 60;
/** Clocks differ: Vault may be this far behind. */
const EARLIER_SECONDS = 10;

export function createVaultMint(parts: {
  readonly issuer: string;
  readonly clock: Clock;
  /** The one of access tokens: Vault finds it in our JWKS. */
  signingKey(): Promise<SigningKey>;
}): MintForVault {
  const { issuer, clock } = parts;
  return async (audience, subject) => {
    const now = nowSeconds(clock);
    const claims = {
      iss: issuer,
      sub: subject ?? issuer,
      aud: audience,
      jti: newUuid(),
      iat: now,
      nbf: now - EARLIER_SECONDS,
      exp: now + LIFETIME_SECONDS,
      ...(subject === undefined
        ? { cambist_login: 'service' as const }
        : { cambist_login: 'subject' as const, cambist_path: fillPath('{subject}', { subject }) }),
    };
    return signVaultAssertion(claims, await parts.signingKey());
  };
}
