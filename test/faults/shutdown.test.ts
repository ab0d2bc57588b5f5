/**
 * F8: how a node ends: under load, after its grace, with requests in flight.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { spawnCambist, startCambist } from '../support/cambist.ts';

test('F8 SIGTERM under load: what was accepted is answered, the process ends by itself, and its data can be opened again', async () => {
  const cambist = await spawnCambist();
  try {
    const objects = join(cambist.folder, 'objects.yaml');
    const secretFile = join(cambist.folder, 'agent.secret');
    writeFileSync(
      objects,
      `clients: [{id: agent, auth: [client_secret_post]}]
`,
    );
    await cambist.command('apply', '-f', objects);
    await cambist.command('client', 'secret', 'agent', '--out', secretFile);
    const body = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: 'agent',
      client_secret: readFileSync(secretFile, 'utf8').trim(),
    });

    const statuses: number[] = [];
    const cut: string[] = [];
    let running = true;
    const worker = async () => {
      while (running) {
        try {
          const response = await fetch(`${cambist.url}/oauth2/token`, { method: 'POST', body });
          await response.text();
          statuses.push(response.status);
          // Told that this was the last answer on its connection, a caller goes to another node.
          if (response.headers.get('connection') === 'close') return;
        } catch (error) {
          cut.push((error as { cause?: { code?: string } }).cause?.code ?? 'unknown');
          return;
        }
      }
    };
    const workers = Array.from({ length: 20 }, worker);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const started = Date.now();
    await cambist.stop();
    const tookMs = Date.now() - started;
    running = false;
    await Promise.all(workers);
    console.log(
      `answered ${statuses.length} (${[...new Set(statuses)].join(', ')}), cut ${cut.join(', ') || 'none'}, ended in ${tookMs} ms`,
    );
    expect(statuses.length).toBeGreaterThanOrEqual(20);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(cut).toEqual([]);
    expect(tookMs).toBeLessThan(30_000);

    const again = await spawnCambist({ folder: cambist.folder, issuer: cambist.issuer });
    expect(await again.command('client', 'list')).toContain('agent');
    await again.stop();
  } finally {
    cambist.kill();
    cambist.remove();
  }
}, 90_000);

const ready = async (base: string) => {
  const response = await fetch(`${base}/readyz`, { headers: { connection: 'close' } });
  return { status: response.status, body: await response.json() };
};

test('F8 a node that was told to stop says so first, serves on for its grace, and only then takes no more', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-grace-'));
  writeFileSync(join(folder, 'cambist.yaml'), 'shutdown_grace_ms: 3000\n');
  const cambist = await spawnCambist({ folder, env: { CAMBIST_CONFIG: join(folder, 'cambist.yaml') } });
  try {
    expect(await ready(cambist.url)).toEqual({ status: 200, body: { status: 'ready' } });
    let hasEnded = false;
    const ended = cambist.stop().then(() => (hasEnded = true));
    await expect
      .poll(() => ready(cambist.url), { timeout: 2_000, interval: 20 })
      .toEqual({ status: 503, body: { status: 'not_ready', checks: [{ name: 'draining', ok: false }] } });
    // Whoever has not noticed yet is served, on new connections too, and is not sent away.
    const late = await fetch(`${cambist.url}/oauth2/jwks`);
    await late.text();
    expect([late.status, late.headers.get('connection')]).toEqual([200, 'keep-alive']);
    expect((await fetch(`${cambist.url}/healthz`)).status).toBe(200);
    expect(hasEnded).toBe(false);
    await ended;
  } finally {
    cambist.kill();
    cambist.remove();
  }
}, 60_000);

test('F8 what is in flight is finished; meanwhile nobody new is let in, and the admin listener still answers', async () => {
  const cambist = await startCambist({ objects: 'clients: [{ id: agent, auth: [client_secret_post] }]' });
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: 'agent',
    client_secret: cambist.secretOf('agent'),
  }).toString();
  const { port } = new URL(cambist.url);
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length };
  let finish: () => void = () => undefined;
  const status = new Promise<number | undefined>((resolve, reject) => {
    const half = request({ port, host: '127.0.0.1', path: '/oauth2/token', method: 'POST', headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    half.once('error', reject);
    half.write(body.slice(0, 10));
    finish = () => half.end(body.slice(10));
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
  const stopped = cambist.service.stop();
  await expect
    .poll(
      () =>
        fetch(`${cambist.url}/healthz`).then(
          () => 'answers',
          () => 'refuses',
        ),
      { timeout: 10_000 },
    )
    .toBe('refuses');
  expect(await ready(cambist.adminUrl)).toEqual({
    status: 503,
    body: { status: 'not_ready', checks: [{ name: 'draining', ok: false, reason: 'this node is stopping' }] },
  });
  finish();
  expect(await status).toBe(200);
  await stopped;
  await expect(fetch(`${cambist.adminUrl}/healthz`)).rejects.toThrow();
  await cambist.database.close();
}, 60_000);
