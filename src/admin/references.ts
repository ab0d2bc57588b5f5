/**
 * Rules that look past one object: every name that it mentions must exist with what is asked of it, nothing may take a
 * name or URI that is taken (by another object or by Cambist itself), and no subject may pass for a client. One
 * function per noun; a further noun adds its own.
 */
import { PATHS } from '../core/protocol.ts';
import { issValues } from '../objects/issuer.ts';
import { subjectName } from '../objects/kinds.ts';
import type { Kind, ObjectKey, Specs } from '../objects/kinds.ts';
import { canonicalTarget } from '../core/uri.ts';
import type { Resource } from '../objects/resource.ts';
import { nounOf } from './objects-file.ts';
import type { Complain } from './objects-file.ts';
import type { PathStep } from './fault.ts';
import type { World, WorldObject } from './world.ts';

export interface Surroundings {
  readonly world: World;
  /** Our own issuer URL. */
  readonly ownIssuer: string;
}

/** Paths under our issuer that no resource may have: they are, or will be, ours. */
const OWN_PREFIXES = ['/oauth2', '/.well-known', '/egress', '/admin'];

/** Every fault of one object that shows only beside the others. */
export async function checkReferences(object: WorldObject, around: Surroundings, complain: Complain): Promise<void> {
  const check = CHECKS[object.kind] as (spec: Specs[Kind], around: Surroundings, complain: Complain) => Promise<void>;
  await check(object.spec, around, complain);
  for (const key of nounOf(object.kind).keysOf(object.spec)) await checkKey(key, object, around, complain);
}

const CHECKS: {
  readonly [K in Kind]: (spec: Specs[K], around: Surroundings, complain: Complain) => Promise<void>;
} = {
  async issuer(spec, around, complain) {
    const { world, ownIssuer } = around;
    for (const [index, { value, clients }] of spec.audiences.entries()) {
      for (const [at, client] of clients.entries())
        if (client !== '*') await mustExist('client', client, ['audiences', index, 'clients', at], world, complain);
      if (value === ownIssuer)
        complain(
          ['audiences', index, 'value'],
          'is Cambist itself, which is always accepted',
          'remove it; to say which clients may present tokens of this issuer, list them in clients',
          value,
        );
    }
    await mustAllExist('client', spec.clients ?? [], ['clients'], world, complain);
    if (issValues(spec).includes(ownIssuer))
      complain(['issuer'], 'is our own issuer', 'our own tokens need no trusted issuer: remove this object', ownIssuer);
    for (const [value, meanings] of Object.entries(spec.claims.scope?.values ?? {}))
      for (const [index, { resource: uri, scopes }] of meanings.entries()) {
        const path = ['claims', 'scope', 'values', value, index];
        const resource = await resourceByUri(uri, world);
        if (resource === undefined)
          complain([...path, 'resource'], 'is not a registered resource', 'write the URI of a resource', uri);
        else mustHaveScopes(resource, scopes, [...path, 'scopes'], complain);
      }
  },

  async client(spec, { world }, complain) {
    for (const [index, { issuer }] of spec.identities.entries())
      await mustExist('issuer', issuer, ['identities', index, 'issuer'], world, complain);
    spec.groups.forEach((group, index) => {
      if (group.includes(':'))
        complain(['groups', index], 'has a colon, like the groups of trusted issuers', 'use a plain name', group);
    });
    const [verbatim] = await world.holders({ namespace: 'verbatim', key: 'verbatim' });
    if (verbatim !== undefined && (await world.get('subject', subjectName(verbatim.name, spec.id))) !== undefined)
      complain(
        ['id'],
        `is also a subject of ${verbatim.name}, whose subjects are written verbatim`,
        'rename it',
        spec.id,
      );
  },

  async resource(spec, around, complain) {
    const { world } = around;
    await mustAllExist('client', spec.served_by, ['served_by'], world, complain);
    if ((await world.get('upstream', spec.name)) !== undefined)
      complain(['name'], `is the name of upstream ${spec.name}`, 'rename one of the two', spec.name);
    for (const [index, edge] of spec.calls.entries()) {
      for (const kind of ['resource', 'upstream'] as const) {
        const name = edge[kind];
        if (name === undefined) continue;
        await mustExist(kind, name, ['calls', index, kind], world, complain);
        const called = await world.get(kind, name);
        if (called !== undefined) mustHaveScopes(called.spec, edge.gives, ['calls', index, 'gives'], complain);
      }
    }
    for (const [path, uri] of ownUris(spec))
      if (isOurs(uri, around.ownIssuer))
        complain(path, 'is an address of Cambist itself', 'give the URI of the server that this resource is', uri);
    await checkGroup(spec, world, complain);
  },

  async upstream(spec, { world }, complain) {
    await mustAllExist('client', spec.callers, ['callers'], world, complain);
    // Both are logical names of targets (RFC 8693 §2.1 `audience`), and both name scopes in policies.
    if ((await world.get('resource', spec.name)) !== undefined)
      complain(['name'], `is the name of resource ${spec.name}`, 'rename one of the two', spec.name);
  },

  async role(spec, { world }, complain) {
    for (const [index, group] of spec.groups.entries()) {
      const colon = group.indexOf(':');
      if (colon >= 0 && !(await world.knows('issuer', group.slice(0, colon))))
        complain(
          ['groups', index],
          `names a trusted issuer "${group.slice(0, colon)}" that is not registered`,
          'write issuer-short-name:group',
          group,
        );
    }
  },

  async subject(spec, { world }, complain) {
    await mustExist('issuer', spec.issuer, ['issuer'], world, complain);
    await mustAllExist('role', spec.roles, ['roles'], world, complain);
    const issuer = await world.get('issuer', spec.issuer);
    if (issuer?.spec.subject.verbatim !== true) return;
    // R13: under a verbatim issuer a subject is written without a prefix, and could be read as somebody else.
    if (await world.knows('client', spec.sub))
      complain(
        ['sub'],
        'is the id of a client, and subjects of this issuer are written verbatim',
        'rename the client',
        spec.sub,
      );
    const colon = spec.sub.indexOf(':');
    if (colon > 0 && (await world.knows('issuer', spec.sub.slice(0, colon))))
      complain(['sub'], 'reads like a subject of another trusted issuer', 'remove verbatim from this issuer', spec.sub);
  },

  policy: () => Promise.resolve(),
};

