/**
 * Whether the policies of a file compile together with those that are registered already.
 */
import { compilePolicies, isPolicySet } from '../policy/policy-set.ts';
import type { PolicyFault } from '../policy/policy-set.ts';
import type { Policy } from '../objects/policy.ts';
import type { ConfigFault } from './fault.ts';
import type { NamedObject } from './objects-file.ts';
import type { World } from './world.ts';

export interface PolicyCheck {
  readonly faults: readonly ConfigFault[];
  readonly warnings: readonly string[];
}

/**
 * Compiles what will be there after the change. Faults of policies that the file does not name are warnings: a file
 * that has nothing to do with them must still be applicable.
 */
export async function checkPolicies(objects: readonly NamedObject[], world: World): Promise<PolicyCheck> {
  const named = new Map(objects.filter(({ kind }) => kind === 'policy').map((object) => [object.name, object]));
  if (named.size === 0) return { faults: [], warnings: [] };
  const sources = (await world.all('policy')).map(({ spec }: { spec: Policy }) => ({ id: spec.id, cedar: spec.cedar }));
  const compiled = compilePolicies(sources);
  const found = isPolicySet(compiled) ? compiled.warnings : compiled;
  const ours = found.flatMap((fault) => {
    const object = named.get(fault.policy);
    return object === undefined ? [] : [faultIn(object, fault)];
  });
  const others = found
    .filter((fault) => !named.has(fault.policy))
    .map(({ policy, message }) => `policy ${policy} (registered): ${message}`);
  if (!isPolicySet(compiled)) return { faults: ours, warnings: others };
  return { faults: [], warnings: [...ours.map(({ path, message }) => `${path}: ${message}`), ...others] };
}

function faultIn(object: NamedObject, { line, column, message, help }: PolicyFault): ConfigFault {
  const inner = line === undefined ? undefined : { line, column: column ?? 1 };
  return object.faultInCedar(inner, message, help);
}
