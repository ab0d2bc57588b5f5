/**
 * The table of nouns: how each is validated, named and found. Everything that treats objects alike (apply, export,
 * store, caches) goes through this table, so that a further noun is one file and one row.
 */
import type { z } from 'zod';
import { clientSpec } from './client.ts';
import { issuerSpec, issValues } from './issuer.ts';
import type { TrustedIssuer } from './issuer.ts';
import type { Client } from './client.ts';
import { canonicalTarget } from '../core/uri.ts';
import { policySpec, roleSpec, subjectSpec } from './policy.ts';
import type { Policy, Role, Subject } from './policy.ts';
import { resourceSpec } from './resource.ts';
import type { Resource } from './resource.ts';
import { upstreamSpec } from './upstream.ts';
import type { Upstream } from './upstream.ts';

export interface Specs {
  issuer: TrustedIssuer;
  client: Client;
  resource: Resource;
  upstream: Upstream;
  role: Role;
  subject: Subject;
  policy: Policy;
}
export type Kind = keyof Specs;

/**
 * A key under which an object is found besides its name; unique within its name space over all objects.
 *   target     canonical URIs of everything that can be asked for
 *   iss        exact `iss` values of trusted issuers
 *   identity   workload identities of clients
 *   verbatim   at most one trusted issuer writes its subjects verbatim
 */
export interface ObjectKey {
  readonly namespace: 'target' | 'iss' | 'identity' | 'verbatim';
  readonly key: string;
}

export interface StoredObject<K extends Kind = Kind> {
  readonly kind: K;
  readonly name: string;
  readonly spec: Specs[K];
  readonly disabled: boolean;
  /** State version at which it was last changed. */
  readonly version: number;
}

interface Noun<K extends Kind> {
  /** The list's name in a configuration file. */
  readonly plural: string;
  readonly schema: z.ZodType<Specs[K]>;
  nameOf(spec: Specs[K]): string;
  keysOf(spec: Specs[K]): ObjectKey[];
}

export const KINDS: { readonly [K in Kind]: Noun<K> } = {
  issuer: {
    plural: 'issuers',
    schema: issuerSpec,
    nameOf: (spec) => spec.name,
    keysOf: (spec) => [
      ...issValues(spec).map((key) => ({ namespace: 'iss' as const, key })),
      ...(spec.subject.verbatim ? [{ namespace: 'verbatim' as const, key: 'verbatim' }] : []),
    ],
  },
  client: {
    plural: 'clients',
    schema: clientSpec,
    nameOf: (spec) => spec.id,
    keysOf: (spec) =>
      spec.identities.map(({ issuer, sub }) => ({ namespace: 'identity', key: identityKey(issuer, sub) })),
  },
  resource: {
    plural: 'resources',
    schema: resourceSpec,
    nameOf: (spec) => spec.name,
    keysOf: (spec) => targetKeys([spec.uri, ...spec.aliases]),
  },
  upstream: { plural: 'upstreams', schema: upstreamSpec, nameOf: (spec) => spec.name, keysOf: () => [] },
  role: { plural: 'roles', schema: roleSpec, nameOf: (spec) => spec.name, keysOf: () => [] },
  subject: {
    plural: 'subjects',
    schema: subjectSpec,
    nameOf: (spec) => subjectName(spec.issuer, spec.sub),
    keysOf: () => [],
  },
  policy: { plural: 'policies', schema: policySpec, nameOf: (spec) => spec.id, keysOf: () => [] },
};

/** Name of a subject object: the trusted issuer's short name (which has no colon), a colon, the `sub`. */
export function subjectName(issuerName: string, sub: string): string {
  return `${issuerName}:${sub}`;
}

export function identityKey(issuerName: string, sub: string): string {
  return JSON.stringify([issuerName, sub]);
}

function targetKeys(uris: string[]): ObjectKey[] {
  const keys = new Set(uris.map((uri) => canonicalTarget(uri) ?? uri));
  return [...keys].map((key) => ({ namespace: 'target', key }));
}
