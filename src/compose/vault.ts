/** Vault as this node has it: logged in to with tokens of our own where the settings say so, counted, as whom one asks. */
import { createHash } from 'node:crypto';
import { v7 as newUuid } from 'uuid';
import type { Clock } from '../core/clock.ts';
import { nowSeconds } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { VaultUser } from '../secrets/secret-store.ts';
import type { MintForVault } from '../secrets/vault/login.ts';
import type { VaultSettings } from '../secrets/vault/settings.ts';
import { createVault } from '../secrets/vault/vault.ts';
import type { Vault } from '../secrets/vault/vault.ts';
import { signVaultAssertion } from '../tokens/vault-assertion.ts';

const LIFETIME_SECONDS = 60;
/** Clocks differ: Vault may be this far behind. */
const EARLIER_SECONDS = 10;

export interface OpenedVault {
  readonly vault: Vault;
  /** As whom to log in for a subject, by its `sub` in our tokens; `undefined` where vault.subject_login says nothing. */
  readonly userOf: ((use: { readonly subjectName: string }) => VaultUser) | undefined;
}

export function openVault(parts: {
  readonly settings: VaultSettings;
  readonly issuer: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ring: Pick<KeyRing, 'signing'>;
  readonly onAnswer: (outcome: string, durationMs: number) => void;
}): OpenedVault {
  const { settings, logger, onAnswer } = parts;
  const mint = createMint(parts);
  const { subjectLogin } = settings;
  return {
    vault: createVault({ settings, logger, mint, onAnswer }),
    userOf:
      subjectLogin === undefined
        ? undefined
        : ({ subjectName }) => ({
            key: createHash('sha256').update(subjectName).digest('base64url'),
            assertion: () => mint(subjectLogin.audience, subjectName),
          }),
  };
}

function createMint({
  issuer,
  clock,
  ring,
}: Pick<Parameters<typeof openVault>[0], 'issuer' | 'clock' | 'ring'>): MintForVault {
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
      cambist_login: subject === undefined ? ('service' as const) : ('subject' as const),
    };
    return signVaultAssertion(claims, await ring.signing('access-token', 'ES256'));
  };
}
