/**
 * Permits of one node: it takes them from the database in blocks of a twentieth of the quota, so that most requests cost
 * no round trip, and what it has left of a block is good until the window ends. It never gives out more than it took,
 * and so all nodes together never more than the quota. Limits below 40 have blocks of one: exact to the request.
 */
import { LRUCache } from 'lru-cache';
import { groupLookups } from '../store/grouping.ts';
import type { Rates } from '../store/rates.ts';

const BLOCKS_PER_QUOTA = 20;

export interface Permit {
  readonly given: boolean;
  /** Of the quota, as far as this node knows: others may have taken some since. */
  readonly remaining: number;
  /** Seconds until the window ends, at least 1. */
  readonly resetSeconds: number;
}

export interface PermitsOfNode {
  /** One permit out of `quota` for this window. Throws Unavailable where the database cannot say. */
  take(hash: string, quota: number): Promise<Permit>;
  /** Keys that are remembered. */
  size(): number;
}

interface Block {
  readonly quota: number;
  left: number;
  /** What the database has left beyond this block. */
  readonly beyond: number;
  readonly endsAtMs: number;
}

/** A block, and the part of it that is for those who waited for it. */
interface Taken {
  readonly block: Block;
  reserved: number;
}

export function createPermits(parts: {
  readonly rates: Pick<Rates, 'take'>;
  /** Milliseconds of a clock that never jumps. */
  elapsedMs(): number;
  readonly keysMax?: number;
}): PermitsOfNode {
  const blocks = new LRUCache<string, Block>({ max: parts.keysMax ?? 50_000 });
  const waiting = new Map<string, { quota: number; count: number }>();

  const usable = (hash: string, quota: number): Block | undefined => {
    const block = blocks.get(hash);
    return block?.quota === quota && parts.elapsedMs() < block.endsAtMs ? block : undefined;
  };

  const takeBlocks = groupLookups(async (hashes: readonly string[]): Promise<ReadonlyMap<string, Taken>> => {
    const asked = hashes.map((hash) => {
      const { quota, count } = waiting.get(hash) ?? { quota: 1, count: 1 };
      waiting.delete(hash);
      return { hash, quota, count, wanted: Math.max(count, Math.floor(quota / BLOCKS_PER_QUOTA)) };
    });
    // From before the statement was sent: this node's window ends no later than the database's.
    const sentAtMs = parts.elapsedMs();
    const given = await parts.rates.take(asked);
    return new Map(
      asked.map(({ hash, quota, count }) => {
        const permits = given.get(hash);
        if (permits === undefined) throw new Error('the store gave no answer for a limit');
        // What an earlier round trip left over, unless its window ended meanwhile.
        const available = permits.granted + (usable(hash, quota)?.left ?? 0);
        const reserved = Math.min(available, count);
        const block: Block = {
          quota,
          left: available - reserved,
          beyond: permits.remaining,
          endsAtMs: sentAtMs + permits.endsInMs,
        };
        blocks.set(hash, block);
        return [hash, { block, reserved }];
      }),
    );
  });

  const permit = (given: boolean, { left, beyond, endsAtMs }: Block): Permit => ({
    given,
    remaining: given ? left + beyond : 0,
    resetSeconds: Math.max(1, Math.ceil((endsAtMs - parts.elapsedMs()) / 1000)),
  });

  return {
    async take(hash, quota) {
      const block = usable(hash, quota);
      if (block !== undefined && block.left > 0) {
        block.left -= 1;
        return permit(true, block);
      }
      // Used up on every node: no reason to ask again before the window ends.
      if (block?.beyond === 0) return permit(false, block);
      waiting.set(hash, { quota, count: (waiting.get(hash)?.count ?? 0) + 1 });
      const taken = await takeBlocks(hash);
      if (taken === undefined) throw new Error('a limit was asked for and got no answer');
      if (taken.reserved === 0) return permit(false, taken.block);
      taken.reserved -= 1;
      return permit(true, taken.block);
    },
    size: () => blocks.size,
  };
}
