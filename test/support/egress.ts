/**
 * An upstream that is under full control, a Cambist with a way to it, and tokens for it. The upstream is a real HTTP
 * server that keeps what reached it, header for header; credentials come from a source whose key can be changed, and
 * tokens are signed by Cambist's own ring and committed as issued, so that nothing of the way itself is replaced.
 */
import { createServer, request as send } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { randomUUID } from 'node:crypto';
import { refuse } from '../../src/core/refusal.ts';
import type { Refusal } from '../../src/core/refusal.ts';
import { signAccessToken } from '../../src/tokens/access-token.ts';
import type { Credential, Credentials } from '../../src/upstream/credential.ts';
import { startCambist } from './cambist.ts';
import type { StartOptions, TestCambist } from './cambist.ts';

export interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, readonly string[] | undefined>>;
  body: Buffer;
}

export interface TestUpstream {
  readonly url: string;
  readonly port: number;
  /** Every request that reached it, in order. */
  readonly arrived: Arrived[];
  /** How it answers from now on; default: 200 and `{"ok":true}` once the whole request is there. */
  answer(handler: ((request: IncomingMessage, response: ServerResponse, seen: Arrived) => void) | undefined): void;
  stop(): Promise<void>;
}

export async function startUpstream(): Promise<TestUpstream> {
  const arrived: Arrived[] = [];
  let handler: Parameters<TestUpstream['answer']>[0];
  const server: Server = createServer((request, response) => {
    const { method = '', url = '', headersDistinct: headers } = request;
    const seen: Arrived = { method, url, headers, body: Buffer.alloc(0) };
    arrived.push(seen);
    if (handler !== undefined) {
      handler(request, response, seen);
      return;
    }
    // A request that breaks off is not answered.
    void bodyOf(request).then(
      (body) => {
        seen.body = body;
        response.setHeader('content-type', 'application/json');
        response.end('{"ok":true}');
      },
      () => undefined,
    );
  });
  server.requestTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    arrived,
    answer: (next) => {
      handler = next;
    },
    stop: () => {
      server.closeAllConnections();
      return new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    },
  };
}

export async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** A source of credentials: one key for everybody, which can be rotated, refused, or be out of reach. */
export interface TestCredentials extends Credentials {
  /** What is handed out until somebody rejects it. */
  kept: { secret: string; version: number };
  /** What is handed out after that. */
  rotated: { secret: string; version: number } | undefined;
  failing: Error | Refusal | undefined;
  readonly discarded: string[];
  obtained: number;
}

export const KEY = 'sk-canary-7d41f0a2b6';

export function testCredentials(): TestCredentials {
  const source: TestCredentials = {
    kept: { secret: KEY, version: 1 },
    rotated: undefined,
    failing: undefined,
    discarded: [],
    obtained: 0,
    obtain: () => {
      source.obtained += 1;
      if (source.failing instanceof Error) return Promise.reject(source.failing);
      if (source.failing !== undefined) return Promise.resolve(source.failing);
      const { secret, version } = source.kept;
      const credential: Credential = {
        fields: { key: secret },
        secret,
        username: undefined,
        expiresAtSeconds: undefined,
        mark: { kind: 'static', store: 'embedded', path: 'apis/{client}', version: String(version) },
        discard: () => {
          source.discarded.push(secret);
          return Promise.resolve();
        },
      };
      return Promise.resolve(credential);
    },
    reject: () => {
      if (source.rotated !== undefined) source.kept = source.rotated;
    },
  };
  return source;
}

/** The refusal of a secret that is not there. */
export const SECRET_MISSING = refuse('credential_missing', { path: 'apis/{client}' });

export interface TokenWish {
  readonly upstream?: string;
  /** Default: the person `ada` of `https://idp.example`. */
  readonly subject?: { readonly issuer: string; readonly sub: string };
  readonly clientId?: string;
  /** Client ids, the current actor first; default: `notes-server`, then `agent`. */
  readonly actors?: readonly string[];
  readonly audience?: string | readonly string[];
  readonly scope?: string;
  readonly lifetimeSeconds?: number;
  readonly ancestors?: readonly string[];
  /** Signed, and never committed. */
  readonly uncommitted?: boolean;
}

export interface EgressBench {
  readonly cambist: TestCambist;
  readonly upstream: TestUpstream;
  readonly credentials: TestCredentials;
  token(wish?: TokenWish): Promise<string>;
  /** Sends a request over a connection of its own and reads the whole answer. */
  call(path: string, options?: CallOptions): Promise<Answered>;
  stop(): Promise<void>;
}

export interface CallOptions {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly node?: TestCambist;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly requestId: string;
  /** The connection was cut before the end. */
  readonly cut: boolean;
}

/** Upstream objects: `api` takes everything below /v1 from `notes-server`, with the scope `api:use`. */
export function objectsOf(upstreamUrl: string, more: Readonly<Record<string, unknown>> = {}): object {
  return {
    issuers: [{ name: 'corp', issuer: 'https://idp.example', jwks_uri: 'https://idp.example/jwks' }],
    clients: ['agent', 'notes-server', 'other-server'].map((id) => ({ id, auth: ['client_secret_basic'] })),
    resources: [
      {
        name: 'notes',
        uri: 'https://notes.example/mcp',
        scopes: { 'notes:read': 'Read' },
        served_by: ['notes-server'],
      },
    ],
    upstreams: [upstreamObject(upstreamUrl, more), upstreamObject(upstreamUrl, { name: 'second' })],
  };
}

