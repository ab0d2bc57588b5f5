/**
 * From files of objects to a plan, and from a plan to the state. A plan is made only of files without a fault; it is
 * bound to the version of the state that it was made for; it touches only what the files name and, with `prune`, what
 * earlier applies made and the files no longer name. Applying the same files again changes nothing.
 */
import type { Kind, Specs, StoredObject } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import type { Resource } from '../objects/resource.ts';
import type { Upstream } from '../objects/upstream.ts';
import type { ChangeOptions, Mutation, ObjectStore } from '../store/objects.ts';
import { differences } from './difference.ts';
import type { FieldChange } from './difference.ts';
import { sortFaults } from './fault.ts';
import type { ConfigFault } from './fault.ts';
import { nounOf, objectLabel, parseObjects } from './objects-file.ts';
import type { NamedObject, ObjectsText } from './objects-file.ts';
import { checkPolicies } from './policies.ts';
import { checkReferences } from './references.ts';
import { warningsOf } from './warnings.ts';
import { worldAfter } from './world.ts';
import type { Change, World } from './world.ts';

/** The origin of objects that apply made; only those are pruned. */
export const APPLY_ORIGIN = 'apply';

export interface ObjectRef {
  readonly kind: Kind;
  readonly name: string;
}

export interface PlannedChange extends ObjectRef {
  readonly changes: readonly FieldChange[];
}

/** What applying would do; JSON. */
export interface Plan {
  /** The version of the state that it was made for. */
  readonly stateVersion: number;
  readonly create: readonly PlannedChange[];
  readonly update: readonly PlannedChange[];
  readonly unchanged: readonly ObjectRef[];
  readonly remove: readonly ObjectRef[];
  readonly warnings: readonly string[];
}

export interface PreparedPlan {
  readonly plan: Plan;
  readonly mutations: readonly Mutation[];
}

export interface PlanOptions {
  readonly prune: boolean;
  /** Our own issuer URL. */
  readonly ownIssuer: string;
  /** Why objects marked `demo` may not exist here; undefined where they may. */
  readonly demoRefusedBecause: string | undefined;
}

/** The plan for a set of files taken together, or every fault of all of them. */
export async function planApply(
  texts: readonly ObjectsText[],
  state: Pick<ObjectStore, 'current' | 'list' | 'listByOrigin'>,
  options: PlanOptions,
): Promise<PreparedPlan | ConfigFault[]> {
  const files = texts.map(parseObjects);
  const faults = files.flatMap((file) => file.faults);
  const objects = files.flatMap((file) => file.objects);
  const broken = new Set(files.flatMap((file) => [...file.broken]));
  faults.push(...duplicateFaults(objects), ...demoFaults(objects, options.demoRefusedBecause));
  if (options.prune && objects.length === 0 && broken.size === 0)
    faults.push({
      file: texts[0]?.file ?? 'apply',
      path: '',
      message: 'names no object, and pruning would remove every object that was ever applied',
      fix: 'name the right file, or remove objects one by one',
    });

  const reader = await state.current();
  const named = new Set([...objects.map(({ kind, name }) => objectLabel(kind, name)), ...broken]);
  const stale = options.prune ? await state.listByOrigin(APPLY_ORIGIN) : [];
  const unnamed = stale.filter(({ kind, name }) => !named.has(objectLabel(kind, name)));
  // A person of whom nothing is registered may come in: a disabled subject must not be forgotten by the way.
  const remove = unnamed.filter(({ kind, disabled }) => kind !== 'subject' || !disabled);
  const kept = unnamed
    .filter((object) => !remove.includes(object))
    .map(({ kind, name }) => `${objectLabel(kind, name)} stays: it is disabled, and removing it would let it in again`);
  const change: Change = { objects, broken, removed: new Set(remove.map(({ kind, name }) => objectLabel(kind, name))) };
  const world = worldAfter(reader, state, change);

  for (const object of objects)
    await checkReferences(object, { world, ownIssuer: options.ownIssuer }, (...said) => {
      faults.push(object.faultAt(...said));
    });
  faults.push(...(await strandedFaults(change, remove, reader, world, options.ownIssuer, texts)));
  const policies = await checkPolicies(objects, world);
  faults.push(...policies.faults);
  if (faults.length > 0) return sortFaults(faults);
  return prepare(objects, remove, reader, [...objects.flatMap(warningsOf), ...policies.warnings, ...kept]);
}

/** Carries a plan out, all of it or nothing; throws the store's StateMoved when the state is no longer the plan's. */
export async function applyPlan(
  { plan, mutations }: PreparedPlan,
  state: Pick<ObjectStore, 'change'>,
  author: string,
  record?: ChangeOptions['record'],
): Promise<{ readonly version: number }> {
  if (mutations.length === 0) return { version: plan.stateVersion };
  return state.change(mutations, { author, origin: APPLY_ORIGIN, expectVersion: plan.stateVersion, record });
}

