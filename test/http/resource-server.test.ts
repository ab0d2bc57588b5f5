/**
 * The verifier for servers over real HTTP: an issuer of the tests' own that can be made to hang, redirect and lie, and
 * the real Cambist.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createVerifier } from '../../src/resource-server/verifier.ts';
import type { Verifier, VerifierOptions } from '../../src/resource-server/verifier.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { Publisher, RESOURCE } from '../unit/resource-server/publisher.ts';

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A publisher behind a socket. */
async function publishOverHttp(): Promise<Publisher> {
  const published: Publisher[] = [];
  const server = createServer((request, response) => {
    const headers = new Headers(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const path = new URL(request.url ?? '/', 'http://issuer').pathname;
    void published[0]!.answer(path, headers).then(({ status, headers: given, body }) => {
      response.writeHead(status, given).end(body);
    });
  });
  const publisher = await Publisher.create(await listen(server), systemClock);
  published.push(publisher);
  return publisher;
}

function verifierOf(issuer: string, options: Partial<VerifierOptions> = {}): Verifier {
  const verifier = createVerifier({
    issuer,
    resource: RESOURCE,
    revocationsPollSeconds: 0.2,
    revocationsMaxAgeSeconds: 60,
    ...options,
  });
  onTestFinished(() => {
    verifier.close();
  });
  return verifier;
}

async function reasonOf(verifier: Verifier, token: string): Promise<string> {
  const result = await verifier.verify(token);
  return result.kind === 'access' ? 'access' : `${result.status} ${result.reason}`;
}

/** Polls until the verifier says so. */
async function untilReason(verifier: Verifier, token: string, expected: string): Promise<void> {
  await expect.poll(() => reasonOf(verifier, token), { timeout: 15_000, interval: 20 }).toBe(expected);
}

test('a token is good until its revocation is heard of; past the set age all are rejected; it recovers by itself', async () => {
  const publisher = await publishOverHttp();
  const verifier = verifierOf(publisher.issuer, { revocationsMaxAgeSeconds: 3 });
  await verifier.ready();
  const [dead, alive] = [await publisher.token({ jti: 'dead' }), await publisher.token({ jti: 'alive' })];
  await untilReason(verifier, dead, 'access');
  publisher.tokens = ['dead'];
  await untilReason(verifier, dead, '401 revoked');
  await untilReason(verifier, alive, 'access');

  publisher.instead.set('/oauth2/revocations', () => ({ status: 500, headers: {}, body: 'database on fire' }));
  await untilReason(verifier, alive, '503 revocations_unknown');
  expect(verifier.state()).toMatchObject({ ready: false, problems: [expect.stringContaining('(500)')] });
  expect(JSON.stringify(verifier.state())).not.toContain('fire');

  publisher.instead.clear();
  await untilReason(verifier, alive, 'access');
  await untilReason(verifier, dead, '401 revoked');
  await expect.poll(() => verifier.state()).toMatchObject({ ready: true, problems: [] });
});

test('a source that hangs is given up in time, and holds up no token', async () => {
  const publisher = await publishOverHttp();
  const verifier = verifierOf(publisher.issuer);
  await verifier.ready();
  const token = await publisher.token();
  expect(await reasonOf(verifier, token)).toBe('access');
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  publisher.instead.set('/oauth2/revocations', async () => {
    await held;
    return { status: 200, headers: {}, body: '' };
  });
  await expect.poll(() => verifier.state().problems.join(), { timeout: 10_000 }).toContain('it did not answer in time');
  expect(await reasonOf(verifier, token)).toBe('access');
  release?.();
});

test('a redirect is not followed, whatever it leads to', async () => {
  const publisher = await publishOverHttp();
  const elsewhere = await publishOverHttp();
  elsewhere.metadata['issuer'] = publisher.issuer;
  const location = `${elsewhere.issuer}/.well-known/oauth-authorization-server`;
  publisher.instead.set('/.well-known/oauth-authorization-server', () => ({
    status: 302,
    headers: { location },
    body: '',
  }));
  const verifier = verifierOf(publisher.issuer);
  await expect.poll(() => verifier.state().problems.join()).toContain('(302)');
  expect(await reasonOf(verifier, await elsewhere.token({ iss: publisher.issuer }))).toBe('503 keys_unavailable');
  expect(elsewhere.asked).toEqual([]);
});

test('an answer without end is cut at its bound', async () => {
  const chunk = JSON.stringify('x'.repeat(65_536));
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const pour = () => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once('drain', pour);
    };
    pour();
  });
  const verifier = verifierOf(await listen(server));
  await expect.poll(() => verifier.state().problems.join()).toContain('too large');
});

test('the metadata of an issuer with a path stand between host and path (RFC 8414 §3.1)', async () => {
  const publisher = await publishOverHttp();
  const issuer = `${publisher.issuer}/tenant`;
  publisher.metadata['issuer'] = issuer;
  publisher.serveDocument(() => publisher.document({ iss: issuer }));
  const verifier = verifierOf(issuer);
  await verifier.ready();
  expect(await reasonOf(verifier, await publisher.token({ iss: issuer }))).toBe('access');
  expect(publisher.asked[0]).toBe('/.well-known/oauth-authorization-server/tenant');
});

