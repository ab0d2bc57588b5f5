/**
 * The composition root: the one place that knows every room and builds them into a service. `main.ts` runs it as a
 * process, tests run it in theirs.
 */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { sealPerson } from './audit/personal.ts';
import type { PersonalFields } from './audit/personal.ts';
import type { RecordRow } from './audit/record.ts';
import { createAuthenticator } from './clients/authenticate.ts';
import { systemClock } from './core/clock.ts';
import type { Clock } from './core/clock.ts';
import type { Logger } from './core/log.ts';
import type { Principal } from './core/principal.ts';
import { PATHS } from './core/protocol.ts';
import { createBareRecords } from './exchange/bare-records.ts';
import { createDecider } from './exchange/decision.ts';
import { createDispatch } from './exchange/dispatch.ts';
import type { Grant } from './exchange/grant.ts';
import { clientCredentialsGrant } from './exchange/grants/client-credentials.ts';
import { tokenExchangeGrant } from './exchange/grants/token-exchange.ts';
import { createNoise } from './exchange/noise.ts';
import { createPresentedVerifier } from './exchange/presented.ts';
import { createIssuedTokenFinder, openPersons } from './exchange/recorder.ts';
import { createRoad } from './exchange/road.ts';
import type { Phase } from './exchange/road.ts';
import { adminRoutes } from './http/admin-server.ts';
import { createApplication, openListener } from './http/listener.ts';
import type { Listener } from './http/listener.ts';
import { routes } from './http/server.ts';
import { createSourceOf } from './http/source-address.ts';
import type { CertificateFiles } from './http/tls.ts';
import { openKeyRing, RING_ALGORITHMS } from './keys/ring.ts';
import { createFetcher } from './net/fetcher.ts';
import { registryOf } from './objects/registry.ts';
import { createPolicyEngine } from './policy/engine.ts';
import { createClientSecrets } from './store/client-secrets.ts';
import { createCommitter } from './store/commits.ts';
import type { Database } from './store/database.ts';
import { createEnvelope } from './store/envelope.ts';
import { openInstance } from './store/instance.ts';
import { createIssuedTokens } from './store/issued.ts';
import { ensureAuditPartitions } from './store/migrate.ts';
import { createObjectStore } from './store/objects.ts';
import { createPersonKeys } from './store/persons.ts';
import type { PersonKeys } from './store/persons.ts';
import { createRecordReader } from './store/records.ts';
import { createRevocations } from './store/revocations.ts';
import { createSigningKeys } from './store/signing-keys.ts';
import { createHeartbeat } from './status/heartbeat.ts';
import { createKeySets } from './trust/key-sets.ts';

/** Every grant there is. A further one is a file in `exchange/grants/` and a name here. */
const GRANTS: readonly Grant[] = [clientCredentialsGrant, tokenExchangeGrant];

const DRAIN_TIMEOUT_MS = 20_000;
const PARTITIONS_INTERVAL_MS = 12 * 3600 * 1000;

export interface ServiceParts {
  readonly issuer: string;
  readonly nodeName: string;
  /** Runs as the runtime role, migrated already. */
  readonly database: Database;
  /** Key-encryption key, 32 bytes. */
  readonly keyEncryptionKey: Uint8Array;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Told what each step of the road cost. */
  readonly observe?: (phase: Phase, durationMs: number) => void;
  /** CIDR ranges whose `X-Forwarded-For` is believed; default none. */
  readonly trustedProxies?: readonly string[];
  /** Beyond it this node is not ready; default 2000. */
  readonly clockSkewLimitMs?: number;
}

/** Where a listener is. */
export interface ListenAt {
  readonly host: string;
  /** 0 = a free one. */
  readonly port: number;
  /** Absent = plain HTTP. */
  readonly tls?: CertificateFiles | undefined;
}

