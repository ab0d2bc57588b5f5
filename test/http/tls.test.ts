/**
 * TLS on a listener: what it speaks, and certificates that are replaced under open connections, with real files and
 * real sockets.
 */
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { readCertificate } from '../../src/http/tls.ts';
import type { Certificate } from '../../src/http/tls.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { selfSigned } from '../unit/net/certificate.ts';

type Pair = ReturnType<typeof selfSigned>;

let folder: string;
let files: { certFile: string; keyFile: string };
let first: Pair;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cambist-tls-'));
  files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  first = selfSigned(['localhost']);
  write(first);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write({ cert, key }: Partial<Pair>): void {
  if (cert !== undefined) writeFileSync(files.certFile, cert);
  if (key !== undefined) writeFileSync(files.keyFile, key);
}

describe('a listener with a certificate', () => {
  const lines: Record<string, unknown>[] = [];
  let cambist: TestCambist;
  let port: number;
  beforeEach(async () => {
    lines.length = 0;
    const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) });
    cambist = await startCambist({ objects: '', settings: { tls: files, logger } });
    port = Number(new URL(cambist.url).port);
  });
  afterEach(() => cambist.stop());

  const complaints = () => lines.filter(({ level }) => level === 50).map(({ reason }) => String(reason));

  function handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options }, () => {
        resolve(socket);
      });
      socket.once('error', reject);
    });
  }

  /** The certificate that a new connection is shown. */
  async function shown(): Promise<string> {
    const socket = await handshake();
    const pem = socket.getPeerX509Certificate()!.toString();
    socket.destroy();
    return compact(pem);
  }

  async function untilShown({ cert }: Pair): Promise<void> {
    await expect.poll(shown, { timeout: 15_000, interval: 200 }).toBe(compact(cert));
  }

  it('is verified by a client that trusts it, and its issuer is https', async () => {
    const body = await fetchTrusting(first.cert, `https://127.0.0.1:${port}/.well-known/oauth-authorization-server`);
    expect(JSON.parse(body)).toMatchObject({ issuer: cambist.url, token_endpoint: `${cambist.url}/oauth2/token` });
    expect(cambist.service.certificateExpiries().public).toBeGreaterThan(Date.now() / 1000);
  });

  it('speaks TLS 1.2 and 1.3, nothing older and nothing without forward secrecy (RFC 9325)', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await handshake({ minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(version);
      socket.destroy();
    }
    // Level 0, or OpenSSL refuses to ask at all.
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
    await expect(handshake(old)).rejects.toThrow(/version|alert/i);
    const weak = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256' } as const;
    await expect(handshake(weak)).rejects.toThrow(/handshake|alert/i);
  });

  it('does not answer plain HTTP', async () => {
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
  });

  it('takes a new pair over while a connection is open, which goes on as it was', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: first.cert });
    const before = await ask(agent, port);
    const second = selfSigned(['localhost']);
    write(second);
    await untilShown(second);
    const after = await ask(agent, port);
    expect(after).toEqual({ status: 200, reused: true, localPort: before.localPort });
    agent.destroy();
    expect(complaints()).toEqual([]);
  }, 30_000);

  it('takes over a folder that is swapped by a symbolic link, as Kubernetes does', async () => {
    const second = selfSigned(['localhost']);
    writeFileSync(join(folder, 'second.pem'), second.cert);
    writeFileSync(join(folder, 'second.key'), second.key);
    symlinkSync(join(folder, 'second.pem'), join(folder, 'link.pem'));
    symlinkSync(join(folder, 'second.key'), join(folder, 'link.key'));
    renameSync(join(folder, 'link.pem'), files.certFile);
    renameSync(join(folder, 'link.key'), files.keyFile);
    await untilShown(second);
  }, 30_000);

  it('keeps the old pair when the new one cannot be used, says so once, and takes the next good one', async () => {
    const second = selfSigned(['localhost']);
    write({ cert: second.cert });
    // Its look at the files every three seconds sees the same bad pair again and again.
    await expect.poll(complaints, { timeout: 15_000 }).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 6_500));
    expect(complaints()).toEqual([expect.stringContaining('does not belong to the certificate')]);
    expect(await shown()).toBe(compact(first.cert));
    unlinkSync(files.keyFile);
    await expect.poll(complaints, { timeout: 15_000 }).toHaveLength(2);
    expect(complaints()[1]).toContain('cannot be read: ENOENT');
    expect(await shown()).toBe(compact(first.cert));
    expect(JSON.stringify(lines)).not.toContain('PRIVATE KEY');

    write({ key: second.key });
    await untilShown(second);
    expect(complaints()).toHaveLength(2);
  }, 60_000);

  it('never changes a valid pair for an expired one', async () => {
    write(selfSigned(['localhost'], Date.now() - 1000));
    await expect.poll(complaints, { timeout: 15_000 }).toEqual([expect.stringContaining('has expired')]);
    expect(await shown()).toBe(compact(first.cert));
  }, 30_000);

  it('looks at once when it is told to', async () => {
    const second = selfSigned(['localhost']);
    write(second);
    cambist.service.reloadCertificates();
    expect(await shown()).toBe(compact(second.cert));
  });
});

describe('a pair of files', () => {
  const read = () => readCertificate(files);

  it('is read with the end of its validity', () => {
    const expiresAtMs = Math.floor(Date.now() / 1000) * 1000 + 3_600_000;
    write(selfSigned(['localhost'], expiresAtMs));
    expect((read() as Certificate).expiresAtSeconds).toBe(expiresAtMs / 1000);
  });

  it.each<[string, () => void, string, string]>([
    ['no certificate', () => unlinkSync(files.certFile), 'cert_file', 'cannot be read: ENOENT'],
    ['no key', () => unlinkSync(files.keyFile), 'key_file', 'cannot be read: ENOENT'],
    ['a key in place of a certificate', () => write({ cert: first.key }), 'cert_file', 'holds no certificate'],
    ['a certificate in place of a key', () => write({ key: first.cert }), 'key_file', 'holds no private key'],
    ['another key', () => write({ key: selfSigned(['x']).key }), 'key_file', 'does not belong'],
    ['half a certificate', () => write({ cert: first.cert.slice(0, 200) }), 'cert_file', 'holds no certificate'],
    ['a file without end', () => write({ cert: 'x'.repeat(2_000_000) }), 'cert_file', 'is too large'],
    ['a broken chain', () => write({ cert: `${first.cert}${first.cert.slice(0, 200)}` }), 'cert_file', 'chain'],
  ])('%s is refused', (_, spoil, setting, message) => {
    spoil();
    expect(read()).toMatchObject({ setting, message: expect.stringContaining(message) });
  });
});

function compact(pem: string): string {
  return pem.replace(/\s+/g, '');
}

function fetchTrusting(ca: string, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { ca }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.once('end', () => resolve(body));
    }).once('error', reject);
  });
}

interface Answered {
  readonly status: number | undefined;
  readonly reused: boolean;
  readonly localPort: number | undefined;
}

/** One request over the one connection of an agent. */
function ask(agent: Agent, port: number): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path: '/healthz', agent }, (response) => {
      const { localPort } = response.socket;
      response.resume().once('end', () => {
        resolve({ status: response.statusCode, reused: request.reusedSocket, localPort });
      });
    });
    request.once('error', reject);
  });
}
