/**
 * Workloads without a secret: tokens shaped like those of Kubernetes, GitHub Actions, SPIFFE and Entra, as client
 * assertion, as subject and as actor. A bound (issuer, sub) *is* that client wherever it appears.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';
import { actors, exchange, EXCHANGE, granted, ID_TOKEN, JWT, recordOf, refused } from './asking.ts';

const NOTES = 'https://notes.example/mcp';
const BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const SPIFFE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
const POD = 'system:serviceaccount:prod:agent';
const WORKFLOW = 'repo:corp/site:environment:production';
const SPIFFE_ID = 'spiffe://prod.example/ns/prod/sa/agent';
const TENANT = '11111111-2222-3333-4444-555555555555';
const OTHER_TENANT = '99999999-2222-3333-4444-555555555555';
const APP = 'aaaaaaaa-0000-4000-8000-000000000001';

let cluster: JwksIssuer;
let github: JwksIssuer;
let trustDomain: JwksIssuer;
let entra: JwksIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  [cluster, github, trustDomain, entra] = await Promise.all([
    startJwksIssuer({ algorithm: 'RS256' }),
    startJwksIssuer({ algorithm: 'RS256' }),
    startJwksIssuer({ issuer: 'spiffe://prod.example' }),
    startJwksIssuer({ algorithm: 'RS256' }),
  ]);
  // A SPIFFE bundle says what each of its keys is for (SPIFFE JWT-SVID §6).
  const [bundled] = trustDomain.keys.map(({ publicJwk }) => publicJwk);
  trustDomain.publish([
    { ...(await trustDomain.strangerKey()).publicJwk, use: 'x509-svid' },
    { ...bundled, use: 'jwt-svid' },
  ]);
  cambist = await startCambist({ objects: company() });
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([cluster, github, trustDomain, entra].map((issuer) => issuer.stop()));
});

const company = () => `
issuers:
  - { name: cluster, issuer: ${cluster.issuer}, internal: true, jwks_uri: ${cluster.jwksUri}, token_types: { jwt: {} }, max_lifetime_seconds: 7200 }
  - { name: github, issuer: ${github.issuer}, internal: true, token_types: { jwt: {} }, required_claims: { repository_owner: corp } }
  - { name: mesh, issuer: 'spiffe://prod.example', internal: true, jwks_uri: ${trustDomain.jwksUri}, token_types: { jwt: {} } }
  - name: entra
    issuer: '${entra.url}/{tenant}/v2.0'
    tenants: ['${TENANT}']
    internal: true
    jwks_uri: ${entra.jwksUri}
    token_types: { id_token: {}, jwt: {} }
    subject: { claims: [tid, oid] }
    claims: { groups: groups, email: preferred_username, name: name }
    audiences: [{ value: portal, clients: [agent] }]
clients:
  - { id: agent, auth: [workload_identity, client_secret_basic], identities: [{ issuer: cluster, sub: '${POD}' }] }
  - { id: deployer, auth: [workload_identity], identities: [{ issuer: github, sub: '${WORKFLOW}' }] }
  - { id: meshed, auth: [workload_identity], identities: [{ issuer: mesh, sub: '${SPIFFE_ID}' }] }
  - { id: daemon, auth: [workload_identity], identities: [{ issuer: entra, sub: '${TENANT}:${APP}' }] }
  - { id: secretive, auth: [client_secret_basic], identities: [{ issuer: cluster, sub: 'system:serviceaccount:prod:secretive' }] }
resources:
  - { name: notes, uri: '${NOTES}', scopes: { 'notes:read': Read }, default_scopes: ['notes:read'] }
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
`;

/** Claims as Kubernetes writes them for a projected service account token. */
const pod = (claims: Record<string, unknown> = {}, lifetimeSeconds = 3600) =>
  cluster.mint(
    {
      aud: [cambist.issuer],
      sub: POD,
      nbf: Math.floor(Date.now() / 1000),
      'kubernetes.io': {
        namespace: 'prod',
        serviceaccount: { name: 'agent', uid: 'b1' },
        pod: { name: 'agent-0', uid: 'b2' },
      },
      ...claims,
    },
    { header: { typ: undefined }, lifetimeSeconds },
  );
const workflow = (claims: Record<string, unknown> = {}) =>
  github.mint({
    aud: cambist.issuer,
    sub: WORKFLOW,
    repository: 'corp/site',
    repository_owner: 'corp',
    ref: 'refs/heads/main',
    environment: 'production',
    run_id: '1234567890',
    ...claims,
  });
/** A JWT-SVID has `aud`, `exp` and `sub`, and no `iss` (SPIFFE JWT-SVID §3). */
const svid = (claims: Record<string, unknown> = {}) =>
  trustDomain.mint({ iss: undefined, jti: undefined, aud: [cambist.issuer], sub: SPIFFE_ID, ...claims });
