/**
 * Introspection, revocation and the revocation document, over real sockets. (Attacks on them are in test/security/.)
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { basicHeader, postForm } from '../support/token-client.ts';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const NOTES = 'https://notes.example/mcp';
const CRM = 'https://crm.example/mcp';

let corp: JwksIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  corp = await startJwksIssuer();
  cambist = await startCambist({
    objects: `
issuers: [{ name: corp, issuer: '${corp.issuer}', internal: true }]
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: notes-server, auth: [client_secret_basic] }
  - { id: stranger, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: '${NOTES}'
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    served_by: [notes-server]
    calls: [{ resource: crm, needs: ['notes:read'], gives: ['crm:read'] }]
  - { name: crm, uri: '${CRM}', scopes: { 'crm:read': Read }, default_scopes: ['crm:read'], served_by: [notes-server] }
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`,
  });
});
afterAll(async () => {
  await cambist.stop();
  await corp.stop();
});

const ask = (path: string, client: string, form: Record<string, string>) =>
  postForm(`${cambist.url}${path}`, form, {
    headers: { authorization: basicHeader(client, cambist.secretOf(client)) },
  });

async function exchanged(): Promise<string> {
  const answer = await ask('/oauth2/token', 'agent', {
    grant_type: EXCHANGE,
    subject_token: await corp.mint({ aud: cambist.issuer, sub: 'ada' }),
    subject_token_type: `${TYPE}id_token`,
    resource: NOTES,
  });
  expect(answer.status).toBe(200);
  return String(answer.body['access_token']);
}

test('a server of the audience learns what the token says (RFC 7662 §2.2, RFC 8693 §4.1)', async () => {
  const answer = await ask('/oauth2/introspect', 'notes-server', { token: await exchanged() });
  expect(answer.status).toBe(200);
  expect(answer.body).toMatchObject({
    active: true,
    token_type: 'Bearer',
    iss: cambist.issuer,
    sub: 'corp:ada',
    sub_id: { format: 'iss_sub', iss: corp.issuer, sub: 'ada' },
    aud: NOTES,
    client_id: 'agent',
    act: { sub: 'agent', iss: cambist.issuer },
    scope: 'notes:read',
  });
});

test('anybody else, and anything else, gets exactly active: false', async () => {
  const token = await exchanged();
  for (const client of ['agent', 'stranger'])
    expect((await ask('/oauth2/introspect', client, { token })).body).toEqual({ active: false });
  expect((await ask('/oauth2/introspect', 'notes-server', { token: 'nonsense' })).body).toEqual({ active: false });
});

test('revoking a token kills it and what was exchanged from it; another client cannot (RFC 7009 §2.1)', async () => {
  const token = await exchanged();
  const hop = await ask('/oauth2/token', 'notes-server', {
    grant_type: EXCHANGE,
    subject_token: token,
    subject_token_type: `${TYPE}access_token`,
    resource: CRM,
  });
  const further = String(hop.body['access_token']);
  const foreign = await ask('/oauth2/revoke', 'stranger', { token });
  expect([foreign.status, foreign.body['error']]).toEqual([400, 'unauthorized_client']);
  expect((await ask('/oauth2/introspect', 'notes-server', { token: further })).body).toMatchObject({ active: true });

  expect((await ask('/oauth2/revoke', 'agent', { token })).status).toBe(200);
  for (const dead of [token, further])
    expect((await ask('/oauth2/introspect', 'notes-server', { token: dead })).body).toEqual({ active: false });
  const again = await ask('/oauth2/token', 'notes-server', {
    grant_type: EXCHANGE,
    subject_token: token,
    subject_token_type: `${TYPE}access_token`,
    resource: CRM,
  });
  expect([again.status, again.body['error']]).toEqual([400, 'invalid_request']);
  const document = await fetch(`${cambist.url}/oauth2/revocations`);
  const claims = JSON.parse(Buffer.from((await document.text()).split('.')[1] ?? '', 'base64url').toString());
  const jtiOf = (jwt: string) => JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()).jti;
  expect(claims.tokens.sort()).toEqual([jtiOf(token), jtiOf(further)].sort());
});
