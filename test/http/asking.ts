/**
 * Short words for what the tests of this folder do over and over: exchange, look at what came, look at why it did not.
 * Nothing here interprets an answer; the expectations are about the wire and the record.
 */
import { expect } from 'vitest';
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import type { JWTPayload } from 'jose';
import type { FoundRecord, TestCambist } from '../support/cambist.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';

export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
export const ACCESS_TOKEN = `${TYPE}access_token`;
export const ID_TOKEN = `${TYPE}id_token`;
export const JWT = `${TYPE}jwt`;

export interface Ask {
  /** Authenticates with its secret in the Basic header. */
  readonly client: string;
  readonly subject: string;
  /** Default: ID token. */
  readonly as?: string;
  readonly actor?: string;
  /** Default: JWT. */
  readonly actorAs?: string;
  readonly resource?: string | readonly string[];
  readonly audience?: string | readonly string[];
  readonly scope?: string;
  readonly more?: FormFields;
}

export function exchange(cambist: TestCambist, ask: Ask): Promise<TokenAnswer> {
  return cambist.token(
    {
      grant_type: EXCHANGE,
      subject_token: ask.subject,
      subject_token_type: ask.as ?? ID_TOKEN,
      ...(ask.actor === undefined ? {} : { actor_token: ask.actor, actor_token_type: ask.actorAs ?? JWT }),
      resource: ask.resource,
      audience: ask.audience,
      scope: ask.scope,
      ...ask.more,
    },
    { basic: [ask.client, cambist.secretOf(ask.client)] },
  );
}

/** The client about itself: with a resource a token for it, without one an identity token. */
export function forItself(cambist: TestCambist, client: string, fields: FormFields = {}): Promise<TokenAnswer> {
  return cambist.token({ grant_type: 'client_credentials', ...fields }, { basic: [client, cambist.secretOf(client)] });
}

/** The claims of what was granted, verified as any resource server would: with the published keys and plain jose. */
export async function granted(cambist: TestCambist, answer: TokenAnswer): Promise<JWTPayload & Record<string, any>> {
  expect(answer.status, answer.text).toBe(200);
  const jwt = String(answer.body.access_token);
  const { payload } = await jwtVerify(jwt, createRemoteJWKSet(new URL(`${cambist.url}/oauth2/jwks`)), {
    issuer: cambist.issuer,
    typ: 'at+jwt',
    requiredClaims: ['exp', 'aud', 'sub', 'client_id', 'iat', 'jti', 'sub_id'],
  });
  expect(decodeProtectedHeader(jwt)).not.toHaveProperty('jwk');
  return payload;
}

/** The token itself, of an answer that must be 200. */
export function tokenOf(answer: TokenAnswer): string {
  expect(answer.status, answer.text).toBe(200);
  return String(answer.body.access_token);
}

/** The one record of an answer. */
export async function recordOf(cambist: TestCambist, answer: TokenAnswer): Promise<FoundRecord> {
  const records = await cambist.records(answer.headers.get('cambist-request-id') ?? '');
  expect(records).toHaveLength(1);
  return records[0]!;
}

/** Expects a refusal with this error on the wire and this reason in its record. */
export async function refused(
  cambist: TestCambist,
  answer: TokenAnswer,
  error: string,
  reason: string,
): Promise<FoundRecord> {
  const record = await recordOf(cambist, answer);
  const { refusal } = record.body as { refusal?: { reason: string } };
  expect({ status: answer.status, error: answer.body.error, reason: refusal?.reason }).toEqual({
    status: 400,
    error,
    reason,
  });
  return record;
}

/** The actors of an `act` claim as `sub`s, the current one first. */
export function actors(claims: Record<string, any>): string[] {
  const found: string[] = [];
  for (let level = claims['act']; level !== undefined; level = level.act) found.push(level.sub);
  return found;
}