const entraToken = (claims: Record<string, unknown> = {}, tenant = TENANT) =>
  entra.mint({
    iss: `${entra.url}/${tenant}/v2.0`,
    aud: cambist.issuer,
    tid: tenant,
    oid: APP,
    sub: 'pairwise-and-different-for-every-app',
    azp: APP,
    ver: '2.0',
    ...claims,
  });
const asserting = (assertion: string, fields: FormFields = {}, type = BEARER): Promise<TokenAnswer> =>
  cambist.token({
    grant_type: 'client_credentials',
    resource: NOTES,
    client_assertion: assertion,
    client_assertion_type: type,
    ...fields,
  });
const unauthenticated = (answer: TokenAnswer) => {
  expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client']);
};

describe('as client assertion (RFC 7523 §2.2)', () => {
  it.each([
    ['a Kubernetes service account', 'agent', () => pod(), BEARER],
    ['a GitHub Actions workflow', 'deployer', () => workflow(), BEARER],
    ['a SPIFFE workload', 'meshed', () => svid(), SPIFFE],
    ['an Entra managed identity', 'daemon', () => entraToken(), BEARER],
  ])('%s is its client', async (_, client, assertion, type) => {
    const claims = await granted(cambist, await asserting(await assertion(), {}, type));
    expect(claims).toMatchObject({
      sub: client,
      client_id: client,
      sub_id: { format: 'iss_sub', iss: cambist.issuer, sub: client },
    });
    expect(claims).not.toHaveProperty('act');
  });

  it('R5 of a platform is reusable until it expires', async () => {
    const assertion = await pod();
    for (let use = 0; use < 3; use++) await granted(cambist, await asserting(assertion));
  });

  it('may be accompanied by the client_id that it is, and by no other', async () => {
    await granted(cambist, await asserting(await pod(), { client_id: 'agent' }));
    unauthenticated(await asserting(await pod(), { client_id: 'deployer' }));
  });

  it.each<[string, () => Promise<string>, string?]>([
    ['of a service account that is nobody’s', () => pod({ sub: 'system:serviceaccount:prod:other' })],
    ['of the same name in another namespace', () => pod({ sub: 'system:serviceaccount:dev:agent' })],
    ['of the same sub at another issuer', () => workflow({ sub: POD })],
    ['R3 with another audience', () => pod({ aud: ['https://kubernetes.default.svc'] })],
    ['R3 with a second audience', () => pod({ aud: ['https://kubernetes.default.svc', cambist.issuer] })],
    ['R3 with the token endpoint as audience', () => pod({ aud: `${cambist.issuer}/oauth2/token` })],
    ['that lives longer than its issuer’s cap', () => pod({}, 7201)],
    ['R15 that has expired', () => pod({ exp: Math.floor(Date.now() / 1000) - 1 })],
    ['R15 without exp', () => pod({ exp: undefined })],
    ['without a claim that its issuer must have', () => workflow({ repository_owner: 'mallory' })],
    ['of a client that authenticates otherwise', () => pod({ sub: 'system:serviceaccount:prod:secretive' })],
    ['of another tenant', () => entraToken({}, OTHER_TENANT)],
    ['of a tenant whose tid is another', () => entraToken({ tid: OTHER_TENANT })],
    ['without oid', () => entraToken({ oid: undefined })],
    ['R17 bound to a key', () => pod({ cnf: { jkt: 'thumbprint' } })],
    [
      'of a SPIFFE workload of another trust domain',
      () => svid({ sub: 'spiffe://other.example/ns/prod/sa/agent' }),
      SPIFFE,
    ],
    ['of a SPIFFE workload under the bearer type', () => svid(), BEARER],
    ['of a pod under the SPIFFE type', () => pod(), SPIFFE],
    ['of a SPIFFE id below the bound one', () => svid({ sub: `${SPIFFE_ID}/x` }), SPIFFE],
  ])('%s does not authenticate', async (_, assertion, type = BEARER) => {
    unauthenticated(await asserting(await assertion(), {}, type));
  });

  it('R13 signed with another trusted issuer’s key does not authenticate', async () => {
    unauthenticated(await asserting(await github.mint({ iss: cluster.issuer, aud: cambist.issuer, sub: POD })));
  });

  it('A4 of a disabled issuer stops on the next request', async () => {
    const assertion = await workflow();
    await granted(cambist, await asserting(assertion));
    await cambist.disable('issuer', 'github');
    unauthenticated(await asserting(assertion));
    await cambist.enable('issuer', 'github');
    await granted(cambist, await asserting(assertion));
  });
});

