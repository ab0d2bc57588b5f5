/**
 * The composition root: the one place that knows every room and builds them into a service. `main.ts` runs it as a
 * process, tests run it in theirs.
 */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { KeyOperationsParts } from './admin/key-operations.ts';
import type { OperationsParts } from './admin/operations.ts';
import { sealPerson } from './audit/personal.ts';
import type { PersonalFields } from './audit/personal.ts';
import type { RecordRow } from './audit/record.ts';
import { createAuthenticator } from './clients/authenticate.ts';
import { systemClock } from './core/clock.ts';
import type { Clock } from './core/clock.ts';
import type { Logger } from './core/log.ts';
import type { Principal } from './core/principal.ts';
import { createTelemetry } from './core/telemetry.ts';
import type { Telemetry } from './core/telemetry.ts';
import { measureProcess } from './core/telemetry/process.ts';
import { PATHS } from './core/protocol.ts';
import { createBareRecords } from './exchange/bare-records.ts';
import { createDecider } from './exchange/decision.ts';
import { createDispatch } from './exchange/dispatch.ts';
import type { Grant } from './exchange/grant.ts';
import { clientCredentialsGrant } from './exchange/grants/client-credentials.ts';
import { tokenExchangeGrant } from './exchange/grants/token-exchange.ts';
import { createNoise } from './exchange/noise.ts';
import { createPresentedVerifier } from './exchange/presented.ts';
import { openPersons } from './exchange/recorder.ts';
import { createRoad } from './exchange/road.ts';
import type { Phase } from './exchange/road.ts';
import { adminRoutes } from './http/admin-server.ts';
import { createListeners } from './http/listeners.ts';
import { METRICS_CONTENT_TYPE, observeRequests } from './http/metrics.ts';
import { routes } from './http/server.ts';
import { createSourceOf } from './http/source-address.ts';
import type { CertificateFiles } from './http/tls.ts';
import { DEFAULT_LIMITS } from './limits/bounds.ts';
import type { LimitSettings } from './limits/bounds.ts';
import { createLimits } from './limits/limits.ts';
import type { Limits } from './limits/limits.ts';
import type { KeyTimes } from './keys/due.ts';
import { DEFAULT_TIMES, openKeys } from './keys/open.ts';
import type { OpenedKeys } from './keys/open.ts';
import { slotsOf } from './keys/slots.ts';
import { hooksOf, readGauges } from './instruments.ts';
import { createFetcher } from './net/fetcher.ts';
import { registryOf } from './objects/registry.ts';
import { createPolicyEngine } from './policy/engine.ts';
import { createOwnTokens } from './standing/own-token.ts';
import { createClientSecrets } from './store/client-secrets.ts';
import { measureClockSkew } from './store/clock-skew.ts';
import { createCommitter } from './store/commits.ts';
import type { Commitment } from './store/commitment.ts';
import type { Database } from './store/database.ts';
import { createEnvelope } from './store/envelope.ts';
import { openInstance } from './store/instance.ts';
import { batchRows, createHousekeeping } from './store/housekeeping.ts';
import { createIssuedTokens } from './store/issued.ts';
import { ensureAuditPartitions } from './store/migrate.ts';
import { createObjectStore } from './store/objects.ts';
import { observedDatabase } from './store/observed.ts';
import { createPersonKeys } from './store/persons.ts';
import type { PersonKeys } from './store/persons.ts';
import { createRates } from './store/rates.ts';
import { createRecordReader } from './store/records.ts';
import { createRevocations } from './store/revocations.ts';
import { createRewrapper } from './store/rewrap.ts';
import { hex } from './store/values.ts';
import { createHeartbeat } from './status/heartbeat.ts';
import { createIntrospection } from './status/introspect.ts';
import { createRevocation } from './status/revoke.ts';
import { createRevocationPublisher } from './status/revocation-document.ts';
import { createStatusRoad } from './status/status-road.ts';
import type { Heartbeat } from './status/heartbeat.ts';
import { createHousekeepingRunner } from './status/housekeeping-jobs.ts';
import type { HousekeepingJob, HousekeepingRunner } from './status/housekeeping-jobs.ts';
import { fetchAhead } from './trust/fetch-ahead.ts';
import { createKeySets } from './trust/key-sets.ts';

