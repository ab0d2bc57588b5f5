/**
 * Cambist as a process of its own on the embedded database: what must hold across its end, however it ends.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { cleanEnvironment } from '../../deploy/demo/cambist-process.ts';
import { spawnCambist } from '../support/cambist.ts';
import type { SpawnedCambist } from '../support/cambist.ts';
import { selfSigned } from '../unit/net/certificate.ts';

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

describe('a log that cannot be written', () => {
  it(
    'costs lines, and nothing else: the process serves, and ends when it is told to',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cambist-log-'));
      const port = await freePort();
      const full = openSync('/dev/full', 'w');
      const env = {
        ...cleanEnvironment(),
        CAMBIST_ISSUER: `http://127.0.0.1:${port}`,
        CAMBIST_LISTEN: `127.0.0.1:${port}`,
        CAMBIST_ADMIN_LISTEN: 'off',
        CAMBIST_DATA_DIR: join(folder, 'data'),
      };
      const child = spawn(process.execPath, ['dist/src/main.js', 'serve'], { env, stdio: ['ignore', 'ignore', full] });
      closeSync(full);
      try {
        const healthz = () => fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(2000) });
        const status = async () => (await healthz().catch(() => undefined))?.status;
        await expect.poll(status, { timeout: 60_000, interval: 100 }).toBe(200);
        child.kill('SIGHUP');
        await expect.poll(status, { timeout: 10_000 }).toBe(200);
        child.kill('SIGTERM');
        const [code] = (await once(child, 'exit', { signal: AbortSignal.timeout(30_000) })) as [number | null];
        expect(code).toBe(0);
      } finally {
        child.kill('SIGKILL');
        rmSync(folder, { recursive: true });
      }
    },
    TIMEOUT_MS,
  );
});

describe('output of a command', () => {
  const run = (shell: string) => {
    const env = { ...cleanEnvironment(), NODE: process.execPath, MAIN: 'dist/src/main.js' };
    const { status, stdout, stderr } = spawnSync('/bin/bash', ['-c', `set -o pipefail; ${shell}`], { env });
    return { status, stdout: stdout.toString(), stderr: stderr.toString() };
  };

  it('that nobody reads to its end is no fault', () => {
    const cut = run('"$NODE" "$MAIN" schema objects | head -1');
    expect(cut).toEqual({ status: 0, stdout: '{\n', stderr: '' });
  });

  it('that cannot be written is a failure in one line', () => {
    const stderr = 'cambist: the output could not be written (ENOSPC), so that some of it is missing\n';
    expect(run('"$NODE" "$MAIN" schema objects > /dev/full')).toEqual({ status: 1, stdout: '', stderr });
  });
});

describe('SIGHUP', () => {
  const hangUp = ({ pid }: SpawnedCambist) => process.kill(pid ?? 0, 'SIGHUP');
  const logged = ({ logFile }: SpawnedCambist, words: string) =>
    expect.poll(() => readFileSync(logFile, 'utf8'), { timeout: 10_000 }).toContain(words);

  it(
    'without certificates ends nothing, and the log says that there was nothing to reload',
    async () => {
      const cambist = await spawnCambist();
      running.push(cambist);
      hangUp(cambist);
      await logged(cambist, 'SIGHUP: nothing to reload');
      expect((await fetch(`${cambist.url}/oauth2/jwks`)).status).toBe(200);
    },
    TIMEOUT_MS,
  );

  it(
    'puts a renewed certificate into use at once, and keeps the old one where the new one cannot be used',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cambist-sighup-'));
      const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
      const write = ({ cert, key }: { cert: string; key: string }) => {
        writeFileSync(files.cert, cert);
        writeFileSync(files.key, key);
      };
      const config = join(folder, 'cambist.yaml');
      const port = await freePort();
      write(selfSigned(['localhost']));
      writeFileSync(
        config,
        `admin_listen: {host: 127.0.0.1, port: ${port}, tls: {cert_file: ${files.cert}, key_file: ${files.key}}}\n`,
      );
      const cambist = await spawnCambist({ env: { CAMBIST_CONFIG: config, CAMBIST_ADMIN_LISTEN: '' } });
      running.push(cambist);
      const before = await fingerprintAt(port);

      write(selfSigned(['localhost']));
      hangUp(cambist);
      await logged(cambist, 'SIGHUP: the TLS certificates were read again');
      const renewed = await fingerprintAt(port);
      expect(renewed).not.toBe(before);

      write({ cert: 'no certificate', key: 'no key' });
      hangUp(cambist);
      await logged(cambist, 'the new TLS certificate cannot be used: the old one stays');
      expect(await fingerprintAt(port)).toBe(renewed);
      rmSync(folder, { recursive: true });
    },
    TIMEOUT_MS,
  );
});

/** Of the certificate that a new connection gets. */
function fingerprintAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? 'none');
      socket.destroy();
    });
    socket.once('error', reject);
  });
}
