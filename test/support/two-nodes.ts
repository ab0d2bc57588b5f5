/**
 * Two real processes of Cambist on one PostgreSQL, under one issuer, with people, an agent and two servers. Needs the
 * built program, as `npm test` and `npm run bench` make it. What an operator does is done by the command line.
 */
import { createLogger } from '../../src/core/log.ts';
import { openDatabase } from '../../src/store/open.ts';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnCambist } from './cambist.ts';
import type { SpawnedCambist } from './cambist.ts';
import { startJwksIssuer } from './jwks-issuer.ts';
import type { JwksIssuer } from './jwks-issuer.ts';
import { startPostgres } from './postgres-cluster.ts';
import type { PostgresCluster } from './postgres-cluster.ts';
import { postForm } from './token-client.ts';
import type { FormFields, TokenAnswer } from './token-client.ts';

export const NOTES = 'https://notes.example/mcp';
export const CRM = 'https://crm.example/mcp';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';

export type ClientId = 'agent' | 'spare' | 'notes-server' | 'crm-server';

export interface TwoNodes {
  readonly nodes: readonly [SpawnedCambist, SpawnedCambist];
  readonly cluster: PostgresCluster;
  readonly corp: JwksIssuer;
  readonly issuer: string;
  ask(node: SpawnedCambist, path: string, client: ClientId, form: FormFields): Promise<TokenAnswer>;
  /** A token for notes about somebody, of `agent` or another client. */
  exchange(node: SpawnedCambist, sub: string, client?: ClientId): Promise<string>;
  /** From a token for notes, by the notes server: one for the CRM. */
  hop(node: SpawnedCambist, token: string): Promise<TokenAnswer>;
  isActive(node: SpawnedCambist, token: string, client?: ClientId): Promise<boolean>;
  stop(): Promise<void>;
}

const objectsOf = (corp: JwksIssuer): string => `
issuers: [{ name: corp, issuer: '${corp.issuer}', internal: true }]
clients:
  - { id: agent, auth: [client_secret_basic], requests_per_minute: 1000000 }
  - { id: spare, auth: [client_secret_basic] }
  - { id: notes-server, auth: [client_secret_basic], requests_per_minute: 1000000 }
  - { id: crm-server, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: '${NOTES}'
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    served_by: [notes-server]
    calls: [{ resource: crm, needs: ['notes:read'], gives: ['crm:read'] }]
  - { name: crm, uri: '${CRM}', scopes: { 'crm:read': Read }, default_scopes: ['crm:read'], served_by: [crm-server] }
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`;

async function secretOf(node: SpawnedCambist, id: ClientId): Promise<string> {
  const file = join(node.folder, `${id}.secret`);
  await node.command('client', 'secret', id, '--out', file);
  return readFileSync(file, 'utf8').trim();
}

/** Stops what it started when it does not get to the end. */
export async function startTwoNodes(): Promise<TwoNodes> {
  const started: { stop(): Promise<void> }[] = [];
  try {
    return await start(started);
  } catch (error) {
    for (const one of started.reverse()) await one.stop();
    throw error;
  }
}

async function start(started: { stop(): Promise<void> }[]): Promise<TwoNodes> {
  const [cluster, corp] = await Promise.all([startPostgres(), startJwksIssuer()]);
  started.push(cluster, corp);
  const logger = createLogger('silent');
  const source = { engine: 'postgresql', url: cluster.url } as const;
  await (await openDatabase({ source, migrate: true, logger })).close();
  const env = { CAMBIST_LOG_LEVEL: 'warn' };
  const first = await spawnCambist({ databaseUrl: cluster.url, env });
  started.push(first);
  const second = await spawnCambist({ databaseUrl: cluster.url, env, issuer: first.issuer });
  started.push(second);
  const file = join(first.folder, 'objects.yaml');
  writeFileSync(file, objectsOf(corp));
  await first.command('apply', '-f', file);
  const secrets = new Map<ClientId, string>();
  for (const id of ['agent', 'spare', 'notes-server', 'crm-server'] as const)
    secrets.set(id, await secretOf(first, id));

  const ask: TwoNodes['ask'] = (node, path, client, form) =>
    postForm(node.url + path, form, { basic: [client, secrets.get(client) ?? ''] });
  return {
    nodes: [first, second],
    cluster,
    corp,
    issuer: first.issuer,
    ask,
    exchange: async (node, sub, client = 'agent') => {
      const answer = await ask(node, '/oauth2/token', client, {
        grant_type: EXCHANGE,
        subject_token: await corp.mint({ aud: first.issuer, sub }),
        subject_token_type: `${TYPE}id_token`,
        resource: NOTES,
      });
      if (answer.status !== 200) throw new Error(`an exchange failed: ${answer.status} ${answer.text}`);
      return answer.body.access_token;
    },
    hop: (node, token) =>
      ask(node, '/oauth2/token', 'notes-server', {
        grant_type: EXCHANGE,
        subject_token: token,
        subject_token_type: `${TYPE}access_token`,
        resource: CRM,
      }),
    isActive: async (node, token, client = 'notes-server') => {
      const answer = await ask(node, '/oauth2/introspect', client, { token });
      if (answer.status !== 200) throw new Error(`an introspection failed: ${answer.status} ${answer.text}`);
      return answer.body.active;
    },
    stop: async () => {
      await Promise.all([first.stop(), second.stop()]);
      await Promise.all([cluster.stop(), corp.stop()]);
      first.remove();
      second.remove();
    },
  };
}
