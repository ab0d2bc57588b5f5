/** The adapter over a Vault of the tests; closed after the test that opened it. */
import { onTestFinished } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import type { Logger } from '../../src/core/log.ts';
import type { MintForVault } from '../../src/secrets/vault/login.ts';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import { createVault } from '../../src/secrets/vault/vault.ts';
import type { Vault } from '../../src/secrets/vault/vault.ts';

export interface AdapterParts {
  readonly onAnswer?: (outcome: string) => void;
  readonly mint?: MintForVault;
  readonly logger?: Logger;
}

export function openAdapter(
  { address }: { readonly address: string },
  settings: Partial<VaultSettings> & Pick<VaultSettings, 'login'>,
  { onAnswer, mint, logger = createLogger('silent') }: AdapterParts = {},
): Vault {
  const adapter = createVault({
    settings: {
      address,
      namespace: undefined,
      caFile: undefined,
      kvMount: 'secret',
      subjectLogin: undefined,
      leaseTokenRole: undefined,
      timeoutMs: 3_000,
      ...settings,
    },
    logger,
    mint: mint ?? (() => Promise.reject(new Error('this test mints nothing'))),
    ...(onAnswer === undefined ? {} : { onAnswer }),
  });
  onTestFinished(() => adapter.close());
  return adapter;
}
