/**
 * The identity of a database: made once, by whichever node starts first, and checked by every node after that. A node
 * with the wrong key-encryption key must not start: it would seal what no other node can open.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { v4 as newUuid } from 'uuid';
import type { Principal } from '../core/principal.ts';
import type { Database } from './database.ts';
import { KEK_ID_PLACE, WrongKeyEncryptionKey } from './envelope.ts';
import type { Envelope } from './envelope.ts';

export { WrongKeyEncryptionKey } from './envelope.ts';

export interface Instance {
  /** Random, for the life of the database. */
  readonly id: string;
  /** Counts restores: what was signed or marked before a restore must not come back to life after it. */
  readonly epoch: number;
  /** HMAC-SHA256 over the pair (issuer, sub): finds a person's rows without naming the person. */
  blindIndex(principal: Principal): Uint8Array;
}

interface InstanceRow {
  id: string;
  epoch: number;
  sealed_check: Uint8Array;
  sealed_blind_key: Uint8Array;
}

const CHECK_VALUE = Buffer.from('cambist: this key-encryption key is the right one');

/** Throws WrongKeyEncryptionKey when this database was made under another key, SealedValueMoved when its row was put together from others. */
export async function openInstance(db: Database, envelope: Envelope): Promise<Instance> {
  let row = await readInstance(db);
  if (row === undefined) {
    await createInstance(db, envelope);
    row = await readInstance(db);
  }
  if (row === undefined) throw new Error('the instance row was made and is not there');
  const blindKey = openSealed(row, envelope);
  return {
    id: row.id,
    epoch: row.epoch,
    blindIndex: ({ issuer, sub }) =>
      createHmac('sha256', blindKey)
        .update(JSON.stringify([issuer, sub]))
        .digest(),
  };
}

async function readInstance(db: Pick<Database, 'query'>): Promise<InstanceRow | undefined> {
  const [row] = await db.query<InstanceRow>('SELECT id, epoch, sealed_check, sealed_blind_key FROM instance');
  return row;
}

/** Id of the key-encryption key that the database was made under, or sealed anew; `undefined` = nobody started on it yet. */
export async function sealedUnder(db: Pick<Database, 'query'>): Promise<string | undefined> {
  const { from, bytes } = KEK_ID_PLACE;
  const [row] = await db.query<{ id: string }>(
    `SELECT encode(substring(sealed_check FROM ${from} FOR ${bytes}), 'hex') AS id FROM instance`,
  );
  return row?.id;
}

/** Of several nodes that start at once, one row wins; all then read that one. */
async function createInstance(db: Database, envelope: Envelope): Promise<void> {
  const id = newUuid();
  await db.query(
    `INSERT INTO instance (id, epoch, sealed_check, sealed_blind_key) VALUES ($1, 1, $2, $3) ON CONFLICT DO NOTHING`,
    [id, envelope.seal(CHECK_VALUE, checkAad(id)), envelope.seal(randomBytes(32), blindKeyAad(id))],
  );
}

/** Of a row that was put together from others, at least one value does not open: SealedValueMoved, from the envelope. */
function openSealed(row: InstanceRow, envelope: Envelope): Uint8Array {
  try {
    const check = Buffer.from(envelope.open(row.sealed_check, checkAad(row.id)));
    if (check.length === CHECK_VALUE.length && timingSafeEqual(check, CHECK_VALUE))
      return envelope.open(row.sealed_blind_key, blindKeyAad(row.id));
  } catch (error) {
    if (!(error instanceof WrongKeyEncryptionKey)) throw error;
  }
  throw new WrongKeyEncryptionKey(
    `this database is sealed under another key-encryption key than the one given (${envelope.opensKekIds.join(', ')}). ` +
      'Give the key that it is sealed under: after a change of that key, the new one; and until cambist keys rewrap ' +
      'is done, the old one as well, in previous_key_encryption_keys (of Transit: key_encryption.previous_transit). ' +
      'There is no way to read its keys without it.',
  );
}

const checkAad = (id: string) => `instance|${id}|check`;
const blindKeyAad = (id: string) => `instance|${id}|blind-index`;

/**
 * What a database says of itself, without making anything; `undefined` = no Cambist was ever started on it. Throws
 * WrongKeyEncryptionKey when it is sealed under another key, SealedValueMoved when its row was put together from others.
 */
export async function examineInstance(
  db: Pick<Database, 'query'>,
  envelope: Envelope,
): Promise<{ readonly id: string; readonly epoch: number } | undefined> {
  const row = await readInstance(db);
  if (row === undefined) return undefined;
  openSealed(row, envelope);
  return { id: row.id, epoch: row.epoch };
}
