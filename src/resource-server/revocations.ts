/**
 * The revocation document as a server has it: polled, checked, and current or not. Owns the rule that matters when
 * something is wrong between here and the issuer: what is not known to be alive is not let in. A document that cannot be
 * had, is signed by another key, or is older than the one at hand changes nothing; the one at hand ages, and past the set
 * age there is none.
 */
import { nowSeconds } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import { decodeCompact } from '../tokens/compact.ts';
import { isFault } from '../tokens/fault.ts';
import { REVOCATION_DOCUMENT_MAX_BYTES, readRevocationDocument } from '../tokens/revocation-document.ts';
import { verifySignature } from '../tokens/verify.ts';
import { hold, isCurrent, mergeHeld } from './held-document.ts';
import type { HeldDocument } from './held-document.ts';
import type { PublishedByIssuer } from './issuer.ts';
import { RemoteFailure, getDocument } from './remote.ts';

const MIN_TIMEOUT_MS = 1000;
const MAX_TIMEOUT_MS = 5000;
const WHAT = 'revocation document';

export interface Revocations {
  /** The newest document, if tokens may be judged by it now. */
  current(): HeldDocument | undefined;
  /** Seconds since the newest document was made; `undefined` where there is none. */
  ageSeconds(): number | undefined;
  /** Asks for a newer one, now. Never rejects for what the issuer did: that is a `problem`. */
  poll(): Promise<void>;
  /** What the last poll failed with, in words. */
  problem(): string | undefined;
  /** Polls until `close`; the first one at once. */
  start(): void;
  /** Resolves when the poll that comes next to its end has ended. */
  afterPoll(): Promise<void>;
  close(): void;
}

/** Builds the poller. `signal` cuts a poll under way. */
export function createRevocations(settings: {
  readonly issuer: string;
  readonly published: PublishedByIssuer;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly pollSeconds: number;
  readonly maxAgeSeconds: number;
  readonly signal: AbortSignal;
  /** 0 to 1; spreads the polls of many servers. */
  readonly random: () => number;
}): Revocations {
  const { issuer, published, clock, pollSeconds, maxAgeSeconds } = settings;
  let held: HeldDocument | undefined;
  let etag: string | undefined;
  let problem: string | undefined;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let waiting: (() => void)[] = [];

  function ageSeconds(): number | undefined {
    return held === undefined ? undefined : clock.nowMs() / 1000 - held.issuedAtSeconds;
  }

  async function pollOnce(): Promise<void> {
    const url = await published.revocationsEndpoint();
    // A 304 says that nothing changed and is not signed: it does not make the document at hand younger, so that one is
    // asked for in full well before it is too old.
    const young = (ageSeconds() ?? Infinity) < maxAgeSeconds / 2;
    const got = await getDocument(settings.fetch, url, {
      what: WHAT,
      mediaTypes: ['application/jwt'],
      maxBytes: REVOCATION_DOCUMENT_MAX_BYTES,
      timeoutMs: Math.min(MAX_TIMEOUT_MS, Math.max(MIN_TIMEOUT_MS, pollSeconds * 1000)),
      etag: young ? etag : undefined,
      signal: settings.signal,
    });
    if (got === 'not_modified') return;
    await take(got.bytes);
    etag = got.etag;
  }

  async function take(bytes: Uint8Array): Promise<void> {
    const invalid = (why: string) => new RemoteFailure('invalid', WHAT, why);
    const jwt = decodeCompact(new TextDecoder().decode(bytes), REVOCATION_DOCUMENT_MAX_BYTES);
    if (isFault(jwt)) throw invalid(jwt.code);
    if (jwt.header.kid === undefined) throw invalid('no kid');
    const keys = await published.revocationKeys(jwt.header.kid);
    const verified = await verifySignature(jwt, keys, ['ES256']);
    if (isFault(verified)) throw invalid(verified.code);
    const document = readRevocationDocument(verified, { issuer, nowSeconds: nowSeconds(clock) });
    if (isFault(document)) throw invalid(`${document.code} ${document.claim ?? ''}`.trim());
    const fresh = hold(document, clock.nowMs());
    if (!isCurrent(fresh, { nowMs: fresh.receivedMs, maxAgeSeconds }))
      throw invalid('too old: is the clock of this machine right?');
    // No way back to a document from before a revocation.
    if (held !== undefined && fresh.issuedAtSeconds < held.issuedAtSeconds) throw invalid('older than the one at hand');
    held = held?.issuedAtSeconds === fresh.issuedAtSeconds ? mergeHeld(held, fresh) : fresh;
  }

  async function poll(): Promise<void> {
    try {
      await pollOnce();
      problem = undefined;
      failures = 0;
    } catch (error) {
      if (!(error instanceof RemoteFailure)) throw error;
      problem = error.message;
      failures += 1;
    } finally {
      const told = waiting;
      waiting = [];
      for (const tell of told) tell();
    }
  }

  /** Counted from the start of a poll, and only ever shortened: a revocation is heard of within `pollSeconds`. */
  function run(): void {
    if (closed) return;
    const startedMs = performance.now();
    const next = () => {
      if (closed) return;
      const seconds = failures === 0 ? pollSeconds : Math.min(pollSeconds, 2 ** (failures - 1));
      const delayMs = seconds * 1000 * (1 - 0.2 * settings.random()) - (performance.now() - startedMs);
      // After a failure it never comes at once: a server that refuses fast would be asked in a loop.
      timer = setTimeout(run, Math.max(failures === 0 ? 0 : Math.min(seconds * 500, 1000), delayMs));
      timer.unref();
    };
    void poll().then(next, (bug: unknown) => {
      problem = `${WHAT}: ${bug instanceof Error ? bug.name : 'bug'}`;
      failures += 1;
      next();
    });
  }

  return {
    current: () =>
      held !== undefined && !closed && isCurrent(held, { nowMs: clock.nowMs(), maxAgeSeconds }) ? held : undefined,
    ageSeconds,
    poll,
    problem: () => problem,
    start: run,
    afterPoll: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
      }),
    close: () => {
      closed = true;
      held = undefined;
      clearTimeout(timer);
      for (const tell of waiting) tell();
      waiting = [];
    },
  };
}
