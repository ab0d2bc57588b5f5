/**
 * What tests of introspection and revocation do over and over: get a token, take it a hop further, ask whether it lives,
 * read the revocation document as a server would.
 */
import { createLocalJWKSet, jwtVerify } from 'jose';
import { expect } from 'vitest';
import type { TestCambist } from '../support/cambist.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';
import { CALENDAR, expectGranted, NOTES, TYPE } from './company.ts';
import type { Caller, Company } from './company.ts';

/** Exactly that, and nothing that a cache would keep (RFC 7662 §2.2). */
export function expectInactive(answer: TokenAnswer, what?: string): void {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.text, what).toBe('{"active":false}');
  expect(answer.headers.get('cache-control')).toBe('no-store');
}

/** Returns what was told. */
export function expectActive(answer: TokenAnswer, what?: string): any {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.body.active, what).toBe(true);
  return answer.body;
}

/** The token of an answer that must be 200. */
export function tokenOf(answer: TokenAnswer): string {
  expectGranted(answer);
  return answer.body.access_token;
}

/** A token for notes, by default one that `agent` got for Ada. */
export async function tokenFor(company: Company, fields: FormFields = {}, caller: Caller = {}): Promise<string> {
  return tokenOf(await company.exchange(fields, caller));
}

/** What the notes server asks when it takes such a token to the calendar. */
export function askHop(company: Company, token: string, caller: Caller = {}): Promise<TokenAnswer> {
  const form = { subject_token: token, subject_token_type: `${TYPE}access_token`, resource: CALENDAR };
  return company.exchange(form, { as: 'notes-server', ...caller });
}

/** What the calendar server asks when it takes such a token back to notes. */
export function askHopBack(company: Company, token: string, caller: Caller = {}): Promise<TokenAnswer> {
  const form = {
    subject_token: token,
    subject_token_type: `${TYPE}access_token`,
    resource: NOTES,
    scope: 'notes:write',
  };
  return company.exchange(form, { as: 'calendar-server', ...caller });
}

export interface RevocationClaims {
  readonly iss: string;
  readonly iat: number;
  readonly exp: number;
  readonly tokens: readonly string[];
  readonly predicates: readonly { readonly kind: string; readonly value?: string; readonly issued_until?: number }[];
}

/** The document as a server without our library reads it: with jose, and its own key set. */
export async function readDocument({ url, issuer }: Pick<TestCambist, 'url' | 'issuer'>): Promise<RevocationClaims> {
  const jwks = (await (await fetch(`${url}/oauth2/revocations/jwks`)).json()) as Parameters<
    typeof createLocalJWKSet
  >[0];
  const response = await fetch(`${url}/oauth2/revocations`);
  expect(response.status).toBe(200);
  const { payload } = await jwtVerify<RevocationClaims>(await response.text(), createLocalJWKSet(jwks), {
    issuer,
    typ: 'cambist-revocations+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['iat', 'exp'],
  });
  return payload;
}
