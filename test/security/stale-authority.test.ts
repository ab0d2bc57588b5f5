/**
 * What must not outlive its reason: authority of a client or identity that was disabled, an assertion that met an
 * outage, a lineage without end, a place in the queue that a body without end holds, a person who was erased; and
 * tokens that a caller put where names belong.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { postForm } from '../support/token-client.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';

const A = 'https://a.stale/mcp';
const B = 'https://b.stale/mcp';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';

let corp: JwksIssuer;
let flaky: JwksIssuer;
let signer: JwksIssuer;
let cambist: TestCambist;

beforeAll(async () => {
  corp = await startJwksIssuer();
  flaky = await startJwksIssuer();
  signer = await startJwksIssuer();
  cambist = await startCambist({
    objects: `
issuers:
  - {name: corp, issuer: '${corp.issuer}', internal: true, algorithms: [ES256], token_types: {id_token: {}, jwt: {}}, audiences: [{value: portal, clients: [agent]}]}
  - {name: flaky, issuer: '${flaky.issuer}', internal: true, algorithms: [ES256], audiences: [{value: portal, clients: [signing]}]}
clients:
  - {id: agent, auth: [client_secret_basic]}
  - {id: srv, auth: [client_secret_basic]}
  - {id: workload, auth: [workload_identity], identities: [{issuer: corp, sub: wl}]}
  - {id: signing, auth: [private_key_jwt], jwks: {keys: [${JSON.stringify(signer.keys[0]?.publicJwk)}]}}
resources:
  - {name: a, uri: '${A}', scopes: {read: Read}, default_scopes: [read], served_by: [srv], calls: [{resource: b, needs: [read], gives: [read]}]}
  - {name: b, uri: '${B}', scopes: {read: Read}, default_scopes: [read]}
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
      permit (principal == Client::"agent", action == Action::"impersonate", resource);
`,
  });
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp, flaky, signer].map((issuer) => issuer.stop()));
});

const as = (client: string) => ({ basic: [client, cambist.secretOf(client)] as const });
const idToken = (sub = 'ada') => corp.mint({ sub, aud: 'portal' });

async function impersonated(sub?: string): Promise<string> {
  const answer = await cambist.token(
    { grant_type: EXCHANGE, subject_token: await idToken(sub), subject_token_type: `${TYPE}id_token`, resource: A },
    as('agent'),
  );
  expect(answer.status).toBe(200);
  return answer.body.access_token as string;
}

const hop = (token: string, resource = B, more: FormFields = {}): Promise<TokenAnswer> =>
  cambist.token(
    { grant_type: EXCHANGE, subject_token: token, subject_token_type: `${TYPE}access_token`, resource, ...more },
    as('srv'),
  );

async function reasonOf(answer: TokenAnswer): Promise<unknown> {
  const [record] = await cambist.records(answer.headers.get('cambist-request-id') ?? '');
  return (record?.body['refusal'] as { reason?: string } | undefined)?.reason;
}

it('A4 a token that a client obtained by impersonation, which names it in no chain, ends with that client', async () => {
  const token = await impersonated();
  expect((await hop(token)).status).toBe(200);
  await cambist.disable('client', 'agent');
  const refused = await hop(token);
  await cambist.enable('client', 'agent');
  expect([refused.status, refused.body.error, await reasonOf(refused)]).toEqual([
    400,
    'invalid_request',
    'chain_member_disabled',
  ]);
  expect((await hop(token)).status).toBe(200);
});

const isActive = async (token: string): Promise<boolean> => {
  const answer = await postForm(`${cambist.url}/oauth2/introspect`, { token }, as('srv'));
  return answer.body.active;
};

it('A4 an issuer that is removed takes the tokens with it in which its people act', async () => {
  const robots = await startJwksIssuer();
  try {
    await cambist.apply(`
issuers: [{name: robots, issuer: '${robots.issuer}', internal: true, algorithms: [ES256], audiences: [{value: portal, clients: [agent]}]}]
policies: [{id: robots, cedar: 'permit (principal == Client::"agent", action == Action::"actAs", resource);'}]
`);
    const granted = await cambist.token(
      {
        grant_type: EXCHANGE,
        subject_token: await idToken(),
        subject_token_type: `${TYPE}id_token`,
        actor_token: await robots.mint({ sub: 'robot', aud: 'portal' }),
        actor_token_type: `${TYPE}id_token`,
        resource: A,
      },
      as('agent'),
    );
    expect(granted.status, granted.text).toBe(200);
    const token: string = granted.body.access_token;
    expect([(await hop(token)).status, await isActive(token)]).toEqual([200, true]);
    await cambist.service.objects.change([{ type: 'remove', kind: 'issuer', name: 'robots' }], {
      author: 'test',
      origin: 'test',
    });
    expect(await reasonOf(await hop(token))).toBe('chain_member_disabled');
    expect(await isActive(token)).toBe(false);
  } finally {
    await robots.stop();
  }
});

it('R13 a token dies when the name of its subject becomes that of a client, at the token endpoint and at introspection', async () => {
  const verbatim = await startJwksIssuer();
  try {
    await cambist.apply(`
issuers: [{name: verbatim, issuer: '${verbatim.issuer}', internal: true, algorithms: [ES256], subject: {claims: [sub], verbatim: true}, audiences: [{value: portal, clients: [agent]}]}]
`);
    const granted = await cambist.token(
      {
        grant_type: EXCHANGE,
        subject_token: await verbatim.mint({ sub: 'grace', aud: 'portal' }),
        subject_token_type: `${TYPE}id_token`,
        resource: A,
      },
      as('agent'),
    );
    expect(granted.status, granted.text).toBe(200);
    const token: string = granted.body.access_token;
    expect([(await hop(token)).status, await isActive(token)]).toEqual([200, true]);
    await cambist.apply('clients: [{id: grace, auth: [client_secret_basic]}]');
    expect(await reasonOf(await hop(token))).toBe('subject_name_taken');
    expect(await isActive(token)).toBe(false);
  } finally {
    await verbatim.stop();
  }
});

it('A4 a workload identity that was disabled as a subject does not authenticate its client either', async () => {
  const authenticate = async () =>
    cambist.token({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await corp.mint({ sub: 'wl', aud: cambist.issuer }),
    });
  expect((await authenticate()).status).toBe(200);
  await cambist.apply('subjects: [{issuer: corp, sub: wl, disabled: true}]');
  const refused = await authenticate();
  expect([refused.status, refused.body.error]).toEqual([401, 'invalid_client']);
  await cambist.enable('subject', 'corp:wl');
  expect((await authenticate()).status).toBe(200);
});

it('R5 an assertion whose request failed because a dependency was down stays consumed', async () => {
  const assertion = await signer.mint({ iss: 'signing', sub: 'signing', aud: cambist.issuer });
  const authenticated = {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  };
  flaky.breakEndpoint({ kind: 'status', status: 500 });
  const failed = await cambist.token({
    ...authenticated,
    grant_type: EXCHANGE,
    subject_token: await flaky.mint({ sub: 'ada', aud: 'portal' }),
    subject_token_type: `${TYPE}id_token`,
    resource: A,
  });
  expect(failed.status).toBe(503);
  const kinds = (await cambist.records(failed.headers.get('cambist-request-id') ?? '')).map(({ body }) => body.kind);
  expect(kinds).toEqual(['failed']);
  const again = await cambist.token({ ...authenticated, grant_type: 'client_credentials' });
  expect([again.status, again.body.error, await reasonOf(again)]).toEqual([
    401,
    'invalid_client',
    'client_assertion_replayed',
  ]);
});

it.each([
  ['of a person', () => impersonated()],
  [
    'of the client itself',
    async () =>
      (await cambist.token({ grant_type: 'client_credentials', resource: A }, as('srv'))).body.access_token as string,
  ],
])(
  'R8 a token %s does not descend from more than 64 others, however often it is exchanged for itself',
  async (_, first) => {
    let token = await first();
    let rounds = 0;
    for (; rounds < 80; rounds++) {
      const answer = await hop(token, A);
      if (answer.status !== 200) {
        expect([answer.status, answer.body.error, await reasonOf(answer)]).toEqual([
          400,
          'invalid_request',
          'chain_too_deep',
        ]);
        break;
      }
      token = answer.body.access_token as string;
    }
    expect(rounds).toBeGreaterThan(50);
    expect(rounds).toBeLessThan(66);
  },
);

it('R23 a token that was put where a name belongs is in no record', async () => {
  const token = await idToken('canary-person');
  const [, payload = ''] = token.split('.');
  for (const fields of [{ scope: token }, { audience: token }, { resource: `https://x.stale/${token}` }]) {
    const answer = await hop(await impersonated(), B, fields);
    expect(answer.status).toBe(400);
    const [record] = await cambist.records(answer.headers.get('cambist-request-id') ?? '');
    expect(record?.canonical).toContain('sha256:');
    expect(record?.canonical).not.toContain(payload.slice(0, 40));
  }
});

it('R23 a token of a person who was erased is refused, and the person is not kept again for it', async () => {
  const token = await impersonated('bob');
  const principal = { issuer: corp.issuer, sub: 'bob' };
  expect(await cambist.service.persons.erase(principal)).toBe(true);
  const refused = await hop(token);
  expect([refused.status, await reasonOf(refused)]).toEqual([400, 'subject_token_unknown']);
  expect(await cambist.service.persons.find(principal)).toBeUndefined();
});

it('F10 bodies that never come hold connections, and no places of those who send theirs', async () => {
  const { hostname, port } = new URL(cambist.url);
  const sockets: Socket[] = await Promise.all(
    Array.from(
      { length: 1050 },
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connect(Number(port), hostname, () => {
            socket.write(
              'POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\na',
              () => {
                resolve(socket);
              },
            );
          });
          socket.on('error', reject);
        }),
    ),
  );
  try {
    await impersonated();
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});
