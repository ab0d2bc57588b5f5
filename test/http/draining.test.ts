/**
 * The end of a listener whose event loop is late, as it is on a machine under load: what the system has taken for us by
 * then (a connection, a request) is not what the listener has seen, and must be answered all the same.
 */
import { get } from 'node:http';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { openListener } from '../../src/http/listener.ts';
import type { Application } from '../../src/http/listener.ts';

/** Another thread's loop: asks once at `atMs`, on a connection that it opened `connectMs` before or that is new. */
const CALLER = `
const { parentPort, workerData: { port, warm, atMs } } = require('node:worker_threads');
const { Agent, get } = require('node:http');
const agent = new Agent({ keepAlive: true });
const ask = () => new Promise((done) => {
  get({ port, host: '127.0.0.1', agent }, (response) => {
    response.resume().once('end', () => done(response.statusCode));
  }).once('error', ({ code }) => done(code));
});
(async () => {
  if (warm) await ask();
  parentPort.postMessage('here');
  setTimeout(async () => parentPort.postMessage(await ask()), atMs);
})();
`;

const open = (application: Application) =>
  openListener(application, { host: '127.0.0.1', port: 0, logger: createLogger('silent') });

it.each([
  ['a new connection', { warm: false, atMs: 150, blockedFromMs: 0, blockedForMs: 900 }],
  ['a request on a connection that was idle', { warm: true, atMs: 2000, blockedFromMs: 1700, blockedForMs: 900 }],
])(
  '%s that came while the loop stood still is answered, not reset',
  async (_, late) => {
    const listener = await open((_request, response) => void response.end('here'));
    const caller = new Worker(CALLER, { eval: true, workerData: { ...late, port: listener.address.port } });
    const said: unknown[] = [];
    caller.on('message', (message) => said.push(message));
    await expect.poll(() => said).toEqual(['here']);
    const drained = listener.drain(10_000);
    await new Promise((resolve) => setTimeout(resolve, late.blockedFromMs));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, late.blockedForMs);
    await expect.poll(() => said, { timeout: 5000 }).toEqual(['here', 200]);
    await drained;
    await caller.terminate();
  },
  20_000,
);

it('connections that wait to be accepted are all answered, though each turn of the loop takes one and is long', async () => {
  let begin: () => unknown = () => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const listener = await open((_request, response) => {
    begin();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    response.end('here');
  });
  const { port } = listener.address;
  const asked = Array.from(
    { length: 30 },
    () =>
      new Promise((resolve) => {
        get({ port, host: '127.0.0.1', agent: false }, (response) => {
          response.resume().once('end', () => {
            resolve(response.statusCode);
          });
        }).once('error', ({ message }) => {
          resolve(message);
        });
      }),
  );
  await begun;
  const drained = listener.drain(10_000);
  expect(await Promise.all(asked)).toEqual(asked.map(() => 200));
  await drained;
}, 20_000);