/** Every grant there is. A further one is a file in `exchange/grants/` and a name here. */
const GRANTS: readonly Grant[] = [clientCredentialsGrant, tokenExchangeGrant];

const CLOCK_SKEW_LIMIT_MS = 2_000;
const DEFAULT_HOUSEKEEPING = { intervalSeconds: 60, auditRetentionDays: undefined } as const;

export interface ServiceParts {
  readonly issuer: string;
  readonly nodeName: string;
  /** Runs as the runtime role, migrated already. */
  readonly database: Database;
  /** Key-encryption key, 32 bytes. */
  readonly keyEncryptionKey: Uint8Array;
  /** What else may have sealed the database; none of them seals. */
  readonly previousKeyEncryptionKeys?: readonly Uint8Array[];
  /** When signing keys change; default every 30 days, published a day before. */
  readonly keyTimes?: KeyTimes;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly limits?: LimitSettings;
  readonly housekeeping?: {
    readonly intervalSeconds: number;
    /** `undefined` = audit records are kept for ever. */
    readonly auditRetentionDays: number | undefined;
  };
  /** Told what each step of the road cost. */
  readonly observe?: (phase: Phase, durationMs: number) => void;
  /** Default: of this service alone, with an SDK where one was registered with the API of OpenTelemetry. */
  readonly telemetry?: Telemetry;
  /** Of this program, for metrics. */
  readonly version?: string;
  /** CIDR ranges whose `X-Forwarded-For` is believed; default none. */
  readonly trustedProxies?: readonly string[];
  /** Beyond it this node is not ready; default 2000. */
  readonly clockSkewLimitMs?: number;
}

export interface Service {
  /** Fetches the keys of trusted issuers before they are needed; what cannot be had is logged. Never throws. */
  fetchAhead(): Promise<void>;
  /** Not begun yet: commands that open a service for one change leave it so. */
  readonly housekeeping: HousekeepingRunner;
  /** The schedule is not begun yet either. */
  readonly keys: OpenedKeys;
  readonly keyParts: Omit<KeyOperationsParts, 'author'>;
  readonly objects: ReturnType<typeof createObjectStore>;
  readonly clientSecrets: ReturnType<typeof createClientSecrets>;
  readonly records: ReturnType<typeof createRecordReader>;
  readonly persons: PersonKeys;
  readonly limits: Pick<Limits, 'sizes'>;
  /** What the operations on revocations stand on. */
  readonly revocationParts: OperationsParts['revocation'];
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
  const { issuer, logger, nodeName } = parts;
  const clock = parts.clock ?? systemClock;
  const telemetry = parts.telemetry ?? createTelemetry();
  const hooks = hooksOf(telemetry);
  const database = observedDatabase(parts.database, hooks.onDatabaseFailure);
  const envelope = createEnvelope(parts.keyEncryptionKey, parts.previousKeyEncryptionKeys);
  const instance = await openInstance(database, envelope);
  await ensureAuditPartitions(database);

  const objects = createObjectStore(database, { onLookup: hooks.onLookup });
  const clientSecrets = createClientSecrets(database, objects.feed, (result) => {
    hooks.onLookup('client_secrets', result);
  });
  const revocations = createRevocations(database);
  const findRevocation: typeof revocations.find = (facts, state) => revocations.find(facts, state);
  const persons = createPersonKeys({ db: database, envelope, instance });
  const bare = createBareRecords(nodeName, clock);
  const changeRecord = (change: Readonly<Record<string, unknown>>) => bare.changed(change, () => []);
  const keys = await openKeys({ database, envelope, clock, logger, times: parts.keyTimes, recordOf: changeRecord });
  const { ring } = keys;
  objects.feed.followKeys(() => ring.reload());
  const fetcher = createFetcher({ clock, logger, tracing: telemetry.tracing, onFetch: hooks.onFetch });
  const keySets = createKeySets({ fetcher, clock, logger, onFetch: hooks.onKeyFetch });
  const committer = createCommitter({
    db: database,
    clock,
    logger,
    settle: { failed: bare.failed, undelivered: bare.undelivered },
    onStatement: hooks.onCommitStatement,
  });
  const noise = createNoise({
    node: nodeName,
    clock,
    logger,
    commit: (record) => committer.commit({ marks: [], record }),
  });