test('polls are spread, so that many servers do not ask in step, and never come in a tight loop', async () => {
  const publisher = await publishOverHttp();
  const times: number[] = [];
  publisher.instead.set('/oauth2/revocations', async () => {
    times.push(performance.now());
    return { status: 200, headers: { 'content-type': 'application/jwt' }, body: await publisher.document() };
  });
  const verifier = verifierOf(publisher.issuer, { revocationsPollSeconds: 0.5 });
  await verifier.ready();
  await expect.poll(() => times.length, { timeout: 15_000 }).toBeGreaterThan(8);
  const gaps = times.slice(1).map((time, index) => Math.round(time - times[index]!));
  expect(new Set(gaps).size).toBeGreaterThan(3);
  expect(Math.min(...gaps)).toBeGreaterThan(100);
});

describe('with the real Cambist', () => {
  const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
  const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
  const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
  const CRM = 'https://crm.example.com/mcp';

  let corp: JwksIssuer;
  let cambist: TestCambist;
  let stopped = false;
  beforeAll(async () => {
    corp = await startJwksIssuer();
    cambist = await startCambist({
      objects: `
issuers: [{ name: corp, issuer: '${corp.issuer}', internal: true }]
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: notes-server, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: '${RESOURCE}'
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    served_by: [notes-server]
    calls: [{ resource: crm, needs: ['notes:read'], gives: ['crm:read'] }]
  - { name: crm, uri: '${CRM}', scopes: { 'crm:read': Read }, default_scopes: ['crm:read'] }
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`,
    });
  });
  afterAll(async () => {
    if (!stopped) await cambist.stop();
    await corp.stop();
  });

  async function server(resource: string, options: Partial<VerifierOptions> = {}): Promise<Verifier> {
    const verifier = verifierOf(cambist.issuer, { resource, ...options });
    await verifier.ready();
    return verifier;
  }

  async function exchange(client: string, token: string, type: string, resource: string) {
    const form = { grant_type: EXCHANGE, subject_token: token, subject_token_type: type, resource };
    const answer = await cambist.token(form, { basic: [client, cambist.secretOf(client)] });
    expect(answer.status, answer.text).toBe(200);
    return answer.body.access_token as string;
  }

  test('a server knows the user, the agent and the chain; a token for another server is not for it', async () => {
    const [notes, crm] = [await server(RESOURCE), await server(CRM)];
    const idToken = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    const first = await exchange('agent', idToken, ID_TOKEN, RESOURCE);
    expect(await notes.verify(first, { scopes: ['notes:read'] })).toMatchObject({
      kind: 'access',
      subject: { issuer: corp.issuer, sub: 'ada' },
      clientId: 'agent',
      actors: [{ issuer: cambist.issuer, sub: 'agent' }],
      scopes: ['notes:read'],
    });
    expect(await reasonOf(crm, first)).toBe('401 audience_mismatch');
    const second = await exchange('notes-server', first, ACCESS_TOKEN, CRM);
    const hop = await crm.verify(second);
    expect(hop).toMatchObject({ kind: 'access', subject: { sub: 'ada' }, clientId: 'notes-server' });
    expect(hop.kind === 'access' && hop.actors.map(({ sub }) => sub)).toEqual(['notes-server', 'agent']);
  });

  test('a revoked token dies at its server, and what was exchanged from it at the next; others live', async () => {
    const [notes, crm] = [await server(RESOURCE), await server(CRM)];
    const idToken = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    const first = await exchange('agent', idToken, ID_TOKEN, RESOURCE);
    const second = await exchange('notes-server', first, ACCESS_TOKEN, CRM);
    const other = await exchange('agent', idToken, ID_TOKEN, RESOURCE);
    expect([await reasonOf(notes, first), await reasonOf(crm, second)]).toEqual(['access', 'access']);

    const basic = Buffer.from(`agent:${cambist.secretOf('agent')}`).toString('base64');
    const revoked = await fetch(`${cambist.url}/oauth2/revoke`, {
      method: 'POST',
      headers: { authorization: `Basic ${basic}` },
      body: new URLSearchParams({ token: first }),
    });
    expect(revoked.status).toBe(200);
    await untilReason(notes, first, '401 revoked');
    await untilReason(crm, second, '401 revoked');
    expect(await reasonOf(notes, other)).toBe('access');
  });

  test.each([
    ['client', 'agent'],
    ['resource', 'notes'],
    ['issuer', 'corp'],
  ] as const)('a disabled %s stops living tokens at servers; enabled again, they are as before', async (kind, name) => {
    const notes = await server(RESOURCE);
    const idToken = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    const token = await exchange('agent', idToken, ID_TOKEN, RESOURCE);
    expect(await reasonOf(notes, token)).toBe('access');
    await cambist.disable(kind, name);
    await untilReason(notes, token, '401 revoked');
    await cambist.enable(kind, name);
    await untilReason(notes, token, 'access');
  });

  test('a Cambist that is gone closes its servers within the set age', async () => {
    const notes = await server(RESOURCE, { revocationsMaxAgeSeconds: 3 });
    const idToken = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    const token = await exchange('agent', idToken, ID_TOKEN, RESOURCE);
    await untilReason(notes, token, 'access');
    // The last test that needs it.
    await cambist.stop();
    stopped = true;
    await untilReason(notes, token, '503 revocations_unknown');
  });
});
