/** The secret stores of this node. */
import { createEmbeddedStore } from '../secrets/embedded/embedded-store.ts';
import type { SecretStores } from '../secrets/secret-store.ts';
import type { EmbeddedSecrets } from '../store/secrets.ts';

export function createSecretStores(embedded: EmbeddedSecrets, vault: SecretStores['vault']): SecretStores {
  return { vault, embedded: createEmbeddedStore(embedded) };
}
