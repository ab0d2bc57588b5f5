/**
 * The steps of the road as they are timed and traced.
 */

/** The steps that are timed; what each costs is in `src/README.md`. */
export type Phase =
  | 'registry'
  | 'authenticate'
  | 'limit'
  | 'dispatch'
  | 'verify'
  | 'resolve'
  | 'decide'
  | 'mint'
  | 'obtain'
  | 'record'
  | 'commit';

export interface Timing {
  /** Told how long each step took, in milliseconds. */
  observe(phase: Phase, durationMs: number): void;
  /** Runs a step, as a part of what is told of the request; default: just runs it. */
  within?<T>(phase: Phase, work: () => Promise<T>): Promise<T>;
}

/** Runs a step and tells what it took, whatever came of it. */
export async function timed<T>(timing: Timing, phase: Phase, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await (timing.within?.(phase, work) ?? work());
  } finally {
    timing.observe(phase, performance.now() - start);
  }
}
