/**
 * What was revoked and may still matter: asked for one token at a time, always from the database itself, so that a
 * revocation that was acknowledged is in force for the next request on every node. Rows are written by the statement
 * that commits their record (`commit-statement.ts`). An unknown state is thrown, never taken for "not revoked".
 */
import { CLOCK_MARGIN_SECONDS, KEPT_AFTER_EXPIRY_SECONDS } from '../core/clock.ts';
import { issValues } from '../objects/issuer.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import type { StateSeen } from '../objects/registry.ts';
import { MAX_TOKEN_LIFETIME_SECONDS } from '../objects/resource.ts';
import { findRevocation, predicateKey, predicatesToAsk } from '../tokens/revocation.ts';
import type { Predicate, RevocationKind, TokenFacts } from '../tokens/revocation.ts';
import type { Database } from './database.ts';
import { groupLookups } from './grouping.ts';

/**
 * How long a revocation that is not of one token is kept: the longest that a trusted issuer may let its tokens live
 * (seven days), and an hour.
 */
export const REVOCATION_LIFETIME_SECONDS = 7 * 86_400 + 3600;

/** How long after its issue a token of ours may still be alive by somebody's clock. */
export const OWN_TOKEN_ALIVE_SECONDS = MAX_TOKEN_LIFETIME_SECONDS + KEPT_AFTER_EXPIRY_SECONDS;

/** An object that was disabled or removed a short while ago, and still is. (A subject that is removed may go on.) */
export interface SwitchedOff {
  readonly kind: Kind;
  readonly name: string;
  /** As it was last. */
  readonly spec: Specs[Kind] | null;
  /** NumericDate: when that was, rounded up. */
  readonly atSeconds: number;
}

/** What servers that verify offline are told. */
export interface RevokedNow {
  /** `jti` of tokens of ours that live and were revoked, or were exchanged from one that was. */
  readonly tokens: readonly { readonly jti: string; readonly clientId: string }[];
  /** Clients that have too many such tokens to list them; none of those tokens was issued later than the time here. */
  readonly crowded: readonly { readonly clientId: string; readonly issuedUntilSeconds: number }[];
  /** Everything else that can hit a token of ours that lives. */
  readonly predicates: readonly Predicate[];
  readonly switchedOff: readonly SwitchedOff[];
}

export interface Revocations {
  /** What hits such a token. `state` was read after the request began. */
  find(facts: TokenFacts, state: StateSeen): Promise<Predicate | undefined>;
  /**
   * For the revocation document. At most `tokensMax` tokens, beyond which the clients with most of them are `crowded`; of
   * the rest too nothing is left out, but where it is too much `all` stands for it.
   */
  inForce(options: { readonly ownLifetimeSeconds: number; readonly tokensMax: number }): Promise<RevokedNow>;
}

interface Row {
  kind: RevocationKind;
  value: string;
  issued_until: number | null;
}

/** Objects that are switched off, and predicates: so that a reader, who accepts two megabytes, is never given more. */
const LISTED_MAX = 4000;

const FIND = `
SELECT revocation.kind, revocation.value, revocation.issued_until FROM unnest($1::text[], $2::text[]) AS asked(kind, value)
JOIN revocation ON revocation.kind = asked.kind AND revocation.value = asked.value
WHERE revocation.expires_at > clock_timestamp()`;

const PREDICATES = `
SELECT kind, value, issued_until, max(issued_until) OVER () AS latest FROM revocation WHERE kind <> 'token' AND expires_at > clock_timestamp()
  AND (issued_until IS NULL OR issued_until > extract(epoch FROM clock_timestamp()) - $1)
ORDER BY issued_until IS NOT NULL, kind, value LIMIT ${LISTED_MAX + 1}`;

// Revoked, exchanged from one that was, or vouched for by an issuer that was revoked or (`$2`) switched off without being named
// in it, so that no other predicate can say so. The clients with the fewest tokens are listed until the list is full; the others are named.
const TOKENS = `
WITH revoked AS (SELECT value FROM revocation WHERE kind = 'token' AND expires_at > clock_timestamp()
), voucher AS (
  SELECT value AS iss, issued_until FROM revocation WHERE kind = 'issuer' AND expires_at > clock_timestamp()
  UNION ALL SELECT iss, NULL FROM unnest($2::text[]) AS iss
), dead AS (
  SELECT jti, client_id, issued_at FROM issued_token WHERE expires_at > clock_timestamp() - interval '${KEPT_AFTER_EXPIRY_SECONDS} seconds'
    AND (jti IN (SELECT value FROM revoked) OR ancestors && ARRAY(SELECT value FROM revoked)
      OR vouched_by <> '{}' AND EXISTS (SELECT FROM voucher WHERE iss = ANY (vouched_by)
        AND (issued_until IS NULL OR issued_at <= to_timestamp(issued_until))))
), per_client AS (
  SELECT client_id, ceil(extract(epoch FROM max(issued_at)))::float8 AS latest,
    sum(count(*)) OVER (ORDER BY count(*), client_id) AS running FROM dead GROUP BY client_id
)
SELECT jti, client_id, NULL::float8 AS latest FROM dead JOIN per_client USING (client_id) WHERE running <= $1
UNION ALL SELECT NULL, client_id, latest FROM per_client WHERE running > $1
ORDER BY jti, client_id`;

