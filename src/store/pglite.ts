/**
 * The embedded driver: PGlite, the same engine in this process, one connection, one statement at a time. For a first run
 * and small set-ups. It has no server side that could end a statement, so only waiting is bounded here. It writes without
 * `fsync`: what was committed survives the end of this process, however sudden, but not always that of the machine.
 */
import { mkdirSync } from 'node:fs';
import { PGlite } from '@electric-sql/pglite';
import type { Transaction as PgliteTransaction } from '@electric-sql/pglite';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { lockDataFolder } from './data-folder-lock.ts';
import { checkedIdentifier, connectError, OutcomeUnknown, statementError } from './database.ts';
import type { Database, Transaction } from './database.ts';

export interface PgliteOptions {
  /** A folder, or `memory` for one that ends with the process. */
  readonly dataDir: string;
  readonly schema: string;
  /** Role that statements run as; `undefined` = the owner, until `assumeRole`. */
  readonly role: string | undefined;
  readonly maxWaiting?: number;
  /** A database to start from, made by `dump`. */
  readonly initialDump?: Blob;
  readonly logger: Logger;
}

export interface EmbeddedDatabase extends Database {
  /** From here on statements run as this role. The owner migrates first, in the same process. */
  assumeRole(role: string | undefined): Promise<void>;
  /** The whole database as an archive, for `initialDump`. */
  dump(): Promise<Blob>;
}

/** Throws DataFolderInUse when another process has the folder. */
export async function openPglite(options: PgliteOptions): Promise<EmbeddedDatabase> {
  const inMemory = options.dataDir === 'memory';
  const lock = inMemory ? undefined : lockDataFolder(options.dataDir);
  if (!inMemory) mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  let engine: PGlite | undefined;
  try {
    engine = await PGlite.create({
      ...(inMemory ? {} : { dataDir: options.dataDir }),
      ...(options.initialDump === undefined ? {} : { loadDataDir: options.initialDump }),
    });
    const schema = checkedIdentifier('the schema', options.schema);
    await engine.exec(`SET timezone = 'UTC'; SET search_path = ${schema}, pg_temp`);
    const database = embeddedDatabase(engine, options, () => lock?.release());
    if (options.role !== undefined) await database.assumeRole(options.role);
    return database;
  } catch (error) {
    await engine?.close().catch(() => undefined);
    lock?.release();
    throw error;
  }
}

function embeddedDatabase(engine: PGlite, options: PgliteOptions, onClose: () => void): EmbeddedDatabase {
  const maxWaiting = options.maxWaiting ?? 1000;
  let waiting = 0;
  let closed = false;

  async function admitted<T>(run: () => Promise<T>): Promise<T> {
    if (closed) throw new Unavailable('database', 'the database is closed');
    if (waiting >= maxWaiting) throw new Unavailable('database', 'too many requests are waiting for the database');
    waiting++;
    try {
      return await run();
    } finally {
      waiting--;
    }
  }

  return {
    engine: 'pglite',
    maxInFlightBatches: 1,
    schema: options.schema,
    query: <R>(text: string, values?: readonly unknown[]) => admitted(() => send<R>(engine, text, values)),
    transaction: (work) => admitted(() => runTransaction(engine, work)),
    async assumeRole(role) {
      await engine.exec(role === undefined ? 'RESET ROLE' : `SET ROLE ${checkedIdentifier('the role', role)}`);
    },
    // One connection, which runs one at a time: who was admitted and is not first waits.
    pool: () => ({ total: 1, idle: waiting === 0 ? 1 : 0, waiting: Math.max(0, waiting - 1) }),
    dump: () => engine.dumpDataDir('none'),
    async close() {
      if (closed) return;
      closed = true;
      await engine.close();
      onClose();
    },
  };
}

async function send<R>(
  engine: Pick<PGlite, 'query'> | PgliteTransaction,
  text: string,
  values?: readonly unknown[],
): Promise<R[]> {
  try {
    const { rows } = await engine.query<R>(text, values === undefined ? undefined : [...values]);
    return rows;
  } catch (error) {
    throw statementError(error);
  }
}

/** A failure of the work itself travels through the driver's own roll-back and comes out as it was. */
async function runTransaction<T>(engine: PGlite, work: (q: Transaction) => Promise<T>): Promise<T> {
  const outcome: { done: boolean; failure?: unknown } = { done: false };
  try {
    return await engine.transaction(async (transaction) => {
      try {
        const result = await work({
          query: (text, values) => send(transaction, text, values),
          script: async (text) => {
            try {
              await transaction.exec(text);
            } catch (error) {
              throw statementError(error);
            }
          },
        });
        outcome.done = true;
        return result;
      } catch (error) {
        outcome.failure = error;
        throw error;
      }
    });
  } catch (error) {
    if (error === outcome.failure) throw unsentInsideTransaction(error);
    throw outcome.done ? statementError(error) : connectError(error);
  }
}

function unsentInsideTransaction(error: unknown): unknown {
  return error instanceof OutcomeUnknown
    ? new Unavailable('database', 'the database failed within a transaction', { cause: error.cause })
    : error;
}
