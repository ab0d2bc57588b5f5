/**
 * What the presented token itself allows, before policy is asked: "never wider" (R7). A token for resource A becomes
 * one for resource or upstream B only along a call edge that A declares; an external token's scopes count only where its issuer's
 * mapping says what they mean; where a token carries no scopes that mean anything here, policy alone decides.
 */
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { StoredObject } from '../objects/kinds.ts';
import type { Target } from '../objects/target.ts';
import { named as asText } from './named.ts';
import type { ResourceScopes } from './presented.ts';
import type { Targets } from './target.ts';

/** Scopes to be decided at one target. */
export interface AskedScopes {
  readonly target: Target;
  readonly scopes: readonly string[];
  /** The resource whose token opened the way; undefined when there was none. */
  readonly via: StoredObject<'resource'> | undefined;
}

export interface Asked {
  readonly byTarget: readonly AskedScopes[];
  /** Named in the request, or the targets' defaults? A named scope is never dropped. */
  readonly explicit: boolean;
  /** Named in the request, but beyond what the token allows. */
  readonly beyond: readonly string[];
}

/** RFC 6749 §3.3, narrowed to what a registered scope can be; one space between names. */
const SCOPE_LIST = /^[\x21\x23-\x5B\x5D-\x7E]+( [\x21\x23-\x5B\x5D-\x7E]+)*$/;

export function askScopes(
  scope: string | undefined,
  targets: Targets,
  scopesAt: readonly ResourceScopes[] | undefined,
): Asked | Refusal {
  if (scope !== undefined && !SCOPE_LIST.test(scope)) return refuse('scope_malformed');
  const named = scope === undefined ? undefined : [...new Set(scope.split(' '))];
  const unknown = (named ?? []).filter((name) => !targets.some((target) => Object.hasOwn(target.scopes, name)));
  if (unknown.length > 0) return refuse('scope_unknown', { scopes: unknown.slice(0, 20).map(asText) });

  const byTarget: AskedScopes[] = [];
  const beyond: string[] = [];
  for (const target of targets) {
    const wanted = (named ?? target.defaultScopes).filter((name) => Object.hasOwn(target.scopes, name));
    const ceiling = ceilingAt(target, scopesAt);
    if (ceiling === undefined) {
      byTarget.push({ target, scopes: wanted, via: undefined });
      continue;
    }
    if (ceiling.scopes.size === 0) return refuse('call_edge_missing', { target: target.name });
    byTarget.push({ target, scopes: wanted.filter((name) => ceiling.scopes.has(name)), via: ceiling.via });
    beyond.push(...wanted.filter((name) => !ceiling.scopes.has(name)));
  }
  return { byTarget, explicit: named !== undefined, beyond: named === undefined ? [] : beyond };
}

/** The scopes that the token can become at this target; undefined = the token sets no limit. */
function ceilingAt(
  target: Target,
  scopesAt: readonly ResourceScopes[] | undefined,
): { readonly scopes: ReadonlySet<string>; readonly via: StoredObject<'resource'> | undefined } | undefined {
  if (scopesAt === undefined) return undefined;
  const scopes = new Set<string>();
  let via: StoredObject<'resource'> | undefined;
  for (const held of scopesAt) {
    if (target.kind === 'resource' && held.resource.name === target.name)
      for (const scope of held.scopes) scopes.add(scope);
    if (held.origin === 'mapping') continue;
    via ??= held.resource;
    for (const edge of held.resource.spec.calls)
      if (edge[target.kind] === target.name && edge.needs.every((scope) => held.scopes.includes(scope)))
        for (const scope of edge.gives) scopes.add(scope);
  }
  return { scopes, via };
}
