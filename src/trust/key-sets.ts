/**
 * The public keys of trusted issuers and of clients: fetched when first needed, kept while fresh, served stale while
 * their source is down (fault F6 of the security reference).
 *
 * A document that is invalid changes nothing; a valid one replaces the whole set, so that a withdrawn key is gone at
 * once. Nobody outside decides how often we fetch: an unknown `kid` causes at most one fetch per cool-down, concurrent
 * callers share one fetch, and a source that fails is left alone for a while.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { FetchFailed } from '../net/fetcher.ts';
import type { Fetcher } from '../net/fetcher.ts';
import type { Client } from '../objects/client.ts';
import type { TrustedIssuer } from '../objects/issuer.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { fetchKeyDocument } from './key-documents.ts';
import type { RemoteKeySource } from './key-documents.ts';

/** Where keys come from. `label` names the source for an operator: `trusted issuer corp`, `client agent`. */
export type KeySource =
  | {
      readonly kind: 'static';
      readonly id: string;
      /** A JWK Set. */
      readonly keys: unknown;
      readonly uses?: readonly string[];
      readonly label?: string;
    }
  | RemoteKeySource;

export interface KeySets {
  /**
   * The keys of a source now. May fetch; waits for at most one fetch.
   * @param want.kid of the token at hand: one that the cached set lacks may cause a fetch
   * @throws Unavailable if there are no keys that are fresh enough, or the wanted one cannot be looked for
   */
  keysFor(source: KeySource, want: { readonly kid: string | undefined }): Promise<readonly AdmittedKey[]>;
}

const MIN_FRESH_SECONDS = 60;
const MAX_FRESH_SECONDS = 3600;
const DEFAULT_FRESH_SECONDS = 300;
/** After this long without a good fetch, old keys are not used any more. */
const STALE_LIMIT_SECONDS = 24 * 3600;
/** At most one fetch for unknown kids of one source in this time. */
const UNKNOWN_KID_COOLDOWN_SECONDS = 30;
const FIRST_BACKOFF_SECONDS = 1;
const MAX_BACKOFF_SECONDS = 60;
const MAX_SOURCES = 2000;

interface RemoteEntry {
  keys: readonly AdmittedKey[] | undefined;
  lastGoodMs: number;
  freshUntilMs: number;
  lastAttemptMs: number;
  /** Failures since the last good fetch. */
  failures: number;
  inFlight: Promise<void> | undefined;
}

/** Builds the cache of key sets. */
export function createKeySets(settings: {
  readonly fetcher: Fetcher;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of every fetch what became of it: `done`, `invalid`, or the code of a `FetchFailed`. */
  readonly onFetch?: (source: RemoteKeySource, outcome: string) => void;
}): KeySets {
  const { fetcher, clock, logger, onFetch } = settings;
  const remote = new LRUCache<string, RemoteEntry>({ max: MAX_SOURCES });
  const fixed = new LRUCache<string, readonly AdmittedKey[]>({ max: MAX_SOURCES });

  function staticKeys(source: Extract<KeySource, { kind: 'static' }>): readonly AdmittedKey[] {
    // Keyed by content too: the id outlives a change of the keys.
    const id = JSON.stringify([source.id, source.keys, source.uses]);
    const cached = fixed.get(id);
    if (cached !== undefined) return cached;
    const admitted = admitJwks(source.keys, source);
    if (isFault(admitted)) logger.warn({ source: source.id, fault: admitted }, 'registered keys are not usable');
    const keys = isFault(admitted) ? [] : admitted;
    fixed.set(id, keys);
    return keys;
  }

  function entryOf(source: RemoteKeySource): RemoteEntry {
    const id = cacheKeyOf(source);
    const known = remote.get(id);
    if (known !== undefined) return known;
    const entry: RemoteEntry = {
      keys: undefined,
      lastGoodMs: 0,
      freshUntilMs: 0,
      lastAttemptMs: -Infinity,
      failures: 0,
      inFlight: undefined,
    };
    remote.set(id, entry);
    return entry;
  }

  async function refresh(source: RemoteKeySource, entry: RemoteEntry): Promise<void> {
    entry.inFlight ??= fetchInto(source, entry).finally(() => {
      entry.inFlight = undefined;
    });
    await entry.inFlight;
  }

  /** Never rejects: a failure is noted in the entry, and the log. */
  async function fetchInto(source: RemoteKeySource, entry: RemoteEntry): Promise<void> {
    entry.lastAttemptMs = clock.nowMs();
    try {
      const { keys, maxAgeSeconds } = await fetchKeyDocument(source, fetcher);
      const freshSeconds = Math.min(
        Math.max(maxAgeSeconds ?? DEFAULT_FRESH_SECONDS, MIN_FRESH_SECONDS),
        MAX_FRESH_SECONDS,
      );
      const nowMs = clock.nowMs();
      entry.keys = keys;
      entry.lastGoodMs = nowMs;
      entry.freshUntilMs = nowMs + freshSeconds * 1000;
      entry.failures = 0;
      onFetch?.(source, 'done');
      if (keys.length === 0) logger.warn({ source: labelOf(source) }, 'key set has no usable key');
    } catch (error) {
      entry.failures += 1;
      onFetch?.(source, error instanceof FetchFailed ? error.code : 'invalid');
      logger.warn({ source: labelOf(source), failures: entry.failures, err: error }, 'keys could not be fetched');
    }
  }

  async function remoteKeys(source: RemoteKeySource, kid: string | undefined): Promise<readonly AdmittedKey[]> {
    const entry = entryOf(source);
    const need = needOf(entry, kid, clock.nowMs());
    if (need === 'now') await refresh(source, entry);
    else if (need === 'soon') void refresh(source, entry);

    const keys = usableKeys(entry, clock.nowMs());
    // While the source fails we cannot say that a key does not exist, so the answer is "later", not "no".
    if (keys === undefined || (entry.failures > 0 && !hasKid(keys, kid)))
      throw new Unavailable(labelOf(source), 'its keys could not be fetched');
    return keys;
  }

  return {
    keysFor: async (source, want) => (source.kind === 'static' ? staticKeys(source) : remoteKeys(source, want.kid)),
  };
}

