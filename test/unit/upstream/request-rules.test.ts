/**
 * The rules of requests: what is not unmistakable is refused, a rule matches its literal instances and nothing else, and
 * the first rule that matches decides.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isRefusal } from '../../../src/core/refusal.ts';
import type { RequestRule } from '../../../src/objects/upstream.ts';
import { checkScopes, matchRequest } from '../../../src/upstream/request-rules.ts';
import type { ForwardedRequest } from '../../../src/upstream/request-rules.ts';

const ANYTHING: RequestRule[] = [{ methods: ['*'], path: '/**', scopes: ['all'] }];

function request(path: string, more: Partial<ForwardedRequest> = {}): ForwardedRequest {
  return { method: 'GET', path, query: '', headers: {}, ...more };
}

function rule(path: string, ...scopes: string[]): RequestRule {
  return { methods: ['GET'], path, scopes: scopes.length > 0 ? scopes : [path] };
}

function outcome(rules: readonly RequestRule[], asked: ForwardedRequest): string {
  const found = matchRequest(rules, asked);
  return isRefusal(found) ? `${found.reason}: ${String(found.detail['fault'])}` : found.path;
}

test.each([
  ['/', '/**'],
  ['/repos/acme/app/issues', '/**'],
  ['/a/', '/**'],
  ['/a/..b', '/**'],
  ['/labels/c%23', '/**'],
  ['/files/a%20b.txt', '/**'],
  ['/users/%C3%A9', '/**'],
  ["/v1/!$&'()*+,=:@~_-.x", '/**'],
])('lets %s pass', (path, matched) => {
  expect(outcome(ANYTHING, request(path))).toBe(matched);
});

test.each([
  ['/a%2Fb', 'encoded_structure'],
  ['/a%2fb', 'encoded_structure'],
  ['/a%5Cb', 'encoded_structure'],
  ['/a\\b', 'character'],
  ['/a/../b', 'dot_segment'],
  ['/a/./b', 'dot_segment'],
  ['/..', 'dot_segment'],
  ['/a/...', 'dot_segment'],
  ['/a/%2e%2e/b', 'encoded_structure'],
  ['/a/.%2E/b', 'encoded_structure'],
  ['//a', 'empty_segment'],
  ['/a//b', 'empty_segment'],
  ['/a//', 'empty_segment'],
  ['/a;jsessionid=1', 'character'],
  ['/a/..;/b', 'character'],
  ['/a%3Bb', 'encoded_structure'],
  ['/a#b', 'character'],
  ['/a?b', 'character'],
  ['/a b', 'character'],
  ['/a\tb', 'character'],
  ['/a\r\nHost: evil', 'character'],
  ['/a\0', 'character'],
  ['/a%00', 'encoded_structure'],
  ['/a%0d%0ab', 'encoded_structure'],
  ['/a%7F', 'encoded_structure'],
  ['/é', 'character'],
  ['/a%', 'percent_encoding'],
  ['/a%2', 'percent_encoding'],
  ['/a%zz', 'percent_encoding'],
  ['/a%252Fb', 'double_encoding'],
  ['/a%252e%252e', 'double_encoding'],
  ['/a%255c', 'double_encoding'],
  ['/a%c0%af', 'not_utf8'],
  ['/a%ff', 'not_utf8'],
  ['a', 'path_not_absolute'],
  ['', 'path_not_absolute'],
  [`/${'a'.repeat(8192)}`, 'path_too_long'],
])('refuses %j: %s', (path, fault) => {
  expect(outcome(ANYTHING, request(path))).toBe(`egress_path_refused: ${fault}`);
});

test.each([
  ['?page=2&per_page=100', '/**'],
  ['?', '/**'],
  ['?q=a+b%20c&flag', '/**'],
  ['?_method=DELETE', 'egress_path_refused: method_override'],
  ['?a=1&_METHOD=DELETE', 'egress_path_refused: method_override'],
  ['?a=1;_method=DELETE', 'egress_path_refused: method_override'],
  ['?%5Fmethod=DELETE', 'egress_path_refused: method_override'],
  ['?X-HTTP-Method-Override=DELETE', 'egress_path_refused: method_override'],
  ['?a=1#b', 'egress_path_refused: query_character'],
  ['?a=\r\nb', 'egress_path_refused: query_character'],
  ['?a=é', 'egress_path_refused: query_character'],
  ['?a=%', 'egress_path_refused: query_encoding'],
  ['?%ff=1', 'egress_path_refused: query_encoding'],
  ['a=1', 'egress_path_refused: query_character'],
])('judges the query %j: %s', (query, expected) => {
  expect(outcome(ANYTHING, request('/a', { query }))).toBe(expected);
});

test.each(['x-http-method-override', 'x-http-method', 'x-method-override', 'X_HTTP_Method_Override'])(
  'refuses the header %s',
  (name) => {
    expect(outcome(ANYTHING, request('/a', { method: 'POST', headers: { [name]: ['DELETE'] } }))).toBe(
      'egress_path_refused: method_override',
    );
  },
);

test.each(['TRACE', 'CONNECT', 'get', 'PROPFIND', ''])('refuses the method %j, also where a rule has *', (method) => {
  expect(outcome(ANYTHING, request('/a', { method }))).toBe('egress_request_not_allowed: method_unknown');
});

test.each([
  ['/repos/*/issues', '/repos/acme/issues', true],
  ['/repos/*/issues', '/repos/acme/app/issues', false],
  ['/repos/*/issues', '/repos//issues', false],
  ['/repos/*/issues', '/repos/acme/issues/', false],
  ['/repos/*/issues', '/Repos/acme/issues', false],
  ['/repos/*/issues', '/repos/acme/issues2', false],
  ['/v1/**', '/v1/a/b', true],
  ['/v1/**', '/v1/', true],
  ['/v1/**', '/v1', false],
  ['/v1/**', '/v10/a', false],
  ['/', '/', true],
  ['/', '/a', false],
  ['/a.b', '/axb', false],
])('the rule %s and the path %s: %s', (pattern, path, expected) => {
  expect(isRefusal(matchRequest([rule(pattern)], request(path)))).toBe(!expected);
});

