/**
 * Step 3 of the road: may this client, at these targets, for this subject, send one more request this minute? Counted
 * over all nodes. A target is counted for each client apart, and not for who is over its own limit; a subject only by who
 * has verified a token of theirs, or anybody could use up somebody's quota. Where the count cannot be had the request
 * fails (Unavailable): a limit that is not counted is none.
 */
import { principalKey } from '../core/principal.ts';
import type { Principal } from '../core/principal.ts';
import { refuseForNow } from '../core/refusal.ts';
import type { Reason, Refusal } from '../core/refusal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { Target } from '../objects/target.ts';
import type { LimitSettings } from './bounds.ts';
import type { PermitsOfNode } from './permits.ts';

export type LimitName = 'client' | 'resource' | 'subject' | 'status';

/** How a request stands with one limit after it was counted: what the `RateLimit` fields say. */
export interface Standing {
  readonly limit: LimitName;
  /** Requests per minute. */
  readonly quota: number;
  readonly remaining: number;
  /** Seconds until the window ends, at least 1. */
  readonly resetSeconds: number;
}

/** The limits that applied, at most one standing of each name; a refusal where one of them is used up. */
export interface Admission {
  readonly standings: readonly Standing[];
  readonly refusal: Refusal | undefined;
}

export interface RateLimits {
  /** At the token endpoint, after the client has authenticated and before anything is verified. Each target once. */
  admitRequest(
    client: StoredObject<'client'>,
    /** Called only when the client is within its limit. */
    targets: () => Promise<readonly Pick<Target, 'name' | 'requestsPerMinute'>[]>,
  ): Promise<Admission>;
  /** At the token endpoint, once a token of this subject has verified; not for a client that asks for itself. */
  admitSubject(subject: Principal): Promise<Admission>;
  /**
   * For introspection and revocation: after the client has authenticated and before the token that it sent is looked
   * at. A refusal is answered like those of the token endpoint (429, `Retry-After`, counted as noise and not recorded).
   */
  admitStatus(client: StoredObject<'client'>): Promise<Admission>;
}

const NONE: Admission = { standings: [], refusal: undefined };

const REASONS = {
  client: 'client_rate_exceeded',
  resource: 'resource_rate_exceeded',
  subject: 'subject_rate_exceeded',
  status: 'client_rate_exceeded',
} as const satisfies Record<LimitName, Reason>;

export function createRateLimits(parts: {
  readonly settings: LimitSettings;
  readonly permits: PermitsOfNode;
  /** 64 hexadecimal digits that nobody without our keys can compute: what is limited may be a person. */
  hashOf(limit: LimitName, key: string): string;
}): RateLimits {
  const { settings, permits } = parts;

  async function admit(limit: LimitName, key: string, quota: number | null): Promise<Admission> {
    if (quota === null) return NONE;
    const { given, remaining, resetSeconds } = await permits.take(parts.hashOf(limit, key), quota);
    return {
      standings: [{ limit, quota, remaining, resetSeconds }],
      refusal: given ? undefined : refuseForNow(REASONS[limit], resetSeconds, { quota }),
    };
  }

  return {
    async admitRequest({ spec }, targets) {
      const own = await admit('client', spec.id, spec.requests_per_minute ?? settings.clientPerMinute);
      if (own.refusal !== undefined) return own;
      const named = await Promise.all(
        (await targets()).map(({ name, requestsPerMinute }) =>
          // Of this client: or one could use up a resource for all the others.
          admit('resource', JSON.stringify([spec.id, name]), requestsPerMinute ?? settings.resourcePerMinute),
        ),
      );
      return {
        standings: [...own.standings, ...tightest(named.flatMap(({ standings }) => standings))],
        refusal: named.find(({ refusal }) => refusal !== undefined)?.refusal,
      };
    },
    admitSubject: (subject) => admit('subject', principalKey(subject), settings.subjectPerMinute),
    admitStatus: ({ spec }) => admit('status', spec.id, settings.statusPerMinute),
  };
}

/** Of several resources, the one that will refuse first; of those that refuse, the one that does so for longest. */
function tightest(standings: readonly Standing[]): readonly Standing[] {
  const [first] = standings.toSorted((a, b) => a.remaining - b.remaining || b.resetSeconds - a.resetSeconds);
  return first === undefined ? [] : [first];
}