/** Does this caller need a fetch: to wait for (`now`), beside it (`soon`), or not at all? */
function needOf(entry: RemoteEntry, kid: string | undefined, nowMs: number): 'now' | 'soon' | 'no' {
  const keys = usableKeys(entry, nowMs);
  const missing = keys === undefined || !hasKid(keys, kid);
  const fresh = nowMs < entry.freshUntilMs;
  if (!missing && fresh) return 'no';
  // A fetch under way is joined, unless stale keys will do.
  if (entry.inFlight !== undefined) return missing || entry.failures === 0 ? 'now' : 'no';
  const sinceAttemptSeconds = (nowMs - entry.lastAttemptMs) / 1000;
  if (entry.failures > 0 && sinceAttemptSeconds < backoffSeconds(entry.failures)) return 'no';
  if (keys !== undefined && missing && fresh && sinceAttemptSeconds < UNKNOWN_KID_COOLDOWN_SECONDS) return 'no';
  // A source that failed last time may hang again: whoever can be served with stale keys does not wait for it.
  return !missing && entry.failures > 0 ? 'soon' : 'now';
}

function usableKeys(entry: RemoteEntry, nowMs: number): readonly AdmittedKey[] | undefined {
  return nowMs - entry.lastGoodMs < STALE_LIMIT_SECONDS * 1000 ? entry.keys : undefined;
}

function hasKid(keys: readonly AdmittedKey[], kid: string | undefined): boolean {
  return kid === undefined || keys.some((key) => key.kid === kid);
}

function backoffSeconds(failures: number): number {
  return Math.min(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), MAX_BACKOFF_SECONDS);
}

/** Everything that decides what is fetched and how; not the label. */
function cacheKeyOf(source: RemoteKeySource): string {
  const { internal, caFile, bearerFile } = source;
  return source.kind === 'discovery'
    ? JSON.stringify(['discovery', source.issuer, internal, caFile, bearerFile])
    : JSON.stringify(['jwks_uri', source.url, internal, caFile, bearerFile, source.uses]);
}

function labelOf(source: RemoteKeySource): string {
  return source.label ?? `trusted issuer ${source.kind === 'discovery' ? source.issuer : source.url}`;
}

/** Where the keys for tokens with this exact `iss` of a trusted issuer come from. */
export function keySourceOf(issuer: TrustedIssuer, iss: string): KeySource {
  const label = `trusted issuer ${issuer.name}`;
  // Keys of a SPIFFE bundle say what they are for; those of X.509 SVIDs do not count (SPIFFE JWT-SVID §6).
  const spiffe = issuer.issuer.startsWith('spiffe://') ? { uses: ['jwt-svid'] } : {};
  if (issuer.jwks !== undefined) return { kind: 'static', id: label, label, keys: issuer.jwks, ...spiffe };
  const reach = {
    label,
    internal: issuer.internal,
    ...(issuer.ca_file !== undefined && { caFile: issuer.ca_file }),
    ...(issuer.bearer_file !== undefined && { bearerFile: issuer.bearer_file }),
  };
  if (issuer.jwks_uri === undefined) return { kind: 'discovery', issuer: iss, ...reach };
  return { kind: 'jwks_uri', url: issuer.jwks_uri, ...reach, ...spiffe };
}

/** Where the keys of a client with `private_key_jwt` come from; none for a client that has no keys registered. */
export function keySourceOfClient(client: Client): KeySource {
  const label = `client ${client.id}`;
  return client.jwks_uri === undefined
    ? { kind: 'static', id: label, label, keys: client.jwks ?? { keys: [] } }
    : { kind: 'jwks_uri', label, url: client.jwks_uri, internal: client.internal };
}