export interface Service {
  readonly objects: ReturnType<typeof createObjectStore>;
  readonly clientSecrets: ReturnType<typeof createClientSecrets>;
  readonly records: ReturnType<typeof createRecordReader>;
  readonly persons: PersonKeys;
  /** Fetches what seals the persons that a change concerns; what it returns builds the record of that change. */
  prepareChange(concerned: readonly Principal[]): Promise<(change: Readonly<Record<string, unknown>>) => RecordRow>;
  /** The personal fields of a record, where the person was not erased. */
  openPersons(row: {
    readonly id: string;
    readonly canonical: Uint8Array;
  }): Promise<readonly (PersonalFields & { readonly ref: string })[]>;
  /** What says whether this node is ready, and why not. */
  readonly health: Pick<Heartbeat, 'readiness' | 'clockSkewMs'>;
  listen(host: string, port: number, tls?: CertificateFiles): Promise<AddressInfo>;
  listenAdmin(host: string, port: number, tls?: CertificateFiles): Promise<AddressInfo>;
  /** Looks at the files of certificates now, not at the next turn. */
  reloadCertificates(): void;
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
  const { issuer, database, logger, nodeName } = parts;
  const clock = parts.clock ?? systemClock;
  const envelope = createEnvelope(parts.keyEncryptionKey);
  const instance = await openInstance(database, envelope);
  await ensureAuditPartitions(database);
  const partitions = setInterval(() => {
    ensureAuditPartitions(database).catch((error: unknown) => {
      logger.warn({ err: error }, 'the audit partitions of the coming months could not be made');
    });
  }, PARTITIONS_INTERVAL_MS);
  partitions.unref();

  const objects = createObjectStore(database);
  const clientSecrets = createClientSecrets(database, objects.feed);
  const revocations = createRevocations(database);
  const findRevocation: typeof revocations.find = (facts, state) => revocations.find(facts, state);
  const persons = createPersonKeys({ db: database, envelope, instance });
  const ring = await openKeyRing({ store: createSigningKeys(database), envelope, clock, logger });
  const fetcher = createFetcher({ clock, logger });
  const keySets = createKeySets({ fetcher, clock, logger });
  const bare = createBareRecords(nodeName, clock);
  const committer = createCommitter({
    db: database,
    clock,
    logger,
    settle: { failed: bare.failed, undelivered: bare.undelivered },
  });
  const noise = createNoise({
    node: nodeName,
    clock,
    logger,
    commit: (record) => committer.commit({ marks: [], record }),
  });

  const road = createRoad({
    ourIssuer: issuer,
    node: nodeName,
    clock,
    registry: async () => registryOf(await objects.current()),
    authenticate: createAuthenticator({
      issuer,
      tokenEndpoint: issuer + PATHS.token,
      secrets: clientSecrets,
      keySets,
      clock,
      findRevocation,
    }),
    dispatch: createDispatch(GRANTS),
    verifyPresented: createPresentedVerifier({
      issuer,
      clock,
      keySets,
      ownKeys: (kid) => ring.verification(kid),
      findIssued: createIssuedTokenFinder(createIssuedTokens(database), persons),
      findRevocation,
    }),
    decide: createDecider(createPolicyEngine()),
    signingKey: (algorithm) => ring.signing(algorithm),
    keyFor: (principal) => persons.keyFor(principal),
    findRevocation,
    commit: (commitment) => committer.commit(commitment),
    noise,
    observe: parts.observe ?? (() => undefined),
  });
  const server = createPublicServer({
    issuer,
    logger,
    road,
    noise,
    grantTypes: GRANTS.map((grant) => grant.grantType),
    jwks: () => ring.jwks(),
    openapi: readFileSync(new URL(OPENAPI_PATH, import.meta.url), 'utf8'),
    reportUndelivered: (record) => {
      committer.reportUndelivered(record);
    },
  });

  return {
    server,
    objects,
    clientSecrets,
    records: createRecordReader(database),
    persons,
    prepareChange: async (concerned) => {
      const keyed = await Promise.all(
        concerned.map(async (principal) => ({ principal, key: await persons.keyFor(principal) })),
      );
      return (change) =>
        bare.changed(change, (recordId) =>
          keyed.map(({ principal: { issuer: iss, sub }, key }) => sealPerson(key, recordId, { iss, sub })),
        );
    },
    openPersons: (row) => openPersons(persons, row),
    listen: (host, port) => listen(server, host, port),
    stop: async () => {
      clearInterval(partitions);
      await drainServer(server, DRAIN_TIMEOUT_MS);
      await noise.stop();
      await committer.drain();
      await fetcher.close();
    },
  };
}

/** From `src/` and from `dist/src/` alike: the package's root has it. */
const OPENAPI_PATH = import.meta.url.includes('/dist/src/') ? '../../openapi.yaml' : '../openapi.yaml';

function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server.address() as AddressInfo);
    });
  });
}
