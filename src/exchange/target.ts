/**
 * Step 5 of the road: which registered resources are asked for. Each named target is one of them, or the request is
 * refused (`invalid_target`, RFC 8693 §2.2.2, RFC 8707 §2); another audience is never substituted.
 */
import type { Form } from '../core/form.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import { canonicalTarget } from '../core/uri.ts';
import type { Registry } from '../objects/registry.ts';
import type { GrantRequest } from './grant.ts';
import { named } from './named.ts';

const MAX_TARGETS = 16;

/** Resources in the order asked for, each once; empty = an identity token, whose only audience is Cambist. */
export type Target = readonly StoredObject<'resource'>[];

export async function resolveTarget(request: GrantRequest, registry: Registry): Promise<Target | Refusal> {
  const count = request.resources.length + request.audiences.length;
  if (count === 0) return request.withoutTarget === 'identity-token' ? [] : refuse('target_missing');
  if (count > MAX_TARGETS) return refuse('target_malformed', { targets: count });

  const found = new Map<string, StoredObject<'resource'>>();
  for (const uri of request.resources) {
    if (canonicalTarget(uri) === undefined) return refuse('target_malformed', { target: named(uri) });
    const resource = admit(await registry.resourceByUri(uri), uri);
    if (isRefusal(resource)) return resource;
    found.set(resource.name, resource);
  }
  for (const audience of request.audiences) {
    const resource = admit(await resourceByAudience(audience, registry), audience);
    if (isRefusal(resource)) return resource;
    found.set(resource.name, resource);
  }

  const target = [...found.values()];
  const groups = new Set(target.map((resource) => resource.spec.audience_group));
  if (target.length > 1 && (groups.size > 1 || groups.has(undefined)))
    return refuse('targets_not_grouped', { targets: target.map((resource) => resource.name) });
  return target;
}

/** The registered ones among what a form names, each once, before anything is refused: what is not registered is nobody. */
export async function namedResources(form: Form, registry: Registry): Promise<Target> {
  const found = await Promise.all([
    ...form
      .all('resource')
      .slice(0, MAX_TARGETS)
      .map((uri) => registry.resourceByUri(uri)),
    ...form
      .all('audience')
      .slice(0, MAX_TARGETS)
      .map((name) => resourceByAudience(name, registry)),
  ]);
  return [
    ...new Map(found.flatMap((resource) => (resource === undefined ? [] : [[resource.name, resource]]))).values(),
  ];
}

/** RFC 8693 §2.1: an audience is a logical name; a registered URI is one as well. */
function resourceByAudience(audience: string, registry: Registry): Promise<StoredObject<'resource'> | undefined> {
  return canonicalTarget(audience) === undefined ? registry.resource(audience) : registry.resourceByUri(audience);
}

function admit(resource: StoredObject<'resource'> | undefined, asked: string): StoredObject<'resource'> | Refusal {
  if (resource === undefined) return refuse('target_unknown', { target: named(asked) });
  return resource.disabled ? refuse('target_disabled', { target: resource.name }) : resource;
}
