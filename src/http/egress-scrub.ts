/**
 * Takes the credential out of what an upstream says: out of every header, and out of small bodies of text. Best effort,
 * told in docs/upstreams.md: it finds the value as it is, escaped as in JSON, in base64, base64url and hexadecimal, and
 * percent-encoded; a body that is compressed, large or a stream goes through untouched. What is found is replaced by as
 * many `*`, so that no length changes.
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
  const long = new Set(
    values.filter((value): value is string => value !== undefined && value.length >= SECRET_MIN_CHARS),
  );
  const forms = [...new Set([...long].flatMap(formsOf))].sort((a, b) => b.length - a.length);
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
  const hex = bytes.toString('hex');
  const escaped = JSON.stringify(secret).slice(1, -1);
  const percent = hex.replace(/../g, '%$&');
  return [
    bytes.toString('latin1'),
    ...[escaped, escaped.replaceAll('/', '\\/')].map((form) => Buffer.from(form).toString('latin1')),
    // With what its last bits make, where nothing follows.
    ...(['base64', 'base64url'] as const).map((encoding) => bytes.toString(encoding).replace(/=+$/, '')),
    ...([0, 1, 2] as const).flatMap((before) => base64Within(bytes, before)),
    ...[hex, hex.toUpperCase()],
    ...[encodeURIComponent(secret), new URLSearchParams({ '': secret }).toString().slice(1)],
    ...[percent, percent.toUpperCase()],
  ];
}

/** What base64 and base64url make of it behind so many bytes, without the characters that its neighbours have a part in. */
function base64Within(bytes: Buffer, before: 0 | 1 | 2): string[] {
  const whole = Buffer.concat([Buffer.alloc(before), bytes]);
  const from = Math.ceil((before * 4) / 3);
  const to = Math.floor((whole.length * 4) / 3);
  return (['base64', 'base64url'] as const).map((encoding) => whole.toString(encoding).slice(from, to));
}

/**
 * Whether a body is text and not known to be large. One that does not say how long it is counts only in an answer that
 * reports a failure: those are short, and where keys are repeated; any other could be a stream, which nothing may hold up.
 */
export function isScrubbable(headers: ReadonlyMap<string, string>, status: number): boolean {
  const length = headers.get('content-length');
  const type = headers.get('content-type') ?? '';
  const plain = (headers.get('content-encoding') ?? 'identity') === 'identity';
  const text = /^(text\/|application\/(json|xml|x-www-form-urlencoded|[a-z0-9.-]+\+(json|xml))\b)/i.test(type);
  const small = length === undefined ? status >= 400 : Number(length) <= SCRUBBED_MAX_BYTES;
  return plain && text && !/^text\/event-stream/i.test(type) && small;
}
