/**
 * What `cambist doctor` finds out without the database: files that others can read, certificates, whether the listeners
 * can be had or are ours already, whether the public URL leads here. Changes nothing; a port is taken for a moment to see
 * whether it is free.
 */
import { statSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { failed, ok, warning } from '../admin/doctor/findings.ts';
import type { Check, Found } from '../admin/doctor/findings.ts';
import type { ListenerSettings } from '../config/listeners.ts';
import { isLoopbackHost } from '../config/sections/listen.ts';
import type { Settings } from '../config/settings.ts';
import { PATHS } from '../core/protocol.ts';
import { isLoopbackUrl } from '../core/uri.ts';
import { readCertificate } from '../http/tls.ts';
import { FetchFailed } from '../net/fetcher.ts';
import type { Fetcher } from '../net/fetcher.ts';
import { CliFailure } from './failure.ts';
import { fetchMetadata } from './issuer-metadata.ts';

export interface Surroundings {
  readonly settings: Settings;
  readonly fetcher: Fetcher;
  /** Files that hold secrets, as the settings name them; absolute. */
  readonly secretFiles: readonly string[];
}

const CERTIFICATE_WARN_SECONDS = 14 * 86_400;
const ANSWER_TIMEOUT_MS = 3_000;
const ANSWER_MAX_BYTES = 65_536;

/** Every check of the surroundings. */
export function surroundingsChecks({ settings, fetcher, secretFiles }: Surroundings): Check[] {
  const { listen, adminListen } = settings;
  return [
    { noun: 'settings', name: 'files', run: () => checkFiles(settings, secretFiles) },
    { noun: 'listener', name: 'public', run: () => checkPublic(listen, settings.issuer) },
    ...(adminListen === undefined
      ? []
      : [{ noun: 'listener', name: 'admin', run: () => checkAdmin(adminListen) } satisfies Check]),
    { noun: 'listener', name: 'proxy', run: () => checkProxy(settings) },
    ...certificateCheck('public', listen),
    ...(adminListen === undefined ? [] : certificateCheck('admin', adminListen)),
    { noun: 'listener', name: 'issuer URL', run: () => checkIssuerUrl(settings, fetcher) },
  ];
}

function checkFiles({ database }: Settings, secretFiles: readonly string[]): Found[] {
  const files = database.kind === 'embedded' ? [...secretFiles, database.folder, database.keyFile] : secretFiles;
  const found = files.flatMap((file) => {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat === undefined || (stat.mode & 0o077) === 0) return [];
    // A secret that an orchestrator mounts belongs to root and to a group of ours.
    const readable = (stat.mode & 0o007) !== 0 ? 'every user of this machine' : 'its group';
    const fix = `chmod ${stat.isDirectory() ? '700' : '600'} ${file}`;
    const message = `${file} can be read by ${readable}`;
    return [(stat.mode & 0o007) !== 0 ? failed(message, fix) : warning(message, fix)];
  });
  return found.length > 0 ? found : [ok('they fit together; no file with a secret can be read by others')];
}

function certificateCheck(name: string, { tls }: ListenerSettings): Check[] {
  if (tls === undefined) return [];
  const run = (): Found[] => {
    const read = readCertificate(tls);
    if ('message' in read) return [failed(`${read.setting}: ${read.message}`, read.fix)];
    const leftSeconds = read.expiresAtSeconds - Date.now() / 1000;
    const until = new Date(read.expiresAtSeconds * 1000).toISOString().slice(0, 10);
    const fix = `renew ${tls.certFile}: it is read again without a restart`;
    if (leftSeconds <= 0) return [failed(`its certificate expired on ${until}`, fix)];
    if (leftSeconds < CERTIFICATE_WARN_SECONDS) return [warning(`its certificate expires on ${until}`, fix)];
    return [ok(`its certificate is valid until ${until}`)];
  };
  return [{ noun: 'certificate', name, run }];
}

/** Where callers speak TLS and this listener does not, something in front of it ends TLS, on this machine or another. */
function checkProxy({ listen, issuer, trustedProxies }: Settings): Found[] {
  const behind = listen.tls === undefined && (!isLoopbackHost(listen.host) || new URL(issuer).protocol === 'https:');
  if (!behind) return [];
  if (trustedProxies.length > 0)
    return [ok(`addresses of clients come from X-Forwarded-For of ${trustedProxies.join(', ')}`)];
  return [
    warning(
      'TLS ends at a proxy in front of this node, and trusted_proxies is empty: every client has the proxy’s address, ' +
        'in records, and where failed authentications are throttled: one that guesses secrets slows down all others',
      'set trusted_proxies (CAMBIST_TRUSTED_PROXIES) to the ranges of the proxies, such as 10.1.0.0/16, and have them set X-Forwarded-For',
    ),
  ];
}

