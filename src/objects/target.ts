/**
 * What a token can be for: a resource, or an upstream by its egress URI. The road knows both in this one shape, made here
 * and nowhere else, so that no step of it has a case for one of them that the other lacks.
 */
import { PATHS } from '../core/protocol.ts';
import { canonicalTarget } from '../core/uri.ts';
import type { StoredObject } from './kinds.ts';
import type { Registry } from './registry.ts';

export interface Target {
  readonly kind: 'resource' | 'upstream';
  /** No resource has the name of an upstream. */
  readonly name: string;
  /** `aud` of its tokens. */
  readonly uri: string;
  readonly scopes: Readonly<Record<string, string>>;
  readonly defaultScopes: readonly string[];
  readonly lifetimeSeconds: number;
  readonly signingAlgorithm: 'ES256' | 'RS256';
  readonly requestsPerMinute: number | undefined;
  /** Targets of one group may share a token; `undefined`: it shares none. */
  readonly audienceGroup: string | undefined;
  readonly disabled: boolean;
  /** Whose callers and credential count here; `undefined` for a resource. */
  readonly upstream: StoredObject<'upstream'> | undefined;
}

/** The audience of tokens for an upstream, and what its base URL is to callers. */
export function egressUri(ourIssuer: string, upstreamName: string): string {
  return `${ourIssuer}${PATHS.egress}/${upstreamName}`;
}

export function resourceTarget({ name, spec, disabled }: StoredObject<'resource'>): Target {
  return {
    kind: 'resource',
    name,
    uri: spec.uri,
    scopes: spec.scopes,
    defaultScopes: spec.default_scopes,
    lifetimeSeconds: spec.lifetime_seconds,
    signingAlgorithm: spec.signing_algorithm,
    requestsPerMinute: spec.requests_per_minute,
    audienceGroup: spec.audience_group,
    disabled,
    upstream: undefined,
  };
}

export function upstreamTarget(upstream: StoredObject<'upstream'>, ourIssuer: string): Target {
  const { name, spec, disabled } = upstream;
  return {
    kind: 'upstream',
    name,
    uri: egressUri(ourIssuer, name),
    scopes: spec.scopes,
    defaultScopes: spec.default_scopes,
    lifetimeSeconds: spec.lifetime_seconds,
    // Nobody verifies its tokens but we ourselves.
    signingAlgorithm: 'ES256',
    requestsPerMinute: spec.requests_per_minute,
    audienceGroup: undefined,
    disabled,
    upstream,
  };
}

/** Of an egress URI in its canonical form. No resource can have a URI below ours. */
export function upstreamNameOf(canonicalUri: string, ourIssuer: string): string | undefined {
  const egress = canonicalTarget(egressUri(ourIssuer, ''));
  return egress !== undefined && canonicalUri.startsWith(`${egress}/`)
    ? canonicalUri.slice(egress.length + 1)
    : undefined;
}

/** What a URI names, or an alias of a resource; a trailing slash makes no difference. Disabled ones included. */
export async function targetByUri(uri: string, registry: Registry, ourIssuer: string): Promise<Target | undefined> {
  const key = canonicalTarget(uri);
  if (key === undefined) return undefined;
  const upstreamName = upstreamNameOf(key, ourIssuer);
  if (upstreamName !== undefined) {
    const upstream = await registry.upstream(upstreamName);
    return upstream === undefined ? undefined : upstreamTarget(upstream, ourIssuer);
  }
  const resource = await registry.resourceByUri(uri);
  return resource === undefined ? undefined : resourceTarget(resource);
}

/** What a registered name names. */
export async function targetByName(name: string, registry: Registry, ourIssuer: string): Promise<Target | undefined> {
  const resource = await registry.resource(name);
  if (resource !== undefined) return resourceTarget(resource);
  const upstream = await registry.upstream(name);
  return upstream === undefined ? undefined : upstreamTarget(upstream, ourIssuer);
}
