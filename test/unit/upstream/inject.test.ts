/** Where the caller's token is read from, and how the credential takes its place. */
import { expect, test } from 'vitest';
import type { Injection } from '../../../src/objects/upstream.ts';
import { injectCredential, injectionFault, readCallerToken } from '../../../src/upstream/inject.ts';

const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln';
const OTHER = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJldmUifQ.c2ln';
const BEARER: Injection = { kind: 'bearer' };
const BASIC: Injection = { kind: 'basic', username: 'svc' };
const KEY: Injection = { kind: 'header', name: 'X-Api-Key', template: '{credential}' };
const BOT: Injection = { kind: 'header', name: 'Authorization', template: 'Bot {credential}' };
const QUERY: Injection = { kind: 'query', name: 'api_key', allow_query: true };

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;

test.each<[string, Injection, Record<string, string[]>]>([
  ['Bearer', BEARER, { authorization: [`Bearer ${TOKEN}`] }],
  ['the scheme in any case', BEARER, { authorization: [`bearer ${TOKEN}`] }],
  ['token, as GitHub has it', BEARER, { authorization: [`token ${TOKEN}`] }],
  ['Basic, as password', BASIC, { authorization: [basic(`x-access-token:${TOKEN}`)] }],
  ['Basic, as user name', BASIC, { authorization: [basic(`${TOKEN}:`)] }],
  ['Basic, as both', BASIC, { authorization: [basic(`${TOKEN}:${TOKEN}`)] }],
  ['Bearer for a basic upstream', BASIC, { authorization: [`Bearer ${TOKEN}`] }],
  ['a header of its own', KEY, { 'x-api-key': [TOKEN] }],
  ['a header of its own, beside the same bearer', KEY, { 'x-api-key': [TOKEN], authorization: [`Bearer ${TOKEN}`] }],
  ['a header of its own, beside what is no token', KEY, { 'x-api-key': [TOKEN], authorization: ['Basic eDp5'] }],
  ['a template', BOT, { authorization: [`Bot ${TOKEN}`] }],
  ['Bearer where the template is another', BOT, { authorization: [`Bearer ${TOKEN}`] }],
  ['Bearer for a query', QUERY, { authorization: [`Bearer ${TOKEN}`] }],
])('reads the token: %s', (_, inject, headers) => {
  expect(readCallerToken(inject, headers)).toBe(TOKEN);
});

test.each<[string, Injection, Record<string, string[]>, string, string | undefined]>([
  ['none', BEARER, {}, 'egress_token_missing', undefined],
  ['elsewhere than in its header', KEY, { authorization: [`Bearer ${TOKEN}`] }, 'egress_token_missing', undefined],
  ['not in a query', QUERY, {}, 'egress_token_missing', undefined],
  ['Basic for a query', QUERY, { authorization: [basic(`x:${TOKEN}`)] }, 'egress_token_invalid', 'no_token'],
  ['what is no token', BEARER, { authorization: ['Bearer sk-live-123'] }, 'egress_token_invalid', 'no_token'],
  [
    'two tokens in one Basic',
    BASIC,
    { authorization: [basic(`${TOKEN}:${OTHER}`)] },
    'egress_token_invalid',
    'two_tokens',
  ],
  [
    'another token beside the header',
    KEY,
    { 'x-api-key': [TOKEN], authorization: [`Bearer ${OTHER}`] },
    'egress_token_invalid',
    'two_tokens',
  ],
  [
    'the header twice',
    BEARER,
    { authorization: [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`] },
    'egress_token_invalid',
    'header_twice',
  ],
  ['another scheme', BEARER, { authorization: [`Digest ${TOKEN}`] }, 'egress_token_invalid', 'no_token'],
])('refuses: %s', (_, inject, headers, reason, fault) => {
  expect(readCallerToken(inject, headers)).toMatchObject({ reason, ...(fault && { detail: { fault } }) });
});

const credential = (secret: string | undefined, username?: string) => ({ secret, username });

test('sets the header that the template names, and drops every place a token may be in', () => {
  expect(injectCredential(BEARER, credential('k1'), '?a=1')).toEqual({
    headers: { authorization: 'Bearer k1' },
    dropped: ['authorization'],
    query: '?a=1',
  });
  expect(injectCredential(BASIC, credential('pass:word'), '')).toMatchObject({
    headers: { authorization: basic('svc:pass:word') },
  });
  expect(injectCredential({ kind: 'basic' }, credential('pässword', 'ada'), '')).toMatchObject({
    headers: { authorization: basic('ada:pässword') },
  });
  expect(injectCredential(KEY, credential('k$&1'), '')).toMatchObject({
    headers: { 'x-api-key': 'k$&1' },
    dropped: ['authorization', 'x-api-key'],
  });
  expect(injectCredential(BOT, credential('k1'), '')).toMatchObject({ headers: { authorization: 'Bot k1' } });
});

test.each([
  ['', '?api_key=k%261'],
  ['?', '?api_key=k%261'],
  ['?a=1', '?a=1&api_key=k%261'],
  ['?a=1&', '?a=1&api_key=k%261'],
])('adds to the query %j', (query, expected) => {
  expect(injectCredential(QUERY, credential('k&1'), query)).toEqual({
    headers: {},
    dropped: ['authorization'],
    query: expected,
  });
});

test.each([
  '?api_key=mine',
  '?a=1&API_KEY=mine',
  '?api%5Fkey=mine',
  '?api.key=mine',
  '?api_key[]=mine',
  '?a;api_key=1',
  '?api_key',
])('refuses the query %j, which has the parameter of the credential', (query) => {
  expect(injectCredential(QUERY, credential('k1'), query)).toMatchObject({
    reason: 'egress_request_not_allowed',
    detail: { fault: 'parameter_of_credential' },
  });
});

test.each<[string, Injection, string, string | undefined, string]>([
  ['a line break', BEARER, 'k1\n', undefined, 'value_with_line_break_or_control'],
  ['a header in the value', KEY, 'k1\r\nX-Admin: 1', undefined, 'value_with_line_break_or_control'],
  ['a line break in a query', QUERY, 'k1\n', undefined, 'value_with_line_break_or_control'],
  ['half a character', QUERY, 'k\uD800', undefined, 'value_with_line_break_or_control'],
  ['NUL', BASIC, 'k\0', undefined, 'value_with_line_break_or_control'],
  ['letters that no header holds', BEARER, 'clé', undefined, 'value_not_ascii'],
  ['a space at the end', KEY, 'k1 ', undefined, 'value_not_ascii'],
  ['nothing', BEARER, '', undefined, 'value_empty'],
  ['a colon in the user name', { kind: 'basic' }, 'k1', 'a:b', 'username_with_colon_or_control'],
  ['no user name', { kind: 'basic' }, 'k1', undefined, 'username_missing'],
])('refuses to inject %s', (_, inject, secret, username, fault) => {
  expect(injectionFault(inject, credential(secret, username))).toBe(fault);
  expect(injectCredential(inject, credential(secret, username), '')).toMatchObject({
    reason: 'credential_refused',
    detail: { fault },
  });
});

test('has nothing to inject where the credential can only be fetched', () => {
  expect(injectCredential(BEARER, credential(undefined), '')).toMatchObject({ reason: 'credential_missing' });
});
