/**
 * Keeps caches honest: every request first learns the state version, and with it what has changed since this node looked
 * last. A change that was acknowledged before a request began is therefore in force for it, on every node.
 */
import type { Kind } from '../objects/kinds.ts';
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
  /** The state version by a statement that began after this call; every follower has forgotten what changed until it. */
  current(): Promise<number>;
  follow(follower: Follower): void;
}

/** Above so many changes at once it is cheaper to start afresh. */
const CHANGES_MAX = 2000;

const STATEMENT = `
SELECT state.version, change.kind, change.name, change.keys
FROM state LEFT JOIN LATERAL (
  SELECT kind, name, keys FROM object_change WHERE object_change.version > $1 ORDER BY object_change.version
  LIMIT ${CHANGES_MAX + 1}
) AS change ON true`;

export function createChangeFeed(db: Database): ChangeFeed {
  const followers: Follower[] = [];
  let known: number | undefined;

  const current = shareNext(async () => {
    const rows = await db.query<{ version: number; kind: Kind | null; name: string; keys: string[] }>(
      STATEMENT,
      [known ?? Number.MAX_SAFE_INTEGER],
      { name: 'change-feed' },
    );
    const version = rows[0]?.version;
    if (version === undefined) throw new Error('the state row is missing');
    if (version !== known) {
      const changes = rows.flatMap(({ kind, name, keys }) => (kind === null ? [] : [{ kind, name, keys }]));
      // A version below the known one: the database was restored underneath.
      const afresh = known === undefined || version < known || changes.length > CHANGES_MAX;
      for (const follower of followers) {
        if (afresh) follower.forgetAll();
        else follower.forget(changes);
      }
      known = version;
    }
    return version;
  });

  return { current, follow: (follower) => followers.push(follower) };
}
