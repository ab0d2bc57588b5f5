/**
 * Stops a rotation between any two of its statements: a trigger in PostgreSQL waits for a lock that the test holds, the
 * process that sent the statement is killed there, and the lock is let go. What is killed is the real command.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';

const COMMAND = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const LOCK = 4242;
const HELD_TIMEOUT_MS = 60_000;

export interface KillPoint {
  readonly name: string;
  readonly table: string;
  /** From the time of the trigger to its condition. */
  readonly timing: string;
  readonly when: string;
  readonly constraint?: true;
  /** Is there a next key, published for long, when the rotation begins? */
  readonly startsWithNext: boolean;
}

const said = (text: string) => `convert_from(new.canonical, 'UTF8') LIKE '%${text}%'`;

/** Every statement of a rotation that changes something, and the commits of its transactions. */
export const KILL_POINTS: readonly KillPoint[] = [
  {
    name: 'insert next',
    table: 'signing_key',
    timing: 'BEFORE INSERT',
    when: `new.state = 'next'`,
    startsWithNext: false,
  },
  {
    name: 'count of the publication',
    table: 'state',
    timing: 'BEFORE UPDATE',
    when: 'new.keys <> old.keys',
    startsWithNext: false,
  },
  {
    name: 'record of the publication',
    table: 'audit_record',
    timing: 'BEFORE INSERT',
    when: said('publish_key'),
    startsWithNext: false,
  },
  {
    name: 'commit of the publication',
    table: 'signing_key',
    timing: 'AFTER INSERT',
    when: `new.state = 'next'`,
    constraint: true,
    startsWithNext: false,
  },
  {
    name: 'mark as published',
    table: 'signing_key',
    timing: 'BEFORE UPDATE',
    when: 'old.published_at IS NULL',
    startsWithNext: false,
  },
  {
    name: 'ask for activation',
    table: 'signing_key',
    timing: 'BEFORE UPDATE',
    when: 'new.ahead_seconds = 0',
    startsWithNext: true,
  },
  {
    name: 'retire',
    table: 'signing_key',
    timing: 'BEFORE UPDATE',
    when: `new.state = 'retired'`,
    startsWithNext: true,
  },
  {
    name: 'activate',
    table: 'signing_key',
    timing: 'BEFORE UPDATE',
    when: `new.state = 'active' AND old.state = 'next'`,
    startsWithNext: true,
  },
  {
    name: 'count of the activation',
    table: 'state',
    timing: 'BEFORE UPDATE',
    when: 'new.keys <> old.keys',
    startsWithNext: true,
  },
  {
    name: 'record of the activation',
    table: 'audit_record',
    timing: 'BEFORE INSERT',
    when: said('activate_key'),
    startsWithNext: true,
  },
  {
    name: 'commit of the activation',
    table: 'signing_key',
    timing: 'AFTER UPDATE',
    when: `new.state = 'active' AND old.state = 'next'`,
    constraint: true,
    startsWithNext: true,
  },
];

/** `cambist keys rotate --now` of one algorithm, as a process of its own. */
export function spawnRotation(databaseUrl: string, issuer: string, key: Uint8Array): ChildProcess {
  const env = {
    ...cleanEnvironment(),
    DATABASE_URL: databaseUrl,
    CAMBIST_ISSUER: issuer,
    CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from(key).toString('base64'),
  };
  return spawn(process.execPath, [COMMAND, 'keys', 'rotate', '--now', '--algorithm', 'ES256'], {
    env,
    cwd: tmpdir(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

export interface Holder {
  /** From now on the statement of this point waits. */
  hold(point: KillPoint): Promise<void>;
  /** Throws with what the process said when it ends before it got there. */
  waitUntilHeld(point: KillPoint, process: ChildProcess): Promise<void>;
  /** Lets the statement go, and waits until its transaction is over. */
  release(): Promise<void>;
  close(): Promise<void>;
}

/** As the owner of the database. */
export async function holdSteps(url: string): Promise<Holder> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`SET search_path = cambist`);
  await client.query(`CREATE FUNCTION hold_step() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    PERFORM pg_advisory_lock_shared(${LOCK}); PERFORM pg_advisory_unlock_shared(${LOCK}); RETURN new; END $f$`);
  let held: KillPoint | undefined;

  return {
    async hold(point) {
      const kind = point.constraint === true ? 'CONSTRAINT TRIGGER' : 'TRIGGER';
      const deferred = point.constraint === true ? 'DEFERRABLE INITIALLY DEFERRED' : '';
      await client.query(`SELECT pg_advisory_lock(${LOCK})`);
      await client.query(
        `CREATE ${kind} hold_step ${point.timing} ON ${point.table} ${deferred} FOR EACH ROW WHEN (${point.when})
         EXECUTE FUNCTION hold_step()`,
      );
      held = point;
    },
    async waitUntilHeld(point, child) {
      let output = '';
      child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const deadlineMs = Date.now() + HELD_TIMEOUT_MS;
      for (;;) {
        const { rows } = await client.query(
          `SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = ${LOCK} AND classid = 0`,
        );
        if (rows.length > 0) return;
        if (child.exitCode !== null || Date.now() > deadlineMs)
          throw new Error(`the rotation never came to "${point.name}": ${output}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async release() {
      await client.query(`SELECT pg_advisory_unlock(${LOCK})`);
      // Waits for whoever has the table in use: the transaction whose process is dead.
      if (held !== undefined) await client.query(`DROP TRIGGER hold_step ON ${held.table}`);
      held = undefined;
    },
    close: () => client.end(),
  };
}
