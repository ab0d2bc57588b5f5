/**
 * Cambist as a process of its own on the embedded database: what must hold across its end, however it ends.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { spawnCambist } from '../support/cambist.ts';
import type { SpawnedCambist } from '../support/cambist.ts';

const TIMEOUT_MS = 120_000;
const running: SpawnedCambist[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) {
    await one.stop();
    one.remove();
  }
});

async function kidsOf({ url }: SpawnedCambist): Promise<string[]> {
  const { keys } = (await (await fetch(`${url}/oauth2/jwks`)).json()) as { keys: { kid: string }[] };
  return keys.map(({ kid }) => kid).sort();
}

describe('a process on the embedded database', () => {
  it(
    'is reached by the command line over a socket that only its owner can use, and publishes the same keys after kill -9',
    async () => {
      const first = await spawnCambist();
      running.push(first);
      expect(JSON.parse(await first.command('client', 'list', '--json'))).toEqual([]);
      const socket = join(first.folder, 'data', 'cambist.sock');
      expect(statSync(socket).mode & 0o077).toBe(0);
      const kids = await kidsOf(first);
      expect(kids.length).toBeGreaterThan(0);

      first.kill();
      await first.ended;
      const second = await spawnCambist({ folder: first.folder });
      running.push(second);
      expect(await kidsOf(second)).toEqual(kids);
    },
    TIMEOUT_MS,
  );

  it(
    'refuses a data folder that another process uses, and says so',
    async () => {
      const first = await spawnCambist();
      running.push(first);
      await expect(spawnCambist({ folder: first.folder })).rejects.toThrow(/in use|another process|uses/i);
      expect((await fetch(`${first.url}/oauth2/jwks`)).status).toBe(200);
    },
    TIMEOUT_MS,
  );
});
