/**
 * F8: SIGTERM under load, with the built program as a process of its own.
 */
import { expect, test } from 'vitest';
import { spawnCambist } from '../support/cambist.ts';
import { writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

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
    expect(statuses.length).toBeGreaterThan(20);
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
