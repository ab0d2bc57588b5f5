/**
 * Cambist as the authorization server of real MCP servers, for clients of the MCP SDK: discovery from the 401 on
 * (RFC 9728, RFC 8414), its machine-to-machine providers, and an exchange through the SDK's own hook. A person's sign-in
 * at a real OpenID provider goes from agent to server to the next server, and reads correctly at each.
 */
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { ACCESS_TOKEN, EXCHANGE, ID_TOKEN } from './asking.ts';
import { callTool, startMcpServer } from './mcp-server.ts';

let people: OidcIssuer;
let cambist: TestCambist;
let privateKey: string;
let notes: string;
let calendar: string;
const servers: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  people = await startOidcIssuer({ relyingParties: ['portal'] });
  const pair = await generateKeyPair('ES256', { extractable: true });
  privateKey = await exportPKCS8(pair.privateKey);
  const jwk = { ...(await exportJWK(pair.publicKey)), alg: 'ES256', use: 'sig' };
  notes = `http://127.0.0.1:${await freePort()}/mcp`;
  calendar = `http://127.0.0.1:${await freePort()}/mcp`;
  cambist = await startCambist({ objects: company(jwk) });
  const { issuer } = cambist;
  const providerFor = (token: string) => new ExchangeProvider('notes-server', token, ACCESS_TOKEN);
  servers.push(
    await startMcpServer({ uri: notes, issuer, scopesSupported: ['notes:read'], next: { uri: calendar, providerFor } }),
    await startMcpServer({ uri: calendar, issuer, algorithm: 'RS256' }),
  );
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await cambist.stop();
  await people.stop();
});

const company = (jwk: unknown) => `
issuers:
  - name: corp
    issuer: ${people.issuer}
    internal: true
    audiences: [{ value: portal, clients: [agent] }]
    claims: { groups: groups }
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: signing, auth: [private_key_jwt], jwks: { keys: [${JSON.stringify(jwk)}] } }
  - { id: notes-server, auth: [client_secret_basic] }
  - { id: calendar-server, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: ${notes}
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    served_by: [notes-server]
    calls: [{ resource: calendar, needs: ['notes:read'], gives: ['calendar:read'] }]
  - name: calendar
    uri: ${calendar}
    scopes: { 'calendar:read': Read }
    default_scopes: ['calendar:read']
    served_by: [calendar-server]
    signing_algorithm: RS256
roles:
  - { name: employee, groups: ['corp:staff'] }
policies:
  - id: all
    cedar: |
      permit (principal in Role::"employee", action == Action::"access", resource);
      permit (principal in Group::"machines", action == Action::"access", resource);
      permit (principal == Client::"agent", action == Action::"access", resource);
      permit (principal == Client::"signing", action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
`;

/** The SDK's provider with its hook filled in: it asks for an exchange where it would ask for itself. */
class ExchangeProvider extends ClientCredentialsProvider {
  private readonly subjectToken: string;
  private readonly subjectTokenType: string;

  constructor(clientId: string, subjectToken: string, subjectTokenType: string) {
    super({ clientId, clientSecret: cambist.secretOf(clientId), expectedIssuer: cambist.issuer });
    this.subjectToken = subjectToken;
    this.subjectTokenType = subjectTokenType;
  }

  override prepareTokenRequest(scope?: string): URLSearchParams {
    return new URLSearchParams({
      grant_type: EXCHANGE,
      subject_token: this.subjectToken,
      subject_token_type: this.subjectTokenType,
      ...(scope === undefined ? {} : { scope }),
    });
  }
}

describe("the SDK's client", () => {
  it('gets in with a secret (ClientCredentialsProvider)', async () => {
    const provider = new ClientCredentialsProvider({
      clientId: 'agent',
      clientSecret: cambist.secretOf('agent'),
      expectedIssuer: cambist.issuer,
    });
    const seen = await callTool(notes, provider);
    expect(seen).toMatchObject({ sub: 'agent', client_id: 'agent', aud: notes, scope: 'notes:read', actors: [] });
    expect(provider.tokens()).toMatchObject({ token_type: 'Bearer', expires_in: 300 });
  });

  it('gets in with a key (PrivateKeyJwtProvider), at a server that wants RS256 too', async () => {
    const provider = () =>
      new PrivateKeyJwtProvider({
        clientId: 'signing',
        privateKey,
        algorithm: 'ES256',
        expectedIssuer: cambist.issuer,
      });
    expect(await callTool(notes, provider())).toMatchObject({ sub: 'signing', aud: notes });
    expect(await callTool(calendar, provider())).toMatchObject({ sub: 'signing', aud: calendar });
  });

  it("exchanges the user's ID token (prepareTokenRequest)", async () => {
    const seen = await callTool(notes, new ExchangeProvider('agent', await people.idToken('ada'), ID_TOKEN));
    expect(seen).toMatchObject({ sub: 'corp:ada', client_id: 'agent', aud: notes, actors: ['agent'] });
  });

  it('R17 does not get into another server with what it has', async () => {
    const provider = new ClientCredentialsProvider({
      clientId: 'agent',
      clientSecret: cambist.secretOf('agent'),
      expectedIssuer: cambist.issuer,
    });
    await callTool(notes, provider);
    const headers = { authorization: `Bearer ${provider.tokens()?.access_token}`, 'content-type': 'application/json' };
    const response = await fetch(calendar, { method: 'POST', headers, body: '{}' });
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toContain('resource_metadata=');
  });

  it('is told why in OAuth words when it may not: the error code, nothing else', async () => {
    const provider = new ExchangeProvider('notes-server', await people.idToken('ada'), ID_TOKEN);
    await expect(callTool(notes, provider)).rejects.toThrow(/not acceptable/);
  });
});

describe('user → agent → server → next server, over MCP', () => {
  it('names the user and both actors at the end, and ends no later than the sign-in', async () => {
    const idToken = await people.idToken('ada');
    const seen = await callTool(notes, new ExchangeProvider('agent', idToken, ID_TOKEN), 'relay');
    expect(seen).toMatchObject({
      sub: 'corp:ada',
      sub_id: { format: 'iss_sub', iss: people.issuer, sub: 'ada' },
      client_id: 'notes-server',
      aud: calendar,
      scope: 'calendar:read',
      actors: ['notes-server', 'agent'],
    });
  });
});
