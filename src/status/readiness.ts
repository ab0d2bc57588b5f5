/**
 * Is this node ready to do its work? A list of named checks, each of which knows its answer already: asking never waits
 * for what it asks about, so that a database that hangs cannot hang the probe. Reasons are constants with numbers in
 * them: no address, no name, nothing of an error's text.
 */

/** The names that operators and their alerts know. */
export type CheckName = 'draining' | 'database' | 'clock' | 'keys';

export interface FailingCheck {
  readonly name: CheckName;
  readonly reason: string;
}

export interface Readiness {
  /** The checks that fail now; none = ready. */
  failing(): readonly FailingCheck[];
  /** What does not work while the node is ready all the same. */
  degraded(): readonly Degradation[];
  /** From here on the node says that it is not ready, whatever the checks say. */
  drain(): void;
}

/** What does not stop this node: it does the rest of its work, and every other node has the same trouble. */
export interface Degradation {
  readonly name: 'vault';
  readonly reason: string;
}

/** Why a check fails, or `undefined` when it does not. */
export type Check = () => string | undefined;

export function createReadiness(
  checks: Readonly<Record<Exclude<CheckName, 'draining'>, Check>>,
  { vault = () => undefined }: Readonly<Partial<Record<Degradation['name'], Check>>> = {},
): Readiness {
  let draining = false;
  return {
    failing: () => {
      const failing: FailingCheck[] = draining ? [{ name: 'draining', reason: 'this node is stopping' }] : [];
      for (const name of ['database', 'clock', 'keys'] as const) {
        const reason = checks[name]();
        if (reason !== undefined) failing.push({ name, reason });
      }
      return failing;
    },
    degraded: () => {
      const reason = vault();
      return reason === undefined ? [] : [{ name: 'vault', reason }];
    },
    drain: () => {
      draining = true;
    },
  };
}

/** Fails when nothing was heard for longer than this, or never. Times are of a clock that only goes forward. */
export function heardWithin(limitMs: number, lastHeardMs: () => number | undefined, nowMs: () => number): Check {
  return () => {
    const last = lastHeardMs();
    if (last === undefined) return 'the database has not answered yet';
    const silentMs = nowMs() - last;
    return silentMs <= limitMs ? undefined : `the database has not answered for ${Math.round(silentMs / 1000)} s`;
  };
}

/** Fails when this node's clock is known to be further than this from the database's, or was never compared (F7). */
export function skewWithin(
  limitMs: number,
  measured: () => { readonly skewMs: number; readonly uncertaintyMs: number } | undefined,
): Check {
  return () => {
    const last = measured();
    if (last === undefined) return 'the clock was not compared with the database yet';
    if (Math.abs(last.skewMs) - last.uncertaintyMs <= limitMs) return undefined;
    const side = last.skewMs > 0 ? 'behind' : 'ahead of';
    return `the clock is ${Math.round(Math.abs(last.skewMs))} ms ${side} the database's; the limit is ${limitMs} ms`;
  };
}

/** Fails while some kind of key has none that signs. */
export function nothingMissing(missing: () => number | undefined): Check {
  return () => {
    const count = missing();
    if (count === undefined) return 'the signing keys were not looked at yet';
    return count === 0 ? undefined : `${count} of the signing keys are missing`;
  };
}
