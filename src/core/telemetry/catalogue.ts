/**
 * Every metric that there is: name, help, unit and, for each label, the values that it may have. Nothing that a caller
 * chooses can become a label value: what is not in the list is counted as `other`, and the few lists that depend on
 * registered objects end at a number. `docs/configuration.md` has the same table, and a test holds the two together.
 */
import { REASONS } from '../refusal.ts';

/** Values of a label: a closed list, or the first so many that are seen. */
export type LabelValues = readonly string[] | { readonly distinctMax: number };

export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** As Prometheus has it: base unit last, `_total` for a counter. */
  readonly name: string;
  readonly help: string;
  readonly labels: Readonly<Record<string, LabelValues>>;
  /** Upper bounds of a histogram, inclusive, rising. */
  readonly buckets?: readonly number[];
}

/** The steps of the road (`exchange/phases.ts`). */
const PHASES = [
  'registry',
  'authenticate',
  'limit',
  'dispatch',
  'verify',
  'resolve',
  'decide',
  'mint',
  'obtain',
  'record',
  'commit',
];
/** What a request can fail of that is not its caller's fault. */
const FAILURES = ['overload', 'database', 'trusted_issuer', 'client_keys', 'vault', 'upstream', 'revocation', 'bug'];
/** How a call to an upstream can end early (`egress/call.ts`). */
const ENDINGS = [
  ...['expired', 'revoked', 'state_unknown', 'stopped', 'caller_gone', 'request_too_large', 'answer_too_large'],
  ...['request_stalled', 'upstream_timeout', 'upstream_failed'],
];
const GRANTS = ['client_credentials', 'token_exchange', 'none'];
const KINDS_OF_FETCH = [
  'done',
  'invalid',
  ...['address_refused', 'scheme_refused', 'redirect', 'status', 'encoding', 'too_large', 'timeout', 'not_json'],
  ...['connect', 'tls', 'local_file', 'closed'],
];
/** Answers of Vault, then why there was none (`secrets/vault/fault.ts`). */
const VAULT_OUTCOMES = [
  ...['done', 'absent', 'forbidden', 'refused'],
  ...['unreachable', 'tls', 'timeout', 'redirect', 'too_large', 'not_json', 'sealed', 'uninitialized'],
  ...['no_active_node', 'rate_limited', 'upgrading', 'failing', 'odd_answer', 'resting', 'login_refused', 'closed'],
];
const KEY_LABELS = {
  purpose: ['access-token', 'revocation-document', 'audit-checkpoint'],
  algorithm: ['ES256', 'RS256', 'EdDSA', 'Ed25519'],
};
const PREDICATES = ['token', 'subject', 'actor', 'client', 'resource', 'issuer', 'key', 'all'];

const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const STEP_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];
const BATCH_ITEMS = [1, 2, 4, 8, 16, 32, 64, 128, 200];

