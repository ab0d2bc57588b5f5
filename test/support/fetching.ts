/**
 * Upstreams whose credentials are fetched: a key in the embedded store, tokens of a real token endpoint that the test
 * runs, and leases of a source that keeps count of what it gave and what was given back. An agent calls `alpha`, whose
 * server may use all of them.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createSecretOperations } from '../../src/admin/secret-operations.ts';
import type { Credential, Credentials, CredentialUse } from '../../src/upstream/credential.ts';
import type { Database } from '../../src/store/database.ts';
import type { TestCambist } from './cambist.ts';

export const ALPHA = 'https://alpha.example/mcp';
/** What the embedded store holds. */
export const KEY = 'sk-canary-fetch-7d41f0a2b6';
export const LEASED = { username: 'v-cambist-4f1', password: 'canary-lease-90aa"x' };

/** A token endpoint (RFC 6749 §4.4) that counts. */
export interface TokenEndpoint {
  readonly url: string;
  issued: number;
  /** `expires_in` of its answers. */
  lifetimeSeconds: number;
  stop(): Promise<void>;
}

export async function startTokenEndpoint(): Promise<TokenEndpoint> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      endpoint.issued += 1;
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          access_token: `canary-upstream-token-${endpoint.issued}`,
          token_type: 'Bearer',
          expires_in: endpoint.lifetimeSeconds,
        }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint: TokenEndpoint = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    issued: 0,
    lifetimeSeconds: 3600,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
  return endpoint;
}

/** Leases without a Vault: what was asked for, how long the next one lives, and which were given back. */
export interface TestLeases extends Credentials {
  readonly uses: CredentialUse[];
  readonly discarded: string[];
  lifetimeSeconds: number;
  /** Waited for before a lease is there. */
  before: () => Promise<void>;
}

export function testLeases(): TestLeases {
  const leases: TestLeases = {
    uses: [],
    discarded: [],
    lifetimeSeconds: 900,
    before: () => Promise.resolve(),
    async obtain(use) {
      leases.uses.push(use);
      const id = `lease-${leases.uses.length}`;
      await leases.before();
      const ownEnd = Math.floor(Date.now() / 1000) + leases.lifetimeSeconds;
      const credential: Credential = {
        fields: LEASED,
        secret: undefined,
        username: undefined,
        expiresAtSeconds: Math.min(ownEnd, use.token.expiresAtSeconds),
        mark: { kind: 'dynamic', store: 'vault', path: 'database/creds/app', version: id },
        discard: () => {
          leases.discarded.push(id);
          return Promise.resolve();
        },
      };
      return credential;
    },
    reject: () => undefined,
  };
  return leases;
}

export interface Issuers {
  readonly corp: string;
  readonly once: string;
}

/** `keys` may be fetched, `sealed` may not; `calendar` has tokens of its own, `database` leases. */
export function fetchingObjects(issuers: Issuers, tokenUrl: string): string {
  const scopes = (name: string) => ({
    scopes: { [`${name}:use`]: 'Use' },
    default_scopes: [`${name}:use`],
    requests: [{ methods: ['GET'], path: '/**', scopes: [`${name}:use`] }],
    callers: ['server-a'],
    base_url: `https://${name}.example`,
  });
  const embedded = { kind: 'static', store: 'embedded', path: 'apis/keys', field: 'key' };
  const names = ['keys', 'sealed', 'pair', 'missing', 'calendar', 'database'];
  const external = (name: keyof Issuers) => ({
    name,
    issuer: issuers[name],
    internal: true,
    algorithms: ['ES256'],
    audiences: [{ value: 'portal', clients: ['agent', 'server-a'] }],
  });
  return JSON.stringify({
    issuers: [external('corp'), { ...external('once'), single_use: true }],
    clients: ['agent', 'server-a', 'server-b'].map((id) => ({ id, auth: ['client_secret_basic'] })),
    resources: [
      {
        name: 'alpha',
        uri: ALPHA,
        scopes: { 'alpha:read': 'Read' },
        default_scopes: ['alpha:read'],
        served_by: ['server-a', 'server-b'],
        lifetime_seconds: 600,
        calls: [
          ...names.map((name) => ({ upstream: name, needs: ['alpha:read'], gives: [`${name}:use`] })),
          { resource: 'beta', needs: ['alpha:read'], gives: ['beta:read'] },
        ],
      },
      {
        name: 'beta',
        uri: 'https://beta.example/mcp',
        scopes: { 'beta:read': 'Read' },
        default_scopes: ['beta:read'],
        served_by: ['server-b'],
      },
    ],
    upstreams: [
      { name: 'keys', ...scopes('keys'), credential: { ...embedded, allow_fetch: true } },
      { name: 'sealed', ...scopes('sealed'), credential: embedded },
      {
        name: 'pair',
        ...scopes('pair'),
        credential: { ...embedded, username_field: 'user', allow_fetch: true },
      },
      { name: 'missing', ...scopes('missing'), credential: { ...embedded, path: 'apis/{client}', allow_fetch: true } },
      {
        name: 'calendar',
        ...scopes('calendar'),
        internal: true,
        credential: {
          kind: 'oauth_client_credentials',
          store: 'embedded',
          path: 'apis/keys',
          field: 'key',
          token_url: tokenUrl,
          client_id: 'cambist',
        },
      },
      { name: 'database', ...scopes('database'), credential: { kind: 'dynamic', path: 'database/creds/app' } },
    ],
    policies: [{ id: 'all', cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }],
  });
}

/** Puts the key into the embedded store, as `cambist secret set` does. */
export async function setKey({ service }: TestCambist): Promise<void> {
  const operations = createSecretOperations({ ...service.secretParts, objects: service.objects, author: 'test' });
  const outcome = await operations.setSecret({
    path: 'apis/keys',
    fields: { key: KEY, user: 'cambist', other: 'canary-other-field' },
    tags: {},
    replace: false,
  });
  if (!outcome.ok) throw new Error(JSON.stringify(outcome));
}

/** The same database, until it is told to fail every statement that carries a record of this kind. */
export function failingCommits(database: Database): { readonly database: Database; failing: Error | undefined } {
  const held: { database: Database; failing: Error | undefined } = { database, failing: undefined };
  held.database = new Proxy(database, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (name === 'query' && held.failing !== undefined && String(args[0]).includes('INSERT INTO audit_record'))
          return Promise.reject(held.failing);
        return (value as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return held;
}
