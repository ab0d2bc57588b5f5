/**
 * How bytes reach Vault: node-vault is given this in place of its own transport (axios). One origin, no redirects, no
 * proxy of the environment, an authority of our choosing, bounds on time and size, JSON read strictly. It answers
 * node-vault with status 200 whatever Vault said, and with Vault's own status inside: which answers are a success is
 * then decided in one place of ours, not by what the path looks like.
 */
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import { isJsonObject, parseStrictJson } from '../../tokens/strict-json.ts';
import type { JsonObject } from '../../tokens/strict-json.ts';
import { readAuthority } from './authority.ts';
import { VaultUnavailable } from './fault.ts';

/** What Vault answered. */
export interface VaultAnswer {
  readonly status: number;
  /** `undefined` where there was no body. */
  readonly body: JsonObject | undefined;
  readonly retryAfterSeconds: number | undefined;
}

/** What node-vault hands to its transport. */
export interface TransportRequest {
  readonly uri: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly json?: unknown;
  /** When the caller is told that it took too long. */
  readonly timeoutMs: number;
  /** For how much longer Vault may go on with it; default 0: the request is cut then. */
  readonly lingerMs?: number | undefined;
}

export interface TransportResponse {
  readonly statusCode: 200;
  readonly body: VaultAnswer;
  readonly request: { readonly path: string };
}

export interface Transport {
  /** What node-vault calls; it takes the place of the package `request-promise`. */
  defaults(): (request: TransportRequest) => Promise<TransportResponse>;
  /** Ends idle connections, and cuts those in use. */
  close(): Promise<void>;
}

/** A secret of Vault is at most 1 MiB by its own default. */
const ANSWER_MAX_BYTES = 2_097_152;
const CONNECTIONS_MAX = 64;

/** Opens nothing before it is first used; an authority that cannot be read is a fault of each request. */
export function createTransport({ caFile }: { readonly caFile: string | undefined }): Transport {
  let agent: Agent | undefined;
  const connections = () =>
    (agent ??= new Agent({ connections: CONNECTIONS_MAX, maxHeaderSize: 16_384, connect: trusting(caFile) }));
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;

  async function ask({ uri, method, headers, json }: TransportRequest, cut: AbortSignal): Promise<VaultAnswer> {
    try {
      const response = await request(uri, {
        dispatcher: connections(),
        method,
        headers: {
          ...headers,
          accept: 'application/json',
          'accept-encoding': 'identity',
          'user-agent': 'cambist',
          ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: json === undefined ? null : JSON.stringify(json),
        signal: AbortSignal.any([cut, closing.signal]),
      });
      return await readAnswer(response);
    } catch (error) {
      if (error instanceof VaultUnavailable) throw error;
      // What was thrown may hold the request and its headers: only its code goes on.
      if (isClosing()) throw new VaultUnavailable('closed');
      throw asFault(error);
    }
  }

  async function send(asked: TransportRequest): Promise<VaultAnswer> {
    if (isClosing()) throw new VaultUnavailable('closed', undefined, { notSent: true });
    const { timeoutMs, lingerMs = 0 } = asked;
    const cut = new AbortController();
    const answered = ask(asked, cut.signal);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new VaultUnavailable('timeout', `${Math.round(timeoutMs)} ms`));
        const cutLater = setTimeout(() => {
          cut.abort();
        }, lingerMs);
        // Nobody waits for it any more, whatever becomes of it.
        void answered
          .catch(() => undefined)
          .finally(() => {
            clearTimeout(cutLater);
          });
      }, timeoutMs);
    });
    try {
      return await Promise.race([answered, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    defaults: () => async (options) => ({
      statusCode: 200,
      body: await send(options),
      request: { path: '/' },
    }),
    async close() {
      closing.abort();
      await agent?.destroy();
    },
  };
}

function trusting(caFile: string | undefined): { readonly ca?: string } {
  if (caFile === undefined) return {};
  const read = readAuthority(caFile);
  if ('fault' in read) throw new VaultUnavailable('tls', `vault.ca_file: ${read.fault}`, { notSent: true });
  return { ca: read.pem };
}

async function readAnswer({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<VaultAnswer> {
  const drop = () => {
    body.on('error', () => undefined).destroy();
  };
  if (statusCode >= 300 && statusCode < 400) {
    drop();
    throw new VaultUnavailable('redirect', String(statusCode));
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > ANSWER_MAX_BYTES) {
      drop();
      throw new VaultUnavailable('too_large');
    }
    chunks.push(chunk);
  }
  const value = size === 0 ? undefined : parseStrictJson(Buffer.concat(chunks));
  // An error page of a proxy in front says enough by its status.
  if (size > 0 && !isJsonObject(value) && statusCode < 400) throw new VaultUnavailable('not_json');
  const retryAfter = headers['retry-after'];
  return {
    status: statusCode,
    body: isJsonObject(value) ? value : undefined,
    retryAfterSeconds: typeof retryAfter === 'string' && /^\d{1,4}$/.test(retryAfter) ? Number(retryAfter) : undefined,
  };
}

/** Codes of what happens before anything is sent. */
const NOT_SENT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

function asFault(error: unknown): VaultUnavailable {
  const codeOf = (value: unknown) => {
    const { code } = (value ?? {}) as { readonly code?: unknown };
    return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : undefined;
  };
  const { errors } = error as { readonly errors?: readonly unknown[] };
  const code = codeOf(error) ?? codeOf(errors?.[0]);
  if (code !== undefined && /CERT|TLS|SSL|SIGNATURE|EPROTO|CRL/.test(code))
    return new VaultUnavailable('tls', code, { notSent: true });
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') return new VaultUnavailable('timeout');
  return new VaultUnavailable('unreachable', code, { notSent: code !== undefined && NOT_SENT.test(code) });
}
