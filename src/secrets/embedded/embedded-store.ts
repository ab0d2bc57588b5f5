/**
 * The embedded secret store: the database under envelope encryption, for the first run and small teams. It keeps nothing
 * in memory, so that a secret that was rotated is what the next read finds, on every node.
 */
import type { EmbeddedSecrets } from '../../store/secrets.ts';
import type { SecretStore } from '../secret-store.ts';

/** It has no mounts and no logins of its own. Throws Unavailable where the database, or the row, cannot be read. */
export function createEmbeddedStore(secrets: Pick<EmbeddedSecrets, 'read'>): SecretStore {
  return {
    async read({ path }) {
      const found = await secrets.read(path);
      return found === undefined ? { missing: 'absent' } : { found };
    },
  };
}