async function mustExist(
  kind: Kind,
  name: string,
  path: readonly PathStep[],
  world: World,
  complain: Complain,
): Promise<void> {
  if (await world.knows(kind, name)) return;
  const fix = `register it under ${nounOf(kind).plural}, or correct the name`;
  const noun = kind === 'issuer' ? 'a trusted issuer' : kind === 'upstream' ? 'an upstream' : `a ${kind}`;
  complain(path, `names ${noun} that is not registered`, fix, name);
}

async function mustAllExist(
  kind: Kind,
  names: readonly string[],
  path: readonly PathStep[],
  world: World,
  complain: Complain,
): Promise<void> {
  for (const [index, name] of names.entries()) await mustExist(kind, name, [...path, index], world, complain);
}

function mustHaveScopes(
  target: Pick<Resource, 'name' | 'scopes'>,
  scopes: readonly string[],
  path: readonly PathStep[],
  complain: Complain,
): void {
  scopes.forEach((scope, index) => {
    if (Object.hasOwn(target.scopes, scope)) return;
    const known = Object.keys(target.scopes).join(', ');
    complain([...path, index], `is not a scope of ${target.name}`, `use one of ${known}, or add it there`, scope);
  });
}

async function resourceByUri(uri: string, world: World): Promise<Resource | undefined> {
  const [holder] = await world.holders({ namespace: 'target', key: canonicalTarget(uri) ?? uri });
  return holder?.kind === 'resource' ? (holder.spec as Resource) : undefined;
}

function ownUris(spec: Resource): [PathStep[], string][] {
  return [[['uri'], spec.uri], ...spec.aliases.map((uri, index): [PathStep[], string] => [['aliases', index], uri])];
}

function isOurs(uri: string, ownIssuer: string): boolean {
  const target = canonicalTarget(uri) ?? uri;
  const base = canonicalTarget(ownIssuer) ?? ownIssuer;
  const ours = [...Object.values(PATHS), ...OWN_PREFIXES].map((path) => base + path);
  // RFC 8414 §3.1: the metadata of an issuer with a path stand at the root of its host.
  if (URL.canParse(ownIssuer)) ours.push(`${new URL(ownIssuer).origin}/.well-known`);
  return (
    target === base ||
    ours.some((own) => target === own || target.startsWith(`${own}/`) || target.startsWith(`${own}?`))
  );
}

/** RFC 8707 §2: one token for several resources is understood by all of them alike only if no scope name means two things. */
async function checkGroup(spec: Resource, world: World, complain: Complain): Promise<void> {
  if (spec.audience_group === undefined) return;
  for (const { spec: other } of await world.all('resource')) {
    if (other.name === spec.name || other.audience_group !== spec.audience_group) continue;
    for (const scope of Object.keys(spec.scopes))
      if (Object.hasOwn(other.scopes, scope))
        complain(
          ['scopes', scope],
          `is also a scope of ${other.name}, which shares the audience_group ${spec.audience_group}`,
          'rename one of the two, or take one resource out of the group',
        );
    if (other.signing_algorithm !== spec.signing_algorithm)
      complain(
        ['signing_algorithm'],
        `differs from that of ${other.name}, which shares the audience_group ${spec.audience_group}: one token has one signature`,
        `use ${other.signing_algorithm} in both, or take one out of the group`,
        spec.signing_algorithm,
      );
  }
}

const KEY_WORDS: { readonly [N in ObjectKey['namespace']]: { path: string; fix: string } } = {
  target: { path: 'uri', fix: 'URIs and aliases are unique over all resources (a trailing slash makes no difference)' },
  iss: { path: 'issuer', fix: 'one issuer URL belongs to one trusted issuer' },
  identity: { path: 'identities', fix: 'one workload identity belongs to one client' },
  verbatim: { path: 'subject', fix: 'only one trusted issuer may write its subjects verbatim' },
};

async function checkKey(
  key: ObjectKey,
  object: WorldObject,
  { world }: Surroundings,
  complain: Complain,
): Promise<void> {
  for (const holder of await world.holders(key)) {
    if (holder.kind === object.kind && holder.name === object.name) continue;
    const { path, fix } = KEY_WORDS[key.namespace];
    complain([path], `is taken by ${holder.kind} ${holder.name}`, fix, key.key);
  }
}
