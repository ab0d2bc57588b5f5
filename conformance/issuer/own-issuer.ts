/**
 * The suite's own issuers, on one loopback listener: `trusted`, which the target was told to trust; `untrusted`, a
 * perfectly good issuer that nobody trusts; and canaries, addresses that nobody has a reason to fetch. What was fetched
 * is kept, since "the target never asked" is a thing to prove.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { keyInFile, makeKey } from './keys.ts';
import type { SigningKey } from './keys.ts';
import { nowSeconds, signJwt } from '../wire/jwt.ts';
import type { Json } from '../wire/jwt.ts';

export interface IssuerIdentity {
  readonly issuer: string;
  readonly key: SigningKey;
}

export interface OwnIssuer {
  readonly trusted: IssuerIdentity;
  readonly untrusted: IssuerIdentity;
  /** A key that no JWKS holds. */
  readonly attackerKey: SigningKey;
  /** An address that serves the attacker's public key to whoever fetches it. */
  canaryUrl(name: string): string;
  /** How often a path that contains the text was fetched. */
  hits(part: string): number;
  close(): Promise<void>;
}

export interface OwnIssuerSettings {
  /** `http://127.0.0.1:PORT`; port 0 picks a free one. */
  readonly listen: string;
  readonly algorithm: string;
  /** File that keeps the trusted issuer's private key between runs. */
  readonly keyFile?: string | undefined;
}

export async function openOwnIssuer(settings: OwnIssuerSettings): Promise<OwnIssuer> {
  const url = new URL(settings.listen);
  const trustedKey =
    settings.keyFile === undefined
      ? await makeKey(settings.algorithm)
      : await keyInFile(settings.keyFile, settings.algorithm);
  const [untrustedKey, attackerKey] = [await makeKey(settings.algorithm), await makeKey(settings.algorithm)];
  const fetched: string[] = [];
  const documents = new Map<string, unknown>();
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    fetched.push(path);
    const found = path.startsWith('/canary/') ? { keys: [attackerKey.publicJwk] } : documents.get(path);
    response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(found ?? { error: 'not found' }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(url.port), url.hostname, resolve);
  });
  const base = `http://${url.hostname}:${String((server.address() as AddressInfo).port)}`;
  const identity = (name: string, key: SigningKey): IssuerIdentity => {
    const issuer = `${base}/${name}`;
    documents.set(`/${name}/.well-known/openid-configuration`, discoveryOf(issuer, key));
    documents.set(`/${name}/jwks`, { keys: [key.publicJwk] });
    return { issuer, key };
  };
  return {
    trusted: identity('trusted', trustedKey),
    untrusted: identity('untrusted', untrustedKey),
    attackerKey,
    canaryUrl: (name) => `${base}/canary/${name}`,
    hits: (part) => fetched.filter((path) => path.includes(part)).length,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}

function discoveryOf(issuer: string, key: SigningKey): Json {
  return {
    issuer,
    jwks_uri: `${issuer}/jwks`,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [key.alg],
  };
}

/** What a scenario may change about a token of an own issuer. A claim or header set to `undefined` is left out. */
export interface Tweak {
  readonly claims?: Json;
  readonly header?: Json;
  readonly key?: SigningKey;
}

/** Claims and header of a token before it is signed. */
export function draftToken(from: IssuerIdentity, base: { claims: Json; typ?: string | undefined }, tweak: Tweak = {}) {
  const now = nowSeconds();
  const claims = { iss: from.issuer, iat: now, exp: now + 300, jti: randomUUID(), ...base.claims, ...tweak.claims };
  const key = tweak.key ?? from.key;
  const header = {
    alg: key.alg,
    kid: from.key.kid,
    ...(base.typ === undefined ? {} : { typ: base.typ }),
    ...tweak.header,
  };
  return { header, claims, key };
}

export function mintToken(
  from: IssuerIdentity,
  base: { claims: Json; typ?: string | undefined },
  tweak: Tweak = {},
): string {
  const { header, claims, key } = draftToken(from, base, tweak);
  return signJwt(header, claims, key.privateKey);
}
