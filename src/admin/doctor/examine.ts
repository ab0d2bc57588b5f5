/**
 * Everything that `cambist doctor` can find out with a database that answers: run by the command itself over a database
 * that it opened, or by an embedded server for a command that asks it.
 */
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { openKeyRing } from '../../keys/ring.ts';
import { createVaultMint } from '../../keys/vault-mint.ts';
import { createFetcher } from '../../net/fetcher.ts';
import { KINDS } from '../../objects/kinds.ts';
import type { Kind, StoredObject } from '../../objects/kinds.ts';
import { openVaultExamination } from '../../secrets/vault/examination.ts';
import type { VaultExamination } from '../../secrets/vault/examination.ts';
import type { VaultSettings } from '../../secrets/vault/settings.ts';
import { countSecrets } from '../../store/examination.ts';
import type { KeyPlace } from '../../store/root-keys.ts';
import { listRootKeys } from '../../store/root-keys.ts';
import { createObjectStore } from '../../store/objects.ts';
import type { ObjectStore } from '../../store/objects.ts';
import { createEmbeddedSecrets } from '../../store/secrets.ts';
import { createSigningKeys } from '../../store/signing-keys.ts';
import { databaseChecks, findVersionFault } from './database-checks.ts';
import type { DatabaseCheckParts } from './database-checks.ts';
import { failed, runChecks } from './findings.ts';
import type { Finding, Found } from './findings.ts';
import { keyChecks } from './key-checks.ts';
import type { KeyCheckParts } from './key-checks.ts';
import { objectChecks } from './object-checks.ts';
import type { Registered } from './object-checks.ts';
import { secretChecks } from './secret-checks.ts';
import { transitChecks } from './transit-checks.ts';
import { vaultChecks } from './vault-checks.ts';

export interface ExamineParts extends DatabaseCheckParts, Pick<KeyCheckParts, 'keyTimes'> {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly demoRefusedBecause: string | undefined;
  /** `undefined` = the settings name none. */
  readonly vault: VaultSettings | undefined;
  /** Keys of Vault that wrap what seals; default none. */
  readonly transitKeys?: readonly KeyPlace[];
  /** Our own issuer URL. */
  readonly ownIssuer: string;
}

const PAGE_OBJECTS = 1000;
/** Of one kind; beyond them only the database is looked at. */
const OBJECTS_MAX = 10_000;

/** Runs every check; changes nothing. `onDone` is told how many are done. */
export async function examine(parts: ExamineParts, onDone?: (done: number, of: number) => void): Promise<Finding[]> {
  const { database, clock, logger } = parts;
  const fault = await findVersionFault(parts);
  if (fault !== undefined) return [{ noun: 'database', name: 'version', ...fault }];
  const fetcher = createFetcher({ clock, logger });
  const vault = parts.vault === undefined ? undefined : openVault(parts, parts.vault);
  try {
    const registered = await listEverything(createObjectStore(database));
    const listKeys = () => createSigningKeys(database).list();
    const checks = [
      ...databaseChecks(parts),
      ...keyChecks({ listKeys, keyTimes: parts.keyTimes, envelope: parts.envelope }),
      ...objectChecks({ ...parts, fetcher, registered, secrets: await countSecrets(database) }),
      ...secretChecks({
        clock,
        upstreams: registered.upstream,
        embeddedSecrets: createEmbeddedSecrets(database, parts.envelope),
      }),
      ...vaultChecks({ settings: parts.vault, examination: vault, upstreams: registered.upstream }),
      ...transitChecks({
        examination: vault,
        places: parts.transitKeys ?? [],
        rootKeys: await listRootKeys(database),
      }),
    ];
    return await runChecks(checks, undefined, onDone);
  } finally {
    await Promise.all([fetcher.close(), vault?.close()]);
  }
}

/** What can be said where nothing of the database can be opened, because Vault does not unwrap its key. */
export async function examineWithoutKey(
  parts: Pick<ExamineParts, 'database' | 'transitKeys'> & { readonly vault: VaultSettings; readonly why: Found },
): Promise<Finding[]> {
  const { database, vault: settings, transitKeys: places = [], why } = parts;
  const examination = openVaultExamination({ settings });
  try {
    const found = await runChecks([
      ...vaultChecks({ settings, examination, upstreams: [] }),
      ...transitChecks({ examination, places, rootKeys: await listRootKeys(database) }),
    ]);
    return [{ noun: 'database', name: 'key-encryption key', ...why }, ...found];
  } finally {
    await examination.close();
  }
}

/** With the keys of the database, for the login that needs a token of ours; they are opened only then. */
function openVault({ database, envelope, clock, ownIssuer }: ExamineParts, settings: VaultSettings): VaultExamination {
  const signingKey = async () => {
    const ring = await openKeyRing({ store: createSigningKeys(database), envelope, clock });
    return ring.signing('access-token', 'ES256');
  };
  return openVaultExamination({ settings, mint: createVaultMint({ issuer: ownIssuer, clock, signingKey }) });
}

/** What is said when the database cannot be had at all. */
export function databaseUnreachable(message: string, fix: string): Finding {
  return { noun: 'database', name: 'connection', ...failed(message, fix) };
}

async function listEverything(store: ObjectStore): Promise<Registered> {
  const kinds = Object.keys(KINDS) as Kind[];
  const lists = await Promise.all(kinds.map(async (kind) => [kind, await listKind(store, kind)] as const));
  return Object.fromEntries(lists) as unknown as Registered;
}

async function listKind(store: ObjectStore, kind: Kind): Promise<StoredObject[]> {
  const found: StoredObject[] = [];
  while (found.length < OBJECTS_MAX) {
    const after = found.at(-1)?.name;
    const page = await store.list(kind, { limit: PAGE_OBJECTS, ...(after === undefined ? {} : { after }) });
    found.push(...page);
    if (page.length < PAGE_OBJECTS) break;
  }
  return found;
}
