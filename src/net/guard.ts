/**
 * Where connections to servers out there may lead (R21), for everything that makes one: a name is resolved once, every
 * address of it is checked, and the connection goes to one of those that were checked, so that a name cannot point
 * elsewhere between check and use. Failures carry a code and a system error's code, never a byte of what a server sent.
 */
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { Unavailable } from '../core/refusal.ts';
import { isLoopbackAddress, isPublicAddress } from './addresses.ts';

const FETCH_FAILURES = {
  address_refused: 'its address is not public, and it is not marked as internal',
  scheme_refused: 'only https is allowed (http only on loopback, where marked as internal)',
  redirect: 'it answered with a redirect',
  status: 'it answered with a status other than 200',
  encoding: 'it answered with an encoded body',
  too_large: 'its answer is too large',
  timeout: 'it did not answer in time',
  not_json: 'its answer is not JSON',
  connect: 'it could not be reached',
  tls: 'its TLS certificate was not accepted',
  local_file: 'the CA or bearer file could not be read',
  closed: 'the fetcher is closed',
} as const;
export type FetchFailure = keyof typeof FETCH_FAILURES;

/** A fetch that failed; `code` is stable, and nothing in it comes from the server. */
export class FetchFailed extends Unavailable {
  readonly code: FetchFailure;

  constructor(code: FetchFailure, host: string, detail?: string) {
    super(`server ${host}`, FETCH_FAILURES[code] + (detail === undefined ? '' : ` (${detail})`));
    this.code = code;
  }
}

/** All addresses of a host name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const MAX_LOCAL_FILE_BYTES = 1_048_576;

/**
 * The addresses of the target, all of them allowed. One that is not allowed refuses the whole name: a name that mixes
 * public and private addresses is an attack or a mistake.
 */
export async function checkedAddresses(
  target: URL,
  internal: boolean,
  resolve: Resolve,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const https = target.protocol === 'https:';
  if (!https && !(target.protocol === 'http:' && internal)) throw new FetchFailed('scheme_refused', target.host);
  // Credentials in a URL end up in logs; nothing here needs them.
  if (target.username !== '' || target.password !== '') throw new FetchFailed('scheme_refused', target.host);
  // The URL parser has already turned odd notations (0x7f.1, 2130706433, 127.1) into plain addresses.
  const hostname = target.hostname.replace(/^\[(.*)\]$/, '$1');
  const addresses = isIP(hostname) === 0 ? await unlessAborted(resolve(hostname), signal) : [hostname];
  if (addresses.length === 0) throw new FetchFailed('connect', target.host);
  if (!https && !addresses.every(isLoopbackAddress)) throw new FetchFailed('scheme_refused', target.host);
  if (!internal && !addresses.every(isPublicAddress)) throw new FetchFailed('address_refused', target.host);
  return addresses;
}

/** A lookup that knows the checked addresses and nothing else. */
export function pinned(addresses: readonly string[]): LookupFunction {
  const answers = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_hostname, options, callback) => {
    const [first] = answers;
    if (options.all === true) callback(null, answers);
    else if (first === undefined) callback(new Error('no address'), '', 0);
    else callback(null, first.address, first.family);
  };
}

/** How the system resolves names; the default everywhere. */
export async function resolveBySystem(hostname: string): Promise<readonly string[]> {
  return (await lookup(hostname, { all: true })).map(({ address }) => address);
}

/** The system's resolver cannot be interrupted, so the wait for it is. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(new Error('aborted'));
    };
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort);
    });
  });
}

/** A small text file that the configuration names. */
export async function readLocalFile(path: string, host: string): Promise<string> {
  try {
    const content = await readFile(path, 'utf8');
    if (content.length <= MAX_LOCAL_FILE_BYTES) return content;
  } catch (error) {
    throw new FetchFailed('local_file', host, systemCodeOf(error));
  }
  throw new FetchFailed('local_file', host);
}

/** The original error is not kept as cause: a parser's error carries the bytes that it could not parse. */
export function asFailure(error: unknown, host: string): FetchFailed {
  if (error instanceof FetchFailed) return error;
  const code = systemCodeOf(error);
  const tls = code !== undefined && /CERT|TLS|SSL|SIGNATURE|EPROTO|CRL/.test(code);
  return new FetchFailed(tls ? 'tls' : 'connect', host, code);
}

function systemCodeOf(error: unknown): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : undefined;
}
