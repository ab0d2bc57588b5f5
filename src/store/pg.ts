/**
 * The driver for PostgreSQL (>= 15). It fences what `pg` leaves open: a pool without an 'error' listener ends the process
 * when the server dies, a client that is checked out has none either, a query that timed out leaves its connection
 * busy, and nothing bounds how many wait. Every wait here has an end.
 */
import pg from 'pg';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { checkedIdentifier, connectError, OutcomeUnknown, statementError } from './database.ts';
import type { Database, Queryable, Transaction } from './database.ts';

export interface PostgresOptions {
  /** `postgresql://user:password@host:port/database?sslmode=…` */
  readonly url: string;
  readonly schema: string;
  /** Role that every connection takes on; `undefined` = the user of the URL, for migrations. */
  readonly role: string | undefined;
  readonly poolMax?: number;
  /** Bound on getting a connection, waiting for one in the pool included. */
  readonly connectTimeoutMs?: number;
  /** Bound on one statement, kept by the server; the client gives up a second later and drops the connection. */
  readonly statementTimeoutMs?: number;
  /** How many callers may wait for a connection. */
  readonly maxWaiting?: number;
  readonly logger: Logger;
}

const CLIENT_GRACE_MS = 1000;

/** Opens no connection yet: a database that is down at start is met by the first statement. */
export function openPostgres(options: PostgresOptions): Promise<Database> {
  const statementTimeoutMs = options.statementTimeoutMs ?? 5000;
  const maxWaiting = options.maxWaiting ?? 1000;
  const pool = new pg.Pool({
    connectionString: connectionString(options),
    max: options.poolMax ?? 10,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 3000,
    idleTimeoutMillis: 30_000,
    maxLifetimeSeconds: 3600,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + CLIENT_GRACE_MS,
    idle_in_transaction_session_timeout: 2 * statementTimeoutMs,
    types: { getTypeParser: ((oid: number, format: string) => parserOf(oid, format)) as typeof pg.types.getTypeParser },
  });
  pool.on('error', (error) => {
    options.logger.warn({ code: (error as { code?: unknown }).code }, 'an idle database connection was lost');
  });
  // A client that is checked out and between two statements has no listener of the pool: without this one, losing it
  // would end the process.
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
  });

  async function checkOut(): Promise<pg.PoolClient> {
    if (pool.waitingCount >= maxWaiting)
      throw new Unavailable('database', 'too many requests are waiting for a database connection');
    try {
      return await pool.connect();
    } catch (error) {
      throw connectError(error);
    }
  }

  const database: Database = {
    engine: 'postgresql',
    maxInFlightBatches: 2,
    schema: options.schema,
    async query<R>(text: string, values?: readonly unknown[], named?: { readonly name?: string }): Promise<R[]> {
      const client = await checkOut();
      try {
        const result = await send(client, text, values, named?.name);
        client.release();
        return result.rows as R[];
      } catch (error) {
        client.release(error instanceof OutcomeUnknown);
        throw error;
      }
    },
    async transaction(work) {
      const client = await checkOut();
      const connection = { clean: false };
      try {
        return await runTransaction(client, work, connection);
      } finally {
        // A connection that may still be in a transaction is not used again.
        client.release(!connection.clean);
      }
    },
    pool: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => (pool.ending ? Promise.resolve() : pool.end()),
  };
  return Promise.resolve(database);
}

async function runTransaction<T>(
  client: pg.PoolClient,
  work: (q: Transaction) => Promise<T>,
  connection: { clean: boolean },
): Promise<T> {
  const within: Queryable['query'] = async <R>(
    text: string,
    values?: readonly unknown[],
    named?: { readonly name?: string },
  ): Promise<R[]> => {
    try {
      const result = await send(client, text, values, named?.name);
      return result.rows as R[];
    } catch (error) {
      // Without a COMMIT that was sent, nothing can have taken effect.
      if (error instanceof OutcomeUnknown)
        throw new Unavailable('database', 'the connection was lost within a transaction', { cause: error.cause });
      throw error;
    }
  };
  await within('BEGIN');
  let result: T;
  try {
    result = await work({
      query: within,
      script: async (text) => {
        await within(text);
      },
    });
  } catch (error) {
    await within('ROLLBACK').then(
      () => (connection.clean = true),
      () => undefined,
    );
    throw error;
  }
  const { command } = await send(client, 'COMMIT', undefined, undefined);
  connection.clean = true;
  // The server answers ROLLBACK to the COMMIT of a transaction in which a statement had failed.
  if (command !== 'COMMIT') throw new Error('a transaction went on after one of its statements had failed');
  return result;
}

async function send(
  client: pg.PoolClient,
  text: string,
  values: readonly unknown[] | undefined,
  name: string | undefined,
): Promise<pg.QueryResult> {
  try {
    return await client.query({
      text,
      ...(values === undefined ? {} : { values: [...values] }),
      ...(name === undefined ? {} : { name }),
    });
  } catch (error) {
    throw statementError(await withSeverityInEnglish(client, error));
  }
}

/**
 * A server with `lc_messages` of another language translates the severity, and the driver does not read the field that
 * stays English. FATAL and PANIC end the connection: one that still answers has seen an ERROR.
 */
async function withSeverityInEnglish(client: pg.PoolClient, error: unknown): Promise<unknown> {
  if (!(error instanceof pg.DatabaseError) || /^(ERROR|FATAL|PANIC)$/.test(error.severity ?? '')) return error;
  const answers = await client.query('ROLLBACK').then(
    () => true,
    () => false,
  );
  return Object.assign(error, { severity: answers ? 'ERROR' : 'FATAL' });
}

/** bigint as a number, so that both drivers give the same; a value that does not fit is a bug and throws. */
function parserOf(typeId: number, format: string): unknown {
  if (typeId === (pg.types.builtins.INT8 as number)) return toSafeInteger;
  return (pg.types.getTypeParser as (typeId: number, format: string) => unknown)(typeId, format);
}

function toSafeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError('a bigint does not fit into a number');
  return value;
}

/** Schema and role go with the start of the connection, so that no statement ever runs without them. */
function connectionString({ url, schema, role }: PostgresOptions): string {
  if (!/^postgres(ql)?:\/\//.test(url)) throw new Error('DATABASE_URL must start with postgresql://');
  const mark = url.indexOf('?');
  const parameters = new URLSearchParams(mark === -1 ? '' : url.slice(mark + 1));
  const settings = [
    parameters.get('options') ?? '',
    `-c search_path=${checkedIdentifier('the schema', schema)},pg_temp`,
    role === undefined ? '' : `-c role=${checkedIdentifier('the role', role)}`,
    '-c timezone=UTC',
    // Estimates of small tables that nobody analysed yet are high enough for it, and it costs 100 ms a statement.
    '-c jit=off',
  ];
  parameters.set('options', settings.filter((setting) => setting !== '').join(' '));
  if (!parameters.has('application_name')) parameters.set('application_name', 'cambist');
  return `${mark === -1 ? url : url.slice(0, mark)}?${parameters.toString().replaceAll('+', '%20')}`;
}
