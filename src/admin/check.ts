/**
 * Holds a value from a document against a zod schema and says every fault of it in words that whoever wrote the file
 * can act on: the place, the value, the fix, and for an unknown key the one that was probably meant. Rules that look
 * at several fields run also when the only fault is an unknown key, so that one run shows all faults.
 */
import { z } from 'zod';
import type { ConfigDocument } from './document.ts';
import { closest, formatPath, showValue } from './fault.ts';
import type { ConfigFault, PathStep } from './fault.ts';

export interface CheckPlace {
  readonly document: ConfigDocument;
  /** Where in the document the value stands. */
  readonly base: readonly PathStep[];
  /** Is this a field whose value must not be shown? The path is relative to `base`. */
  readonly secret?: (path: readonly PathStep[]) => boolean;
  /** Keys that may stand beside those of the schema; they were taken out before. */
  readonly alsoKnown?: readonly string[];
}

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly faults: ConfigFault[] };

type Issue = z.core.$ZodIssue;
type JsonSchema = Record<string, unknown>;

/** The value in its parsed form (defaults filled in), or every fault of it. */
export function checkValue<T>(schema: z.ZodType<T>, value: unknown, place: CheckPlace): Checked<T> {
  const first = schema.safeParse(value);
  if (first.success) return { ok: true, value: first.data };
  const issues = [...first.error.issues];
  const onlyUnknownKeys = issues.every((issue): boolean => issue.code === 'unrecognized_keys');
  if (onlyUnknownKeys) {
    const second = schema.safeParse(withoutKeys(value, issues));
    if (!second.success) issues.push(...second.error.issues);
  }
  const shape = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  const faults = issues.flatMap((issue) => faultsOf(issue, value, shape, place));
  return { ok: false, faults };
}

function faultsOf(issue: Issue, value: unknown, shape: JsonSchema, place: CheckPlace): ConfigFault[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(key, path, shape, place));
  const found = valueAt(value, path);
  const near = schemaAt(shape, path);
  const description = typeof near?.['description'] === 'string' ? near['description'] : undefined;
  const said = sayIssue(issue, found, description);
  const hidden = found === undefined || place.secret?.(path) === true || issue.code === 'invalid_key';
  return [
    {
      file: place.document.file,
      position: place.document.positionOf([...place.base, ...path], issue.code === 'invalid_key' ? 'key' : 'value'),
      path: formatPath([...place.base, ...path]),
      got: hidden ? undefined : showValue(found),
      ...said,
    },
  ];
}

function unknownKey(key: string, path: PathStep[], shape: JsonSchema, place: CheckPlace): ConfigFault {
  const known = [...knownKeys(schemaAt(shape, path)), ...(path.length === 0 ? (place.alsoKnown ?? []) : [])];
  const meant = closest(key, known);
  const list = known.length === 0 ? '' : `; known here: ${known.join(', ')}`;
  return {
    file: place.document.file,
    position: place.document.positionOf([...place.base, ...path, key], 'key'),
    path: formatPath([...place.base, ...path, key]),
    message: 'is not known here',
    fix: meant === undefined ? `remove it${list}` : `did you mean "${meant}"?`,
  };
}

/** What is wrong and what to do, for one issue. Messages of our own schemas already say both. */
function sayIssue(issue: Issue, found: unknown, description: string | undefined): { message: string; fix?: string } {
  const about = description === undefined ? '' : ` (${description})`;
  const give = description === undefined ? {} : { fix: `give ${lowerFirst(description)}` };
  switch (issue.code) {
    case 'custom':
    case 'invalid_format':
      return { message: issue.message, ...give };
    case 'invalid_type': {
      const expected = TYPE_WORDS[issue.expected] ?? issue.expected;
      if (found === undefined) return { message: 'is required', fix: `add it as ${expected}${about}` };
      return { message: `must be ${expected}`, fix: `write ${expected}${about}` };
    }
    case 'invalid_value': {
      const allowed = issue.values.map(String);
      if (found === undefined) return { message: 'is required', fix: `set it to one of ${allowed.join(', ')}` };
      const meant = closest(typeof found === 'string' ? found : JSON.stringify(found), allowed);
      const fix = meant === undefined ? `choose one of them${about}` : `did you mean "${meant}"?`;
      return { message: `must be ${allowed.length === 1 ? '' : 'one of '}${allowed.join(', ')}`, fix };
    }
    case 'too_small':
    case 'too_big':
      return { message: sayBound(issue), ...give };
    case 'invalid_union': {
      const options = issue.errors
        .flatMap((errors) => errors.slice(0, 1))
        .map((error) => sayIssue(error, found, undefined));
      return { message: [...new Set(options.map((option) => option.message))].join(', or '), ...give };
    }
    case 'invalid_key':
      return { message: `has a name that ${issue.issues[0]?.message ?? 'is not allowed'}`, fix: 'rename it' };
    case 'invalid_element':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return { message: issue.message };
  }
}

/** A description in the middle of a sentence; one that starts with an abbreviation stays as it is. */
function lowerFirst(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? `${text.charAt(0).toLowerCase()}${text.slice(1)}` : text;
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

function sayBound(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const small = issue.code === 'too_small';
  const limit = String(small ? issue.minimum : issue.maximum);
  const least = small ? 'at least' : 'at most';
  if (issue.origin === 'string') return `must have ${least} ${limit} ${limit === '1' ? 'character' : 'characters'}`;
  if (issue.origin === 'array') return `must have ${least} ${limit} ${limit === '1' ? 'entry' : 'entries'}`;
  return `must be ${least} ${limit}`;
}

function withoutKeys(value: unknown, issues: readonly Issue[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const issue of issues) {
    const holder = valueAt(copy, issue.path.map(String));
    if (issue.code !== 'unrecognized_keys' || typeof holder !== 'object' || holder === null) continue;
    for (const key of issue.keys) Reflect.deleteProperty(holder, key);
  }
  return copy;
}

/** What stands at a path of a plain value; undefined where nothing does. */
export function valueAt(value: unknown, path: readonly PathStep[]): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<PathStep, unknown>)[step];
  }
  return current;
}

/** The part of a JSON Schema that describes what stands at a path. */
export function schemaAt(shape: JsonSchema, path: readonly PathStep[]): JsonSchema | undefined {
  let current: JsonSchema | undefined = shape;
  for (const step of path) {
    if (current === undefined) return undefined;
    const properties = current['properties'] as Record<string, JsonSchema> | undefined;
    const next: unknown =
      typeof step === 'number' ? current['items'] : (properties?.[step] ?? current['additionalProperties']);
    current = typeof next === 'object' && next !== null ? (next as JsonSchema) : undefined;
  }
  return current;
}

function knownKeys(shape: JsonSchema | undefined): string[] {
  const names = (shape?.['propertyNames'] as JsonSchema | undefined)?.['enum'];
  if (Array.isArray(names)) return names.map(String);
  return Object.keys((shape?.['properties'] as Record<string, unknown> | undefined) ?? {});
}
