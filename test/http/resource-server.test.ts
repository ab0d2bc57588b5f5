/**
 * The verifier for servers over real HTTP: an issuer of the tests' own that can be made to hang, redirect and lie, and
 * the real Cambist.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createVerifier } from '../../src/resource-server/verifier.ts';
import type { Verifier, VerifierOptions } from '../../src/resource-server/verifier.ts';
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
    revocationsMaxAgeSeconds: 3,
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
  const verifier = verifierOf(publisher.issuer);
  await verifier.ready();
  const [dead, alive] = [await publisher.token({ jti: 'dead' }), await publisher.token({ jti: 'alive' })];
  expect(await reasonOf(verifier, dead)).toBe('access');
  publisher.tokens = ['dead'];
  await untilReason(verifier, dead, '401 revoked');
  expect(await reasonOf(verifier, alive)).toBe('access');

  publisher.instead.set('/oauth2/revocations', () => ({ status: 500, headers: {}, body: 'database on fire' }));
  await untilReason(verifier, alive, '503 revocations_unknown');
  expect(verifier.state()).toMatchObject({ ready: false, problems: [expect.stringContaining('(500)')] });
  expect(JSON.stringify(verifier.state())).not.toContain('fire');

  publisher.instead.clear();
  await untilReason(verifier, alive, 'access');
  expect(await reasonOf(verifier, dead)).toBe('401 revoked');
  expect(verifier.state()).toMatchObject({ ready: true, problems: [] });
});

test('a source that hangs is given up in time, and holds up no token', async () => {
  const publisher = await publishOverHttp();
  const verifier = verifierOf(publisher.issuer, { revocationsMaxAgeSeconds: 60 });
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
  expect(Math.min(...gaps)).toBeGreaterThan(350);
});
