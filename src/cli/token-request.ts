/**
 * One request at a token endpoint, from the side of a client: finds the endpoint, authenticates, asks, and reads the
 * answer within bounds. Follows no redirect: a secret goes to the issuer that was named and nowhere else.
 */
import { createPrivateKey, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { request } from 'undici';
import { nowSeconds, systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';
import {
  ASSERTION_TYPE_JWT_BEARER,
  GRANT_CLIENT_CREDENTIALS,
  GRANT_TOKEN_EXCHANGE,
  TOKEN_TYPE_CREDENTIAL,
} from '../core/protocol.ts';
import { Unavailable } from '../core/refusal.ts';
import { createFetcher } from '../net/fetcher.ts';
import { CliFailure, EXIT } from './failure.ts';
import { fetchMetadata, isSafeUrl } from './issuer-metadata.ts';

export type Credential =
  | { readonly kind: 'secret_basic' | 'secret_post'; readonly secret: string }
  /** A private key as JWK or PEM. */
  | { readonly kind: 'key'; readonly text: string; readonly kid: string | undefined }
  | { readonly kind: 'assertion'; readonly assertion: string };

export interface Presented {
  readonly token: string;
  /** The last part of its token type identifier (RFC 8693 §3). */
  readonly type: string;
}

export interface TokenQuestion {
  readonly issuer: string;
  readonly clientId: string;
  readonly credential: Credential;
  readonly subject: Presented | undefined;
  readonly actor: Presented | undefined;
  readonly resources: readonly string[];
  readonly audiences: readonly string[];
  readonly scope: string | undefined;
  /** The credential of an upstream itself, instead of a token. */
  readonly wantsCredential: boolean;
}

export interface TokenAnswer {
  readonly status: number;
  readonly requestId: string | undefined;
  /** Seconds. */
  readonly retryAfter: number | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

const ANSWER_MAX_BYTES = 256 * 1024;
const TIMEOUT_MS = 20_000;
const ASSERTION_LIFETIME_SECONDS = 60;
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

/** Asks once. Throws Unavailable when there is no answer. */
export async function askForToken(question: TokenQuestion): Promise<TokenAnswer> {
  const endpoint = await findEndpoint(question.issuer);
  const form = formOf(question);
  const headers: Record<string, string> = {
    'content-type': 'application/x-www-form-urlencoded',
    accept: 'application/json',
  };
  await authenticate(question, form, headers);
  return post(endpoint, form, headers);
}

async function findEndpoint(issuer: string): Promise<string> {
  const fetcher = createFetcher({ clock: systemClock, logger: createLogger('silent') });
  try {
    const { token_endpoint: endpoint } = await fetchMetadata(issuer, fetcher, true);
    if (isSafeUrl(endpoint)) return endpoint;
    throw new CliFailure(
      EXIT.failed,
      'metadata_invalid',
      'the metadata have no token_endpoint that is https, or on loopback',
    );
  } finally {
    await fetcher.close();
  }
}

function formOf({ subject, actor, resources, audiences, scope, wantsCredential }: TokenQuestion): URLSearchParams {
  const form = new URLSearchParams({
    grant_type: subject === undefined ? GRANT_CLIENT_CREDENTIALS : GRANT_TOKEN_EXCHANGE,
  });
  const present = (role: string, presented: Presented | undefined) => {
    if (presented === undefined) return;
    form.set(`${role}_token`, presented.token);
    form.set(`${role}_token_type`, TOKEN_TYPE + presented.type);
  };
  present('subject', subject);
  present('actor', actor);
  for (const resource of resources) form.append('resource', resource);
  for (const audience of audiences) form.append('audience', audience);
  if (scope !== undefined) form.set('scope', scope);
  if (wantsCredential) form.set('requested_token_type', TOKEN_TYPE_CREDENTIAL);
  return form;
}

async function authenticate(
  { clientId, credential, issuer }: TokenQuestion,
  form: URLSearchParams,
  headers: Record<string, string>,
): Promise<void> {
  switch (credential.kind) {
    case 'secret_basic': {
      // RFC 6749 §2.3.1: both are form-urlencoded first.
      const encode = (text: string) => new URLSearchParams({ '': text }).toString().slice(1);
      const pair = `${encode(clientId)}:${encode(credential.secret)}`;
      headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
      return;
    }
    case 'secret_post':
      form.set('client_id', clientId);
      form.set('client_secret', credential.secret);
      return;
    case 'key':
      setAssertion(form, clientId, await signAssertion(clientId, issuer, credential));
      return;
    case 'assertion':
      setAssertion(form, clientId, credential.assertion);
  }
}

function setAssertion(form: URLSearchParams, clientId: string, assertion: string): void {
  form.set('client_id', clientId);
  form.set('client_assertion_type', ASSERTION_TYPE_JWT_BEARER);
  form.set('client_assertion', assertion);
}

/** RFC 7523 §3, with our issuer as its only audience (rfc7523bis). */
async function signAssertion(
  clientId: string,
  issuer: string,
  credential: Extract<Credential, { kind: 'key' }>,
): Promise<string> {
  const { key, alg, kid } = readKey(credential.text);
  const issuedAt = nowSeconds(systemClock);
  const named = credential.kid ?? kid;
  return new SignJWT()
    .setProtectedHeader({ alg, typ: 'JWT', ...(named === undefined ? {} : { kid: named }) })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(issuer)
    .setJti(randomUUID())
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + ASSERTION_LIFETIME_SECONDS)
    .sign(key);
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' };

/** A private key and the algorithm that it signs with. What is wrong is said without a byte of the key. */
function readKey(text: string): { key: KeyObject; alg: string; kid: string | undefined } {
  try {
    const jwk = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : undefined;
    const key = jwk === undefined ? createPrivateKey(text) : createPrivateKey({ key: jwk, format: 'jwk' });
    const alg = typeof jwk?.['alg'] === 'string' ? jwk['alg'] : algorithmOf(key);
    const kid = typeof jwk?.['kid'] === 'string' ? jwk['kid'] : undefined;
    if (alg !== undefined) return { key, alg, kid };
  } catch {
    // The error of a parser may hold what it could not parse.
  }
  throw new CliFailure(
    EXIT.usage,
    'key_invalid',
    'the key file must hold one private key, as JWK or PEM without a passphrase: RSA, EC P-256, P-384, P-521, or Ed25519',
  );
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType === 'rsa') return 'RS256';
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  return CURVES[asymmetricKeyDetails?.namedCurve ?? ''];
}

async function post(url: string, form: URLSearchParams, headers: Record<string, string>): Promise<TokenAnswer> {
  const { host } = new URL(url);
  try {
    const response = await request(url, {
      method: 'POST',
      headers,
      body: form.toString(),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > ANSWER_MAX_BYTES) throw new Error('its answer is too large');
      chunks.push(chunk);
    }
    const { 'cambist-request-id': requestId, 'retry-after': retryAfter } = response.headers;
    return {
      status: response.statusCode,
      requestId: typeof requestId === 'string' && /^[\w-]{1,64}$/.test(requestId) ? requestId : undefined,
      retryAfter: typeof retryAfter === 'string' && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined,
      body: objectOf(Buffer.concat(chunks).toString('utf8')),
    };
  } catch (cause) {
    throw new Unavailable(`server ${host}`, 'did not answer', { cause });
  }
}

function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}