  const housekeeping = createHousekeepingRunner({
    jobs: housekeepingJobs(parts, changeRecord),
    clock,
    logger,
    intervalSeconds: (parts.housekeeping ?? DEFAULT_HOUSEKEEPING).intervalSeconds,
  });

  const ownTokens = createOwnTokens({
    issuer,
    clock,
    ownKeys: (kid) => ring.verification(kid),
    issued: createIssuedTokens(database),
    persons,
  });
  const limits = createLimits({
    database,
    settings: parts.limits ?? DEFAULT_LIMITS,
    hashOf: (limit, key) => hex(instance.blindIndex({ issuer: `limit:${limit}`, sub: key })),
  });
  const shared = {
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
    failures: limits.failures,
    limits: limits.rates,
    commit: (commitment: Commitment) => committer.commit(commitment),
    noise,
  };
  const road = createRoad({
    ...shared,
    ourIssuer: issuer,
    dispatch: createDispatch(GRANTS),
    verifyPresented: createPresentedVerifier({
      issuer,
      clock,
      keySets,
      ownTokens,
      findRevocation,
    }),
    decide: createDecider(createPolicyEngine()),
    signingKey: (algorithm) => ring.signing('access-token', algorithm),
    keyFor: (principal) => persons.keyFor(principal),
    findRevocation,
    observe: (phase, durationMs) => {
      hooks.onPhase(phase, durationMs);
      parts.observe?.(phase, durationMs);
    },
    within: hooks.within,
  });
  const prepareChange: Service['prepareChange'] = async (concerned) => {
    const keyed = await Promise.all(
      concerned.map(async (principal) => ({ principal, key: await persons.keyFor(principal) })),
    );
    return (change) =>
      bare.changed(change, (recordId) =>
        keyed.map(({ principal: { issuer: iss, sub }, key }) => sealPerson(key, recordId, { iss, sub })),
      );
  };
  const introspection = createIntrospection({ issuer, ownTokens, findRevocation });
  const revocation = createRevocation({ clock, ownTokens, issued: createIssuedTokens(database) });
  const heartbeat = createHeartbeat({
    readState: () => objects.feed.current(),
    measureSkew: () => measureClockSkew(database, clock),
    countMissingKeys: () => Promise.resolve(slotsOf().filter((slot) => !ring.has(slot)).length),
    clockSkewLimitMs: parts.clockSkewLimitMs ?? CLOCK_SKEW_LIMIT_MS,
    logger,
  });
  const { readiness } = heartbeat;
  const publicRoutes = routes({
    issuer,
    logger,
    readiness,
    sourceOf: createSourceOf(parts.trustedProxies ?? []),
    road,
    load: limits.load,
    observe: observeRequests(telemetry),
    noise,
    grantTypes: GRANTS.map((grant) => grant.grantType),
    jwks: () => ring.jwks('access-token'),
    introspect: createStatusRoad(shared, 'introspect', introspection),
    revoke: createStatusRoad(shared, 'revoke', revocation),
    revocations: createRevocationPublisher({
      issuer,
      clock,
      registry: shared.registry,
      inForce: (options) => revocations.inForce(options),
      signingKey: () => ring.signing('revocation-document', 'ES256'),
      onMade: hooks.onRevocationDocument,
    }),
    revocationKeys: () => ring.jwks('revocation-document'),
    openapi: readFileSync(new URL(OPENAPI_PATH, import.meta.url), 'utf8'),
    reportUndelivered: (record) => {
      committer.reportUndelivered(record);
    },
  });
  const ofOperators = adminRoutes({
    readiness,
    metrics: () => Promise.resolve({ contentType: METRICS_CONTENT_TYPE, body: telemetry.metrics.render() }),
  });
  const listeners = createListeners({ public: publicRoutes, admin: ofOperators }, heartbeat, logger);
  const stopMeasuring = measureProcess(telemetry.metrics, parts.version ?? 'unknown');
  readGauges(telemetry, {
    pool: () => database.pool(),
    commits: () => committer.sizes(),
    keys: () => ring.list(),
    rotateAfterSeconds: (parts.keyTimes ?? DEFAULT_TIMES).rotateAfterSeconds,
    nowMs: () => clock.nowMs(),
    clockSkewMs: () => heartbeat.clockSkewMs(),
    failingChecks: () => readiness.failing(),
    certificateExpiries: listeners.certificateExpiries,
    jobs: () => housekeeping.numbers(),
  });

