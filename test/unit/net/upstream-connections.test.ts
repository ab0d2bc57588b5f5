/**
 * Connections to upstreams (R21): over TLS to who the certificate names, at addresses that were checked, and at those
 * alone for as long as the check holds; afterwards where the name leads then, if it may.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createUpstreamConnections } from '../../../src/net/upstream-connections.ts';
import type { UpstreamConnections } from '../../../src/net/upstream-connections.ts';
import { asFailure } from '../../../src/net/guard.ts';
import { selfSigned } from './certificate.ts';

const HOST = 'api.example';
const folder = mkdtempSync(join(tmpdir(), 'cambist-upstreams-'));
const certificate = selfSigned([HOST]);
const caFile = join(folder, 'ca.pem');
writeFileSync(caFile, certificate.cert);

/** Of this test: where the name leads, how often that was asked, what time it is. */
let world = { addresses: ['127.0.0.1'] as readonly string[], resolved: 0, nowMs: 1_000_000 };
let connections: UpstreamConnections;
let tls: Server;
let plain: Server;
const held: (() => void)[] = [];
const portOf = (server: Server) => (server.address() as AddressInfo).port;

beforeAll(async () => {
  tls = createTlsServer(certificate, (request, response) => response.end(`${request.headers.host}`));
  plain = createServer((request, response) => {
    if (request.url !== '/held') response.end('plain');
    else held.push(() => response.end('held'));
  });
  await Promise.all([tls, plain].map((server) => new Promise<void>((done) => server.listen(0, '127.0.0.1', done))));
});
afterAll(() => {
  for (const server of [tls, plain]) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true });
});
afterEach(() => connections.close());

function open(): void {
  world = { addresses: ['127.0.0.1'], resolved: 0, nowMs: 1_000_000 };
  connections = createUpstreamConnections({
    clock: { nowMs: () => world.nowMs },
    connectionsMax: 4,
    resolve: () => {
      world.resolved += 1;
      return Promise.resolve(world.addresses);
    },
  });
}

async function get(url: string, more: { internal?: boolean; caFile?: string; path?: string } = {}): Promise<string> {
  const place = { url: new URL(url), internal: more.internal ?? true, caFile: more.caFile };
  const answer = await (await connections.to(place)).request({ method: 'GET', path: more.path ?? '/' });
  return answer.body.text();
}

const failure = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: unknown) => asFailure(error, HOST).code,
  );

describe('TLS', () => {
  test('with its own authority, to the host that the certificate names', async () => {
    open();
    expect(await get(`https://${HOST}:${portOf(tls)}`, { caFile })).toBe(`${HOST}:${portOf(tls)}`);
  });

  test.each([
    ['an authority that nobody trusts', HOST, undefined],
    ['a certificate for another host', 'other.example', caFile],
    ['a file that is not there', HOST, join(folder, 'none.pem')],
  ])('refuses %s', async (_, host, file) => {
    open();
    const failed = await failure(get(`https://${host}:${portOf(tls)}`, file === undefined ? {} : { caFile: file }));
    expect(failed).toBe(file?.endsWith('none.pem') === true ? 'local_file' : 'tls');
  });
});

describe('addresses', () => {
  const url = () => `http://${HOST}:${portOf(plain)}`;

  test('a name is looked at once for all who ask, and not again for 30 s', async () => {
    open();
    expect(await Promise.all([get(url()), get(url()), get(url())])).toEqual(['plain', 'plain', 'plain']);
    // It leads somewhere else meanwhile: nobody looks, nobody goes there.
    world.addresses = ['10.0.0.5'];
    world.nowMs += 29_000;
    expect(await get(url())).toBe('plain');
    expect(world.resolved).toBe(1);
  });

  test('after 30 s: where it may not lead now, nothing is sent, not over a connection from before either', async () => {
    open();
    expect(await get(url())).toBe('plain');
    world.addresses = ['10.0.0.5'];
    world.nowMs += 31_000;
    expect(await failure(get(url()))).toBe('scheme_refused');
    expect(await failure(get(url()))).toBe('scheme_refused');
    world.addresses = ['127.0.0.1'];
    expect(await get(url())).toBe('plain');
  });

  test('after 30 s: where it moved, new calls go to the new address, and one under way ends on the old one', async () => {
    open();
    const slow = get(url(), { path: '/held' });
    while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    // Nobody listens there.
    world.addresses = ['127.0.0.2'];
    world.nowMs += 31_000;
    expect(await failure(get(url()))).toBe('connect');
    held.pop()?.();
    expect(await slow).toBe('held');
  });

  test('what is internal to one is not to another with the same host', async () => {
    open();
    expect(await get(url())).toBe('plain');
    expect(await failure(get(url(), { internal: false }))).toBe('scheme_refused');
    expect(await failure(get(`https://${HOST}:${portOf(tls)}`, { internal: false, caFile }))).toBe('address_refused');
  });

  test('stopping cuts what is in flight, and nothing is opened after it', async () => {
    open();
    const slow = failure(get(url(), { path: '/held' }));
    while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await connections.close();
    expect(await slow).not.toBe('none');
    held.pop()?.();
    world.nowMs += 31_000;
    expect(await failure(get(url()))).not.toBe('none');
  });
});
