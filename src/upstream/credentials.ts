/**
 * The credentials of upstreams, whatever their kind: had at the moment of use, held in memory only, given to nobody but
 * who they are used for.
 */
import { createClientCredentials } from './client-credentials.ts';
import type { ClientCredentialsParts } from './client-credentials.ts';
import type { Credentials } from './credential.ts';
import { createLeases } from './leases.ts';
import type { LeaseParts } from './leases.ts';
import { createSecretReader } from './secret-reader.ts';
import type { SecretReaderParts } from './secret-reader.ts';
import { obtainStatic } from './static-credential.ts';

/** For how long an injected secret is used without being read again, where the settings say nothing. */
export const DEFAULT_CACHE_SECONDS = 5;

export interface CredentialsParts
  extends SecretReaderParts, Pick<ClientCredentialsParts, 'fetcher'>, Omit<LeaseParts, 'broker'> {}

export interface CredentialsInUse extends Credentials {
  /** Forgets every value. Leases that are alive stay so: they belong to their tokens, not to this process. */
  close(): Promise<void>;
}

export function createCredentials(parts: CredentialsParts): CredentialsInUse {
  const reader = createSecretReader(parts);
  const clientCredentials = createClientCredentials({ ...parts, reader });
  const leases = createLeases({ ...parts, broker: parts.stores.vault });
  return {
    async obtain(use) {
      const { credential: source } = use.upstream.spec;
      switch (source.kind) {
        case 'static':
          return obtainStatic(reader, use, source);
        case 'oauth_client_credentials':
          return clientCredentials.obtain(use, source);
        case 'dynamic':
          return leases.obtain(use, source);
      }
    },
    reject(use, credential) {
      const { kind, version } = credential.mark;
      if (kind === 'static') reader.forget(use, version);
      else if (kind === 'oauth_client_credentials') clientCredentials.reject(use, credential);
      else leases.reject(credential);
    },
    async close() {
      clientCredentials.close();
      reader.close();
      await leases.close();
    },
  };
}
