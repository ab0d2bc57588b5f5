/**
 * The database and what only it knows: its version and migrations, the way there, its connections and roles, the key
 * that it is sealed under, its clock, its audit partitions, and whether somebody keeps house.
 */
import type { Clock } from '../../core/clock.ts';
import { measureClockSkew } from '../../store/clock-skew.ts';
import type { Database } from '../../store/database.ts';
import { SealedValueMoved, WrongKeyEncryptionKey } from '../../store/envelope.ts';
import type { Envelope } from '../../store/envelope.ts';
import { examineAudit, examineServer, findOverdue } from '../../store/examination.ts';
import { examineInstance } from '../../store/instance.ts';
import { MigrationRefused, planMigrations } from '../../store/migrate.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';

export interface DatabaseCheckParts {
  /** Under the runtime's role. */
  readonly database: Database;
  readonly envelope: Envelope;
  readonly clock: Clock;
  readonly clockSkewLimitMs: number;
  /** Connections that one node may open; `undefined` for the embedded engine. */
  readonly poolMax: number | undefined;
}

const LATENCY_SLOW_MS = 20;

/** Whether this program and this database fit together; where they do not, nothing else can be looked at. */
export async function findVersionFault({ database }: Pick<DatabaseCheckParts, 'database'>): Promise<Found | undefined> {
  try {
    const { current, target, pending } = await planMigrations(database);
    if (pending.length === 0) return undefined;
    return current === 0
      ? failed('the database has no tables of Cambist', 'cambist migrate up')
      : failed(`the database is at version ${current}, this program needs ${target}`, 'cambist migrate up');
  } catch (error) {
    if (!(error instanceof MigrationRefused)) throw error;
    const [message = '', ...fix] = error.message.split('. ');
    return failed(message, fix.join('. ') || 'start the program that fits the database');
  }
}

/** Every check of the database. */
export function databaseChecks(parts: DatabaseCheckParts): Check[] {
  const { database } = parts;
  const of = (name: string, run: Check['run']): Check => ({ noun: 'database', name, run });
  return [
    of('server', () => checkServer(parts)),
    of('key-encryption key', () => checkKey(parts)),
    of('clock', () => checkClock(parts)),
    of('audit records', async () => {
      const { monthsMissing, recordsInDefault } = await examineAudit(database);
      return [
        monthsMissing.length === 0
          ? ok('this month and the next two have their partitions')
          : failed(`no partition for ${monthsMissing.join(', ')}`, 'start a node: it makes them'),
        ...(recordsInDefault
          ? [
              warning(
                'some records are in no month: a clock was far off, or no node ran at the turn of a month',
                'they are kept for ever; set the clocks of all nodes (NTP)',
              ),
            ]
          : []),
      ];
    }),
    of('housekeeping', async () => [
      (await findOverdue(database))
        ? warning(
            'marks or tokens that expired hours ago are still there',
            'see that a node runs, and look in its log for "housekeeping"',
          )
        : ok('what has expired is removed'),
    ]),
  ];
}

async function checkServer({ database, poolMax }: DatabaseCheckParts): Promise<Found[]> {
  const { version, latencyMs, connectionsMax, connectionsNow, loginOwnsSchema } = await examineServer(database);
  const found: Found[] = [ok(`PostgreSQL ${version}, answers in ${latencyMs.toFixed(1)} ms`)];
  if (poolMax === undefined) return found;
  if (latencyMs > LATENCY_SLOW_MS)
    found.push(
      warning(
        `an answer takes ${latencyMs.toFixed(0)} ms, and every token waits for two`,
        'run nodes near the database, and look at its load',
      ),
    );
  const nodes = Math.floor(connectionsMax / poolMax);
  if (nodes < 2)
    found.push(
      warning(
        `${connectionsMax} connections are allowed, one node may open ${poolMax}: a second node would not get its own`,
        'lower database.pool_max, or raise max_connections of the server',
      ),
    );
  else
    found.push(
      ok(`${connectionsNow} of ${connectionsMax} connections are in use; with ${poolMax} a node, enough for ${nodes}`),
    );
  if (loginOwnsSchema)
    found.push(
      warning(
        'the user of database.url owns the schema: whoever gets hold of that URL can change audit records',
        'give the service a user of its own that only has the role cambist_runtime (docs/configuration.md, PostgreSQL)',
      ),
    );
  return found;
}

async function checkKey({ database, envelope }: DatabaseCheckParts): Promise<Found[]> {
  try {
    const instance = await examineInstance(database, envelope);
    return [
      instance === undefined
        ? warning('no node was ever started on this database', 'cambist serve')
        : ok(`${envelope.kekId} is the right one; epoch ${instance.epoch}`),
    ];
  } catch (error) {
    if (error instanceof SealedValueMoved)
      return [
        failed(
          `the key that was given is the right one, but the row "instance" is not as it was sealed: moved or altered`,
          'find out who writes to the database; restore a backup (docs/runbooks/restore.md)',
        ),
      ];
    if (!(error instanceof WrongKeyEncryptionKey)) throw error;
    return [failed('the key that was given does not open this database', 'give the key that the other nodes have')];
  }
}

async function checkClock({ database, clock, clockSkewLimitMs }: DatabaseCheckParts): Promise<Found[]> {
  const { skewMs } = await measureClockSkew(database, clock);
  const off = `${(Math.abs(skewMs) / 1000).toFixed(2)} s ${skewMs > 0 ? 'behind' : 'ahead of'} that of the database`;
  const fix = 'synchronise both clocks (NTP); docs/runbooks/clock-skew.md';
  if (Math.abs(skewMs) > clockSkewLimitMs) return [failed(`the clock of this machine is ${off}`, fix)];
  if (Math.abs(skewMs) > clockSkewLimitMs / 2) return [warning(`the clock of this machine is ${off}`, fix)];
  return [ok(`within ${(Math.abs(skewMs) / 1000).toFixed(2)} s of the clock of this machine`)];
}
