/**
 * Secrets that must turn up nowhere, and the search for them. Text and bytes are searched as they are, and again after
 * every encoding in which a secret could hide was undone, twice over: percent-encoding (full, partial, of forms), escapes of
 * JSON, hexadecimal, base64 and base64url at every alignment. So it finds a pair of Basic, a token in a record that lies in
 * a `bytea`, or a key in JSON in JSON. Half of a secret counts as a secret.
 */
import { randomBytes } from 'node:crypto';

/** Shorter secrets are whole or not there; of longer ones either half is searched for too. */
const HALVED_FROM_BYTES = 24;
const LAYERS = 2;
/** Shorter runs hold no secret. */
const RUN = 12;

export interface Canaries {
  /** Makes a secret of characters that every encoding changes; all of them may stand in a header. */
  make(name: string): string;
  /** Knows a secret that something else made. Of a JWT, the signature too. */
  plant<T extends string | Uint8Array>(name: string, secret: T): T;
  /** What is in there: names of canaries, each with the encodings that were undone. */
  found(content: string | Uint8Array): string[];
  readonly names: readonly string[];
}

export function createCanaries(): Canaries {
  const needles = new Map<string, string>();
  const names: string[] = [];
  const plant = <T extends string | Uint8Array>(name: string, secret: T): T => {
    const bytes = Buffer.from(secret as string);
    if (bytes.length < RUN) throw new Error(`${name} is too short to be searched for`);
    names.push(name);
    needles.set(bytes.toString('latin1'), name);
    const signature = typeof secret === 'string' ? /^eyJ[\w-]+\.[\w-]+\.([\w-]{20,})$/.exec(secret)?.[1] : undefined;
    if (signature !== undefined) needles.set(signature, `${name}: signature`);
    else if (bytes.length >= HALVED_FROM_BYTES) {
      const middle = bytes.length >> 1;
      needles.set(bytes.subarray(0, middle).toString('latin1'), `${name}: first half`);
      needles.set(bytes.subarray(middle).toString('latin1'), `${name}: second half`);
    }
    return secret;
  };
  return {
    names,
    plant,
    make: (name) => plant(name, `${randomBytes(9).toString('hex')}/+"\\<&~=;:${randomBytes(9).toString('hex')}`),
    found(content) {
      const text = typeof content === 'string' ? Buffer.from(content) : Buffer.from(content);
      const found = new Set<string>();
      for (const [how, view] of viewsOf(text.toString('latin1'), LAYERS))
        for (const [needle, name] of needles) if (view.includes(needle)) found.add(`${name} (${how})`);
      return [...found];
    },
  };
}

/** Each undoes one encoding wherever it is met, and keeps the rest where that matters; "" = there is none of it. */
const DECODERS: Readonly<Record<string, (text: string) => string>> = {
  percent: (text) => {
    if (!/%[0-9a-f]{2}/i.test(text)) return '';
    const undo = (some: string) =>
      some.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    return `${undo(text)}\n${undo(text.replaceAll('+', ' '))}`;
  },
  JSON: (text) => {
    if (!text.includes('\\')) return '';
    return text.replace(/\\(?:u([0-9a-f]{4})|(["\\/]))/gi, (_, code: string | undefined, plain: string | undefined) =>
      code === undefined
        ? (plain ?? '')
        : Buffer.from(String.fromCharCode(Number.parseInt(code, 16))).toString('latin1'),
    );
  },
  hex: (text) =>
    runs(text, /[0-9a-f]+/gi)
      .flatMap((run) => [0, 1].map((from) => decoded(run.slice(from), 'hex')))
      .join('\n'),
  // Where a run begins is not where the secret's encoding begins.
  base64: (text) =>
    runs(text, /[\w+/-]+/g)
      .flatMap((run) => [0, 1, 2, 3].map((from) => decoded(run.slice(from), 'base64')))
      .join('\n'),
};

function runs(text: string, pattern: RegExp): string[] {
  return (text.match(pattern) ?? []).filter((run) => run.length >= RUN);
}

/** Node's `base64` reads the alphabet of URLs too. */
function decoded(run: string, encoding: 'hex' | 'base64'): string {
  return Buffer.from(run, encoding).toString('latin1');
}

function viewsOf(text: string, layers: number, how: readonly string[] = []): [string, string][] {
  const here: [string, string][] = [[how.length === 0 ? 'plain' : how.join(' in '), text]];
  if (layers === 0) return here;
  const inner = Object.entries(DECODERS).flatMap(([name, decode]) => {
    const undone = decode(text);
    return undone === '' ? [] : viewsOf(undone, layers - 1, [name, ...how]);
  });
  return [...here, ...inner];
}
