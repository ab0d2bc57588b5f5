/**
 * What the audit record of a change says, prepared before the change is made so that it can be written in the change's
 * own transaction. Refuses to tell who a person is in clear: a subject stands in a separate list of persons, for whoever
 * writes the record to seal; the text of a policy, which may name persons, stands there as its digest.
 */
import { createHash } from 'node:crypto';
import type { RecordRow } from '../audit/record.ts';
import type { Principal } from '../core/principal.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import type { Mutation, ObjectStore } from '../store/objects.ts';
import type { Plan } from './apply.ts';
import type { FieldChange } from './difference.ts';

/** What a record of kind `changed` says. A subject has no name here: `person` is its place in the list of persons. */
export interface ChangeSummary extends Readonly<Record<string, unknown>> {
  readonly author: string;
  readonly origin: string;
  readonly state_version: number;
  readonly changes: readonly {
    readonly action: 'create' | 'update' | 'remove' | 'disable' | 'enable' | 'add_secret' | 'retire_secret';
    readonly kind: Kind;
    readonly name?: string;
    readonly person?: number;
    readonly fields?: readonly FieldChange[];
  }[];
  /** Ids of secrets, never the secrets. */
  readonly secret_added?: string;
  readonly secrets_retired?: readonly string[];
}

/** Gets ready to seal these persons; what it returns builds the record within the transaction of the change. */
export type PrepareChange = (persons: readonly Principal[]) => Promise<(summary: ChangeSummary) => RecordRow>;

export type NamedChange = Omit<ChangeSummary['changes'][number], 'person'> & { readonly name: string };

/** What a plan changes, for the record. */
export function plannedChanges(plan: Plan): NamedChange[] {
  return [
    ...plan.create.map(({ kind, name, changes }) => ({ action: 'create' as const, kind, name, fields: changes })),
    ...plan.update.map(({ kind, name, changes }) => ({ action: 'update' as const, kind, name, fields: changes })),
    ...plan.remove.map(({ kind, name }) => ({ action: 'remove' as const, kind, name })),
  ];
}

export interface ChangePreparerParts {
  readonly objects: Pick<ObjectStore, 'current'>;
  readonly prepareChange: PrepareChange;
  readonly author: string;
}

/** Prepares the record of changes that are about to be made, by `mutations` where issuers may be among them. */
export function createChangePreparer({ objects, prepareChange, author }: ChangePreparerParts) {
  return async (origin: string, changes: readonly NamedChange[], mutations: readonly Mutation[] = []) => {
    const subjects = changes.filter(({ kind }) => kind === 'subject').map(({ name }) => splitSubject(name));
    const reader = await objects.current();
    const urls = issuerUrls(mutations);
    // As it was before the change, because the issuer of a subject may be gone after it.
    for (const issuer of new Set(subjects.map((subject) => subject.issuer))) {
      const before = await reader.get('issuer', issuer);
      if (before !== undefined) urls.set(issuer, before.spec.issuer);
    }
    const recordOf = await prepareChange(
      subjects.map(({ issuer, sub }) => ({ issuer: urls.get(issuer) ?? issuer, sub })),
    );
    const told = toldChanges(changes);
    return (stateVersion: number, secrets: Pick<ChangeSummary, 'secret_added' | 'secrets_retired'> = {}): RecordRow =>
      recordOf({ author, origin, state_version: stateVersion, changes: told, ...secrets });
  };
}

function issuerUrls(mutations: readonly Mutation[]): Map<string, string> {
  const urls = new Map<string, string>();
  for (const mutation of mutations)
    if (mutation.type === 'put' && mutation.kind === 'issuer')
      urls.set(mutation.name, (mutation.spec as Specs['issuer']).issuer);
  return urls;
}

function toldChanges(changes: readonly NamedChange[]): ChangeSummary['changes'] {
  let person = 0;
  return changes.map(({ name, ...change }) => {
    if (change.kind !== 'subject') {
      const fields = change.kind === 'policy' ? change.fields?.map(withDigest) : change.fields;
      return { name, ...change, ...(fields === undefined ? {} : { fields }) };
    }
    const fields = change.fields?.filter(({ path }) => path !== 'sub');
    return { ...change, person: person++, ...(fields === undefined ? {} : { fields }) };
  });
}

/** The text itself is in the history of the object, under the same state version. */
function withDigest(field: FieldChange): FieldChange {
  if (field.path !== 'cedar') return field;
  return { ...field, before: digestOf(field.before), after: digestOf(field.after) };
}

function digestOf(text: unknown): string | null {
  return typeof text === 'string' ? `sha256:${createHash('sha256').update(text).digest('base64url')}` : null;
}

/** The name of a subject: the short name of its issuer, which has no colon, a colon, its `sub`. */
export function splitSubject(name: string): { readonly issuer: string; readonly sub: string } {
  const colon = name.indexOf(':');
  return { issuer: name.slice(0, Math.max(0, colon)), sub: name.slice(colon + 1) };
}
