/**
 * One fault of a configuration: where it stands, what is wrong, what was found there and how to put it right. Faults
 * are values and come in lists, because whoever writes configuration wants all of them at once. The value that was
 * found is shown except where it may be a secret; the reader of the fault is the writer of the file, never a caller.
 */

/** A place in a configuration file; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface ConfigFault {
  /** The file as it was named on the command line, or `environment`. */
  readonly file: string;
  readonly position?: Position | undefined;
  /** Which setting or field, as `clients[2].auth[0]`; for the environment, the variable. */
  readonly path: string;
  readonly message: string;
  /** What was found there, shortened; absent for missing and for secret values. */
  readonly got?: string | undefined;
  readonly fix?: string | undefined;
}

export type PathStep = string | number;

/** The one line in which a fault is shown: `cambist.yaml:12:5 issuer: must be … (got "…"); fix: …`. */
export function formatFault(fault: ConfigFault): string {
  const place =
    fault.position === undefined ? fault.file : `${fault.file}:${fault.position.line}:${fault.position.column}`;
  const got = fault.got === undefined ? '' : ` (got ${fault.got})`;
  const fix = fault.fix === undefined ? '' : `; fix: ${fault.fix}`;
  const path = fault.path === '' ? '' : ` ${fault.path}`;
  return `${place}${path}: ${fault.message}${got}${fix}`;
}

/** `['clients', 2, 'auth', 0]` as `clients[2].auth[0]`. */
export function formatPath(path: readonly PathStep[]): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    const name = /^[\w-]+$/.test(step) ? step : JSON.stringify(step);
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

const SHOWN_CHARACTERS_MAX = 80;

/** Faults in the order in which somebody who mends a file meets them. */
export function sortFaults(faults: readonly ConfigFault[]): ConfigFault[] {
  return faults.toSorted(
    (a, b) =>
      a.file.localeCompare(b.file) ||
      (a.position?.line ?? 0) - (b.position?.line ?? 0) ||
      (a.position?.column ?? 0) - (b.position?.column ?? 0),
  );
}

/** A value as a fault shows it: JSON on one line, shortened; collections by their kind only. */
export function showValue(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a mapping';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}…`;
}

/** The candidate that was probably meant by a misspelt word; undefined when none is within so many slips. */
export function closest(
  word: string,
  candidates: Iterable<string>,
  slipsMax: number = word.length < 4 ? 1 : Math.max(2, Math.floor(word.length / 3)),
): string | undefined {
  let best: string | undefined;
  let bestDistance = slipsMax + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance; a hyphen and an underscore count as the same letter. */
function editDistance(a: string, b: string): number {
  const left = a.replaceAll('-', '_').slice(0, 64);
  const right = b.replaceAll('-', '_').slice(0, 64);
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}
