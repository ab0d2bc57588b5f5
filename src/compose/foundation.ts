/**
 * What every road stands on: the database and what is kept in it, our keys, the fetcher, the commit. Opened once per
 * process, closed last.
 */
import { sealPerson } from '../audit/personal.ts';
import type { RecordRow } from '../audit/record.ts';
import { systemClock } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Principal } from '../core/principal.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { createBareRecords } from '../exchange/bare-records.ts';
import { openKeys } from '../keys/open.ts';
import type { KeyRing } from '../keys/ring.ts';
import { createFetcher } from '../net/fetcher.ts';
import { registryOf } from '../objects/registry.ts';
import { createClientSecrets } from '../store/client-secrets.ts';
import { createCommitter } from '../store/commits.ts';
import { openInstance } from '../store/instance.ts';
import { createIssuedTokens } from '../store/issued.ts';
import { ensureAuditPartitions } from '../store/migrate.ts';
import { createObjectStore } from '../store/objects.ts';
import { observedDatabase } from '../store/observed.ts';
import { createPersonKeys } from '../store/persons.ts';
import { createRevocations } from '../store/revocations.ts';
import { createEmbeddedSecrets } from '../store/secrets.ts';
import { createKeySets } from '../trust/key-sets.ts';
import { createUpstreamCredentials } from './credentials.ts';
import { hooksOf } from './instruments.ts';
import { openKeyEncryption } from './key-encryption.ts';
import type { ServiceParts } from './parts.ts';
import { createSecretStores } from './secrets.ts';
import { openVault } from './vault.ts';
import type { OpenedVault } from './vault.ts';

export type Foundation = Awaited<ReturnType<typeof openFoundation>>;

/** Builds the record of a change that concerns persons; their keys are fetched before the change is made. */
export type PrepareChange = (
  concerned: readonly Principal[],
) => Promise<(change: Readonly<Record<string, unknown>>) => RecordRow>;

/** Vault first, since it may have to unwrap what opens everything else; it is closed where the rest does not open. */
export async function openFoundation(parts: ServiceParts, telemetry: Telemetry) {
  const clock: Clock = parts.clock ?? systemClock;
  const hooks = hooksOf(telemetry);
  let ring: KeyRing | undefined;
  const ringOf = () => {
    if (ring === undefined) throw new Error('a token for vault was asked for before our own keys were open');
    return ring;
  };
  const vault =
    parts.vault === undefined
      ? undefined
      : openVault({ ...parts, settings: parts.vault, clock, ring: ringOf, onAnswer: hooks.onVaultAnswer });
  try {
    const foundation = await openOver({ parts, telemetry, clock, hooks, vault });
    ring = foundation.keys.ring;
    return foundation;
  } catch (error) {
    await vault?.vault.close();
    throw error;
  }
}

async function openOver(around: {
  readonly parts: ServiceParts;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly hooks: ReturnType<typeof hooksOf>;
  readonly vault: OpenedVault | undefined;
}) {
  const { parts, telemetry, clock, hooks, vault: opened } = around;
  const { logger, nodeName } = parts;
  const database = observedDatabase(parts.database, hooks.onDatabaseFailure);
  const { envelope, rootKeys } = await openKeyEncryption({
    database,
    keys: [parts.keyEncryptionKey, ...(parts.previousKeyEncryptionKeys ?? [])],
    vault: opened?.vault,
    logger,
    patienceMs: parts.vaultPatienceMs ?? 0,
  });
  const instance = await openInstance(database, envelope);
  await ensureAuditPartitions(database);

  const objects = createObjectStore(database, { onLookup: hooks.onLookup });
  const clientSecrets = createClientSecrets(database, objects.feed, (result) => {
    hooks.onLookup('client_secrets', result);
  });
  const embeddedSecrets = createEmbeddedSecrets(database, envelope);
  const persons = createPersonKeys({ db: database, envelope, instance });
  const bare = createBareRecords(nodeName, clock);
  const changeRecord = (change: Readonly<Record<string, unknown>>) => bare.changed(change, () => []);
  const prepareChange: PrepareChange = async (concerned) => {
    const keyed = await Promise.all(
      concerned.map(async (principal) => ({ principal, key: await persons.keyFor(principal) })),
    );
    return (change) =>
      bare.changed(change, (recordId) =>
        keyed.map(({ principal: { issuer: iss, sub }, key }) => sealPerson(key, recordId, { iss, sub })),
      );
  };
  const keys = await openKeys({ database, envelope, clock, logger, times: parts.keyTimes, recordOf: changeRecord });
  objects.feed.followKeys(() => keys.ring.reload());
  const fetcher = createFetcher({ clock, logger, tracing: telemetry.tracing, onFetch: hooks.onFetch });
  const secrets = createSecretStores(embeddedSecrets, opened?.vault);
  const { credentials, leaseSweeper } = createUpstreamCredentials({
    ourIssuer: parts.issuer,
    database,
    stores: secrets,
    fetcher,
    vaultUserOf: opened?.userOf,
    clock,
    logger,
    cacheSeconds: parts.secretCacheSeconds,
    registry: async () => registryOf(await objects.current()),
  });
  const committer = createCommitter({
    db: database,
    clock,
    logger,
    settle: { failed: bare.failed, undelivered: bare.undelivered },
    onStatement: hooks.onCommitStatement,
  });
  return {
    clock,
    hooks,
    database,
    envelope,
    rootKeys,
    instance,
    objects,
    clientSecrets,
    /** What the operations on embedded secrets change; everybody else reads through `secrets`. */
    embeddedSecrets,
    secrets,
    /** For its state; what is read goes through `secrets`. */
    vault: opened,
    credentials,
    leaseSweeper,
    persons,
    issued: createIssuedTokens(database),
    revocations: createRevocations(database),
    changeRecord,
    prepareChange,
    keys,
    fetcher,
    keySets: createKeySets({ fetcher, clock, logger, onFetch: hooks.onKeyFetch }),
    committer,
  };
}
