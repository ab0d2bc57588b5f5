/**
 * Step 5 of the road: which registered resources are asked for. Each named target is one of them, or the request is
 * refused (`invalid_target`, RFC 8693 §2.2.2, RFC 8707 §2); another audience is never substituted.
 */
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
    // RFC 8693 §2.1: an audience is a logical name; a registered URI is one as well.
    const named =
      canonicalTarget(audience) === undefined ? registry.resource(audience) : registry.resourceByUri(audience);
    const resource = admit(await named, audience);
    if (isRefusal(resource)) return resource;
    found.set(resource.name, resource);
  }

  const target = [...found.values()];
  const groups = new Set(target.map((resource) => resource.spec.audience_group));
  if (target.length > 1 && (groups.size > 1 || groups.has(undefined)))
    return refuse('targets_not_grouped', { targets: target.map((resource) => resource.name) });
  return target;
}

function admit(resource: StoredObject<'resource'> | undefined, asked: string): StoredObject<'resource'> | Refusal {
  if (resource === undefined) return refuse('target_unknown', { target: named(asked) });
  return resource.disabled ? refuse('target_disabled', { target: resource.name }) : resource;
}
