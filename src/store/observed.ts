/**
 * A database whose failures are counted, by the three kinds that must never be mixed up (`database.ts`). Changes nothing
 * else: what is thrown goes on as it was.
 */
import { Unavailable } from '../core/refusal.ts';
import { OutcomeUnknown, StatementFailed } from './database.ts';
import type { Database } from './database.ts';

export type FailureKind = 'refused' | 'unavailable' | 'outcome_unknown';

/** The same database; `onFailure` is told of each statement and transaction that failed. */
export function observedDatabase(database: Database, onFailure: (kind: FailureKind) => void): Database {
  async function observed<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const kind = kindOf(error);
      if (kind !== undefined) onFailure(kind);
      throw error;
    }
  }
  return {
    ...database,
    query: <R>(...statement: Parameters<Database['query']>) => observed(database.query<R>(...statement)),
    transaction: (work) => observed(database.transaction(work)),
  };
}

/** `undefined`: the work of a transaction threw something of its own. */
function kindOf(error: unknown): FailureKind | undefined {
  if (error instanceof OutcomeUnknown) return 'outcome_unknown';
  if (error instanceof StatementFailed) return 'refused';
  return error instanceof Unavailable && error.dependency === 'database' ? 'unavailable' : undefined;
}
