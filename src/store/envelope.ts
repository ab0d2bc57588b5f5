/**
 * Envelope encryption of what must not lie in the database in clear: private keys, keys of persons, the blind-index key.
 * AES-256-GCM under the key-encryption key (KEK). The additional data binds a value to its table, row and purpose, so
 * that two values swapped between rows do not open. The header names the KEK, so that a change of KEK can be told from
 * tampering and done row by row: several KEKs open, one seals.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { Unavailable } from '../core/refusal.ts';

const FORMAT = 1;
const KEK_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + KEK_ID_BYTES;

/** Where the id of the KEK stands in a sealed value, for SQL's `substring(… from … for …)`. */
export const KEK_ID_PLACE = { from: 2, bytes: KEK_ID_BYTES } as const;

export interface Envelope {
  /** `aad` names table, row and purpose: `signing_key|<kid>|access-token`. */
  seal(plaintext: Uint8Array, aad: string): Uint8Array;
  /** Throws WrongKeyEncryptionKey when another KEK sealed it, and SealedValueMoved when it was altered or moved. */
  open(sealed: Uint8Array, aad: string): Uint8Array;
  /** Names the KEK that seals, without telling anything about it; hexadecimal. */
  readonly kekId: string;
  /** Of every KEK that opens, the one that seals first. */
  readonly opensKekIds: readonly string[];
}

/** The key-encryption key that was given is not the one that sealed this: nothing here can be read without it. */
export class WrongKeyEncryptionKey extends Unavailable {
  override readonly name = 'WrongKeyEncryptionKey';

  constructor(message: string) {
    super('key-encryption key', message);
  }
}

/** The key is the right one, and the value is not what was sealed for this place: it was moved here, or altered. */
export class SealedValueMoved extends Error {
  override readonly name = 'SealedValueMoved';

  /** `aad` begins with the table; the rest of it may name a person. */
  constructor(aad: string, kekId: string) {
    super(
      `a sealed value of table "${aad.split('|', 1).join('')}" does not belong to its row, or was altered. The key-encryption key is ` +
        `not the trouble: it is the right one (${kekId}). Somebody or something wrote to the database behind Cambist: ` +
        'find out who, then restore a backup (docs/runbooks/restore.md)',
    );
  }
}

/** Names a key without telling anything about it; hexadecimal. */
export function keyId(key: Uint8Array): string {
  return kekOf(key).id;
}

interface Kek {
  readonly key: Buffer;
  readonly id: string;
  /** Format and id: what every value sealed under it begins with. */
  readonly header: Buffer;
}

/** `kek` seals and opens, those of `previous` only open; 32 random bytes each. */
export function createEnvelope(kek: Uint8Array, previous: readonly Uint8Array[] = []): Envelope {
  const current = kekOf(kek);
  const all = new Map([current, ...previous.map(kekOf)].map((known) => [known.id, known]));
  const opensKekIds = [...all.keys()];

  return {
    kekId: current.id,
    opensKekIds,
    seal(plaintext, aad) {
      const nonce = randomBytes(NONCE_BYTES);
      const { key, header } = current;
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(boundTo(header, aad));
      return Buffer.concat([header, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed, aad) {
      if (sealed.length < HEADER_BYTES + NONCE_BYTES + TAG_BYTES || sealed[0] !== FORMAT)
        throw new Error('a sealed value has an unknown format');
      const bytes = Buffer.from(sealed);
      const id = bytes.subarray(1, HEADER_BYTES).toString('hex');
      const known = all.get(id);
      if (known === undefined)
        throw new WrongKeyEncryptionKey(
          `a value of the database was sealed under key-encryption key ${id}, this node was given ` +
            `${opensKekIds.join(', ')}: give it the key that the other nodes seal with`,
        );
      const body = bytes.subarray(HEADER_BYTES + NONCE_BYTES, -TAG_BYTES);
      const nonce = bytes.subarray(HEADER_BYTES, HEADER_BYTES + NONCE_BYTES);
      const decipher = createDecipheriv('aes-256-gcm', known.key, nonce)
        .setAAD(boundTo(known.header, aad))
        .setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(body), decipher.final()]);
      } catch {
        throw new SealedValueMoved(aad, known.id);
      }
    },
  };
}

function boundTo(header: Buffer, aad: string): Buffer {
  return Buffer.concat([header, Buffer.from(aad)]);
}

function kekOf(bytes: Uint8Array): Kek {
  if (bytes.length !== 32) throw new Error('the key-encryption key must be 32 bytes');
  const key = Buffer.from(bytes);
  const id = createHmac('sha256', key).update('cambist key-encryption key id').digest().subarray(0, KEK_ID_BYTES);
  return { key, id: id.toString('hex'), header: Buffer.concat([Buffer.from([FORMAT]), id]) };
}
