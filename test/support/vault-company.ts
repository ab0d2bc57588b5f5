/**
 * A whole service on a real Vault and a real PostgreSQL, with upstreams of each kind that really check what they are
 * given: `github` wants the key of the day, `orders` logs in to PostgreSQL with the role that it gets, `calendar` knows the
 * tokens of its own token endpoint. What Cambist may do at Vault is what deploy/vault says.
 */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createLogger } from '../../src/core/log.ts';
import type { VaultSettings } from '../../src/secrets/vault/settings.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { bodyOf, callOver, startUpstream } from './egress.ts';
import type { Answered, TestUpstream } from './egress.ts';
import { startCambist } from './cambist.ts';
import type { StartOptions, TestCambist } from './cambist.ts';
import { startJwksIssuer } from './jwks-issuer.ts';
import type { JwksIssuer } from './jwks-issuer.ts';
import { startPostgres, withClient } from './postgres-cluster.ts';
import type { PostgresCluster } from './postgres-cluster.ts';
import { postForm } from './token-client.ts';
import type { TokenAnswer } from './token-client.ts';
import type { TestVault } from './vault.ts';

export const ALPHA = 'https://alpha.example/mcp';
export const UPSTREAMS = ['github', 'orders', 'calendar'] as const;
export type UpstreamName = (typeof UPSTREAMS)[number];

const CALENDAR_SECRET = 'calendar-client-secret';
const CALENDAR_TOKEN = 'calendar-token-';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const CREDENTIAL = 'urn:cambist:params:oauth:token-type:credential';
const CLIENTS = ['agent', 'server-a'] as const;
type ClientId = (typeof CLIENTS)[number];

/** Where a node is, and how its clients authenticate. */
export interface Node {
  readonly url: string;
  readonly issuer: string;
  secretOf(client: string): string;
}

export interface VaultCompany {
  readonly vault: TestVault;
  readonly cluster: PostgresCluster;
  readonly database: Database;
  readonly corp: JwksIssuer;
  readonly upstream: TestUpstream;
  /** What `github` takes at the moment. */
  readonly keys: Set<string>;
  /** For a Cambist on this Vault. */
  readonly settings: VaultSettings;
  readonly objects: string;
  readonly cambist: TestCambist;
  /** Writes the key of `github` at Vault; the version that it has now. */
  rotate(key: string): Promise<number>;
  /** Roles that Vault made at PostgreSQL and that are still there. */
  roles(): Promise<string[]>;
  /** Rows of leases. */
  leases(): Promise<readonly { readonly state: string }[]>;
  stop(): Promise<void>;
}

/** Starts everything; the Vault is the caller's, and is stopped with the rest. */
export async function startVaultCompany(
  vault: TestVault,
  more: Pick<NonNullable<StartOptions['settings']>, 'logger' | 'telemetry'> = {},
): Promise<VaultCompany> {
  const [cluster, corp, upstream] = await Promise.all([startPostgres(), startJwksIssuer(), startUpstream()]);
  const logger = createLogger('silent');
  const database = await openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger });
  const keys = new Set(['key-1']);
  upstream.answer((request, response) => void serve({ request, response, keys, cluster }));
  const settings = await prepareVault(vault, cluster);
  const objects = objectsOf(corp.issuer, upstream.url);
  const cambist = await startCambist({
    objects,
    database,
    settings: { vault: settings, limits: { subjectPerMinute: null, clientPerMinute: null }, ...more },
  });
  cambist.service.leaseSweeper.start();
  return {
    ...{ vault, cluster, database, corp, upstream, keys, settings, objects, cambist },
    async rotate(key) {
      const { data } = (await vault.root('POST', 'secret/data/upstreams/github', { data: { token: key } })) as {
        data: { version: number };
      };
      return data.version;
    },
    roles: () =>
      withClient(cluster.url, async (client) => {
        const { rows } = await client.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'");
        return (rows as { rolname: string }[]).map(({ rolname }) => rolname);
      }),
    leases: () => database.query<{ state: string }>('SELECT state FROM lease'),
    stop: async () => {
      await cambist.stop();
      await database.close();
      await Promise.all([vault.stop(), cluster.stop(), corp.stop(), upstream.stop()]);
    },
  };
}

