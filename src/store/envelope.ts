/**
 * Envelope encryption of what must not lie in the database in clear: private keys, keys of persons, the blind-index key.
 * AES-256-GCM under the key-encryption key (KEK). The additional data binds a value to its table, row and purpose, so
 * that two values swapped between rows do not open. The header names the KEK, so that a change of KEK can be told from
 * tampering and done row by row.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';

const FORMAT = 1;
const KEK_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + KEK_ID_BYTES;

export interface Envelope {
  /** `aad` names table, row and purpose: `signing_key|<kid>|access-token`. */
  seal(plaintext: Uint8Array, aad: string): Uint8Array;
  /** Throws WrongKeyEncryptionKey when another KEK sealed it, and a plain Error when it was altered or moved. */
  open(sealed: Uint8Array, aad: string): Uint8Array;
  /** Names the KEK without telling anything about it; hexadecimal. */
  readonly kekId: string;
}

/** The key-encryption key that was given is not the one that sealed this database. */
export class WrongKeyEncryptionKey extends Error {
  override readonly name = 'WrongKeyEncryptionKey';
}

/** `kek`: 32 random bytes. */
export function createEnvelope(kek: Uint8Array): Envelope {
  if (kek.length !== 32) throw new Error('the key-encryption key must be 32 bytes');
  const key = Buffer.from(kek);
  const id = createHmac('sha256', key).update('cambist key-encryption key id').digest().subarray(0, KEK_ID_BYTES);
  const header = Buffer.concat([Buffer.from([FORMAT]), id]);

  return {
    kekId: id.toString('hex'),
    seal(plaintext, aad) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.concat([header, Buffer.from(aad)]));
      return Buffer.concat([header, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed, aad) {
      if (sealed.length < HEADER_BYTES + NONCE_BYTES + TAG_BYTES || sealed[0] !== FORMAT)
        throw new Error('a sealed value has an unknown format');
      const bytes = Buffer.from(sealed);
      if (!bytes.subarray(0, HEADER_BYTES).equals(header))
        throw new WrongKeyEncryptionKey(
          `this value was sealed under key-encryption key ${bytes.subarray(1, HEADER_BYTES).toString('hex')}, ` +
            `the key given is ${id.toString('hex')}`,
        );
      const body = bytes.subarray(HEADER_BYTES + NONCE_BYTES, -TAG_BYTES);
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(HEADER_BYTES, HEADER_BYTES + NONCE_BYTES))
        .setAAD(Buffer.concat([header, Buffer.from(aad)]))
        .setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(body), decipher.final()]);
      } catch {
        throw new Error('a sealed value does not belong to its row, or was altered');
      }
    },
  };
}
