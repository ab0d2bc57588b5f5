/**
 * A file of objects: top-level lists, one per noun, each entry the object's spec plus `disabled` (absent = leave as it
 * is); a policy may name a file of Cedar text instead of holding it. Reads every entry that can be read and lists
 * every fault of those that cannot, so that references can be checked around the broken ones. Pure: files that the
 * text names are handed in.
 */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { KINDS } from '../objects/kinds.ts';
import type { Kind, ObjectKey, Specs } from '../objects/kinds.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import { checkValue } from './check.ts';
import { readDocument } from './document.ts';
import type { ConfigDocument } from './document.ts';
import { closest, formatPath, showValue } from './fault.ts';
import type { ConfigFault, PathStep, Position } from './fault.ts';

/** One file as it travels to whoever applies it. */
export interface ObjectsText {
  /** As it was named; faults point there. */
  readonly file: string;
  readonly text: string;
  /** Contents of the files that `cedar_file` names, by that name. */
  readonly includes?: Readonly<Record<string, string>> | undefined;
  /** The text may be one object of this kind by itself, without the list around it. */
  readonly entry?: Kind | undefined;
}

/** Adds one fault of an object: where in it, what is wrong, what to do. */
export type Complain = (path: readonly PathStep[], message: string, fix?: string, got?: unknown) => void;

export interface NamedObject<K extends Kind = Kind> {
  readonly kind: K;
  readonly name: string;
  readonly spec: Specs[K];
  /** Undefined when the file does not say. */
  readonly disabled: boolean | undefined;
  /** The fault of this object at a path within its entry. */
  faultAt(path: readonly PathStep[], message: string, fix?: string, got?: unknown): ConfigFault;
  /** The fault at a place within its Cedar text, wherever that text was written. */
  faultInCedar(inner: Position | undefined, message: string, fix?: string): ConfigFault;
}

export interface ObjectsFile {
  readonly file: string;
  readonly objects: readonly NamedObject[];
  /** Entries that have a name but did not pass, as `kind name`: references to them are not faults of their own. */
  readonly broken: ReadonlySet<string>;
  readonly faults: readonly ConfigFault[];
}

const ALL_KINDS = Object.keys(KINDS) as Kind[];
const BESIDE_SPEC = { policy: ['disabled', 'cedar_file'] } as Partial<Record<Kind, readonly string[]>>;

/** Reads a file of objects. Faults are in `faults`; what is in `objects` has passed its own schema. */
export function parseObjects({ file, text, includes = {}, entry }: ObjectsText): ObjectsFile {
  const document = readDocument(text, file);
  if (Array.isArray(document)) return { file, objects: [], broken: new Set(), faults: document };
  const root = document.value ?? {};
  const reader = createEntryReader(document, includes);
  if (typeof root !== 'object' || Array.isArray(root)) {
    reader.complain([], 'must be a mapping of lists', `start with one of ${plurals().join(', ')}`, root);
    return reader.result();
  }
  if (entry !== undefined && !Object.hasOwn(root, KINDS[entry].plural)) {
    reader.read(entry, root, []);
    return reader.result();
  }
  for (const key of Object.keys(root).filter((name) => !plurals().includes(name))) {
    const meant = closest(key, plurals());
    const fix = meant === undefined ? `use one of ${plurals().join(', ')}` : `did you mean "${meant}"?`;
    reader.complain([key], 'is not known here', fix);
  }
  for (const kind of ALL_KINDS) {
    const { plural } = KINDS[kind];
    const list = (root as Record<string, unknown>)[plural] ?? [];
    if (Array.isArray(list))
      list.forEach((entry: unknown, index) => {
        reader.read(kind, entry, [plural, index]);
      });
    else reader.complain([plural], 'must be a list', 'start each entry with "- "', list);
  }
  return reader.result();
}

/** The files of Cedar text that a file names, so that they can be read beside it; empty for a file with faults. */
export function cedarFilesOf(text: string): string[] {
  const document = readDocument(text, '');
  if (Array.isArray(document)) return [];
  const root = document.value as { policies?: unknown } | null;
  // A policy by itself has it at the top.
  const policies = Array.isArray(root?.policies) ? root.policies : [root];
  const names = policies.map((policy) => (policy as { cedar_file?: unknown } | null)?.cedar_file);
  return [...new Set(names.filter((name) => typeof name === 'string'))];
}

