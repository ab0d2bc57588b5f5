/**
 * The state as it will be when a file has been applied: what the store holds, less what is removed, with the objects
 * of the file over it. References are judged against this, never against the store of before.
 */
import type { Kind, ObjectKey, Specs, StoredObject } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import type { ObjectStore } from '../store/objects.ts';
import { nounOf, objectLabel } from './objects-file.ts';
import type { NamedObject } from './objects-file.ts';

export interface WorldObject<K extends Kind = Kind> {
  readonly kind: K;
  readonly name: string;
  readonly spec: Specs[K];
}

export interface World {
  get<K extends Kind>(kind: K, name: string): Promise<WorldObject<K> | undefined>;
  /** An object that is there, or whose entry in the file has faults of its own. */
  knows(kind: Kind, name: string): Promise<boolean>;
  /** Every object that holds this key: more than one is a conflict. */
  holders(key: ObjectKey): Promise<readonly WorldObject[]>;
  /** Every object of a kind. Reads the whole kind: only where a rule cannot be checked otherwise. */
  all<K extends Kind>(kind: K): Promise<readonly WorldObject<K>[]>;
}

export interface Change {
  readonly objects: readonly NamedObject[];
  /** Entries with faults, by label: whatever refers to them is given the benefit of the doubt. */
  readonly broken: ReadonlySet<string>;
  /** Labels of objects that are removed. */
  readonly removed: ReadonlySet<string>;
}

/** Objects per query when a whole kind is read. */
const PAGE_OBJECTS = 1000;

/** Every object of a kind, page by page; disabled ones included. */
async function listAll<K extends Kind>(state: Pick<ObjectStore, 'list'>, kind: K): Promise<StoredObject<K>[]> {
  const found: StoredObject<K>[] = [];
  for (;;) {
    const after = found.at(-1)?.name;
    const page = await state.list(kind, { limit: PAGE_OBJECTS, ...(after === undefined ? {} : { after }) });
    found.push(...page);
    if (page.length < PAGE_OBJECTS) return found;
  }
}

/** The world after a change; `reader` and `state` are of one store. */
export function worldAfter(
  reader: ObjectReader,
  state: Pick<ObjectStore, 'list'>,
  { objects, broken, removed }: Change,
): World {
  const byLabel = new Map(objects.map((object) => [objectLabel(object.kind, object.name), object]));
  const byKey = new Map<string, NamedObject[]>();
  for (const object of byLabel.values())
    for (const key of nounOf(object.kind).keysOf(object.spec)) {
      const label = keyLabel(key);
      byKey.set(label, [...(byKey.get(label) ?? []), object]);
    }
  const stays = ({ kind, name }: WorldObject) => {
    const label = objectLabel(kind, name);
    return !byLabel.has(label) && !removed.has(label) && !broken.has(label);
  };

  async function get<K extends Kind>(kind: K, name: string): Promise<WorldObject<K> | undefined> {
    const label = objectLabel(kind, name);
    const written = byLabel.get(label);
    if (written !== undefined) return written as unknown as WorldObject<K>;
    return removed.has(label) || broken.has(label) ? undefined : reader.get(kind, name);
  }

  return {
    get,
    knows: async (kind, name) => broken.has(objectLabel(kind, name)) || (await get(kind, name)) !== undefined,
    async holders(key) {
      const written = byKey.get(keyLabel(key)) ?? [];
      const stored = await reader.find(key);
      return stored !== undefined && stays(stored) ? [...written, stored] : written;
    },
    async all<K extends Kind>(kind: K) {
      const stored = await listAll(state, kind);
      const written = [...byLabel.values()].filter((object) => object.kind === kind);
      return [...stored.filter(stays), ...(written as unknown as WorldObject<K>[])];
    },
  };
}

function keyLabel({ namespace, key }: ObjectKey): string {
  return `${namespace} ${key}`;
}
