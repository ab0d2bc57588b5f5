/**
 * The credentials of upstreams, whatever their kind: had at the moment of use, held in memory only, given to nobody but
 * who they are used for.
 */
import type { Credentials } from './credential.ts';
import { createClientCredentials } from './client-credentials.ts';
import type { ClientCredentialsParts } from './client-credentials.ts';
import { createSecretReader, noVault } from './secret-reader.ts';
import type { SecretReaderParts } from './secret-reader.ts';
import { obtainStatic } from './static-credential.ts';

/** For how long an injected secret is used without being read again, where the settings say nothing. */
export const DEFAULT_CACHE_SECONDS = 5;

export interface CredentialsParts extends SecretReaderParts, Pick<ClientCredentialsParts, 'fetcher'> {}

export interface CredentialsInUse extends Credentials {
  /** Forgets every value. Leases that are alive stay so: they belong to their tokens, not to this process. */
  close(): void;
}

export function createCredentials(parts: CredentialsParts): CredentialsInUse {
  const reader = createSecretReader(parts);
  const clientCredentials = createClientCredentials({ ...parts, reader });
  return {
    async obtain(use) {
      const { credential: source } = use.upstream.spec;
      switch (source.kind) {
        case 'static':
          return obtainStatic(reader, use, source);
        case 'oauth_client_credentials':
          return clientCredentials.obtain(use, source);
        case 'dynamic':
          throw noVault(use.upstream.name);
      }
    },
    reject(use, credential) {
      if (credential.mark.kind === 'static') reader.forget(use, credential.mark.version);
      else if (credential.mark.kind === 'oauth_client_credentials') clientCredentials.reject(use, credential);
    },
    close() {
      clientCredentials.close();
      reader.close();
    },
  };
}