test('a method must be named, HEAD too', () => {
  expect(outcome([rule('/a')], request('/a', { method: 'HEAD' }))).toBe('egress_request_not_allowed: no_rule');
  expect(outcome([rule('/a')], request('/a', { method: 'POST' }))).toBe('egress_request_not_allowed: no_rule');
});

test('the first rule that matches decides', () => {
  const rules = [rule('/users/@me'), rule('/users/*')];
  expect(outcome(rules, request('/users/@me'))).toBe('/users/@me');
  expect(outcome(rules, request('/users/ada'))).toBe('/users/*');
  expect(outcome([...rules].reverse(), request('/users/@me'))).toBe('/users/*');
});

test.each(['/%61dmin', '/adm%69n', '/users/%40me'])(
  '%s does not pass under a wildcard as what an upstream reads it to be',
  (path) => {
    const rules = [rule('/admin'), rule('/users/@me'), rule('/**')];
    expect(outcome(rules, request(path))).toBe('egress_path_refused: encoding_ambiguous');
    // Where no rule is meant by it, it is a path like others.
    expect(outcome([rule('/**')], request(path))).toBe('/**');
  },
);

test('scopes: all of the rule are needed', () => {
  const both = rule('/a', 'read', 'write');
  expect(checkScopes(both, ['write', 'more', 'read'])).toBeUndefined();
  expect(checkScopes(both, ['read'])).toMatchObject({ reason: 'egress_scope_missing', detail: { missing: ['write'] } });
  expect(checkScopes(both, ['READ', 'write'])).toMatchObject({ detail: { missing: ['read'] } });
});

const piece = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    'A',
    '*',
    '.',
    '..',
    '%2F',
    '%2e',
    '%25',
    '2F',
    '%61',
    '%5c',
    ';',
    '//',
    '/',
    '\\',
    '%',
    '?',
    '#',
    'é',
    '\n',
  ),
  fc.string({ maxLength: 3 }),
);
const anyPath = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join('')}`);
const pattern = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', 'A', '*', 'a.b', '@me', '%61'), { minLength: 1, maxLength: 4 }),
    fc.boolean(),
  )
  .map(([parts, open]) => `/${[...parts, ...(open ? ['**'] : [])].join('/')}`);

/** An independent reading of what a rule means. */
function isInstance(of: string, path: string): boolean {
  const source = of
    .split('/')
    .map((part) => (part === '*' ? '[^/]+' : part === '**' ? '.*' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/');
  return new RegExp(`^${source}$`, 's').test(path);
}

test('property: what is let through is an instance of its rule, and survives a URL parser byte for byte', () => {
  fc.assert(
    fc.property(fc.array(pattern, { minLength: 1, maxLength: 4 }), anyPath, (patterns, path) => {
      const found = matchRequest(
        patterns.map((one) => rule(one)),
        request(path),
      );
      if (isRefusal(found)) return;
      expect(isInstance(found.path, path)).toBe(true);
      expect(patterns.slice(0, patterns.indexOf(found.path)).some((earlier) => isInstance(earlier, path))).toBe(false);
      expect(new URL(`https://api.example/base${path}`).pathname).toBe(`/base${path}`);
      const decoded = decodeURIComponent(path);
      expect(decoded.split('/')).toHaveLength(path.split('/').length);
      expect(/[\\;\p{Cc}]|\/\.+(\/|$)/u.test(decoded)).toBe(false);
    }),
    { numRuns: 3000 },
  );
});

test('property: every plain instance of a rule is let through', () => {
  const segment = fc.stringMatching(/^[a-z0-9@_~-]{1,6}$/);
  fc.assert(
    fc.property(pattern, fc.array(segment, { minLength: 8, maxLength: 8 }), (one, segments) => {
      let at = 0;
      const path = one
        .split('/')
        .map((part) => (part.startsWith('*') ? (segments[at++] ?? '') : part))
        .join('/');
      const found = matchRequest([rule(one)], request(path));
      expect(isRefusal(found) ? found : found.path).toBe(one);
    }),
  );
});