export const CATALOGUE = {
  tokenRequests: {
    type: 'counter',
    name: 'cambist_token_requests_total',
    help: 'Requests at the token endpoint, by what became of them',
    labels: {
      grant: GRANTS,
      outcome: ['issued', 'refused', 'failed', 'shed'],
      reason: ['none', ...REASONS, ...FAILURES],
    },
  },
  tokenDuration: {
    type: 'histogram',
    name: 'cambist_token_duration_seconds',
    help: 'From the whole request to its answer',
    labels: { outcome: ['issued', 'refused', 'failed', 'shed'] },
    buckets: REQUEST_SECONDS,
  },
  tokenPhaseDuration: {
    type: 'histogram',
    name: 'cambist_token_phase_duration_seconds',
    help: 'What each step of the road took',
    labels: { phase: PHASES },
    buckets: STEP_SECONDS,
  },
  tokenUnderWay: {
    type: 'gauge',
    name: 'cambist_token_requests_under_way',
    help: 'Requests at the token endpoint that are not answered yet',
    labels: {},
  },
  limited: {
    type: 'counter',
    name: 'cambist_limited_total',
    help: 'Requests that were answered 429, by the limit that they met',
    labels: { kind: ['client', 'resource', 'subject', 'source'] },
  },
  introspections: {
    type: 'counter',
    name: 'cambist_introspections_total',
    help: 'Requests at the introspection endpoint, by answer',
    labels: { outcome: ['active', 'inactive', 'refused', 'failed', 'shed'] },
  },
  revocationRequests: {
    type: 'counter',
    name: 'cambist_revocation_requests_total',
    help: 'Requests at the revocation endpoint, by what became of them',
    labels: { outcome: ['done', 'refused', 'failed', 'shed'] },
  },
  statusDuration: {
    type: 'histogram',
    name: 'cambist_status_duration_seconds',
    help: 'From a whole request at introspection or revocation to its answer',
    labels: { endpoint: ['introspection', 'revocation'] },
    buckets: REQUEST_SECONDS,
  },
  egressCalls: {
    type: 'counter',
    name: 'cambist_egress_calls_total',
    help: 'Calls to upstreams, by what became of them',
    labels: {
      outcome: ['done', 'cut', 'refused', 'failed', 'shed'],
      reason: ['none', ...ENDINGS, ...REASONS, ...FAILURES],
    },
  },
  egressDuration: {
    type: 'histogram',
    name: 'cambist_egress_duration_seconds',
    help: 'From a request for an upstream to the end of its answer',
    labels: { outcome: ['done', 'cut', 'refused', 'failed', 'shed'] },
    buckets: REQUEST_SECONDS,
  },
  egressOpen: {
    type: 'gauge',
    name: 'cambist_egress_calls_open',
    help: 'Calls to upstreams that are open on this node',
    labels: {},
  },
  revocationsInForce: {
    type: 'gauge',
    name: 'cambist_revocations_in_force',
    help: 'What the last revocation document that this node made names, by kind',
    labels: { kind: PREDICATES },
  },
  commitQueue: {
    type: 'gauge',
    name: 'cambist_commit_queue_length',
    help: 'Commits that wait to be sent to the database',
    labels: {},
  },
  commitBatch: {
    type: 'histogram',
    name: 'cambist_commit_batch_size',
    help: 'Commits that shared one statement',
    labels: {},
    buckets: BATCH_ITEMS,
  },
  commitDuration: {
    type: 'histogram',
    name: 'cambist_commit_duration_seconds',
    help: 'What one statement of commits took',
    labels: { outcome: ['done', 'failed'] },
    buckets: STEP_SECONDS,
  },
  commitsUnsettled: {
    type: 'gauge',
    name: 'cambist_commits_unsettled',
    help: 'Commits whose outcome is not known yet, and undelivered answers that are not recorded yet',
    labels: {},
  },
  cacheLookups: {
    type: 'counter',
    name: 'cambist_cache_lookups_total',
    help: 'Look-ups in the caches of registered objects',
    labels: { cache: ['by_name', 'by_key', 'by_kind', 'client_secrets'], result: ['hit', 'miss'] },
  },
  keyFetches: {
    type: 'counter',
    name: 'cambist_key_fetches_total',
    help: 'Fetches of the keys of trusted issuers (by registered name, the first 200) and of clients (together)',
    labels: { source: { distinctMax: 200 }, outcome: KINDS_OF_FETCH },
  },
  fetchDuration: {
    type: 'histogram',
    name: 'cambist_fetch_duration_seconds',
    help: 'What one fetch from a remote server took',
    labels: { outcome: ['done', 'failed'] },
    buckets: REQUEST_SECONDS,
  },
  vaultDuration: {
    type: 'histogram',
    name: 'cambist_vault_duration_seconds',
    help: 'What one question to Vault took, by its answer or by why there was none',
    labels: { outcome: VAULT_OUTCOMES },
    buckets: REQUEST_SECONDS,
  },
  vaultLoginAge: {
    type: 'gauge',
    name: 'cambist_vault_login_age_seconds',
    help: 'How long ago this node logged in to Vault; no series while it is not logged in',
    labels: {},
  },
  vaultBreaker: {
    type: 'gauge',
    name: 'cambist_vault_breaker',
    help: '1 for the state of what leaves a failing Vault alone, else 0',
    labels: { state: ['closed', 'open', 'half_open'] },
  },
  databaseConnections: {
    type: 'gauge',
    name: 'cambist_database_connections',
    help: 'Connections of the pool, by whether they are at work',
    labels: { state: ['busy', 'idle'] },
  },
  databaseWaiting: {
    type: 'gauge',
    name: 'cambist_database_waiting',
    help: 'Statements and transactions that wait for a connection',
    labels: {},
  },
  databaseFailures: {
    type: 'counter',
    name: 'cambist_database_failures_total',
    help: 'Statements and transactions that failed: refused by the database, not run, or of unknown outcome',
    labels: { kind: ['refused', 'unavailable', 'outcome_unknown'] },
  },
  signingKeyAge: {
    type: 'gauge',
    name: 'cambist_signing_key_age_seconds',
    help: 'Age of the youngest signing key of each purpose, algorithm and state',
    labels: { ...KEY_LABELS, state: ['next', 'active', 'retired', 'tainted'] },
  },
  signingKeyRotation: {
    type: 'gauge',
    name: 'cambist_signing_key_next_rotation_seconds',
    help: 'Seconds until the active signing key is due to be replaced; below zero: overdue',
    labels: KEY_LABELS,
  },
  clockSkew: {
    type: 'gauge',
    name: 'cambist_clock_skew_seconds',
    help: 'Clock of this node less clock of the database, as last measured',
    labels: {},
  },
  ready: {
    type: 'gauge',
    name: 'cambist_ready',
    help: '1 where a check of /readyz is passed, else 0',
    labels: { check: { distinctMax: 32 } },
  },
  certificateExpiry: {
    type: 'gauge',
    name: 'cambist_tls_certificate_expiry_timestamp_seconds',
    help: 'When the TLS certificate of a listener expires, in seconds since the epoch',
    labels: { listener: ['public', 'admin'] },
  },
  jobRuns: {
    type: 'counter',
    name: 'cambist_housekeeping_runs_total',
    help: 'Runs of the jobs of housekeeping on this node',
    labels: { job: { distinctMax: 32 }, outcome: ['done', 'unavailable', 'bug'] },
  },
  jobRemoved: {
    type: 'counter',
    name: 'cambist_housekeeping_removed_total',
    help: 'Rows and partitions that housekeeping removed',
    labels: { job: { distinctMax: 32 } },
  },
  jobSuccess: {
    type: 'gauge',
    name: 'cambist_housekeeping_last_success_timestamp_seconds',
    help: 'When a job last ended well on this node, in seconds since the epoch',
    labels: { job: { distinctMax: 32 } },
  },
  leases: {
    type: 'gauge',
    name: 'cambist_leases',
    help: 'Leases of upstream credentials over all nodes, as this node last saw them',
    labels: { state: ['alive', 'ending'] },
  },
  leaseEndings: {
    type: 'counter',
    name: 'cambist_lease_endings_total',
    help: 'Leases that the sweeper of this node ended at Vault, and attempts that failed',
    labels: { outcome: ['ended', 'failed'] },
  },
  leaseEndingAge: {
    type: 'gauge',
    name: 'cambist_lease_oldest_ending_seconds',
    help: 'For how long the oldest lease that is to be ended waits; 0 = none does',
    labels: {},
  },
  eventLoopLag: {
    type: 'histogram',
    name: 'cambist_process_event_loop_lag_seconds',
    help: 'How late a timer was, measured twice a second',
    labels: {},
    buckets: STEP_SECONDS,
  },
  garbageCollection: {
    type: 'histogram',
    name: 'cambist_process_garbage_collection_seconds',
    help: 'Pauses of the garbage collector',
    labels: { kind: ['minor', 'major', 'incremental', 'weakcb'] },
    buckets: STEP_SECONDS,
  },
  cpu: {
    type: 'counter',
    name: 'cambist_process_cpu_seconds_total',
    help: 'Processor time of this process, user and system',
    labels: {},
  },
  residentMemory: {
    type: 'gauge',
    name: 'cambist_process_resident_memory_bytes',
    help: 'Resident memory of this process',
    labels: {},
  },
  heapUsed: {
    type: 'gauge',
    name: 'cambist_process_heap_used_bytes',
    help: 'Heap of JavaScript in use',
    labels: {},
  },
  startTime: {
    type: 'gauge',
    name: 'cambist_process_start_timestamp_seconds',
    help: 'When this process started, in seconds since the epoch',
    labels: {},
  },
  build: {
    type: 'gauge',
    name: 'cambist_build_info',
    help: 'Always 1; the version of Cambist and of Node.js',
    labels: { version: { distinctMax: 1 }, node: { distinctMax: 1 } },
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricKey = keyof typeof CATALOGUE;
type KeysOf<T extends MetricDefinition['type']> = {
  [K in MetricKey]: (typeof CATALOGUE)[K]['type'] extends T ? K : never;
}[MetricKey];
export type CounterKey = KeysOf<'counter'>;
export type GaugeKey = KeysOf<'gauge'>;
export type HistogramKey = KeysOf<'histogram'>;

/** The labels that a metric wants, each with a value; a value that is not in its list counts as `other`. */
export type LabelsOf<K extends MetricKey> = { readonly [L in keyof (typeof CATALOGUE)[K]['labels']]: string };
