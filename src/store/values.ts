/**
 * How values travel in statements. One statement carries a whole batch as parallel arrays for `unnest`, and both drivers
 * must read them alike: so every array is text, and lists within a row are array literals that SQL casts.
 */
import { createHash } from 'node:crypto';

/** A URI has up to 2,048 characters; what is in lists is not in B-tree indexes. */
const ELEMENT_CHARS_MAX = 4096;

/** An array literal of text elements (`{"a","b"}`), to be cast in SQL: rows of a batch may have lists of any length. */
export function textArray(elements: readonly string[]): string {
  return `{${elements.map((element) => `"${storable(element, ELEMENT_CHARS_MAX).replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`;
}

/** Text that PostgreSQL can hold: it has no NUL. Cut to `charsMax`, so that an index entry always fits. */
export function storable(text: string, charsMax = 512): string {
  const cut = text.length > charsMax ? text.slice(0, charsMax) : text;
  return cut.includes('\0') ? cut.replaceAll('\0', '\uFFFD') : cut;
}

/** Bytes as text for `decode(…, 'hex')`. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/**
 * What long names are found by: an index entry of PostgreSQL holds 2,704 bytes, and a name, a URI or a `sub` may be
 * longer. It also keeps what callers sent out of statements.
 */
export function digest(...parts: readonly string[]): Buffer {
  const hash = createHash('sha256');
  hash.update(parts.length === 1 ? (parts[0] ?? '') : JSON.stringify(parts));
  return hash.digest();
}
