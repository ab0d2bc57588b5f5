/**
 * Removing one object: who else speaks of it, and what removing it would let in. References are judged as apply judges
 * them, so that an object can be removed by hand exactly when an apply could leave it out.
 */
import type { Kind, Specs } from '../objects/kinds.ts';
import type { ObjectReader } from '../objects/registry.ts';
import { egressUri } from '../objects/target.ts';
import type { ObjectStore } from '../store/objects.ts';
import { REFERRERS } from './apply.ts';
import type { ObjectRef } from './apply.ts';
import { formatPath } from './fault.ts';
import type { ConfigFault } from './fault.ts';
import { objectLabel } from './objects-file.ts';
import { checkReferences } from './references.ts';
import { worldAfter } from './world.ts';
import type { World } from './world.ts';

export interface RemovalParts {
  readonly state: Pick<ObjectStore, 'list'>;
  readonly reader: ObjectReader;
  /** Our own issuer URL. */
  readonly ownIssuer: string;
}

/** Every place of another object that would be wrong without this one; empty where it may go. */
export async function findReferences(target: ObjectRef, parts: RemovalParts): Promise<ConfigFault[]> {
  const { reader, state } = parts;
  const removed = new Set([objectLabel(target.kind, target.name)]);
  const nothing = { objects: [], broken: new Set<string>() };
  const before = worldAfter(reader, state, { ...nothing, removed: new Set() });
  const after = worldAfter(reader, state, { ...nothing, removed });
  const faults: ConfigFault[] = [];
  for (const kind of REFERRERS[target.kind])
    for (const object of await after.all(kind)) {
      const place = objectLabel(kind, object.name);
      const paths = await complaintPaths(object, after, parts.ownIssuer);
      if (paths.length === 0) continue;
      // What was wrong before has nothing to do with this removal.
      const known = new Set(await complaintPaths(object, before, parts.ownIssuer));
      for (const path of paths.filter((one) => !known.has(one)))
        faults.push({
          file: place,
          path,
          message: `needs ${objectLabel(target.kind, target.name)}`,
          fix: `change or remove ${place} first`,
        });
    }
  return faults;
}

async function complaintPaths(
  object: Parameters<typeof checkReferences>[0],
  world: World,
  ownIssuer: string,
): Promise<string[]> {
  const paths: string[] = [];
  await checkReferences(object, { world, ownIssuer }, (path) => {
    paths.push(formatPath(path));
  });
  return paths;
}

/** How policies write objects of a kind (docs/policy.md); a scope is written by the name of its target. */
const IN_POLICIES: {
  readonly [K in Kind]?: (name: string, spec: Specs[K], ownIssuer: string) => readonly string[];
} = {
  client: (name) => [`Client::${JSON.stringify(name)}`],
  role: (name) => [`Role::${JSON.stringify(name)}`],
  subject: (name) => [`User::${JSON.stringify(name)}`],
  resource: (name, { uri }) => targetTerms(name, uri),
  upstream: (name, _spec, ownIssuer) => targetTerms(name, egressUri(ownIssuer, name)),
};

function targetTerms(name: string, uri: string): readonly string[] {
  return [`Resource::${JSON.stringify(uri)}`, `Scope::${JSON.stringify(`${name}#`).slice(0, -1)}`];
}

/** What whoever removes it should know: policies that go on naming it, and a forbid that ends. */
export async function removalWarnings<K extends Kind>(
  { kind, name }: { readonly kind: K; readonly name: string },
  spec: Specs[K],
  reader: ObjectReader,
  ownIssuer: string,
): Promise<string[]> {
  if (kind === 'policy')
    return /\bforbid\s*\(/.test((spec as Specs['policy']).cedar)
      ? [`policy ${name} forbids something: what it alone forbade is permitted without it`]
      : [];
  const termsOf: ((name: string, spec: Specs[K], ownIssuer: string) => readonly string[]) | undefined =
    IN_POLICIES[kind];
  const terms = termsOf?.(name, spec, ownIssuer);
  if (terms === undefined) return [];
  const policies = (await reader.all('policy')).filter(({ spec: policy }) =>
    terms.some((term) => policy.cedar.includes(term)),
  );
  return policies.map(
    (policy) => `policy ${policy.name} names it: what is registered under that name later has what it permits`,
  );
}
