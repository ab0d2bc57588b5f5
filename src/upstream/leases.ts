/**
 * Credentials that Vault makes for one token, and ends with it. The order of things is what keeps a lease from being
 * forgotten, wherever this process dies:
 *
 *   1 the intent is committed   2 a holder is opened   3 its accessor is committed   4 the lease is read with the holder
 *   5 the row is held
 *
 * Before 4 there is no lease, from 3 on the sweeper can end whatever there is. A row that was marked as ending meanwhile
 * lets no step pass. What is injected has one lease per token on this node, what is fetched one of its own.
 */
import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../core/clock.ts';
import { nowSeconds } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { LeaseBroker, LeasedSecret, LeaseHolder } from '../secrets/secret-store.ts';
import type { LeaseRows } from '../store/leases.ts';
import { predicatesToAsk } from '../tokens/revocation.ts';
import type { TokenFacts } from '../tokens/revocation.ts';
import type { Credential, CredentialUse } from './credential.ts';
import { createKept } from './kept.ts';
import { fieldOf, notThere, noVault, spotOf, whereOf } from './secret-reader.ts';
import type { SecretReaderParts, SecretSpot, SourceOf } from './secret-reader.ts';
import { checkInjectable } from './static-credential.ts';

type Source = SourceOf<'dynamic'>;

const KEPT_MAX = 5000;
/** A lease is costly to make: an upstream that takes none does not get more of them than this. */
const REJECT_EVERY_MS = 5000;
/** What lives shorter is not worth a role at a database. */
const LIFETIME_MIN_SECONDS = 5;
/** An injected lease is not used in its last part: a tenth of its life, 30 s at most. */
const MARGIN_PART = 0.1;
const MARGIN_MAX_SECONDS = 30;

export interface LeaseParts extends Pick<SecretReaderParts, 'vaultUserOf'> {
  /** `undefined` where the settings name no Vault. */
  readonly broker: LeaseBroker | undefined;
  readonly rows: LeaseRows;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The name that a subject would be registered under; `undefined` for a client. */
  registeredNameOf(use: CredentialUse): Promise<string | undefined>;
}

export interface Leases {
  /** Refuses with `credential_missing`, `credential_forbidden`, `credential_refused`, `nothing_left_to_live`. */
  obtain(use: CredentialUse, source: Source): Promise<Credential | Refusal>;
  /** The upstream did not take it: the lease is ended, and the next `obtain` gets another one. */
  reject(credential: Credential): void;
  /** Forgets the values, ends no lease that is alive; waits for those that are being ended. */
  close(): Promise<void>;
}

interface Lease {
  readonly id: string;
  readonly accessor: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly expiresAtSeconds: number;
  /** How many uses have it, and did not discard it. */
  uses: number;
}

export function createLeases(parts: LeaseParts): Leases {
  const { clock } = parts;
  const kept = createKept<Lease | Refusal>({ clock, entriesMax: KEPT_MAX, rejectEveryMs: REJECT_EVERY_MS });
  const leaseOfCredential = new WeakMap<Credential, { readonly key: string; readonly lease: Lease }>();
  const ends = new Set<Promise<void>>();

  function end(lease: Pick<Lease, 'id' | 'accessor'>): Promise<void> {
    const ending = endNow(parts, lease).finally(() => ends.delete(ending));
    ends.add(ending);
    return ending;
  }

  async function discard(key: string, lease: Lease): Promise<void> {
    lease.uses -= 1;
    // Of an injected lease others may be making use.
    if (lease.uses > 0) return;
    kept.remove(key, lease);
    await end(lease);
  }

  return {
    async obtain(use, source) {
      const impossible = whyNot(use, source);
      if (impossible !== undefined) return impossible;
      const spot = spotOf(use, parts.vaultUserOf);
      if (isRefusal(spot)) return spot;
      const key = JSON.stringify([spot.key, use.token.identity]);
      const lease = await (use.purpose === 'fetch'
        ? makeLease(parts, use, source, spot)
        : kept.get(key, async () => {
            const value = await makeLease(parts, use, source, spot);
            return { value, untilMs: isRefusal(value) ? undefined : usableUntilMs(value, clock.nowMs()) };
          }));
      if (isRefusal(lease)) return lease;
      lease.uses += 1;
      const credential = credentialOf(use, source, lease, () => discard(key, lease));
      if (isRefusal(credential)) await discard(key, lease);
      else leaseOfCredential.set(credential, { key, lease });
      return credential;
    },
    reject(credential) {
      const found = leaseOfCredential.get(credential);
      if (found === undefined) return;
      const { key, lease } = found;
      if (kept.reject(key, (value) => value === lease)) void end(lease);
    },
    async close() {
      kept.close();
      await Promise.all(ends);
    },
  };
}

/** What can be known before anything is made. */
function whyNot(use: CredentialUse, source: Source): Refusal | undefined {
  if (use.purpose === 'inject' && source.field === undefined)
    return refuse('credential_missing', { ...whereOf(use), missing: 'credential.field', fix: 'name what is injected' });
  return undefined;
}

