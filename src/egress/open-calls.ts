/**
 * The calls that are open on this node: how many there may be, and what ends one early. A call ends when its token
 * expires, and when what let it in does not hold any more: the state of the database is looked at once a second for all
 * of them together, and only where it moved is each judged again. Where the state cannot be had for a while, calls end
 * too: a revocation may be in what is not seen.
 */
import type { Clock } from '../core/clock.ts';
import { refuseForNow, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Registry, StateSeen } from '../objects/registry.ts';
import type { Ending } from './call.ts';

/** Between two looks at the state. */
const LOOK_MS = 1_000;
/** For how long the state may be unknown. */
const UNKNOWN_FOR_MS = 10_000;

/** Something that is open: until when, and whether it may go on. */
export interface Watched {
  readonly expiresAtSeconds: number;
  /** The state that it was let in at. */
  readonly state: StateSeen;
  /** Whether what let it in still holds. */
  stillHolds(registry: Registry): Promise<boolean>;
  cut(ending: Ending): void;
}

interface Entry {
  readonly watched: Watched;
  /** As of which it was judged last. */
  state: StateSeen;
}

/** A place among the open calls. */
export interface Place {
  /** From here on the call is watched. */
  watch(watched: Watched): void;
  leave(): void;
}

export interface OpenCalls {
  /** Throws Unavailable (`overload`) where the node is full; a refusal where the client is. */
  enter(clientId: string): Place | Refusal;
  count(): number;
  /** Looks now, not at the next turn. */
  look(): Promise<void>;
  /** Ends what is open. */
  stop(): void;
}

export function createOpenCalls(parts: {
  readonly clock: Clock;
  readonly callsMax: number;
  readonly callsPerClientMax: number;
  registry(): Promise<Registry>;
}): OpenCalls {
  const { clock } = parts;
  const perClient = new Map<string, number>();
  const watching = new Set<Entry>();
  let open = 0;
  let lastLookMs = performance.now();
  let looking: Promise<void> | undefined;

  async function lookOnce(): Promise<void> {
    let registry: Registry;
    try {
      registry = await parts.registry();
    } catch {
      if (performance.now() - lastLookMs > UNKNOWN_FOR_MS)
        for (const { watched } of watching) watched.cut('state_unknown');
      return;
    }
    const { version, revocations, keys } = registry.state;
    const moved = [...watching].filter(
      ({ state }) => state.version !== version || state.revocations !== revocations || state.keys !== keys,
    );
    const judged = await Promise.all(moved.map((one) => judgeAgain(one, registry)));
    // What could not be judged is not counted as seen.
    if (judged.every((done) => done)) lastLookMs = performance.now();
    else if (performance.now() - lastLookMs > UNKNOWN_FOR_MS)
      for (const { watched } of moved) watched.cut('state_unknown');
  }

  async function judgeAgain(entry: Entry, registry: Registry): Promise<boolean> {
    try {
      if (!(await entry.watched.stillHolds(registry))) entry.watched.cut('revoked');
      entry.state = registry.state;
      return true;
    } catch {
      return false;
    }
  }

  const look = () => {
    looking ??= lookOnce().finally(() => {
      looking = undefined;
    });
    return looking;
  };
  const timer = setInterval(() => {
    if (watching.size > 0) void look();
    else lastLookMs = performance.now();
  }, LOOK_MS);
  timer.unref();

  return {
    enter(clientId) {
      if (open >= parts.callsMax) throw new Unavailable('overload', 'too many calls are open');
      const ofClient = perClient.get(clientId) ?? 0;
      if (ofClient >= parts.callsPerClientMax) return refuseForNow('egress_calls_exceeded', 1, { open: ofClient });
      perClient.set(clientId, ofClient + 1);
      open += 1;
      return placeOf(clientId);
    },
    count: () => open,
    look,
    stop: () => {
      clearInterval(timer);
      for (const { watched } of watching) watched.cut('stopped');
    },
  };

  function placeOf(clientId: string): Place {
    let mine: { readonly expiry: NodeJS.Timeout; readonly entry: Entry } | undefined;
    let left = false;
    return {
      watch(watched) {
        const expiry = setTimeout(
          () => {
            watched.cut('expired');
          },
          Math.max(0, watched.expiresAtSeconds * 1000 - clock.nowMs()),
        );
        const entry = { watched, state: watched.state };
        mine = { expiry, entry };
        watching.add(entry);
      },
      leave() {
        if (left) return;
        left = true;
        open -= 1;
        const others = (perClient.get(clientId) ?? 1) - 1;
        if (others === 0) perClient.delete(clientId);
        else perClient.set(clientId, others);
        if (mine === undefined) return;
        clearTimeout(mine.expiry);
        watching.delete(mine.entry);
      },
    };
  }
}
