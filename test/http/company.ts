/**
 * A small company for behaviour tests: permissive policies, so that what is refused is refused by the rule under test.
 * Alpha may call beta and beta alpha (a loop); gamma has a scope that no edge gives.
 */
import type { JwksIssuer } from '../support/jwks-issuer.ts';

export const ALPHA = 'https://alpha.example/mcp';
export const BETA = 'https://beta.example/mcp';
export const GAMMA = 'https://gamma.example/mcp';
export const AGENT_WORKLOAD = 'system:serviceaccount:prod:agent';
export const SERVER_WORKLOAD = 'system:serviceaccount:prod:server-a';

/** `corp` signs its people's ID tokens; `cluster` is where workloads run. */
export function companyYaml(corp: JwksIssuer, cluster: JwksIssuer): string {
  return `
issuers:
  - name: corp
    issuer: ${corp.issuer}
    internal: true
    algorithms: [ES256]
    audiences: [{ value: portal, clients: [agent, gateway, twin] }]
    token_types: { id_token: {}, access_token: {} }
    claims: { groups: groups, email: email, name: name }
  - name: cluster
    issuer: ${cluster.issuer}
    internal: true
    algorithms: [ES256]
    token_types: { jwt: {} }
clients:
  - { id: agent, auth: [client_secret_basic, workload_identity], identities: [{ issuer: cluster, sub: '${AGENT_WORKLOAD}' }] }
  - { id: second, auth: [client_secret_basic] }
  - { id: gateway, auth: [client_secret_basic] }
  - { id: twin, auth: [client_secret_basic] }
  - { id: server-a, auth: [client_secret_basic, workload_identity], identities: [{ issuer: cluster, sub: '${SERVER_WORKLOAD}' }] }
  - { id: server-b, auth: [client_secret_basic] }
  - { id: server-c, auth: [client_secret_basic] }
resources:
  - name: alpha
    uri: ${ALPHA}
    aliases: ['urn:example:alpha', 'https://old.example/alpha/']
    scopes: { 'alpha:read': Read, 'alpha:write': Write }
    default_scopes: ['alpha:read']
    served_by: [server-a]
    calls: [{ resource: beta, needs: ['alpha:read'], gives: ['beta:read'] }]
  - name: beta
    uri: ${BETA}
    scopes: { 'beta:read': Read, 'beta:write': Write }
    default_scopes: ['beta:read']
    served_by: [server-b]
    audience_group: suite
    calls: [{ resource: alpha, needs: ['beta:read'], gives: ['alpha:read'] }]
  - name: gamma
    uri: ${GAMMA}
    scopes: { 'gamma:read': Read }
    default_scopes: ['gamma:read']
    served_by: [server-c]
    audience_group: suite
policies:
  - id: everyone
    cedar: |
      permit (principal, action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
  - id: gateway
    description: The gateway may present the agent's and Bob's tokens as actor tokens
    cedar: |
      permit (principal == Client::"gateway", action == Action::"actAs", resource == Client::"agent");
      permit (principal == Client::"gateway", action == Action::"actAs", resource == User::"corp:bob");
  - id: twin
    description: The twin may be who it speaks for, at alpha and for reading only
    cedar: |
      permit (principal == Client::"twin", action == Action::"impersonate", resource == Scope::"alpha#alpha:read");
`;
}
