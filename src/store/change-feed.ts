/**
 * Keeps caches honest: every request first learns the state of the database, and with it what has changed since this node
 * looked last. A change, a revocation or a rotation of keys that was acknowledged before a request began is therefore in
 * force for it, on every node.
 */
import { Unavailable } from '../core/refusal.ts';
import type { Kind } from '../objects/kinds.ts';
import type { StateSeen } from '../objects/registry.ts';
import type { Database } from './database.ts';
import { shareNext } from './grouping.ts';

export interface SeenChange {
  readonly kind: Kind;
  readonly name: string;
  /** Keys that it gained or lost, as `keyId` writes them. */
  readonly keys: readonly string[];
}

export interface Follower {
  forget(changes: readonly SeenChange[]): void;
  forgetAll(): void;
}

export interface ChangeFeed {
  /** The state by a statement that began after this call; every follower has forgotten what changed until it. */
  current(): Promise<StateSeen>;
  follow(follower: Follower): void;
  /** `reload` is awaited whenever the signing keys have changed; where it fails, `current` fails. */
  followKeys(reload: () => Promise<void>): void;
  /**
   * Tells when the database turns out to be another one than at first, or to have been restored: a node that was cut off
   * meanwhile. What it has in memory is not of this database, keys included, so `current` fails from then on.
   */
  onReplaced(tell: () => void): void;
}

/** Above so many changes at once it is cheaper to start afresh. */
const CHANGES_MAX = 2000;

const STATEMENT = `
SELECT (SELECT id || ' ' || epoch FROM instance) AS database, state.version, state.revocations, state.keys AS key_changes,
  (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms,
  coalesce(state.revoked_until > clock_timestamp(), false) AS revoking, change.kind, change.name, change.keys
FROM state LEFT JOIN LATERAL (
  SELECT kind, name, keys FROM object_change WHERE object_change.version > $1 ORDER BY object_change.version
  LIMIT ${CHANGES_MAX + 1}
) AS change ON true`;

interface Row {
  database: string | null;
  version: number;
  revocations: number;
  key_changes: number;
  now_ms: number;
  revoking: boolean;
  kind: Kind | null;
  name: string;
  keys: string[];
}

export function createChangeFeed(db: Database): ChangeFeed {
  const followers: Follower[] = [];
  const keyFollowers: (() => Promise<void>)[] = [];
  const replaced: (() => void)[] = [];
  let database: string | null | undefined;
  let known: number | undefined;
  let knownKeys: number | undefined;

  function tellFollowers(version: number, rows: readonly Row[]): void {
    if (version === known) return;
    const changes = rows.flatMap(({ kind, name, keys }) => (kind === null ? [] : [{ kind, name, keys }]));
    // A version below the known one: somebody put the database back by its own means.
    const afresh = known === undefined || version < known || changes.length > CHANGES_MAX;
    for (const follower of followers) {
      if (afresh) follower.forgetAll();
      else follower.forget(changes);
    }
    known = version;
  }

  const current = shareNext(async () => {
    const rows = await db.query<Row>(STATEMENT, [known ?? Number.MAX_SAFE_INTEGER], { name: 'change-feed' });
    const [row] = rows;
    if (row === undefined) throw new Error('the state row is missing');
    database ??= row.database;
    if (row.database !== database) {
      for (const tell of replaced) tell();
      throw new Unavailable('database', 'it was restored, or replaced by another one, since this node was started');
    }
    tellFollowers(row.version, rows);
    if (row.key_changes !== knownKeys) {
      for (const reload of keyFollowers) await reload();
      knownKeys = row.key_changes;
    }
    const { version, revocations, key_changes: keys, now_ms: databaseMs, revoking } = row;
    return { version, revocations, keys, databaseMs, revoking };
  });

  return {
    current,
    onReplaced: (tell) => replaced.push(tell),
    follow: (follower) => followers.push(follower),
    followKeys: (reload) => keyFollowers.push(reload),
  };
}
