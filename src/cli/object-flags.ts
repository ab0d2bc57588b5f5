/**
 * Flags of `add`: the fields of an object that people type, put together into the object as a file would have it. Faults
 * come back by field, as for a file, and are said by flag.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { ConfigFault } from '../admin/fault.ts';
import { CliFailure, EXIT } from './failure.ts';

export interface FieldFlag {
  /** As in `--auth <method>`. */
  readonly flags: string;
  readonly description: string;
  /** Where the value goes, as in `claims.groups`. */
  readonly field: string;
  /** `list` and `map` may be given more than once; of a `map`, `read` gives a pair of key and value. */
  readonly shape: 'one' | 'list' | 'map' | 'truth';
  readonly choices?: readonly string[];
  /** From what was typed to what stands in the file; the text itself when absent. Throws CliFailure. */
  readonly read?: (text: string, cwd: string) => unknown;
}

/** The option of a flag; choices are for completion, and are held against the schema like everything else. */
export function optionOf({ flags, description, shape, choices }: FieldFlag): Option {
  const many = shape === 'list' || shape === 'map';
  const option = new Option(flags, many ? `${description} (repeatable)` : description);
  if (many)
    option.argParser((text: string, before: string[] | undefined) => {
      checkChoice(text, choices);
      return [...(before ?? []), text];
    });
  else if (choices !== undefined) option.choices(choices);
  if (choices !== undefined) option.argChoices = [...choices];
  return option;
}

function checkChoice(text: string, choices: readonly string[] | undefined): void {
  if (choices !== undefined && !choices.includes(text))
    throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`);
}

/** Was any of these flags given? */
export function givenFlags(fields: readonly FieldFlag[], options: Readonly<Record<string, unknown>>): FieldFlag[] {
  return fields.filter((field) => options[attributeOf(field)] !== undefined);
}

/** The object that the flags describe. */
export function objectOfFlags(
  named: Readonly<Record<string, unknown>>,
  fields: readonly FieldFlag[],
  options: Readonly<Record<string, unknown>>,
  cwd: string,
): Record<string, unknown> {
  const object: Record<string, unknown> = { ...named };
  for (const field of givenFlags(fields, options)) {
    const given = options[attributeOf(field)];
    const read = (text: unknown) => (field.read === undefined ? text : field.read(String(text), cwd));
    const value = Array.isArray(given) ? given.map(read) : read(given);
    setAt(
      object,
      field.field.split('.'),
      field.shape === 'map' ? Object.fromEntries(value as [string, unknown][]) : value,
    );
  }
  return object;
}

function attributeOf({ flags }: FieldFlag): string {
  return new Option(flags).attributeName();
}

function setAt(object: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [step = '', ...rest] = path;
  if (rest.length === 0) {
    object[step] = value;
    return;
  }
  const inner = (object[step] ??= {}) as Record<string, unknown>;
  setAt(inner, rest, value);
}

/** Faults of an object that was typed: each names the flag that its field came from, or the argument. */
export function blameFlags(
  faults: readonly ConfigFault[],
  fields: readonly FieldFlag[],
  command: string,
  argument: string,
  nameFields: readonly string[],
): ConfigFault[] {
  const byField = fields.toSorted((a, b) => b.field.length - a.field.length);
  return faults.map(({ position: _, ...fault }) => {
    const bare = fault.path.replaceAll(/\[\d+\]/g, '');
    const own = byField.find(({ field }) => bare === field || bare.startsWith(`${field}.`));
    const flag = own?.flags.split(' ')[0];
    const path = flag ?? (nameFields.includes(bare) ? `<${argument}>` : fault.path);
    return { ...fault, file: command, path };
  });
}

/** `key=value`; the first `=` separates. */
export function pairOf(text: string, example: string): [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new CliFailure(EXIT.usage, 'usage', `must be ${example}, not "${text}"`);
}

/** A number as a number; anything else as it is, for the schema to refuse. */
export function numberOf(text: string): unknown {
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

/** A JWK Set from a file that holds one, or a single JWK. */
export function jwksOf(file: string, cwd: string): unknown {
  const text = textOf(file, cwd);
  try {
    const value = JSON.parse(text) as { keys?: unknown };
    return Array.isArray(value.keys) ? { keys: value.keys as unknown[] } : { keys: [value] };
  } catch {
    throw new CliFailure(EXIT.usage, 'usage', `${file} is not JSON: give a JWK Set of public keys`);
  }
}

export function textOf(file: string, cwd: string): string {
  try {
    return readFileSync(resolve(cwd, file), 'utf8');
  } catch {
    throw new CliFailure(
      EXIT.usage,
      'file_unreadable',
      `${file} cannot be read: name a file that exists and is yours to read`,
    );
  }
}
