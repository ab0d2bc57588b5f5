/**
 * Where a caller's SDK puts the key of an upstream, there it puts a token of ours; this reads it there, and puts the
 * credential in its place. Exactly one token is read: two that differ are refused, so that no caller can show one token
 * and be judged by another. What is set replaces whatever the caller sent under that name.
 */
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Injection } from '../objects/upstream.ts';
import type { Credential } from './credential.ts';
import { parameterNames } from './request-rules.ts';
import type { HeaderLists } from './request-rules.ts';

/** How the request goes out. */
export interface Injected {
  /** Names in lower case; they replace what the caller sent. */
  readonly headers: Readonly<Record<string, string>>;
  /** Lower-case names that are dropped from what the caller sent: where a token of ours may be. */
  readonly dropped: readonly string[];
  /** With its `?`; empty where there is none. Never to be logged. */
  readonly query: string;
}

/** A compact JWS: three parts, none empty. Anything else is no token of ours, whatever it is. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/**
 * The caller's token. `Authorization` with scheme `Bearer` or `token`, or Basic with the token as user name or password,
 * for bearer and basic; the template's own header, bare or by the template, for header; `Authorization: Bearer` alone for
 * query (a token never belongs in a URL). Refuses with `egress_token_missing` and `egress_token_invalid`.
 * @param headers `headersDistinct` of the request: a header that is sent twice is then seen to be
 */
export function readCallerToken(inject: Injection, headers: HeaderLists): string | Refusal {
  const places = [...new Set([tokenHeader(inject), 'authorization'])];
  const shown: string[] = [];
  for (const name of places) {
    const values = listOf(headers[name]);
    if (values.length > 1) return refuse('egress_token_invalid', { fault: 'header_twice', header: name });
    const [value] = values;
    if (value === undefined) {
      if (name === tokenHeader(inject)) return refuse('egress_token_missing');
      continue;
    }
    const tokens = tokensIn(value, name, inject);
    // What a second place holds may be anything but another token.
    if (tokens.length === 0 && name === tokenHeader(inject))
      return refuse('egress_token_invalid', { fault: 'no_token', header: name });
    shown.push(...tokens);
  }
  const [token = '', another] = [...new Set(shown)];
  return another === undefined ? token : refuse('egress_token_invalid', { fault: 'two_tokens' });
}

/**
 * Puts the credential into a request whose query was checked (`matchRequest`). Refuses with `egress_request_not_allowed`
 * a query that has a parameter of the credential's name already, and with `credential_refused` a value that would break
 * the header that it is put into.
 */
export function injectCredential(
  inject: Injection,
  credential: Pick<Credential, 'secret' | 'username'>,
  query: string,
): Injected | Refusal {
  const { secret } = credential;
  if (secret === undefined) return refuse('credential_missing', { fault: 'nothing_to_inject' });
  const dropped = [...new Set(['authorization', tokenHeader(inject)])];
  const fault = injectionFault(inject, credential);
  if (fault !== undefined) return refuse('credential_refused', { fault });
  const withHeader = (name: string, value: string): Injected => ({ headers: { [name]: value }, dropped, query });
  switch (inject.kind) {
    case 'bearer':
      return withHeader('authorization', `Bearer ${secret}`);
    case 'basic': {
      const username = inject.username ?? credential.username ?? '';
      return withHeader('authorization', `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`);
    }
    case 'header':
      // Not `replace`, which reads `$` in what it puts in.
      return withHeader(inject.name.toLowerCase(), inject.template.split('{credential}').join(secret));
    case 'query': {
      const taken = query === '' ? [] : parameterNames(query);
      if (taken?.some((name) => sameParameter(name, inject.name)) !== false)
        return refuse('egress_request_not_allowed', { fault: 'parameter_of_credential' });
      const separator = query === '' ? '?' : query === '?' || query.endsWith('&') ? '' : '&';
      return { headers: {}, dropped, query: `${query}${separator}${inject.name}=${encodeURIComponent(secret)}` };
    }
  }
}

/**
 * What is wrong with values that are to be injected so, `undefined` = nothing. A line break in a key (as `echo` leaves it)
 * would end the header and begin another one.
 */
export function injectionFault(
  inject: Injection,
  { secret, username }: Pick<Credential, 'secret' | 'username'>,
): string | undefined {
  if (secret === undefined) return undefined;
  if (secret === '') return 'value_empty';
  if (hasControls(secret)) return 'value_with_line_break_or_control';
  if ((inject.kind === 'bearer' || inject.kind === 'header') && !isHeaderText(secret)) return 'value_not_ascii';
  if (inject.kind !== 'basic') return undefined;
  const name = inject.username ?? username;
  if (name === undefined) return 'username_missing';
  // RFC 7617 §2: the first colon ends the user-id.
  return name.includes(':') || hasControls(name) ? 'username_with_colon_or_control' : undefined;
}

function tokenHeader(inject: Injection): string {
  return inject.kind === 'header' ? inject.name.toLowerCase() : 'authorization';
}

function tokensIn(value: string, header: string, inject: Injection): readonly string[] {
  const candidates =
    inject.kind === 'header' && header === tokenHeader(inject)
      ? [
          value.trim(),
          ...byTemplate(value, inject.template),
          ...(header === 'authorization' ? ofAuthorization(value) : []),
        ]
      : ofAuthorization(value, inject.kind === 'query');
  return candidates.filter((candidate) => COMPACT.test(candidate));
}

function byTemplate(value: string, template: string): readonly string[] {
  const [before = '', after = ''] = template.split('{credential}');
  const fits = value.length > before.length + after.length && value.startsWith(before) && value.endsWith(after);
  return fits ? [value.slice(before.length, value.length - after.length)] : [];
}

/** RFC 9110 §11.6.2; `token` is what GitHub's libraries send. */
function ofAuthorization(value: string, bearerOnly = false): readonly string[] {
  const [, scheme = '', rest = ''] = /^([A-Za-z]+) +(\S+) *$/.exec(value) ?? [];
  const name = scheme.toLowerCase();
  if (name === 'bearer') return [rest];
  if (bearerOnly) return [];
  if (name === 'token') return [rest];
  if (name !== 'basic') return [];
  const pair = Buffer.from(rest, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon < 0 ? [] : [pair.slice(0, colon), pair.slice(colon + 1)];
}

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

/** Some servers read `key[]` and `key.` as `key`, and case as nothing. */
function sameParameter(sent: string, ours: string): boolean {
  const plain = (name: string) => name.toLowerCase().replace(/\[.*$/s, '').replaceAll(/[. ]/g, '_');
  return plain(sent) === plain(ours);
}

/** Controls, and halves of characters, which no encoding can carry. */
function hasControls(text: string): boolean {
  return /[\p{Cc}\p{Cs}]/u.test(text);
}

/** Visible ASCII, with spaces inside. */
function isHeaderText(text: string): boolean {
  return /^[!-~]([ -~]*[!-~])?$/.test(text);
}