describe('as subject and actor', () => {
  it('a workload that is the client is self: no act', async () => {
    const token = await pod();
    const claims = await granted(
      cambist,
      await cambist.token({
        grant_type: EXCHANGE,
        client_assertion: token,
        client_assertion_type: BEARER,
        subject_token: token,
        subject_token_type: JWT,
        resource: NOTES,
      }),
    );
    expect(claims).toMatchObject({ sub: 'agent', client_id: 'agent' });
    expect(claims).not.toHaveProperty('act');
  });

  it.each([
    ['Kubernetes', () => pod(), 'agent'],
    ['GitHub Actions', () => workflow(), 'deployer'],
    ['SPIFFE', () => svid(), 'meshed'],
    ['Entra', () => entraToken(), 'daemon'],
  ])('a workload of %s that another client presents is its client, with an actor', async (_, token, subject) => {
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'secretive', subject: await token(), as: JWT, resource: NOTES }),
    );
    expect(claims).toMatchObject({
      sub: subject,
      sub_id: { iss: cambist.issuer, sub: subject },
      act: { sub: 'secretive' },
    });
  });

  it('a workload that is nobody’s client is a subject of its issuer', async () => {
    const subject = await pod({ sub: 'system:serviceaccount:prod:batch' });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject, as: JWT, resource: NOTES }),
    );
    expect(claims).toMatchObject({
      sub: 'cluster:system:serviceaccount:prod:batch',
      sub_id: { iss: cluster.issuer, sub: 'system:serviceaccount:prod:batch' },
    });
  });

  it('a JWT-SVID without iss is a subject of its trust domain', async () => {
    const subject = await svid({ sub: 'spiffe://prod.example/ns/prod/sa/batch' });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject, as: JWT, resource: NOTES }),
    );
    expect(claims).toMatchObject({
      sub: 'mesh:spiffe://prod.example/ns/prod/sa/batch',
      sub_id: { iss: 'spiffe://prod.example', sub: 'spiffe://prod.example/ns/prod/sa/batch' },
    });
  });

  it('as actor token of its own client it is that client', async () => {
    const subject = await entraToken({ oid: 'user-1', aud: 'portal' });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject, actor: await pod(), resource: NOTES }),
    );
    expect(actors(claims)).toEqual(['agent']);
    expect(claims['act']).toMatchObject({ iss: cambist.issuer, client_id: 'agent' });
  });

  it('R10 a workload’s token is not an ID token', async () => {
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: await pod(), as: ID_TOKEN, resource: NOTES }),
      'invalid_request',
      'subject_token_invalid',
    );
  });

  it('A4 a workload whose client was disabled is nobody, as subject too', async () => {
    const ask = async () =>
      exchange(cambist, { client: 'secretive', subject: await workflow(), as: JWT, resource: NOTES });
    await granted(cambist, await ask());
    await cambist.disable('client', 'deployer');
    await refused(cambist, await ask(), 'invalid_request', 'subject_disabled');
    await cambist.enable('client', 'deployer');
  });
});

describe('a person of Entra', () => {
  const asking = async (claims: Record<string, unknown>, tenant = TENANT) =>
    exchange(cambist, {
      client: 'agent',
      subject: await entraToken(
        {
          oid: 'b0b',
          aud: 'portal',
          groups: ['g-1', 'g-2'],
          name: 'Bob',
          preferred_username: 'bob@corp.example',
          ...claims,
        },
        tenant,
      ),
      resource: NOTES,
    });

  it('is tid and oid, never the pairwise sub', async () => {
    const answer = await asking({});
    expect(await granted(cambist, answer)).toMatchObject({
      sub: `entra:${TENANT}:b0b`,
      sub_id: { iss: `${entra.url}/${TENANT}/v2.0`, sub: `${TENANT}:b0b` },
    });
    const { persons } = await recordOf(cambist, answer);
    expect(persons[0]).toMatchObject({
      sub: `${TENANT}:b0b`,
      email: 'bob@corp.example',
      name: 'Bob',
      groups: ['entra:g-1', 'entra:g-2'],
    });
  });

  it('cannot be another by a colon in a claim', async () => {
    const claims = await granted(cambist, await asking({ oid: 'b0b:x%3A' }));
    expect(claims.sub).toBe(`entra:${TENANT}:b0b%3Ax%253A`);
  });

  it.each([
    [
      '_claim_names',
      {
        groups: undefined,
        _claim_names: { groups: 'src1' },
        _claim_sources: { src1: { endpoint: 'https://graph.example' } },
      },
    ],
    ['hasgroups', { groups: undefined, hasgroups: true }],
  ])('with a groups overage (%s) is refused, not taken for somebody without groups', async (_, claims) => {
    const record = await refused(cambist, await asking(claims), 'invalid_request', 'subject_token_invalid');
    expect(record.body).toMatchObject({ refusal: { detail: { fault: 'groups_overage' } } });
  });

  it('of a tenant that is not listed is unknown', async () => {
    await refused(cambist, await asking({}, OTHER_TENANT), 'invalid_request', 'subject_token_issuer_unknown');
  });
});
