/**
 * The composition root: builds the parts of a service on one another and hands out what the process and the operations
 * need of it. `main.ts` runs it as a process, tests run it in theirs.
 */
import type { AddressInfo } from 'node:net';
import type { KeyOperationsParts } from './admin/key-operations.ts';
import type { OperationsParts } from './admin/operations.ts';
import type { PersonalFields } from './audit/personal.ts';
import { createComposedEgress } from './compose/egress.ts';
import { openFoundation } from './compose/foundation.ts';
import type { PrepareChange } from './compose/foundation.ts';
import { createFront } from './compose/front.ts';
import type { ServiceParts } from './compose/parts.ts';
import { createRoads } from './compose/roads.ts';
import { createUpkeep } from './compose/upkeep.ts';
import type { OpenedVault } from './compose/vault.ts';
import { createTelemetry } from './core/telemetry.ts';
import { openPersons } from './exchange/recorder.ts';
import type { CertificateFiles } from './http/tls.ts';
import type { OpenedKeys } from './keys/open.ts';
import type { Limits } from './limits/limits.ts';
import type { Heartbeat } from './status/heartbeat.ts';
import type { HousekeepingRunner } from './status/housekeeping-jobs.ts';
import type { createClientSecrets } from './store/client-secrets.ts';
import type { Envelope } from './store/envelope.ts';
import type { createObjectStore } from './store/objects.ts';
import type { PersonKeys } from './store/persons.ts';
import { createRecordReader } from './store/records.ts';
import { createRewrapper } from './store/rewrap.ts';
import { fetchAhead } from './trust/fetch-ahead.ts';
import type { LeaseSweeper } from './upstream/lease-sweeper.ts';

export type { ServiceParts } from './compose/parts.ts';

export interface Service {
  /** Fetches the keys of trusted issuers before they are needed; what cannot be had is logged. Never throws. */
  fetchAhead(): Promise<void>;
  /** Not begun yet: commands that open a service for one change leave it so. */
  readonly housekeeping: HousekeepingRunner;
  /** Ends leases of upstream credentials that are due; not begun yet either. */
  readonly leaseSweeper: LeaseSweeper;
  /** The schedule is not begun yet either. */
  readonly keys: OpenedKeys;
  readonly keyParts: Omit<KeyOperationsParts, 'author'>;
  readonly objects: ReturnType<typeof createObjectStore>;
  readonly clientSecrets: ReturnType<typeof createClientSecrets>;
  readonly records: ReturnType<typeof createRecordReader>;
  readonly persons: PersonKeys;
  /** What this node seals and opens with. */
  readonly envelope: Envelope;
  /** `undefined` = the settings name none. */
  readonly vault: OpenedVault | undefined;
  readonly limits: Pick<Limits, 'sizes'>;
  /** What the operations on revocations stand on. */
  readonly revocationParts: OperationsParts['revocation'];
  /** What the operations on embedded secrets stand on. */
  readonly secretParts: OperationsParts['secrets'];
  /** Fetches what seals the persons that a change concerns; what it returns builds the record of that change. */
  readonly prepareChange: PrepareChange;
  /** The personal fields of a record, where the person was not erased. */
  openPersons(row: {
    readonly id: string;
    readonly canonical: Uint8Array;
  }): Promise<readonly (PersonalFields & { readonly ref: string })[]>;
  /** What says whether this node is ready, and why not. */
  readonly health: Pick<Heartbeat, 'readiness' | 'clockSkewMs'>;
  listen(host: string, port: number, tls?: CertificateFiles): Promise<AddressInfo>;
  listenAdmin(host: string, port: number, tls?: CertificateFiles): Promise<AddressInfo>;
  /** Looks at the files of certificates now, not at the next turn; says how many certificates there are. */
  reloadCertificates(): number;
  /** NumericDate of the end of each certificate in use, by listener. */
  certificateExpiries(): Readonly<Partial<Record<'public' | 'admin', number>>>;
  /**
   * Says "not ready" and serves on for so long, then lets what is in flight finish, records the rest, closes everything
   * but the database. The admin listener ends last.
   */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
}

/** Builds a service over a database that is open and migrated. */
export async function composeService(parts: ServiceParts): Promise<Service> {
  const telemetry = parts.telemetry ?? createTelemetry();
  const foundation = await openFoundation(parts, telemetry);
  const { database, objects, clientSecrets, persons, keys, committer, fetcher, issued, revocations } = foundation;
  const { changeRecord, prepareChange, credentials, leaseSweeper, envelope, rootKeys } = foundation;
  const roads = createRoads(parts, foundation);
  const housekeeping = createUpkeep(parts, foundation);
  const egress = createComposedEgress(parts, telemetry, foundation, roads);
  const { heartbeat, listeners, stopMeasuring } = createFront(
    parts,
    telemetry,
    foundation,
    roads,
    egress,
    housekeeping,
  );

  return {
    health: heartbeat,
    fetchAhead: async () => {
      const issuers = await objects.list('issuer', { limit: 1000 }).catch(() => []);
      const inUse = issuers.filter(({ disabled }) => !disabled).map(({ spec }) => spec);
      await fetchAhead(inUse, foundation.keySets, parts.logger);
    },
    housekeeping,
    leaseSweeper,
    keys,
    keyParts: { rotation: keys.rotation, rewrapper: createRewrapper(database, envelope, rootKeys), changeRecord },
    revocationParts: {
      isIssued: async (jti) => (await issued.find(jti)) !== undefined,
      keyState: (kid) => keys.ring.list().find((key) => key.kid === kid)?.state,
      inForce: (options) => revocations.inForce(options),
      prepareChange,
      commitRevocation: async (record, revoked) => {
        await committer.commit({ marks: [], record, revocations: revoked });
      },
    },
    secretParts: { store: foundation.embeddedSecrets, prepareChange },
    objects,
    clientSecrets,
    records: createRecordReader(database),
    persons,
    envelope,
    vault: foundation.vault,
    limits: roads.limits,
    prepareChange,
    openPersons: (row) => openPersons(persons, row),
    listen: (host, port, tls) => listeners.open('public', { host, port, tls }),
    listenAdmin: (host, port, tls) => listeners.open('admin', { host, port, tls }),
    reloadCertificates: listeners.reloadCertificates,
    certificateExpiries: listeners.certificateExpiries,
    stop: async ({ graceMs = 0 } = {}) => {
      await listeners.closePublic(graceMs);
      await Promise.all([housekeeping.stop(), keys.schedule.stop(), leaseSweeper.stop()]);
      await egress.stop();
      await roads.noise.stop();
      await committer.drain();
      await credentials.close();
      await fetcher.close();
      await foundation.vault?.vault.close();
      roads.limits.stop();
      await listeners.closeAdmin();
      stopMeasuring();
    },
  };
}
