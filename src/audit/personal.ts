/**
 * Sealing the personal fields of a record under a key of the person they are about. Pure: keys come from the store.
 * Deleting the key erases the person; the canonical bytes, and every proof over them, stay as they are.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { SealedPerson } from './record.ts';

/** What is known of a person at the time of a decision. Each field is personal, and none stands in clear. */
export interface PersonalFields {
  readonly iss: string;
  readonly sub: string;
  readonly email?: string;
  readonly name?: string;
  readonly groups?: readonly string[];
  readonly roles?: readonly string[];
  /** Full address of the caller that presented this person's token. */
  readonly source?: string;
  /** Path of a call to an upstream on this person's behalf, without its query. */
  readonly path?: string;
}

/** The key of one person. */
export interface PersonKey {
  /** Random; what records call the person by. */
  readonly ref: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function sealPerson(person: PersonKey, recordId: string, fields: PersonalFields): SealedPerson {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', person.key, nonce).setAAD(associatedData(recordId, person.ref));
  const sealed = Buffer.concat([
    nonce,
    cipher.update(JSON.stringify(fields), 'utf8'),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return { ref: person.ref, sealed: sealed.toString('base64url') };
}

/** Opens what `sealPerson` made; throws when the key is another one or the bytes were changed. */
export function openPerson(person: PersonKey, recordId: string, sealed: string): PersonalFields {
  const bytes = Buffer.from(sealed, 'base64url');
  const decipher = createDecipheriv('aes-256-gcm', person.key, bytes.subarray(0, NONCE_BYTES)).setAAD(
    associatedData(recordId, person.ref),
  );
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8');
  return JSON.parse(text) as PersonalFields;
}

function associatedData(recordId: string, ref: string): Buffer {
  return Buffer.from(`${recordId}|${ref}`, 'utf8');
}