export function upstreamObject(url: string, more: Readonly<Record<string, unknown>> = {}): object {
  return {
    name: 'api',
    base_url: `${url}/base`,
    more_urls: { uploads: `${url}/uploads` },
    internal: true,
    scopes: { 'api:use': 'Use', 'api:admin': 'Administer' },
    callers: ['notes-server'],
    requests: [
      { methods: ['*'], path: '/v1/**', scopes: ['api:use'] },
      { methods: ['DELETE'], path: '/admin/*', scopes: ['api:use', 'api:admin'] },
    ],
    credential: { kind: 'static', store: 'embedded', path: 'apis/{client}', field: 'key' },
    ...more,
  };
}

export async function startEgress(
  options: Partial<Omit<StartOptions, 'objects'>> & { readonly upstreamSpec?: Readonly<Record<string, unknown>> } = {},
): Promise<EgressBench> {
  const upstream = await startUpstream();
  const credentials = testCredentials();
  const { upstreamSpec, settings, ...start } = options;
  const cambist = await startCambist({
    ...start,
    objects: JSON.stringify(objectsOf(upstream.url, upstreamSpec)),
    settings: { credentials, ...settings },
  });
  const token = (wish: TokenWish = {}) => issue(cambist, wish);
  return {
    cambist,
    upstream,
    credentials,
    token,
    call: async (path, wish = {}) => {
      const shown = 'token' in wish ? wish.token : await token();
      return callOver(`${(wish.node ?? cambist).url}${path}`, { ...wish, token: shown });
    },
    stop: async () => {
      await Promise.all([upstream.stop(), cambist.stop()]);
    },
  };
}

/** A token for an upstream: signed with the ring, and committed like one that was exchanged. */
export async function issue(cambist: TestCambist, wish: TokenWish = {}): Promise<string> {
  const {
    upstream = 'api',
    subject = { issuer: 'https://idp.example', sub: 'ada' },
    clientId = 'notes-server',
    actors = ['notes-server', 'agent'],
    audience = `${cambist.issuer}/egress/${upstream}`,
    scope = 'api:use',
    lifetimeSeconds = 300,
    ancestors = [],
  } = wish;
  const key = await cambist.service.keys.ring.signing('access-token', 'ES256');
  const iat = Math.floor(Date.now() / 1000);
  const jti = randomUUID();
  const ours = subject.issuer === cambist.issuer;
  const act = actors.reduceRight<Record<string, unknown> | undefined>(
    (inner, sub) => ({ iss: cambist.issuer, sub, ...(inner === undefined ? {} : { act: inner }) }),
    undefined,
  );
  const jwt = await signAccessToken(
    {
      iss: cambist.issuer,
      sub: ours ? subject.sub : `corp:${subject.sub}`,
      aud: audience,
      client_id: clientId,
      jti,
      iat,
      exp: iat + lifetimeSeconds,
      scope,
      sub_id: { format: 'iss_sub', iss: subject.issuer, sub: subject.sub },
      ...(act === undefined ? {} : { act }),
    },
    key,
  );
  const { ref } = ours ? { ref: `client:${subject.sub}` } : await cambist.service.persons.keyFor(subject);
  if (wish.uncommitted !== true)
    await cambist.database.query(
      `INSERT INTO issued_token (jti, ancestors, subject_ref, client_id, actors, resources, kid, issued_at, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::float8), to_timestamp($9::float8))`,
      [jti, ancestors, ref, clientId, actors, [audience].flat(), key.kid, iat, iat + lifetimeSeconds],
    );
  return jwt;
}

/** One request with Node's own client, and all of its answer. */
export function callOver(url: string, { method = 'GET', token, headers = {}, body }: CallOptions): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const request = send(url, { method, agent: false, headers: { ...authorization, ...headers } }, (response) => {
      const pieces: Buffer[] = [];
      let settled = false;
      const settle = (cut: boolean) => {
        if (settled) return;
        settled = true;
        const { statusCode: status = 0, headers: answered, rawHeaders } = response;
        const requestId = String(answered['cambist-request-id']);
        resolve({ status, headers: answered, rawHeaders, body: Buffer.concat(pieces), requestId, cut });
      };
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () => {
        settle(false);
      });
      response.on('error', () => {
        settle(true);
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Writes these bytes to a connection and reads what comes back until it is closed, or for so long. */
export function rawCall(port: number, bytes: string, forMs = 2_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    const done = () => {
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(done, forMs);
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** Waits for the `closed` record of a call. */
export async function closedRecord(cambist: TestCambist, requestId: string): Promise<any> {
  return untilFound(async () => {
    const closed = (await cambist.records(requestId)).find(({ body }) => body.kind === 'closed');
    if (closed === undefined) throw new Error(`no closed record of ${requestId}`);
    return closed.body;
  });
}

async function untilFound<T>(look: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await look();
    } catch (error) {
      if (tries > 60) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
