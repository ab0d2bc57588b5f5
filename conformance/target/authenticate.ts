/**
 * Puts a client's authentication on a request, honestly or with the one fault that a scenario asks for.
 */
import { randomUUID } from 'node:crypto';
import { keyInFile } from '../issuer/keys.ts';
import type { SigningKey } from '../issuer/keys.ts';
import { nowSeconds, signJwt } from '../wire/jwt.ts';
import type { Json } from '../wire/jwt.ts';
import type { Form } from '../wire/form.ts';
import { replaced } from '../wire/form.ts';
import { secretValue } from './config.ts';
import type { Authentication, ClientConfig } from './config.ts';

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export interface Authenticated {
  readonly headers: Readonly<Record<string, string>>;
  readonly form: Form;
}

/** Where assertions are addressed to. */
export interface AssertionTarget {
  readonly issuer: string;
  readonly tokenEndpoint: string;
}

/** A change to a client assertion before it is signed. A claim set to `undefined` is left out. */
export interface AssertionTweak {
  readonly claims?: Json;
  readonly header?: Json;
  readonly key?: SigningKey;
}

/** RFC 6749 §2.3.1: both parts are form-encoded before they are joined. */
export function basicHeader(clientId: string, secret: string): string {
  const encode = (value: string) => new URLSearchParams([['', value]]).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(secret)}`).toString('base64')}`;
}

export async function authenticated(
  client: ClientConfig,
  how: Authentication,
  form: Form,
  target: AssertionTarget,
): Promise<Authenticated> {
  switch (how.method) {
    case 'client_secret_basic':
      return { headers: { authorization: basicHeader(client.client_id, secretValue(how.secret)) }, form };
    case 'client_secret_post':
      return {
        headers: {},
        form: replaced(form, { client_id: client.client_id, client_secret: secretValue(how.secret) }),
      };
    case 'private_key_jwt':
      return { headers: {}, form: replaced(form, assertionParameters(await clientAssertion(client, how, target))) };
  }
}

export function assertionParameters(assertion: string): Record<string, string> {
  return { client_assertion_type: ASSERTION_TYPE, client_assertion: assertion };
}

export type KeyedAuthentication = Extract<Authentication, { method: 'private_key_jwt' }>;

/** Header, claims and key of an assertion that the client would sign (RFC 7523 §3). */
export async function draftAssertion(
  client: ClientConfig,
  how: KeyedAuthentication,
  target: AssertionTarget,
  tweak: AssertionTweak = {},
): Promise<{ header: Json & { alg: string }; claims: Json; key: SigningKey }> {
  const own = await keyInFile(how.key_file, how.alg);
  const key = tweak.key ?? own;
  const aud =
    how.audience === 'issuer' ? target.issuer : how.audience === 'token_endpoint' ? target.tokenEndpoint : how.audience;
  const now = nowSeconds();
  const honest = { iss: client.client_id, sub: client.client_id, aud, iat: now, exp: now + 120, jti: randomUUID() };
  return {
    header: { alg: key.alg, kid: own.kid, ...tweak.header },
    claims: { ...honest, ...tweak.claims },
    key,
  };
}

export async function clientAssertion(
  client: ClientConfig,
  how: KeyedAuthentication,
  target: AssertionTarget,
  tweak: AssertionTweak = {},
): Promise<string> {
  const { header, claims, key } = await draftAssertion(client, how, target, tweak);
  return signJwt(header, claims, key.privateKey);
}
