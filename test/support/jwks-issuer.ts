/**
 * An issuer under full control: a real HTTP server with discovery and JWKS, and keys of its own with which it signs any
 * claims under any header. For tokens shaped like those of Kubernetes, GitHub Actions, SPIFFE or Entra, for malformed
 * ones, and for JWKS endpoints that rotate, fail, drip, redirect or lie. It counts what is fetched from it.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KeyObject, constants, randomUUID, sign as signBytes } from 'node:crypto';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import type { CryptoKey, JWK } from 'jose';

export interface IssuerKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly privateKey: CryptoKey;
  /** As published: with `kid`, `alg` and `use`. */
  readonly publicJwk: JWK;
}

/** How an endpoint answers instead of honestly. `drip` sends one byte per interval and never ends. */
export type Fault =
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'body'; readonly body: string; readonly contentType?: string }
  | { readonly kind: 'delay'; readonly delayMs: number }
  | { readonly kind: 'drip'; readonly intervalMs: number }
  | { readonly kind: 'redirect'; readonly location: string }
  | { readonly kind: 'hang_up' };

export interface MintOptions {
  /** Merged over `{alg, kid, typ: 'JWT'}`; a member set to undefined is left out. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Which key signs; default: the newest one. */
  readonly key?: IssuerKey;
  /** iat = now + this many seconds; default 0. */
  readonly issuedInSeconds?: number;
  /** exp = iat + this many seconds; default 300. */
  readonly lifetimeSeconds?: number;
}

export interface JwksIssuer {
  /** The `iss` of its tokens; its own URL unless another was given. */
  readonly issuer: string;
  readonly url: string;
  readonly jwksUri: string;
  /** Requests per path since the start; `total` for all. */
  fetches(path?: '/jwks' | '/.well-known/openid-configuration'): number;
  readonly keys: readonly IssuerKey[];
  /**
   * A signed JWT: `{iss, iat, exp, jti}` under the given claims; a claim set to undefined is left out.
   */
  mint(claims: Readonly<Record<string, unknown>>, options?: MintOptions): Promise<string>;
  /** A compact JWS over any bytes under any header text, signed with the newest key: for tokens that break the format. */
  mintRaw(headerJson: string, payload: string | Uint8Array, key?: IssuerKey): string;
  /** Adds a key and signs with it from now on. `dropOld`: the others leave the JWKS at once. */
  rotate(options?: { algorithm?: string; dropOld?: boolean }): Promise<IssuerKey>;
  /** A key of the same kind that is not published. */
  strangerKey(algorithm?: string): Promise<IssuerKey>;
  /** Replaces the published `keys` array (or, with a string, the whole JWKS body). `undefined` = honest again. */
  publish(keys: readonly unknown[] | string | undefined): void;
  /** Makes an endpoint misbehave; `undefined` mends it. */
  breakEndpoint(fault: Fault | undefined, path?: '/jwks' | '/.well-known/openid-configuration'): void;
  /** Members merged into the discovery document. */
  setMetadata(members: Readonly<Record<string, unknown>>): void;
  stop(): Promise<void>;
}

export interface JwksIssuerOptions {
  /** Signing algorithm of the first key; default ES256. */
  readonly algorithm?: string;
  /** `iss` of its tokens when it is not its URL, e.g. `spiffe://prod.example`. */
  readonly issuer?: string;
  readonly port?: number;
  readonly cacheControl?: string;
}

const DISCOVERY = '/.well-known/openid-configuration';
const JWKS = '/jwks';

