/**
 * What a secret may hold, and what a change makes of one. Pure. Nothing that is said here repeats a value.
 */
import { filledPathFault } from '../objects/upstream-templates.ts';
import type { SecretContent, SecretEdit, StoredSecret } from '../store/secrets.ts';
import { refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';

export interface SetSecretArguments {
  readonly path: string;
  /** Values by field; those that are not named stay as they are. */
  readonly fields: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  /** The secret then holds only what is given here. */
  readonly replace: boolean;
}

export type RotateSecretArguments = Pick<SetSecretArguments, 'path' | 'fields'>;
type Edit = SecretEdit<Outcome<never>>;
type Before = StoredSecret | 'unreadable' | undefined;

const VALUE_MAX_BYTES = 64 * 1024;
const FIELDS_MAX = 50;
const ONE_LINE = /^[^\p{Cc}\p{Surrogate}]+$/u;

/** A fault of what is given, before anything is looked at. */
export function contentFault({ path, fields, tags }: Omit<SetSecretArguments, 'replace'>): Outcome<never> | undefined {
  const invalid = (title: string) => refused('argument_invalid', title);
  const fault = filledPathFault(path);
  if (fault !== undefined) return invalid(`the path ${fault}`);
  for (const [name, value] of Object.entries(fields)) {
    if (name.length > 256 || !ONE_LINE.test(name))
      return invalid('the name of a field has 1 to 256 characters and no control characters');
    if (value === '') return invalid(`the value of field ${name} is empty`);
    if (Buffer.byteLength(value) > VALUE_MAX_BYTES)
      return invalid(`the value of field ${name} has more than ${VALUE_MAX_BYTES} bytes`);
  }
  for (const [name, value] of Object.entries(tags))
    if (!/^[a-z0-9_-]{1,64}$/.test(name) || value.length > 512 || !ONE_LINE.test(value))
      return invalid(
        'a tag is NAME=VALUE: 1 to 64 lower-case letters, digits, "_" or "-"; 1 to 512 characters of one line',
      );
  return undefined;
}

/** Fields and tags over those that are there. */
export function editOfSet({ path, fields, tags, replace }: SetSecretArguments, before: Before): Edit {
  if (before === 'unreadable' && !replace)
    return refusal(
      'argument_invalid',
      `what is stored at ${path} does not open, so nothing of it can be kept: set all of it with --replace`,
    );
  const kept: SecretContent = replace || typeof before !== 'object' ? { fields: {}, tags: {} } : before;
  const put = { fields: { ...kept.fields, ...fields }, tags: { ...kept.tags, ...tags } };
  const count = Object.keys(put.fields).length;
  if (count === 0) return refusal('argument_invalid', 'a secret needs a field: give at least one value');
  if (count > FIELDS_MAX) return refusal('argument_invalid', `a secret has at most ${FIELDS_MAX} fields`);
  return { put };
}

/** New values of fields that are there. */
export function editOfRotate({ path, fields }: RotateSecretArguments, before: Before): Edit {
  if (before === undefined)
    return refusal('object_unknown', `there is no secret ${path}: make it with cambist secret set ${path}`);
  if (before === 'unreadable')
    return refusal('argument_invalid', `what is stored at ${path} does not open: set it anew with --replace`);
  const given = Object.keys(fields);
  if (given.length === 0) return refusal('argument_invalid', 'give at least one new value');
  const absent = given.find((name) => !Object.hasOwn(before.fields, name));
  if (absent !== undefined)
    return refusal(
      'object_unknown',
      `${path} has no field ${absent}; there is ${Object.keys(before.fields).sort().join(', ')}. To add one: cambist secret set`,
    );
  const same = given.find((name) => before.fields[name] === fields[name]);
  if (same !== undefined)
    return refusal('argument_invalid', `the value of field ${same} is the one that is there: nothing was rotated`);
  return { put: { fields: { ...before.fields, ...fields }, tags: before.tags } };
}

function refusal(code: 'argument_invalid' | 'object_unknown', title: string): Edit {
  return { refuse: refused(code, title) };
}
