/**
 * Files as a state of their own: what `apply --check` and `policy check` look at where there is no database. Reads
 * only; a file can be judged, not changed.
 */
import type { Kind, ObjectKey, StoredObject } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import type { ObjectStore } from '../store/objects.ts';
import { planApply } from './apply.ts';
import type { Plan, PlanOptions } from './apply.ts';
import type { ConfigFault } from './fault.ts';
import { nounOf, objectLabel, parseObjects } from './objects-file.ts';
import type { NamedObject, ObjectsText } from './objects-file.ts';

/** A state that holds nothing. */
const EMPTY: Pick<ObjectStore, 'current' | 'list' | 'listByOrigin'> = {
  current: () => Promise.resolve(readerOf([])),
  list: () => Promise.resolve([]),
  listByOrigin: () => Promise.resolve([]),
};

export interface CheckedFiles {
  /** Against an empty state: everything is created. */
  readonly plan: Plan;
  readonly reader: ObjectReader;
}

/** Validates files by themselves; every reference must be to something in them. */
export async function checkFiles(
  texts: readonly ObjectsText[],
  options: Omit<PlanOptions, 'prune'>,
): Promise<CheckedFiles | ConfigFault[]> {
  const prepared = await planApply(texts, EMPTY, { ...options, prune: false });
  if (Array.isArray(prepared)) return prepared;
  return { plan: prepared.plan, reader: readerOf(texts.flatMap((text) => parseObjects(text).objects)) };
}

function readerOf(objects: readonly NamedObject[]): ObjectReader {
  const stored = objects.map(({ kind, name, spec, disabled }): StoredObject => ({
    kind,
    name,
    spec,
    disabled: disabled ?? false,
    version: 0,
  }));
  const byLabel = new Map(stored.map((object) => [objectLabel(object.kind, object.name), object]));
  const sameKey = (a: ObjectKey, b: ObjectKey) => a.namespace === b.namespace && a.key === b.key;
  return {
    state: { version: 0, revocations: 0, keys: 0, databaseMs: 0, revoking: false },
    get: <K extends Kind>(kind: K, name: string) =>
      Promise.resolve(byLabel.get(objectLabel(kind, name)) as StoredObject<K> | undefined),
    find: (key) =>
      Promise.resolve(
        stored.find(({ kind, spec }) =>
          nounOf(kind)
            .keysOf(spec)
            .some((own) => sameKey(own, key)),
        ),
      ),
    all: <K extends Kind>(kind: K) =>
      Promise.resolve(stored.filter((object) => object.kind === kind) as StoredObject<K>[]),
  };
}