/** Policies of deploy/vault, secrets, the database engine, an AppRole for Cambist. */
export async function prepareVault(
  vault: TestVault,
  cluster: PostgresCluster,
  secrets = { github: 'key-1', calendar: CALENDAR_SECRET },
): Promise<VaultSettings> {
  for (const name of ['cambist', 'cambist-lease']) {
    const policy = readFileSync(new URL(`../../deploy/vault/${name}.hcl`, import.meta.url), 'utf8');
    await vault.root('PUT', `sys/policies/acl/${name}`, { policy });
  }
  await vault.root('POST', 'auth/token/roles/cambist-lease', {
    allowed_policies: ['cambist-lease'],
    orphan: true,
    renewable: false,
  });
  await vault.root('POST', 'secret/data/upstreams/github', { data: { token: secrets.github } });
  await vault.root('POST', 'secret/data/upstreams/calendar', { data: { client_secret: secrets.calendar } });
  await vault.root('POST', 'sys/mounts/database', { type: 'database' });
  const { username, password, host } = new URL(cluster.url);
  await vault.root('POST', 'database/config/orders', {
    plugin_name: 'postgresql-database-plugin',
    allowed_roles: 'cambist-orders',
    connection_url: `postgresql://{{username}}:{{password}}@${host}/postgres?sslmode=disable`,
    ...{ username, password },
  });
  await vault.root('POST', 'database/roles/cambist-orders', {
    db_name: 'orders',
    creation_statements: `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
    default_ttl: '10m',
    max_ttl: '1h',
  });
  await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
  const role = 'auth/approle/role/cambist';
  await vault.root('POST', role, { token_policies: ['cambist'], token_ttl: '20m' });
  const { data: id } = (await vault.root('GET', `${role}/role-id`)) as { data: { role_id: string } };
  const { data: made } = (await vault.root('POST', `${role}/secret-id`, {})) as { data: { secret_id: string } };
  return {
    address: vault.address,
    namespace: undefined,
    caFile: undefined,
    kvMount: 'secret',
    login: {
      method: 'approle',
      mount: 'approle',
      roleId: id.role_id,
      secretId: { value: made.secret_id },
      secretIdWrapped: false,
    },
    subjectLogin: undefined,
    leaseTokenRole: 'cambist-lease',
    timeoutMs: 3_000,
  };
}

/** The API that stands behind all three, by the first segment of the path. */
async function serve(at: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly keys: ReadonlySet<string>;
  readonly cluster: PostgresCluster;
}): Promise<void> {
  const { request, response, keys, cluster } = at;
  await bodyOf(request);
  const { url = '', headers } = request;
  const [scheme = '', value = ''] = (headers.authorization ?? '').split(' ');
  const [user = '', password = ''] = Buffer.from(value, 'base64').toString().split(':');
  const answer = (status: number, body: object) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  if (url === '/token') {
    const known = user === 'cambist' && password === CALENDAR_SECRET;
    if (!known) answer(401, { error: 'invalid_client' });
    else answer(200, { access_token: `${CALENDAR_TOKEN}${Date.now()}`, token_type: 'Bearer', expires_in: 600 });
  } else if (url.startsWith('/github/')) answer(scheme === 'Bearer' && keys.has(value) ? 200 : 401, { key: value });
  else if (url.startsWith('/calendar/')) answer(value.startsWith(CALENDAR_TOKEN) ? 200 : 401, {});
  else answer((await logsIn(cluster, user, password)) ? 200 : 401, { user });
}

/** Whether PostgreSQL lets this role in. */
export async function logsIn(cluster: PostgresCluster, user: string, password: string): Promise<boolean> {
  const url = new URL(cluster.url);
  [url.username, url.password] = [user, password];
  try {
    await withClient(url.toString(), (client) => client.query('SELECT 1'));
    return true;
  } catch (error) {
    if (/^28/.test((error as { code?: string }).code ?? '')) return false;
    throw error;
  }
}

/** An upstream that server A may use for everything. */
export function openUpstream(name: string, api: string): object {
  return {
    name,
    base_url: `${api}/${name}`,
    internal: true,
    scopes: { [`${name}:use`]: 'Use' },
    default_scopes: [`${name}:use`],
    callers: ['server-a'],
    requests: [{ methods: ['*'], path: '/**', scopes: [`${name}:use`] }],
  };
}

/** @param tokens of the token endpoint that `calendar` has */
export function objectsOf(corp: string, api: string, tokens = `${api}/token`): string {
  const upstream = (name: UpstreamName, credential: object, inject: object = { kind: 'bearer' }) => ({
    ...openUpstream(name, api),
    ...{ credential, inject },
  });
  return JSON.stringify({
    issuers: [{ name: 'corp', issuer: corp, internal: true }],
    clients: CLIENTS.map((id) => ({ id, auth: ['client_secret_basic'], requests_per_minute: 1_000_000 })),
    resources: [
      {
        name: 'alpha',
        uri: ALPHA,
        scopes: { 'alpha:read': 'Read' },
        default_scopes: ['alpha:read'],
        served_by: ['server-a'],
        calls: UPSTREAMS.map((name) => ({ upstream: name, needs: ['alpha:read'], gives: [`${name}:use`] })),
      },
    ],
    upstreams: [
      upstream('github', { kind: 'static', store: 'vault', path: 'upstreams/github', field: 'token' }),
      upstream(
        'orders',
        { kind: 'dynamic', path: 'database/creds/cambist-orders', field: 'password', username_field: 'username' },
        { kind: 'basic' },
      ),
      upstream('calendar', {
        kind: 'oauth_client_credentials',
        store: 'vault',
        path: 'upstreams/calendar',
        field: 'client_secret',
        token_url: tokens,
        client_id: 'cambist',
      }),
    ],
    policies: [{ id: 'all', cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }],
  });
}

/** Asks a node as a client does. */
export function createCaller(node: Node, corp: JwksIssuer) {
  const ask = (client: ClientId, fields: Record<string, string>): Promise<TokenAnswer> =>
    postForm(
      `${node.url}/oauth2/token`,
      { grant_type: EXCHANGE, ...fields },
      { basic: [client, node.secretOf(client)] },
    );
  return {
    /** What the agent sends to server A. */
    received: async (sub = 'ada') =>
      ask('agent', {
        subject_token: await corp.mint({ aud: node.issuer, sub }),
        subject_token_type: ID_TOKEN,
        resource: ALPHA,
      }),
    /** A token for the egress, by server A from what it received. */
    hop: (received: string, upstream: UpstreamName) =>
      ask('server-a', { subject_token: received, subject_token_type: ACCESS_TOKEN, audience: upstream }),
    /** The credential itself. */
    fetch: (received: string, upstream: UpstreamName) =>
      ask('server-a', {
        subject_token: received,
        subject_token_type: ACCESS_TOKEN,
        audience: upstream,
        requested_token_type: CREDENTIAL,
      }),
    call: (token: string, upstream: UpstreamName, path = '/things', method = 'GET'): Promise<Answered> =>
      callOver(`${node.url}/egress/${upstream}${path}`, { token, method }),
  };
}