  return {
    health: heartbeat,
    fetchAhead: async () => {
      const issuers = await objects.list('issuer', { limit: 1000 }).catch(() => []);
      const inUse = issuers.filter(({ disabled }) => !disabled).map(({ spec }) => spec);
      await fetchAhead(inUse, keySets, logger);
    },
    housekeeping,
    keys,
    keyParts: { rotation: keys.rotation, rewrapper: createRewrapper(database, envelope), changeRecord },
    revocationParts: {
      isIssued: async (jti) => (await createIssuedTokens(database).find(jti)) !== undefined,
      keyState: (kid) => ring.list().find((key) => key.kid === kid)?.state,
      inForce: (options) => revocations.inForce(options),
      prepareChange,
      commitRevocation: async (record, revoked) => {
        await committer.commit({ marks: [], record, revocations: revoked });
      },
    },
    objects,
    clientSecrets,
    records: createRecordReader(database),
    persons,
    limits,
    prepareChange,
    openPersons: (row) => openPersons(persons, row),
    listen: (host, port, tls) => listeners.open('public', { host, port, tls }),
    listenAdmin: (host, port, tls) => listeners.open('admin', { host, port, tls }),
    reloadCertificates: listeners.reloadCertificates,
    certificateExpiries: listeners.certificateExpiries,
    stop: async ({ graceMs = 0 } = {}) => {
      await listeners.closePublic(graceMs);
      await Promise.all([housekeeping.stop(), keys.schedule.stop()]);
      await noise.stop();
      await committer.drain();
      await fetcher.close();
      limits.stop();
      await listeners.closeAdmin();
      stopMeasuring();
    },
  };
}

/** From `src/` and from `dist/src/` alike: the package's root has it. */
const OPENAPI_PATH = import.meta.url.includes('/dist/src/') ? '../../openapi.yaml' : '../openapi.yaml';

/** What is removed, made or dropped from time to time; a further job is an entry here. */
function housekeepingJobs(
  { database, housekeeping = DEFAULT_HOUSEKEEPING }: ServiceParts,
  recordOf: (change: Readonly<Record<string, unknown>>) => RecordRow,
): HousekeepingJob[] {
  const store = createHousekeeping(database);
  const fullBatch = batchRows(database);
  const days = housekeeping.auditRetentionDays;
  const dropMonth = async (retentionDays: number) => {
    const dropped = await store.dropAuditMonth(retentionDays, (partition) =>
      recordOf({ author: 'housekeeping', removed_records: partition, audit_retention_days: retentionDays }),
    );
    return dropped === undefined ? 0 : 1;
  };
  return [
    { name: 'replay_marks', runBatch: () => store.removeExpiredMarks(), fullBatch },
    { name: 'issued_tokens', runBatch: () => store.removeExpiredTokens(), fullBatch },
    { name: 'revocations', runBatch: () => store.removeExpiredRevocations(), fullBatch },
    { name: 'rate_windows', runBatch: () => createRates(database).deleteExpired(fullBatch), fullBatch },
    { name: 'audit_months_ahead', runBatch: () => ensureAuditPartitions(database).then(() => 0) },
    ...(days === undefined ? [] : [{ name: 'audit_retention', runBatch: () => dropMonth(days), fullBatch: 1 }]),
  ];
}
