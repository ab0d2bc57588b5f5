/**
 * Upstream credentials: the room that obtains them, and the sweeper that ends their leases.
 */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { subjectName } from '../objects/kinds.ts';
import type { Registry } from '../objects/registry.ts';
import type { SecretStores } from '../secrets/secret-store.ts';
import type { Database } from '../store/database.ts';
import { createLeaseRows } from '../store/leases.ts';
import { createCredentials, DEFAULT_CACHE_SECONDS } from '../upstream/credentials.ts';
import type { CredentialsParts } from '../upstream/credentials.ts';
import { createLeaseSweeper } from '../upstream/lease-sweeper.ts';

export function createUpstreamCredentials(parts: {
  readonly ourIssuer: string;
  readonly database: Database;
  readonly stores: SecretStores;
  readonly fetcher: CredentialsParts['fetcher'];
  readonly vaultUserOf?: CredentialsParts['vaultUserOf'];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cacheSeconds: number | undefined;
  registry(): Promise<Registry>;
}) {
  const { ourIssuer, stores, logger } = parts;
  const rows = createLeaseRows(parts.database);
  return {
    credentials: createCredentials({
      ...parts,
      cacheSeconds: parts.cacheSeconds ?? DEFAULT_CACHE_SECONDS,
      rows,
      registeredNameOf: async ({ subject }) => {
        if (subject.issuer === ourIssuer) return undefined;
        const issuer = await (await parts.registry()).issuer(subject.issuer);
        return issuer === undefined ? undefined : subjectName(issuer.name, subject.sub);
      },
    }),
    leaseSweeper: createLeaseSweeper({ rows, broker: stores.vault, logger }),
  };
}
