/**
 * Operations on single objects, typed by a person: put one, remove one; and all of them at once, to write a file. They
 * are held against the same schemas, references and policies as files that are applied, and each change is one
 * transaction with its record.
 */
import { KINDS } from '../objects/kinds.ts';
import type { Kind, Specs } from '../objects/kinds.ts';
import { ObjectMissing, StateMoved } from '../store/objects.ts';
import type { Mutation, ObjectStore } from '../store/objects.ts';
import { APPLY_ORIGIN, planApply } from './apply.ts';
import type { ObjectRef, Plan, PlanOptions } from './apply.ts';
import { plannedChanges } from './change-record.ts';
import type { createChangePreparer } from './change-record.ts';
import { objectLabel, parseObjects } from './objects-file.ts';
import type { ObjectsText } from './objects-file.ts';
import { orProblem, refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { findReferences, removalWarnings } from './removal.ts';

export interface ListedEntry {
  readonly kind: Kind;
  readonly name: string;
  readonly disabled: boolean;
  /** What put it there, in a list. */
  readonly origin?: string | undefined;
  readonly version: number;
  readonly spec: Specs[Kind];
}

interface PutArguments {
  readonly kind: Kind;
  /** The object by itself, or as the only one of a file. */
  readonly text: ObjectsText;
  readonly replace: boolean;
}

interface RemoveArguments extends ObjectRef {
  /** Say what would be, and change nothing. */
  readonly dryRun: boolean;
}

export interface ObjectOperations {
  /** Enters one object; one of that name is replaced only where that is said. */
  put(args: PutArguments): Promise<Outcome<{ readonly name: string; readonly version: number; readonly plan: Plan }>>;
  /** Removes one object that no other one needs. */
  remove(args: RemoveArguments): Promise<Outcome<{ readonly version: number; readonly warnings: readonly string[] }>>;
  /** Every object of every kind, all at one version of the state. */
  exportObjects(
    args: object,
  ): Promise<Outcome<{ readonly stateVersion: number; readonly objects: readonly ListedEntry[] }>>;
}

export interface ObjectOperationsParts {
  readonly objects: ObjectStore;
  readonly author: string;
  readonly ownIssuer: string;
  readonly prepareRecord: ReturnType<typeof createChangePreparer>;
  optionsFor(prune: boolean): PlanOptions;
}

/** What put these objects there, for history and pruning. */
const COMMAND_ORIGIN = 'command';
const REPLANS_MAX = 5;
const PAGE_OBJECTS = 1000;

export function createObjectOperations(parts: ObjectOperationsParts): ObjectOperations {
  const { objects, author } = parts;

  async function change(
    plan: Plan,
    mutations: readonly Mutation[],
    origin: string,
  ): Promise<{ readonly version: number }> {
    if (mutations.length === 0) return { version: plan.stateVersion };
    const record = await parts.prepareRecord(COMMAND_ORIGIN, plannedChanges(plan), mutations);
    return objects.change(mutations, { author, origin, expectVersion: plan.stateVersion, record });
  }

  async function isApplied({ kind, name }: ObjectRef): Promise<boolean> {
    return (await objects.listByOrigin(APPLY_ORIGIN)).some((one) => one.kind === kind && one.name === name);
  }

  async function putOnce({ kind, text, replace }: PutArguments): ReturnType<ObjectOperations['put']> {
    const given = { ...text, entry: kind };
    const file = parseObjects(given);
    const [object, ...more] = file.objects;
    if (file.faults.length === 0 && (object?.kind !== kind || more.length > 0))
      return refused(
        'argument_invalid',
        `give exactly one ${kind}; for files of several objects there is: cambist apply`,
      );
    const prepared = await planApply([given], objects, parts.optionsFor(false));
    if (Array.isArray(prepared)) return refused('objects_invalid', 'nothing was changed', prepared);
    if (object === undefined) throw new Error('a file without a fault and without an object');
    const { name } = object;
    const { plan, mutations } = prepared;
    const exists = plan.create.length === 0;
    if (exists && !replace)
      return refused(
        'object_exists',
        `nothing was changed: ${objectLabel(kind, name)} exists; change it with --replace`,
      );
    const applied = exists && (await isApplied({ kind, name }));
    const warnings = applied
      ? [
          ...plan.warnings,
          `${objectLabel(kind, name)} came from a file: applying that file again puts back what it says`,
        ]
      : plan.warnings;
    const { version } = await change(plan, mutations, applied ? APPLY_ORIGIN : COMMAND_ORIGIN);
    return { ok: true, value: { name, version, plan: { ...plan, warnings } } };
  }

  async function removeOnce({ kind, name, dryRun }: RemoveArguments): ReturnType<ObjectOperations['remove']> {
    const reader = await objects.current();
    const found = await reader.get(kind, name);
    if (found === undefined) throw new ObjectMissing(kind, name);
    if (kind === 'subject' && found.disabled)
      return refused(
        'object_in_use',
        `nothing was changed: subject ${name} is disabled, and removing what is registered about somebody would let them in again; enable it first if that is meant`,
      );
    const faults = await findReferences({ kind, name }, { state: objects, reader, ownIssuer: parts.ownIssuer });
    if (faults.length > 0)
      return refused('object_in_use', `nothing was changed: ${objectLabel(kind, name)} is in use`, faults);
    const warnings = await removalWarnings({ kind, name }, found.spec, reader, parts.ownIssuer);
    if (await isApplied({ kind, name }))
      warnings.push(`${objectLabel(kind, name)} came from a file: applying that file again brings it back`);
    if (dryRun) return { ok: true, value: { version: reader.state.version, warnings } };
    const plan: Plan = {
      stateVersion: reader.state.version,
      create: [],
      update: [],
      unchanged: [],
      remove: [{ kind, name }],
      warnings,
    };
    const { version } = await change(plan, [{ type: 'remove', kind, name }], COMMAND_ORIGIN);
    return { ok: true, value: { version, warnings } };
  }

  async function exportOnce(): Promise<{ readonly stateVersion: number; readonly objects: ListedEntry[] }> {
    const { version } = (await objects.current()).state;
    const found: ListedEntry[] = [];
    for (const kind of Object.keys(KINDS) as Kind[]) found.push(...(await listAll(objects, kind)));
    const { version: after } = (await objects.current()).state;
    if (after !== version) throw new StateMoved(version, after);
    return { stateVersion: version, objects: found };
  }

  return {
    put: (args) => orProblem(() => replanning(() => putOnce(args))),
    remove: (args) => orProblem(() => replanning(() => removeOnce(args))),
    exportObjects: () => orProblem(() => replanning(async () => ({ ok: true, value: await exportOnce() }))),
  };
}

/** What was planned on a state that has moved since is planned again; nobody saw the plan. */
async function replanning<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++)
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StateMoved) || attempt === REPLANS_MAX) throw error;
    }
}

async function listAll(objects: ObjectStore, kind: Kind): Promise<ListedEntry[]> {
  const found: ListedEntry[] = [];
  for (;;) {
    const after = found.at(-1)?.name;
    const page = await objects.list(kind, { limit: PAGE_OBJECTS, ...(after === undefined ? {} : { after }) });
    found.push(
      ...page.map(({ name, disabled, version, spec, origin }) => ({ kind, name, disabled, version, spec, origin })),
    );
    if (page.length < PAGE_OBJECTS) return found;
  }
}
