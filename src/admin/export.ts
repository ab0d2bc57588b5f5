/**
 * Registered objects as a file that `apply` takes back without a change: every kind in the order of the table of nouns,
 * every object by its name, fields in the order in which people write them. What the defaults say already is left out.
 * Secrets of clients are no part of their objects, so none can be in it.
 */
import { isDeepStrictEqual } from 'node:util';
import { Document, visit } from 'yaml';
import { KINDS } from '../objects/kinds.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import { nounOf } from './objects-file.ts';

export interface ExportedObject {
  readonly kind: Kind;
  readonly name: string;
  readonly disabled: boolean;
  readonly spec: Specs[Kind];
}

/** The text of the file; the same objects make the same text, on every engine. */
export function exportYaml(objects: readonly ExportedObject[]): string {
  const lists = (Object.keys(KINDS) as Kind[]).flatMap((kind) => {
    const own = objects.filter((object) => object.kind === kind).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return own.length === 0 ? [] : [[nounOf(kind).plural, own.map(exportEntry)] as const];
  });
  if (lists.length === 0) return '';
  // No aliases: every object can be copied out alone.
  const document = new Document(Object.fromEntries(lists), { aliasDuplicateObjects: false });
  visit(document, {
    Scalar: (_, node) => {
      if (typeof node.value === 'string' && needsQuotes(node.value)) node.type = 'QUOTE_DOUBLE';
    },
  });
  // No folding, which yaml 2.9 gets wrong in double quotes for lines of white space: a line is a line of the value.
  const style = { lineWidth: 0, doubleQuotedMinMultiLineLength: Number.MAX_SAFE_INTEGER };
  return document.toString(style).replaceAll(new RegExp(INVISIBLE, 'g'), escaped);
}

/** What would show a reader something else than what is there, and is written as an escape. */
const INVISIBLE = /[\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

/** Beside that: texts whose blocks yaml 2.9 does not read back as they were, with white space alone in a line or first. */
function needsQuotes(text: string): boolean {
  return INVISIBLE.test(text) || (text.includes('\n') && (/^\s/.test(text) || /^[ \t]+$/m.test(text)));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** One object as it stands in a file. */
export function exportEntry({ kind, spec, disabled }: ExportedObject): Record<string, unknown> {
  // The database keeps fields in an order of its own; parsing brings back the one that people write.
  const { schema } = nounOf(kind);
  const whole = (schema.safeParse(spec).data ?? spec) as unknown as Record<string, unknown>;
  const entry: Record<string, unknown> = { ...whole };
  for (const field of Object.keys(whole)) {
    const { [field]: _, ...rest } = entry;
    const without = schema.safeParse(rest);
    if (without.success && isDeepStrictEqual(without.data, whole)) Reflect.deleteProperty(entry, field);
  }
  return disabled ? { ...entry, disabled } : entry;
}
