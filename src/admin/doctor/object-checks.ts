/**
 * Registered objects that are allowed and cannot work, or are weaker than they could be: clients that cannot
 * authenticate, resources that nobody serves, upstreams that nobody can use, roles and policies that name nobody, what
 * belongs to a demo.
 */
import type { Client } from '../../objects/client.ts';
import type { Kind, StoredObject } from '../../objects/kinds.ts';
import { resourceTarget, upstreamTarget } from '../../objects/target.ts';
import type { SecretCount } from '../../store/examination.ts';
import { keySourceOfClient } from '../../trust/key-sets.ts';
import { warningsOf } from '../warnings.ts';
import { fetchKeysOf, issuerChecks, judgeKeys } from './issuer-checks.ts';
import type { RemoteCheckParts } from './issuer-checks.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';
import { checkUse, reachChecks } from './upstream-checks.ts';
import type { Surroundings } from './upstream-checks.ts';

export type Registered = { readonly [K in Kind]: readonly StoredObject<K>[] };

export interface ObjectCheckParts extends RemoteCheckParts {
  readonly registered: Registered;
  readonly secrets: readonly SecretCount[];
  readonly demoRefusedBecause: string | undefined;
  /** Our own issuer URL. */
  readonly ownIssuer: string;
}

/** Two secrets are for changing over, not for ever. */
const CHANGE_OVER_MAX_MS = 7 * 86_400_000;

/** What is looked at of each kind; complete at compile time, so that no kind comes without its checks. */
const CHECKS: { readonly [K in Kind]: (parts: ObjectCheckParts) => Check[] } = {
  issuer: (parts) => [...issuerChecks(parts.registered.issuer, parts), listing('issuer', parts, () => [])],
  client: (parts) => [
    listing('client', parts, ({ name, spec }) => checkCredentials(name, spec, parts)),
    ...clientKeyChecks(parts),
  ],
  resource: (parts) => [
    listing('resource', parts, ({ name, spec }) =>
      spec.served_by.length > 0
        ? []
        : [
            warning(
              'nobody serves it: no server may ask whether its tokens are valid',
              'name its client in served_by',
              name,
            ),
          ],
    ),
  ],
  upstream: (parts) => [
    listing('upstream', parts, (upstream) => checkUse(upstream, surroundingsOf(parts))),
    ...reachChecks(parts.registered.upstream, parts.fetcher),
  ],
  role: (parts) => [listing('role', parts, ({ name, spec }) => checkRole(name, spec.groups, parts))],
  subject: (parts) => [
    listing('subject', parts, ({ name, spec, disabled }) =>
      spec.roles.length > 0 || disabled
        ? []
        : [
            warning(
              'it has no role and is not disabled: registering it changes nothing',
              'give it roles, or remove it',
              name,
            ),
          ],
    ),
  ],
  policy: (parts) => [
    listing('policy', parts, ({ name, spec }) =>
      unknownNames(spec.cedar, parts).map((named) =>
        warning(
          `it names ${named}, which is not registered: that part of it concerns nobody`,
          'correct the name, or remove it',
          name,
        ),
      ),
    ),
    ...noPolicy(parts),
  ],
};

function surroundingsOf({ registered, ownIssuer }: ObjectCheckParts): Surroundings {
  const { client: clients, resource: resources, policy: policies } = registered;
  return { clients, resources, policies, ownIssuer };
}

/** Every check of every kind. */
export function objectChecks(parts: ObjectCheckParts): Check[] {
  return [...Object.values(CHECKS).flatMap((checksOf) => checksOf(parts)), demoCheck(parts)];
}

/** One check over all objects of a kind, with the warnings that apply to it; well, where none is found. */
function listing<K extends Kind>(
  kind: K,
  { registered }: ObjectCheckParts,
  look: (object: StoredObject<K>) => readonly Found[],
): Check {
  const objects: readonly StoredObject<K>[] = registered[kind];
  const run = () => {
    const found = objects
      .filter(({ disabled }) => !disabled || kind === 'subject')
      .flatMap((object) => {
        const weaker = warningsOf(object).map((text) =>
          warning(text.slice(text.indexOf(': ') + 2), 'see docs/configuration.md, Warnings', object.name),
        );
        return [...look(object), ...weaker];
      });
    const count = `${objects.length} registered`;
    return found.length > 0 ? found : [ok(objects.length === 0 ? 'none registered' : count)];
  };
  return { noun: kind, name: 'all', run };
}