/** The five steps. After the first one, whatever goes wrong leaves a row that says so. */
async function makeLease(
  parts: LeaseParts,
  use: CredentialUse,
  source: Source,
  spot: SecretSpot,
): Promise<Lease | Refusal> {
  const { broker, rows, clock } = parts;
  if (broker === undefined) throw noVault(use.upstream.name);
  const leftSeconds = Math.floor(use.token.expiresAtSeconds - clock.nowMs() / 1000);
  const lifetimeSeconds = Math.min(source.lifetime_seconds, leftSeconds);
  if (lifetimeSeconds < LIFETIME_MIN_SECONDS) return refuse('nothing_left_to_live', { left_seconds: leftSeconds });
  const id = uuidv7();
  const intent = await intentOf(parts, use, id, lifetimeSeconds);
  await rows.intend(intent);
  let holder: LeaseHolder | undefined;
  let asking = false;
  try {
    holder = await broker.openHolder(lifetimeSeconds, spot.user);
    const beganSeconds = clock.nowMs() / 1000;
    if (!(await rows.noteAccessor(id, holder.accessor))) throw overtaken();
    asking = true;
    const answer = await holder.lease(spot.path);
    asking = false;
    if ('missing' in answer) {
      await endNow(parts, { id, accessor: holder.accessor });
      return notThere(use, answer.missing);
    }
    return await heldLease(
      parts,
      id,
      holder,
      answer.leased,
      Math.min(beganSeconds + lifetimeSeconds, use.token.expiresAtSeconds),
    );
  } catch (error) {
    // Vault may be making it yet, and a lease that comes to be under a holder that is gone lives on: it is the sweeper's.
    if (asking) parts.logger.warn({ lease: id }, 'whether a lease was made is not known: it is ended in a minute');
    else await endNow(parts, { id, accessor: holder?.accessor });
    throw error;
  }
}

async function heldLease(
  { rows, clock }: LeaseParts,
  id: string,
  holder: LeaseHolder,
  leased: LeasedSecret,
  latestSeconds: number,
): Promise<Lease> {
  const now = clock.nowMs() / 1000;
  const expiresAtSeconds = Math.floor(Math.min(latestSeconds, now + leased.durationSeconds));
  if (!(await rows.hold(id, Math.max(0, expiresAtSeconds - now)))) throw overtaken();
  return { id, accessor: holder.accessor, fields: leased.fields, expiresAtSeconds, uses: 0 };
}

/** This took too long, and the row is the sweeper's. */
function overtaken(): Unavailable {
  return new Unavailable('vault', 'making a lease took so long that it was given up');
}

async function intentOf(parts: LeaseParts, use: CredentialUse, id: string, lifetimeSeconds: number) {
  const { token, clientId } = use;
  const now = nowSeconds(parts.clock);
  const facts: TokenFacts = token.facts ?? {
    identities: [token.identity, ...token.ancestors],
    subjects: [use.subject],
    actors: [],
    clients: [clientId],
    resources: [],
    issuers: [use.subject.issuer],
    issuedAtSeconds: now,
  };
  return {
    id,
    upstream: use.upstream.name,
    clientId,
    facts: predicatesToAsk(facts),
    tokenIssuedAtSeconds: Math.floor(facts.issuedAtSeconds),
    subjectName: await parts.registeredNameOf(use),
    lifetimeSeconds,
  };
}

/** Ends a lease now, as far as that is possible; the sweeper does what is left. Never throws. */
async function endNow(
  { rows, broker, logger }: LeaseParts,
  { id, accessor }: { readonly id: string; readonly accessor: string | undefined },
): Promise<void> {
  // The holder also where the database cannot be reached: it may be known nowhere else.
  const ended = [
    rows.beginEnd(id),
    ...(accessor === undefined || broker === undefined ? [] : [broker.revokeHolder(accessor)]),
  ];
  const failed = (await Promise.allSettled(ended)).find((one) => one.status === 'rejected');
  try {
    if (failed === undefined) await rows.remove(id);
    else logger.warn({ err: failed.reason as unknown, lease: id }, NOT_ENDED);
  } catch (error) {
    logger.warn({ err: error, lease: id }, NOT_ENDED);
  }
}

const NOT_ENDED = 'a lease could not be ended at once: the sweeper tries again';

function credentialOf(
  use: CredentialUse,
  source: Source,
  lease: Lease,
  discard: () => Promise<void>,
): Credential | Refusal {
  const { field, username_field: usernameField } = source;
  const secret = field === undefined ? undefined : fieldOf(use, lease.fields, field);
  if (isRefusal(secret)) return secret;
  const username = usernameField === undefined ? undefined : fieldOf(use, lease.fields, usernameField);
  if (isRefusal(username)) return username;
  const unfit = checkInjectable(use, { secret, username });
  if (unfit !== undefined) return unfit;
  let discarded: Promise<void> | undefined;
  return {
    fields: lease.fields,
    secret,
    username,
    expiresAtSeconds: lease.expiresAtSeconds,
    mark: { kind: 'dynamic', store: 'vault', path: source.path, version: lease.id },
    discard: () => (discarded ??= discard()),
  };
}

function usableUntilMs({ expiresAtSeconds }: Lease, nowMs: number): number {
  const leftSeconds = expiresAtSeconds - nowMs / 1000;
  return (expiresAtSeconds - Math.min(MARGIN_MAX_SECONDS, leftSeconds * MARGIN_PART)) * 1000;
}