async function checkPublic(at: ListenerSettings, issuer: string): Promise<Found[]> {
  const taken = await findTaken(at);
  if (typeof taken !== 'boolean') return [taken];
  const where = `${at.host}:${at.port}`;
  if (!taken) return [ok(`${where} is free: no node runs here`)];
  const path = PATHS.oauthMetadata + new URL(issuer).pathname.replace(/\/$/, '');
  const answer = await askListener(at, path);
  if (issuerOf(answer?.body) === issuer) return [ok(`${where} is ours: a node answers`)];
  return [failed(`something else listens on ${where}`, 'stop it, or set listen.port (CAMBIST_LISTEN)')];
}

async function checkAdmin(at: ListenerSettings): Promise<Found[]> {
  const taken = await findTaken(at);
  if (typeof taken !== 'boolean') return [taken];
  const where = `${at.host}:${at.port}`;
  if (!taken) return [ok(`${where} is free: no node runs here`)];
  const answer = await askListener(at, '/readyz');
  if (answer?.status === 200) return [ok(`${where} is ours: the node is ready`)];
  if (answer?.status === 503)
    return [
      failed(`the node is not ready: ${reasonsOf(answer.body)}`, 'see the page of that failure in docs/runbooks'),
    ];
  return [failed(`something else listens on ${where}`, 'stop it, or set admin_listen.port (CAMBIST_ADMIN_LISTEN)')];
}

/** Whether the port is taken; or what is wrong with the address. */
function findTaken({ host, port }: ListenerSettings): Promise<boolean | Found> {
  if (port === 0) return Promise.resolve(false);
  const probe = createServer();
  return new Promise((done) => {
    probe.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'EADDRINUSE') done(true);
      else if (code === 'EACCES')
        done(
          failed(`port ${port} is not this user's to listen on`, 'choose one above 1023, or give CAP_NET_BIND_SERVICE'),
        );
      else
        done(failed(`${host} is no address of this machine (${code ?? 'unknown'})`, 'set listen.host to one that is'));
    });
    probe.listen({ port, host, exclusive: true }, () => {
      probe.close(() => {
        done(false);
      });
    });
  });
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** What our own listener answers; `undefined` where it is not HTTP or takes too long. */
function askListener({ host, port, tls }: ListenerSettings, path: string): Promise<Answer | undefined> {
  const local = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const options = { host: local, port, path, timeout: ANSWER_TIMEOUT_MS, agent: false };
  return new Promise((done) => {
    const fail = () => {
      done(undefined);
    };
    // The certificate is for the public name, and nothing secret is sent: who answers is told by what it says.
    const call = tls === undefined ? httpRequest(options) : httpsRequest({ ...options, rejectUnauthorized: false });
    call.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > ANSWER_MAX_BYTES) call.destroy();
      });
      response.once('close', () => {
        done({ status: response.statusCode ?? 0, body: parsed(text) });
      });
    });
    call.once('timeout', () => call.destroy());
    call.once('error', fail);
    call.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function issuerOf(body: unknown): unknown {
  return typeof body === 'object' && body !== null ? (body as { issuer?: unknown }).issuer : undefined;
}

function reasonsOf(body: unknown): string {
  const { checks } = (body ?? {}) as { checks?: readonly { readonly name?: unknown; readonly reason?: unknown }[] };
  if (!Array.isArray(checks) || checks.length === 0) return 'it does not say why';
  return checks.map(({ name, reason }) => `${String(name)} (${String(reason)})`).join(', ');
}

/** Whether the URL that everybody is told leads to a Cambist of that name. */
async function checkIssuerUrl({ issuer, listen }: Settings, fetcher: Fetcher): Promise<Found[]> {
  try {
    await fetchMetadata(issuer, fetcher, true);
    return [ok(`${issuer} serves our metadata`)];
  } catch (error) {
    if (error instanceof CliFailure)
      return [
        failed(
          `${issuer} is somebody else: its metadata name another issuer`,
          'correct issuer, or the DNS and proxy in front',
        ),
      ];
    if (!(error instanceof FetchFailed)) throw error;
    if (error.code === 'connect' && isLoopbackUrl(issuer) && (await findTaken(listen)) === false) return [];
    return [
      warning(
        `${issuer} cannot be read from this machine: ${error.message}`,
        'see that DNS, proxy and certificate lead to a node; where this machine may not reach it, try from one that may',
      ),
    ];
  }
}
