/** Objects in which a secret enters at every place: each kind of credential, each way to inject one, and each trouble. */
import { ALPHA, openUpstream } from '../support/vault-company.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';

/** Upstreams by the way in which their key is put into a request. */
export const WAYS = ['by-bearer', 'by-basic', 'by-header', 'by-query', 'by-token'] as const;
/** Upstreams that never work, with what the record says of it. */
export const TROUBLES = {
  dead: 'closed',
  untrusted: 'closed',
  broken: 'refused',
  missing: 'refused',
  fieldless: 'refused',
  'refused-token': 'refused',
  'odd-token': 'failed',
  'dead-token': 'failed',
} as const;
export const FETCHABLE = 'by-bearer';

type Name = (typeof WAYS)[number] | keyof typeof TROUBLES;

const INJECTIONS: Readonly<Partial<Record<Name, object>>> = {
  'by-basic': { kind: 'basic' },
  'by-header': { kind: 'header', name: 'x-api-key', template: 'key={credential}' },
  'by-query': { kind: 'query', name: 'key', allow_query: true },
};

export interface Places {
  readonly corp: JwksIssuer;
  /** Of the API. */
  readonly api: string;
  /** Of its token endpoint, which answers by the last segment. */
  readonly tokens: string;
  /** Where nobody listens. */
  readonly nowhere: string;
  /** Where something listens whose certificate nobody signed. */
  readonly untrusted: string;
}

export function canaryObjects({ corp, api, tokens, nowhere, untrusted }: Places): string {
  const names: readonly Name[] = [...WAYS, ...(Object.keys(TROUBLES) as Name[])];
  const embedded = (name: string) => ({ store: 'embedded', path: `apis/${name}`, field: 'key' });
  const oauth = (name: string, place: string) => ({
    kind: 'oauth_client_credentials',
    ...embedded(name),
    token_url: place,
    client_id: 'cambist',
  });
  const credentials: Partial<Record<Name, object>> = {
    'by-bearer': { kind: 'static', ...embedded('by-bearer'), allow_fetch: true },
    'by-basic': { kind: 'static', ...embedded('by-basic'), username_field: 'user' },
    'by-token': oauth('by-token', `${tokens}/good`),
    fieldless: { kind: 'static', ...embedded('by-bearer'), field: 'nothing' },
    'refused-token': oauth('by-token', `${tokens}/refused`),
    'odd-token': oauth('by-token', `${tokens}/odd`),
    'dead-token': oauth('by-token', `${nowhere}/token`),
  };
  const base: Partial<Record<Name, string>> = { dead: nowhere, untrusted };
  return JSON.stringify({
    issuers: [{ name: 'corp', issuer: corp.issuer, internal: true }],
    clients: ['agent', 'server-a'].map((id) => ({ id, auth: ['client_secret_basic', 'client_secret_post'] })),
    resources: [
      {
        name: 'alpha',
        uri: ALPHA,
        scopes: { 'alpha:read': 'Read' },
        default_scopes: ['alpha:read'],
        served_by: ['server-a'],
        calls: names.map((name) => ({ upstream: name, needs: ['alpha:read'], gives: [`${name}:use`] })),
      },
    ],
    upstreams: names.map((name) => ({
      ...openUpstream(name, base[name] ?? api),
      credential: credentials[name] ?? { kind: 'static', ...embedded(name) },
      ...(INJECTIONS[name] === undefined ? {} : { inject: INJECTIONS[name] }),
      timeout_ms: 400,
      idle_timeout_ms: 400,
    })),
    policies: [{ id: 'all', cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }],
  });
}