function checkCredentials(name: string, spec: Client, { secrets, clock }: ObjectCheckParts): Found[] {
  const bySecret = spec.auth.some((method) => method.startsWith('client_secret'));
  const found = secrets.find(({ clientId }) => clientId === name);
  if (!bySecret) return [];
  if (found === undefined)
    return spec.auth.every((method) => method.startsWith('client_secret'))
      ? [failed('it has no secret: it cannot authenticate', `cambist client secret ${name} --out FILE`, name)]
      : [warning('it may use a secret and has none', `cambist client secret ${name} --out FILE`, name)];
  if (found.valid < 2 || clock.nowMs() - found.newestAtMs < CHANGE_OVER_MAX_MS) return [];
  return [
    warning(
      'two secrets of it are valid, the newer one for more than a week',
      `cambist client secret list ${name}, then retire the older one`,
      name,
    ),
  ];
}

function clientKeyChecks(parts: ObjectCheckParts): Check[] {
  return parts.registered.client
    .filter(({ disabled, spec }) => !disabled && spec.jwks_uri !== undefined)
    .map(({ name, spec }) => ({
      noun: 'client',
      name,
      run: async () => {
        const source = keySourceOfClient(spec);
        if (source.kind === 'static') return [];
        const found = await fetchKeysOf(source, parts, `of client ${name}`);
        return 'failure' in found ? [found.failure] : judgeKeys(found.keys, spec.algorithms, spec.jwks_uri ?? '');
      },
    }));
}

function checkRole(name: string, groups: readonly string[], { registered }: ObjectCheckParts): Found[] {
  const unmapped = groups.filter((group) => {
    const colon = group.indexOf(':');
    if (colon === -1) return !registered.client.some(({ spec }) => spec.groups.includes(group));
    const issuer = registered.issuer.find((one) => one.name === group.slice(0, colon));
    return issuer?.spec.claims.groups === undefined;
  });
  const held = registered.subject.some(({ spec }) => spec.roles.includes(name));
  const found = unmapped.map((group) =>
    warning(
      `nobody can be in group "${group}"`,
      group.includes(':')
        ? 'set claims.groups of that trusted issuer: the claim that holds the groups'
        : 'name it among the groups of a client, or write issuer-short-name:group',
      name,
    ),
  );
  return held || groups.length > unmapped.length || found.length > 0
    ? found
    : [warning('nobody has it: it has no group, and no subject names it', 'give it groups, or remove it', name)];
}

/** Entities that a policy names and that would have to be registered. Text in comments and strings counts too: it is a hint. */
function unknownNames(cedar: string, { registered, ownIssuer }: ObjectCheckParts): string[] {
  const targets = [
    ...registered.resource.map(resourceTarget),
    ...registered.upstream.map((one) => upstreamTarget(one, ownIssuer)),
  ];
  const known: Readonly<Record<string, (id: string) => boolean>> = {
    Role: (id) => registered.role.some(({ name }) => name === id),
    Client: (id) => registered.client.some(({ name }) => name === id),
    Resource: (id) => targets.some(({ uri }) => uri === id),
    Scope: (id) => {
      const [target, scope = ''] = id.split(/#(.*)/s, 2);
      return targets.some(({ name, scopes }) => name === target && Object.hasOwn(scopes, scope));
    },
    User: (id) => registered.issuer.some(({ name }) => id.startsWith(`${name}:`)),
  };
  const mentions = [...cedar.matchAll(/\b(Role|Client|Resource|Scope|User)::"((?:[^"\\]|\\.)*)"/g)];
  const unknown = mentions.filter(([, type = '', id = '']) => !id.includes('\\') && known[type]?.(id) === false);
  return [...new Set(unknown.map(([mention]) => mention))];
}

function noPolicy({ registered }: ObjectCheckParts): Check[] {
  if (registered.resource.length === 0 || registered.policy.some(({ disabled }) => !disabled)) return [];
  const run = () => [
    warning('there is no policy: every request is refused', 'apply a policy that permits something; docs/policy.md'),
  ];
  return [{ noun: 'policy', name: 'any', run }];
}

function demoCheck({ registered, demoRefusedBecause }: ObjectCheckParts): Check {
  const run = () => {
    const demo = Object.entries(registered).flatMap(([kind, objects]) =>
      objects.filter(({ spec }) => spec.demo).map(({ name }) => `${kind} ${name}`),
    );
    if (demo.length === 0) return [];
    const some = `${demo.slice(0, 3).join(', ')}${demo.length > 3 ? ` and ${demo.length - 3} more` : ''}`;
    return demoRefusedBecause === undefined
      ? [
          warning(
            `objects of the demo are registered (${some}): their secrets are anybody's`,
            'remove them before others can reach this',
          ),
        ]
      : [
          failed(
            `objects of the demo are registered (${some}), and refused here: ${demoRefusedBecause}`,
            'remove them: cambist serve does not start',
          ),
        ];
  };
  return { noun: 'objects', name: 'demo', run };
}
