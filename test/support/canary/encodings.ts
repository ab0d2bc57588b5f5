/** How a secret can be spelled where somebody does not mean to tell it. */

const base64 = (text: string) => Buffer.from(text).toString('base64');
const base64url = (text: string) => Buffer.from(text).toString('base64url');
const hex = (text: string) => Buffer.from(text).toString('hex');
const escaped = (text: string) => JSON.stringify(text).slice(1, -1);

/** By name; each is found by the search, and taken out of what an upstream says (docs/upstreams.md). */
export const ENCODINGS = {
  'as it is': (secret) => secret,
  'inside a sentence': (secret) => `the key ${secret} was refused`,
  'escaped as in JSON': escaped,
  'escaped as PHP does': (secret) => escaped(secret).replaceAll('/', '\\/'),
  base64,
  'base64, one byte before it': (secret) => base64(`k${secret}`),
  'base64, two bytes before it': (secret) => base64(`k=${secret}, and more`),
  base64url: base64url,
  'base64url, one byte before it': (secret) => base64url(`k${secret}!`),
  'base64url, two bytes before it': (secret) => base64url(`k=${secret}`),
  'a pair of Basic': (secret) => base64(`somebody:${secret}`),
  hexadecimal: hex,
  'hexadecimal in capitals': (secret) => hex(secret).toUpperCase(),
  'percent-encoded': encodeURIComponent,
  'percent-encoded as in a form': (secret) => new URLSearchParams({ k: secret }).toString(),
  'every byte percent-encoded': (secret) => hex(secret).replace(/../g, '%$&'),
  'every byte percent-encoded in capitals': (secret) => hex(secret).toUpperCase().replace(/../g, '%$&'),
} as const satisfies Readonly<Record<string, (secret: string) => string>>;

/** Found by the search too, twice wrapped or cut; in what an upstream says they go through (docs/upstreams.md). */
export const HARDER_ENCODINGS = {
  'JSON in JSON': (secret) => escaped(escaped(secret)),
  'base64 in a URL': (secret) => encodeURIComponent(base64(secret)),
  'hexadecimal of base64': (secret) => hex(base64(secret)),
  'base64 of JSON': (secret) => base64(JSON.stringify([secret])),
  'percent-encoding begun in the middle': (secret) => secret.slice(0, 5) + hex(secret.slice(5)).replace(/../g, '%$&'),
  'unicode escapes': (secret) => hex(secret).replace(/../g, '\\u00$&'),
  'its first half': (secret) => secret.slice(0, secret.length >> 1),
} as const satisfies Readonly<Record<string, (secret: string) => string>>;