/** JSON Schema (2020-12) of a file of objects, for editors. */
export function objectsJsonSchema(): Record<string, unknown> {
  const properties = ALL_KINDS.map((kind) => {
    const { $schema: _, ...entry } = z.toJSONSchema(KINDS[kind].schema, { io: 'input' }) as EntrySchema;
    const disabled = { type: 'boolean', description: 'Absent = leave as it is' };
    const items: EntrySchema = { ...entry, properties: { ...entry.properties, disabled } };
    if (kind === 'policy') {
      items.properties['cedar_file'] = { type: 'string', description: 'Path of the Cedar text, from this file' };
      items.required = entry.required?.filter((name) => name !== 'cedar') ?? [];
      items['oneOf'] = [{ required: ['cedar'] }, { required: ['cedar_file'] }];
    }
    return [KINDS[kind].plural, { type: 'array', items }] as const;
  });
  return {
    title: 'Objects of Cambist, for cambist apply',
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
}

interface EntrySchema {
  [keyword: string]: unknown;
  properties: Record<string, unknown>;
  required?: string[];
}

function plurals(): string[] {
  return ALL_KINDS.map((kind) => KINDS[kind].plural);
}

function createEntryReader(document: ConfigDocument, includes: Readonly<Record<string, string>>) {
  const { file } = document;
  const objects: NamedObject[] = [];
  const broken = new Set<string>();
  const faults: ConfigFault[] = [];

  function faultAt(path: readonly PathStep[], message: string, fix?: string, got?: unknown): ConfigFault {
    return {
      file,
      position: document.positionOf(path),
      path: formatPath(path),
      message,
      fix,
      got: got === undefined ? undefined : showValue(got),
    };
  }
  const complain: Complain = (...args) => {
    faults.push(faultAt(...args));
  };

  function read(kind: Kind, entry: unknown, base: PathStep[]): void {
    const noun = nounOf(kind);
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
      complain(base, 'must be a mapping', 'write its fields as "key: value" below each other', entry);
      return;
    }
    const faultsBefore = faults.length;
    const { disabled, ...rest } = entry as Record<string, unknown>;
    if (disabled !== undefined && typeof disabled !== 'boolean')
      complain([...base, 'disabled'], 'must be true or false', 'write true or false, or leave it out', disabled);
    const spec = kind === 'policy' ? withCedar(rest, base) : rest;
    const checked = checkValue(noun.schema, spec, {
      document,
      base,
      alsoKnown: BESIDE_SPEC[kind] ?? ['disabled'],
    });
    if (!checked.ok) faults.push(...checked.faults);
    else checkKeys(checked.value, base);
    if (checked.ok && faults.length === faultsBefore) {
      objects.push({
        kind,
        name: noun.nameOf(checked.value),
        spec: checked.value,
        disabled: disabled as boolean | undefined,
        faultAt: (path, ...said) => faultAt([...base, ...path], ...said),
        faultInCedar: (inner, message, fix) => ({ ...cedarPlace(rest['cedar_file'], base, inner), message, fix }),
      });
      return;
    }
    const name = noun.nameOf(rest as Specs[Kind]);
    if (typeof name === 'string') broken.add(objectLabel(kind, name));
  }

  /** The policy with its Cedar text in place of the name of its file. */
  function withCedar(
    { cedar_file: named, ...rest }: Record<string, unknown>,
    base: PathStep[],
  ): Record<string, unknown> {
    if (named === undefined) return rest;
    const path = [...base, 'cedar_file'];
    if (rest['cedar'] !== undefined) complain(path, 'stands beside cedar', 'keep one of them');
    else if (typeof named !== 'string') complain(path, 'must be a string', 'write the path of the file', named);
    else if (includes[named] === undefined)
      complain(path, 'cannot be read', 'give a path relative to this file', named);
    else return { ...rest, cedar: includes[named] };
    return { ...rest, cedar: rest['cedar'] ?? 'unread' };
  }

  function cedarPlace(named: unknown, base: PathStep[], inner: Position | undefined) {
    if (typeof named === 'string')
      return { file: file === '-' ? named : join(dirname(file), named), position: inner, path: '' };
    const path = [...base, 'cedar'];
    const position = inner === undefined ? document.positionOf(path) : document.positionWithin(path, inner);
    return { file, position, path: formatPath(path) };
  }

  function checkKeys(spec: Specs[Kind], base: PathStep[]): void {
    if (!('jwks' in spec) || spec.jwks === undefined) return;
    const admitted = admitJwks(spec.jwks, { uses: ['sig', 'jwt-svid'] });
    if (!isFault(admitted) && admitted.length > 0) return;
    const privateKey = isFault(admitted) && admitted.claim === 'private';
    complain(
      [...base, 'jwks'],
      privateKey ? 'holds a private or secret key' : 'holds no key that may verify signatures',
      privateKey
        ? 'leave only the public members here, and replace that key: it has been written down'
        : 'give public keys with unique kid: RSA of 2048 to 4096 bits, EC P-256, P-384 or P-521, or Ed25519',
    );
  }

  return { read, complain, result: (): ObjectsFile => ({ file, objects, broken, faults }) };
}

interface AnyNoun {
  readonly plural: string;
  readonly schema: z.ZodType<Specs[Kind]>;
  nameOf(spec: Specs[Kind]): string;
  keysOf(spec: Specs[Kind]): ObjectKey[];
}

/** A noun whose kind is known only at run time: the caller sees to it that the spec is of that kind. */
export function nounOf(kind: Kind): AnyNoun {
  return KINDS[kind];
}

/** What an object is called in messages and sets: `client planner`. */
export function objectLabel(kind: Kind, name: string): string {
  return `${kind} ${name}`;
}
