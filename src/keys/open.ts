/**
 * Opens the keys of a node: makes those that a new database lacks, loads them all, and hands out the ring, what moves
 * its keys on, and the schedule that does so from time to time.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Database } from '../store/database.ts';
import type { Envelope } from '../store/envelope.ts';
import { createSigningKeys } from '../store/signing-keys.ts';
import type { KeyTimes } from './due.ts';
import { openKeyRing } from './ring.ts';
import type { KeyRing } from './ring.ts';
import { createKeyRotation } from './rotation.ts';
import type { KeyRotation } from './rotation.ts';
import { createKeySchedule } from './schedule.ts';
import type { KeySchedule } from './schedule.ts';

export interface OpenedKeys {
  readonly ring: KeyRing;
  readonly rotation: KeyRotation;
  /** Not begun yet. */
  readonly schedule: KeySchedule;
}

/** How long keys sign, and are published before that, where nothing else is said. */
export const DEFAULT_TIMES: KeyTimes = { rotateAfterSeconds: 30 * 86_400, publishAheadSeconds: 86_400 };

/** The caller sees to it that `ring.reload` is called when another node has changed keys. */
export async function openKeys(parts: {
  readonly database: Database;
  readonly envelope: Envelope;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly times?: KeyTimes | undefined;
  /** The audit record of a change. */
  readonly recordOf: (change: Readonly<Record<string, unknown>>) => RecordRow;
}): Promise<OpenedKeys> {
  const { database, envelope, clock, logger, times = DEFAULT_TIMES, recordOf } = parts;
  const store = createSigningKeys(database);
  let reload = () => Promise.resolve();
  const rotation = createKeyRotation({ store, envelope, times, logger, recordOf, changed: () => reload() });
  await rotation.ensureFirst();
  const ring = await openKeyRing({ store, envelope, clock });
  reload = () => ring.reload();
  return { ring, rotation, schedule: createKeySchedule(rotation, logger) };
}