// Who was switched off longer ago than a token lives is in no token that lives. The spec of what was removed is in the
// history before its removal.
const SWITCHED_OFF = `
SELECT *, ceil(extract(epoch FROM at))::float8 AS at_seconds,
  ceil(extract(epoch FROM max(at) OVER ()))::float8 AS latest FROM (SELECT DISTINCT ON (change.kind, change.name_hash) change.kind, change.name, change.at,
  coalesce(object.spec, (SELECT spec FROM object_change AS before WHERE before.kind = change.kind
    AND before.name_hash = change.name_hash AND before.spec IS NOT NULL ORDER BY before.version DESC LIMIT 1)) AS spec
FROM object_change AS change
LEFT JOIN object ON object.kind = change.kind AND object.name_hash = change.name_hash
WHERE (change.disabled OR change.action = 'remove') AND change.at > clock_timestamp() - $1 * interval '1 second'
  AND change.kind IN ('client', 'subject', 'issuer', 'resource') AND coalesce(object.disabled, change.kind <> 'subject')
ORDER BY change.kind, change.name_hash, change.at DESC) AS off LIMIT ${LISTED_MAX + 1}`;

const FIND_KEYS_MAX = 5000;

export function createRevocations(db: Database): Revocations {
  const fetch = groupLookups<string, Predicate>(async (keys) => {
    const asked = keys.map((key) => key.split(/\|(.*)/s, 2));
    const rows = await db.query<Row>(FIND, [asked.map(([kind]) => kind), asked.map(([, value]) => value)], {
      name: 'revocation-find',
    });
    return new Map(rows.map((row) => [predicateKey(row), predicateOf(row)]));
  }, FIND_KEYS_MAX);

  return {
    async find(facts, state) {
      if (!state.revoking) return undefined;
      const keys = predicatesToAsk(facts).map(predicateKey).filter(storableKey);
      const found = await Promise.all(keys.map(async (key) => [key, await fetch(key)] as const));
      const inForce = new Map(found);
      return findRevocation(facts, (key) => inForce.get(key));
    },
    async inForce({ ownLifetimeSeconds, tokensMax }) {
      const [predicates, switchedOff] = await Promise.all([
        db.query<Row & Latest>(PREDICATES, [ownLifetimeSeconds], { name: 'revocation-predicates' }),
        db.query<OffRow>(SWITCHED_OFF, [ownLifetimeSeconds], { name: 'revocation-switched-off' }),
      ]);
      const vouchers = switchedOff.flatMap(({ kind, spec }) =>
        kind === 'issuer' && spec !== null ? issValues(spec as Specs['issuer']) : [],
      );
      const tokens = await db.query<DeadToken>(TOKENS, [tokensMax, vouchers], { name: 'revocation-tokens' });
      const tooManyOff = switchedOff.length > LISTED_MAX;
      return {
        predicates: [
          ...withinBound(predicates),
          ...(tooManyOff ? [everythingUntil(switchedOff[0], CLOCK_MARGIN_SECONDS)] : []),
        ],
        tokens: tokens.flatMap(({ jti, client_id: clientId }) => (jti === null ? [] : [{ jti, clientId }])),
        crowded: tokens.flatMap(({ client_id: clientId, latest: issuedUntilSeconds }) =>
          issuedUntilSeconds === null ? [] : [{ clientId, issuedUntilSeconds }],
        ),
        switchedOff: tooManyOff
          ? []
          : switchedOff.map(({ kind, name, spec, at_seconds: atSeconds }) => ({ kind, name, spec, atSeconds })),
      };
    },
  };
}

/** A token, or (without `jti`) a client that has too many. */
interface DeadToken extends Latest {
  jti: string | null;
  client_id: string;
}

interface OffRow extends Pick<SwitchedOff, 'kind' | 'name' | 'spec'>, Latest {
  at_seconds: number;
}

/** NumericDate: of all rows that there are, also of those that were not fetched. */
interface Latest {
  latest: number | null;
}

/** All of them, or those without a time and one that hits at least what the others hit. */
function withinBound(rows: readonly (Row & Latest)[]): readonly Predicate[] {
  if (rows.length <= LISTED_MAX) return rows.map(predicateOf);
  const timeless = rows.filter(({ issued_until: until }) => until === null);
  // As good as impossible: only keys have no time.
  if (timeless.length > LISTED_MAX) return [everythingUntil(undefined)];
  return [...timeless.map(predicateOf), everythingUntil(rows[0])];
}

function everythingUntil(row: Latest | undefined, marginSeconds = 0): Predicate {
  const latest = row?.latest ?? null;
  return { kind: 'all', value: '', issuedUntilSeconds: latest === null ? null : latest + marginSeconds };
}

function predicateOf({ kind, value, issued_until: issuedUntilSeconds }: Row): Predicate {
  return { kind, value, issuedUntilSeconds };
}

/** PostgreSQL's text has no NUL, so nothing with one can have been revoked. */
function storableKey(key: string): boolean {
  return !key.includes('\0');
}
