/**
 * JSON from outside, read so that two parsers cannot see two different things in it: no duplicate keys at any depth
 * (RFC 7515 §4, RFC 7519 §4 allow refusing them), bounded nesting, no numbers that overflow to infinity, no lone
 * surrogates (they would collapse into one another when hashed as UTF-8). Strict UTF-8 without a byte order mark.
 */

/** Deepest nesting that is read; a flat object has depth 1. */
export const MAX_JSON_DEPTH = 32;

export type JsonObject = Readonly<Record<string, unknown>>;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The value of a JSON text in UTF-8, or `undefined` where it is not strictly readable (JSON has no `undefined`). */
export function parseStrictJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return undefined;
  }
  // Before JSON.parse: depth is bounded before anything recurses over the text or its value.
  if (!hasPlainStructure(text)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return hasPlainValues(value) ? value : undefined;
}

/** Is this a JSON object (not an array, not null)? */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * One pass over the text: nesting within bounds and no key twice in one object. What is not JSON at all may pass or
 * fail here; JSON.parse has the last word on that.
 */
function hasPlainStructure(text: string): boolean {
  const open: (Set<string> | undefined)[] = []; // per level: the keys of an object, undefined for an array
  let expectKey = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
        open.push(new Set());
        if (open.length > MAX_JSON_DEPTH) return false;
        expectKey = true;
        break;
      case 0x5b: // [
        open.push(undefined);
        if (open.length > MAX_JSON_DEPTH) return false;
        expectKey = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        expectKey = false;
        break;
      case 0x2c: // ,
        expectKey = open.at(-1) !== undefined;
        break;
      case 0x22: {
        const end = endOfString(text, at);
        if (end === undefined) return false;
        if (expectKey) {
          const key = unescaped(text.slice(at, end + 1));
          const keys = open.at(-1);
          if (key === undefined || keys === undefined || keys.has(key)) return false;
          keys.add(key);
          expectKey = false;
        }
        at = end;
        break;
      }
      default:
    }
  }
  return true;
}

/** Index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return undefined;
}

/** Keys are compared by what they say, so that "a" and its \u escape are one key. */
function unescaped(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}

function hasPlainValues(value: unknown): boolean {
  if (typeof value === 'string') return isWellFormed(value);
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(hasPlainValues);
  return Object.entries(value).every(([key, member]) => isWellFormed(key) && hasPlainValues(member));
}

/** With the `u` flag a surrogate pair is one code point, so this class matches lone surrogates alone. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