function duplicateFaults(objects: readonly NamedObject[]): ConfigFault[] {
  const first = new Map<string, ConfigFault>();
  return objects.flatMap((object) => {
    const label = objectLabel(object.kind, object.name);
    const here = object.faultAt([], `${label} is named twice`, 'keep one of them');
    const earlier = first.get(label);
    if (earlier === undefined) {
      first.set(label, here);
      return [];
    }
    const place = earlier.position === undefined ? '' : `:${earlier.position.line}`;
    return [{ ...here, message: `${label} is named twice, first in ${earlier.file}${place}` }];
  });
}

function demoFaults(objects: readonly NamedObject[], refusedBecause: string | undefined): ConfigFault[] {
  if (refusedBecause === undefined) return [];
  return objects
    .filter(({ spec }) => spec.demo)
    .map((object) =>
      object.faultAt(['demo'], `demo objects are refused here: ${refusedBecause}`, 'leave this object out', true),
    );
}

/** Which kinds mention objects of a kind. */
export const REFERRERS: { readonly [K in Kind]: readonly Kind[] } = {
  issuer: ['client', 'role', 'subject'],
  client: ['issuer', 'resource', 'subject', 'upstream'],
  resource: ['resource', 'issuer', 'upstream'],
  upstream: ['resource'],
  role: ['subject'],
  subject: ['client'],
  policy: [],
};

/** Objects that stay as they are and would mention what is no longer there. */
async function strandedFaults(
  change: Change,
  remove: readonly StoredObject[],
  reader: ObjectReader,
  world: World,
  ownIssuer: string,
  texts: readonly ObjectsText[],
): Promise<ConfigFault[]> {
  const touched = new Set<Kind>(remove.map(({ kind }) => kind));
  for (const { kind, name, spec } of change.objects) {
    const before = await reader.get(kind, name);
    if (before !== undefined && takesAway(kind, before.spec, spec)) touched.add(kind);
  }
  const referrers = new Set([...touched].flatMap((kind) => REFERRERS[kind]));
  const named = new Set(change.objects.map(({ kind, name }) => objectLabel(kind, name)));
  const faults: ConfigFault[] = [];
  for (const kind of referrers)
    for (const object of await world.all(kind)) {
      const label = objectLabel(kind, object.name);
      if (named.has(label) || change.broken.has(label)) continue;
      await checkReferences(object, { world, ownIssuer }, (path, message, fix) => {
        const at = path.map(String).join('.');
        faults.push({
          file: texts[0]?.file ?? 'apply',
          path: `${label} (registered) ${at}`,
          message: `after this apply, ${message}`,
          fix: `change it in the same apply${fix === undefined ? '' : `: ${fix}`}`,
        });
      });
    }
  return faults;
}

/** Could something that was right before be wrong after this update? */
function takesAway(kind: Kind, before: Specs[Kind], after: Specs[Kind]): boolean {
  if (kind === 'issuer')
    return JSON.stringify(before) !== JSON.stringify(after) && 'subject' in after && after.subject.verbatim;
  if (kind === 'upstream') return dropsScopes(before as Upstream, after as Upstream);
  if (kind !== 'resource') return false;
  const [was, is] = [before as Resource, after as Resource];
  const uris = new Set([is.uri, ...is.aliases]);
  return dropsScopes(was, is) || [was.uri, ...was.aliases].some((uri) => !uris.has(uri));
}

function dropsScopes(was: Pick<Resource, 'scopes'>, is: Pick<Resource, 'scopes'>): boolean {
  return Object.keys(was.scopes).some((scope) => !Object.hasOwn(is.scopes, scope));
}

async function prepare(
  objects: readonly NamedObject[],
  remove: readonly StoredObject[],
  reader: ObjectReader,
  warnings: string[],
): Promise<PreparedPlan> {
  const create: PlannedChange[] = [];
  const update: PlannedChange[] = [];
  const unchanged: ObjectRef[] = [];
  const mutations: Mutation[] = remove.map(({ kind, name }) => ({ type: 'remove', kind, name }));
  for (const { kind, name, spec, disabled } of objects) {
    const noun = nounOf(kind);
    const stored = await reader.get(kind, name);
    const before = stored === undefined ? {} : { ...presentForm(kind, stored.spec), disabled: stored.disabled };
    const changes = differences(before, { ...spec, disabled: disabled ?? stored?.disabled ?? false });
    if (stored !== undefined && changes.length === 0) {
      unchanged.push({ kind, name });
      continue;
    }
    (stored === undefined ? create : update).push({ kind, name, changes });
    const put = { type: 'put', kind, name, spec, keys: noun.keysOf(spec) } as const;
    mutations.push(disabled === undefined ? put : { ...put, disabled });
  }
  const removed = remove.map(({ kind, name }) => ({ kind, name }));
  return {
    plan: { stateVersion: reader.state.version, create, update, unchanged, remove: removed, warnings },
    mutations,
  };
}

/** A stored spec with the defaults of today: a field that is newer than the object is not a change. */
function presentForm(kind: Kind, spec: Specs[Kind]): Specs[Kind] {
  const parsed = nounOf(kind).schema.safeParse(spec);
  return parsed.success ? parsed.data : spec;
}
