/**
 * What every aggregate of the store asks of a database, whichever driver is behind it, and how its failures are told
 * apart. Three things can go wrong with a statement, and they must never be mixed up:
 *   StatementFailed   the database refused it and undid it: nothing of it is there.
 *   Unavailable       the database did not get it, or undid it for want of resources: nothing of it is there.
 *   OutcomeUnknown    it was sent and the answer never came: it may be there.
 * Values never appear in an error of this file: what a statement carried is personal or secret.
 */
import { Unavailable } from '../core/refusal.ts';

export interface Queryable {
  /** Runs one statement. `name` = prepare it once per connection. Rows have numbers for bigint, `Date` for timestamptz. */
  query<R>(text: string, values?: readonly unknown[], options?: { readonly name?: string }): Promise<R[]>;
}

/** What the work of a transaction is given; good only until that work returns. */
export interface Transaction extends Queryable {
  /** Runs a text of several statements without values. For migrations. */
  script(text: string): Promise<void>;
}

export interface Database extends Queryable {
  readonly engine: 'postgresql' | 'pglite';
  /** How many batches of commits are worth sending at a time. */
  readonly maxInFlightBatches: number;
  /** The schema that every statement runs in (`search_path`). */
  readonly schema: string;
  /** Commits when `work` returns, undoes everything when it throws. READ COMMITTED. */
  transaction<T>(work: (q: Transaction) => Promise<T>): Promise<T>;
  /** Connections, and who waits for one. */
  pool(): PoolSizes;
  close(): Promise<void>;
}

export interface PoolSizes {
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
}

/** The database refused a statement and undid it. */
export class StatementFailed extends Error {
  override readonly name = 'StatementFailed';
  /** SQLSTATE, five characters (PostgreSQL, appendix A). */
  readonly sqlstate: string;
  readonly constraint: string | undefined;

  constructor(sqlstate: string, message: string, constraint: string | undefined) {
    super(`${sqlstate}: ${message}`);
    this.sqlstate = sqlstate;
    this.constraint = constraint;
  }
}

/** The connection was lost, or a time-out passed, after a statement was sent: whether it took effect is not known. */
export class OutcomeUnknown extends Unavailable {}

/** The shape that both drivers give to an ErrorResponse of the server. */
interface ServerError {
  readonly message: string;
  readonly code: string;
  readonly severity: string;
  readonly constraint?: string | undefined;
}

function isServerError(error: unknown): error is ServerError {
  if (!(error instanceof Error)) return false;
  const { code, severity } = error as Partial<ServerError>;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && typeof severity === 'string';
}

/** Classes of SQLSTATE that mean "not now": the statement was undone for want of something that may come back. */
const NOT_NOW = /^(53|55P03|57014|25006|25P0[34]|57P0[45]|58)/;

/**
 * An error of a statement that was sent, as one of the three kinds. Only an ErrorResponse of severity ERROR proves that
 * the server undid the statement; FATAL and PANIC can come from a server that dies after its commit was flushed.
 */
export function statementError(error: unknown): StatementFailed | Unavailable {
  if (error instanceof StatementFailed || error instanceof Unavailable) return error;
  if (!isServerError(error) || error.severity !== 'ERROR' || error.code.startsWith('08'))
    return new OutcomeUnknown('database', 'the connection was lost after a statement was sent', {
      cause: withoutValues(error),
    });
  if (NOT_NOW.test(error.code))
    return new Unavailable('database', `the database could not run a statement (${error.code})`, {
      cause: withoutValues(error),
    });
  return new StatementFailed(error.code, withoutValues(error).message, error.constraint);
}

/** An error from before any statement was sent: the database was not reached. */
export function connectError(error: unknown): Unavailable {
  if (error instanceof Unavailable) return error;
  return new Unavailable('database', 'the database could not be reached', { cause: withoutValues(error) });
}

/**
 * The error without what it quotes. Messages of the server quote values only after a colon (`invalid input syntax for type
 * uuid: "…"`); `detail`, `where` and `hint`, which quote rows, and the stack, which repeats the message, stay behind.
 */
export function withoutValues(error: unknown): Error {
  if (!(error instanceof Error)) return new Error('unknown error');
  if (isServerError(error))
    return Object.assign(new Error(error.message.replace(/:\s*(".*|'.*|\{.*)$/s, '')), { code: error.code });
  const { code } = error as { code?: unknown };
  return Object.assign(new Error(error.message), code === undefined ? {} : { code });
}

/** Names that go into SQL as they are: schemas and roles, from configuration. */
export function checkedIdentifier(what: string, name: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(name))
    throw new Error(`${what} "${name}" must be 1 to 63 lower-case letters, digits or "_", not starting with a digit`);
  return name;
}

export const DEFAULT_SCHEMA = 'cambist';
export const RUNTIME_ROLE = 'cambist_runtime';
export const SEQUENCER_ROLE = 'cambist_sequencer';
