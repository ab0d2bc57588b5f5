/**
 * How an operation ends: a value, or a problem of the caller. Problems are values, so that the local socket and the
 * command line can say them alike; only `Unavailable` and bugs are thrown.
 */
import { KeyTaken, ObjectMissing, StateMoved } from '../store/objects.ts';
import type { ConfigFault } from './fault.ts';

/** A problem of the caller, by a stable code (RFC 9457 `code` on the wire). */
export interface Problem {
  readonly code:
    | 'objects_invalid'
    | 'object_unknown'
    | 'object_exists'
    | 'object_in_use'
    | 'state_moved'
    | 'key_taken'
    | 'keys_too_many'
    | 'backup_refused'
    | 'argument_invalid';
  readonly title: string;
  /** Where files were given: every fault in them. */
  readonly faults?: readonly ConfigFault[] | undefined;
}

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: Problem };

/** The outcome of something that cannot be done. */
export function refused(code: Problem['code'], title: string, faults?: readonly ConfigFault[]): Outcome<never> {
  return { ok: false, problem: { code, title, ...(faults === undefined ? {} : { faults }) } };
}

/** Errors of the store that are the caller's to know about, as problems. */
export async function orProblem<T>(work: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ObjectMissing) return refused('object_unknown', error.message);
    if (error instanceof KeyTaken) return refused('key_taken', `nothing was changed: ${error.message}`);
    if (error instanceof StateMoved) return refused('state_moved', `nothing was changed: ${error.message}`);
    throw error;
  }
}