/** Starts the issuer on loopback; stop it in the test's own clean-up. */
export async function startJwksIssuer(options: JwksIssuerOptions = {}): Promise<JwksIssuer> {
  const algorithm = options.algorithm ?? 'ES256';
  const keys: IssuerKey[] = [await makeKey(algorithm)];
  let published: IssuerKey[] = [...keys];
  let lie: readonly unknown[] | string | undefined;
  let metadata: Readonly<Record<string, unknown>> = {};
  const faults = new Map<string, Fault>();
  const counts = new Map<string, number>();

  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    counts.set(path, (counts.get(path) ?? 0) + 1);
    const honest = (): void => {
      if (path === DISCOVERY) sendJson(response, { issuer: iss, jwks_uri: `${url}${JWKS}`, ...metadata }, options);
      else if (path === JWKS && typeof lie === 'string') send(response, lie, options);
      else if (path === JWKS) sendJson(response, { keys: lie ?? published.map(({ publicJwk }) => publicJwk) }, options);
      else response.writeHead(404).end();
    };
    const fault = faults.get(path);
    if (fault === undefined) honest();
    else misbehave(fault, request, response, honest);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const iss = options.issuer ?? url;
  const newest = (): IssuerKey => keys.at(-1)!;

  return {
    issuer: iss,
    url,
    jwksUri: `${url}${JWKS}`,
    keys,
    fetches: (path) =>
      path === undefined ? [...counts.values()].reduce((sum, count) => sum + count, 0) : (counts.get(path) ?? 0),
    mint: (claims, mintOptions = {}) => mintToken(iss, mintOptions.key ?? newest(), claims, mintOptions),
    mintRaw: (headerJson, payload, key) => signRaw(key ?? newest(), headerJson, payload),
    rotate: async (rotation = {}) => {
      const key = await makeKey(rotation.algorithm ?? algorithm);
      keys.push(key);
      published = rotation.dropOld === true ? [key] : [...published, key];
      return key;
    },
    strangerKey: (strangerAlgorithm) => makeKey(strangerAlgorithm ?? algorithm),
    publish: (instead) => {
      lie = instead;
    },
    breakEndpoint: (fault, path = JWKS) => {
      if (fault === undefined) faults.delete(path);
      else faults.set(path, fault);
    },
    setMetadata: (members) => {
      metadata = members;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function makeKey(algorithm: string): Promise<IssuerKey> {
  const kid = randomUUID();
  const pair = await generateKeyPair(algorithm, { extractable: true });
  const publicJwk = { ...(await exportJWK(pair.publicKey)), kid, alg: algorithm, use: 'sig' };
  return { kid, algorithm, privateKey: pair.privateKey, publicJwk };
}

async function mintToken(
  iss: string,
  key: IssuerKey,
  claims: Readonly<Record<string, unknown>>,
  options: MintOptions,
): Promise<string> {
  const iat = Math.floor(Date.now() / 1000) + (options.issuedInSeconds ?? 0);
  const payload = { iss, iat, exp: iat + (options.lifetimeSeconds ?? 300), jti: randomUUID(), ...claims };
  const header = { alg: key.algorithm, kid: key.kid, typ: 'JWT', ...options.header };
  return new SignJWT(withoutUndefined(payload))
    .setProtectedHeader(withoutUndefined(header) as { alg: string })
    .sign(key.privateKey);
}

function withoutUndefined(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

/** jose refuses to sign what is not a proper JWT, so that malformed tokens are signed by hand. */
function signRaw(key: IssuerKey, headerJson: string, payload: string | Uint8Array): string {
  const input = `${Buffer.from(headerJson).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  const digest = key.algorithm === 'EdDSA' ? null : `sha${key.algorithm.slice(2)}`;
  const signature = signBytes(digest, Buffer.from(input), {
    key: KeyObject.from(key.privateKey),
    dsaEncoding: 'ieee-p1363',
    ...(key.algorithm.startsWith('PS') ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: -1 } : {}),
  });
  return `${input}.${signature.toString('base64url')}`;
}

function misbehave(fault: Fault, request: IncomingMessage, response: ServerResponse, honest: () => void): void {
  switch (fault.kind) {
    case 'status':
      response.writeHead(fault.status).end('{"error":"broken on purpose"}');
      return;
    case 'body':
      response.writeHead(200, { 'content-type': fault.contentType ?? 'application/json' }).end(fault.body);
      return;
    case 'delay': {
      const timer = setTimeout(honest, fault.delayMs);
      response.on('close', () => {
        clearTimeout(timer);
      });
      return;
    }
    case 'drip': {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), fault.intervalMs);
      response.on('close', () => {
        clearInterval(timer);
      });
      return;
    }
    case 'redirect':
      response.writeHead(302, { location: fault.location }).end();
      return;
    case 'hang_up':
      request.socket.destroy();
      return;
  }
}

function sendJson(response: ServerResponse, body: unknown, options: JwksIssuerOptions): void {
  send(response, JSON.stringify(body), options);
}

function send(response: ServerResponse, body: string, options: JwksIssuerOptions): void {
  response.writeHead(200, {
    'content-type': 'application/json',
    ...(options.cacheControl === undefined ? {} : { 'cache-control': options.cacheControl }),
  });
  response.end(body);
}
