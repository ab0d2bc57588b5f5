/** Vault as this node has it: logged in to with tokens of our own where the settings say so, counted, as whom one asks. */
import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { KeyRing } from '../keys/ring.ts';
import { createVaultMint } from '../keys/vault-mint.ts';
import type { VaultUser } from '../secrets/secret-store.ts';
import type { VaultSettings } from '../secrets/vault/settings.ts';
import { createVault } from '../secrets/vault/vault.ts';
import type { Vault } from '../secrets/vault/vault.ts';

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
  /** Asked for when a token is made: our own keys may lie under a key of this Vault. */
  readonly ring: () => Pick<KeyRing, 'signing'>;
  readonly onAnswer: (outcome: string, durationMs: number) => void;
}): OpenedVault {
  const { settings, issuer, clock, logger, ring, onAnswer } = parts;
  const mint = createVaultMint({ issuer, clock, signingKey: () => ring().signing('access-token', 'ES256') });
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
