/**
 * Step 5 of the road: which registered targets are asked for, resources and upstreams alike. Each one that is named is
 * one of them, or the request is refused (`invalid_target`, RFC 8693 §2.2.2, RFC 8707 §2); another audience is never
 * substituted.
 */
import type { Form } from '../core/form.ts';
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import { canonicalTarget } from '../core/uri.ts';
import type { Registry } from '../objects/registry.ts';
import { targetByName, targetByUri } from '../objects/target.ts';
import type { Target } from '../objects/target.ts';
import type { GrantRequest } from './grant.ts';
import { named } from './named.ts';

const MAX_TARGETS = 16;

/** Targets in the order asked for, each once; empty = an identity token, whose only audience is Cambist. */
export type Targets = readonly Target[];

export async function resolveTargets(
  request: GrantRequest,
  registry: Registry,
  ourIssuer: string,
): Promise<Targets | Refusal> {
  const count = request.resources.length + request.audiences.length;
  if (count === 0) return request.withoutTarget === 'identity-token' ? [] : refuse('target_missing');
  if (count > MAX_TARGETS) return refuse('target_malformed', { targets: count });

  const found = new Map<string, Target>();
  for (const uri of request.resources) {
    if (canonicalTarget(uri) === undefined) return refuse('target_malformed', { target: named(uri) });
    const target = admit(await targetByUri(uri, registry, ourIssuer), uri);
    if (isRefusal(target)) return target;
    found.set(target.uri, target);
  }
  for (const audience of request.audiences) {
    const target = admit(await targetByAudience(audience, registry, ourIssuer), audience);
    if (isRefusal(target)) return target;
    found.set(target.uri, target);
  }

  const targets = [...found.values()];
  const groups = new Set(targets.map((target) => target.audienceGroup));
  if (targets.length > 1 && (groups.size > 1 || groups.has(undefined)))
    return refuse('targets_not_grouped', { targets: targets.map((target) => target.name) });
  const other = targets.find((target) => target.kind !== 'upstream');
  if (request.wants === 'credential' && other !== undefined)
    return refuse('target_not_upstream', { target: other.name });
  return targets;
}

/** The registered ones among what a form names, each once, before anything is refused: what is not registered is nobody. */
export async function namedTargets(form: Form, registry: Registry, ourIssuer: string): Promise<Targets> {
  const found = await Promise.all([
    ...form
      .all('resource')
      .slice(0, MAX_TARGETS)
      .map((uri) => targetByUri(uri, registry, ourIssuer)),
    ...form
      .all('audience')
      .slice(0, MAX_TARGETS)
      .map((name) => targetByAudience(name, registry, ourIssuer)),
  ]);
  return [...new Map(found.flatMap((target) => (target === undefined ? [] : [[target.uri, target]]))).values()];
}

/** RFC 8693 §2.1: an audience is a logical name; a registered URI is one as well. */
function targetByAudience(audience: string, registry: Registry, ourIssuer: string): Promise<Target | undefined> {
  return canonicalTarget(audience) === undefined
    ? targetByName(audience, registry, ourIssuer)
    : targetByUri(audience, registry, ourIssuer);
}

function admit(target: Target | undefined, asked: string): Target | Refusal {
  if (target === undefined) return refuse('target_unknown', { target: named(asked) });
  return target.disabled ? refuse('target_disabled', { target: target.name }) : target;
}
