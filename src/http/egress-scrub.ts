/**
 * Takes the credential out of what an upstream says: out of every header, and out of small bodies of text. Best effort:
 * it finds the value as it is, in base64 and percent-encoded; a body that is compressed, large or a stream goes through
 * untouched. What is found is replaced by as many `*`, so that no length changes.
 */

/** Shorter values would be found where they are none. */
const SECRET_MIN_CHARS = 8;
/** Longest body that is looked at. */
export const SCRUBBED_MAX_BYTES = 65_536;

export interface Scrubber {
  text(value: string): string;
  bytes(value: Buffer): Buffer;
}

/** `values`: what was injected, and what it was made of. */
export function createScrubber(values: readonly (string | undefined)[]): Scrubber {
  const secrets = values.filter((value): value is string => value !== undefined && value.length >= SECRET_MIN_CHARS);
  const forms = [...new Set(secrets.flatMap(formsOf))].sort((a, b) => b.length - a.length);
  const text = (value: string) =>
    forms.reduce((before, form) => before.replaceAll(form, '*'.repeat(form.length)), value);
  return {
    text,
    // One character of latin1 is one byte, whatever the charset is.
    bytes: (value) => Buffer.from(text(value.toString('latin1')), 'latin1'),
  };
}

/** Every spelling as latin1 text of its bytes. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  return [
    bytes.toString('latin1'),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    encodeURIComponent(secret),
  ];
}

/** Whether a body is text and small: `contentLength` as the upstream announced it. */
export function isScrubbable(headers: ReadonlyMap<string, string>): boolean {
  const length = Number(headers.get('content-length') ?? NaN);
  const type = headers.get('content-type') ?? '';
  const plain = (headers.get('content-encoding') ?? 'identity') === 'identity';
  const text = /^(text\/|application\/(json|xml|x-www-form-urlencoded|[a-z0-9.-]+\+(json|xml))\b)/i.test(type);
  return plain && text && !type.startsWith('text/event-stream') && length <= SCRUBBED_MAX_BYTES;
}
