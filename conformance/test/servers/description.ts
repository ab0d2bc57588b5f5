/**
 * The description of the little server, as a user of the suite would write it for a product.
 */
import { targetSchema } from '../../target/config.ts';
import type { TargetConfig } from '../../target/config.ts';
import { CRM, SECRETS, TICKETS } from './small-server.ts';

export function smallTarget(issuer: string, keyFile: string, keyAudience = 'issuer'): TargetConfig {
  const basic = (id: keyof typeof SECRETS) => ({
    client_id: id,
    auth: [{ method: 'client_secret_basic', secret: SECRETS[id] }],
  });
  return targetSchema.parse({
    name: 'the little server',
    issuer,
    token_endpoint: `${issuer}/token`,
    suite: { listen: 'http://127.0.0.1:0' },
    clients: {
      requester: {
        client_id: 'agent',
        auth: [
          { method: 'client_secret_basic', secret: SECRETS.agent },
          { method: 'client_secret_post', secret: SECRETS.agent },
        ],
      },
      server: basic('tickets-server'),
      other: basic('other'),
      unentitled: basic('idle'),
      keyed: { client_id: 'keyed', auth: [{ method: 'private_key_jwt', key_file: keyFile, audience: keyAudience }] },
    },
    subjects: {
      default: { source: 'suite', type: 'id_token', typ: 'JWT', claims: { sub: 'alice', aud: 'small-server' } },
    },
    resources: [
      {
        name: 'tickets',
        resource: TICKETS,
        scopes: ['tickets:read', 'tickets:write'],
        denied_scopes: ['tickets:delete'],
      },
      { name: 'crm', resource: CRM, scopes: ['crm:read'] },
    ],
    client_credentials: {},
    delegation: {
      actor: 'client',
      actor_token: { source: 'client_credentials' },
      expected: { sub: 'agent' },
      hop: { resource: 'crm', expected: { sub: 'tickets-server' } },
      may_act: { iss: issuer, sub: 'agent' },
    },
    introspection: { client: 'server' },
    protected_resources: [
      {
        url: `${issuer}/mcp`,
        resource: 'tickets',
        scope: 'tickets:write',
        body: '{}',
        too_little: { scope: 'tickets:read' },
      },
    ],
    expectations: {
      subject: { sub: 'alice' },
      assertions_are_single_use: true,
      denied: [{ what: 'policy denies deletion', resource: 'tickets', scope: 'tickets:delete' }],
    },
  });
}
