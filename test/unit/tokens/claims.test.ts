import { describe, expect, it } from 'vitest';
import { checkTimes, claimAt, readAudience, readString, tokenIdentity } from '../../../src/tokens/claims.ts';
import { outcome } from './forge.ts';

const NOW = 1_800_000_000;

describe('checkTimes (R15)', () => {
  const rules = { nowSeconds: NOW, maxLifetimeSeconds: 3600, requireIat: true };
  const times = { iat: NOW, exp: NOW + 300 };

  it.each([
    ['a token of this second', times, 'ok'],
    ['exp one second ahead', { iat: NOW - 60, exp: NOW + 1 }, 'ok'],
    ['exp now: no leeway', { iat: NOW - 60, exp: NOW }, 'expired exp'],
    ['exp a second ago', { iat: NOW - 60, exp: NOW - 1 }, 'expired exp'],
    ['no exp', { iat: NOW }, 'claim_missing exp'],
    ['exp null', { iat: NOW, exp: null }, 'claim_invalid exp'],
    ['exp a string', { iat: NOW, exp: String(NOW + 300) }, 'claim_invalid exp'],
    ['exp a fraction', { iat: NOW, exp: NOW + 300.5 }, 'claim_invalid exp'],
    ['exp negative', { iat: NOW, exp: -1 }, 'claim_invalid exp'],
    ['exp beyond the safe integers', { iat: NOW, exp: 2 ** 53 }, 'claim_invalid exp'],
    ['exp in milliseconds', { iat: NOW, exp: (NOW + 300) * 1000 }, 'lifetime_too_long exp'],
    ['iat 10 s ahead', { ...times, iat: NOW + 10 }, 'ok'],
    ['iat 11 s ahead', { ...times, iat: NOW + 11 }, 'issued_in_future iat'],
    ['no iat', { exp: NOW + 300 }, 'claim_missing iat'],
    ['iat a string', { ...times, iat: String(NOW) }, 'claim_invalid iat'],
    ['iat a fraction', { ...times, iat: NOW - 0.5 }, 'claim_invalid iat'],
    ['nbf 10 s ahead', { ...times, nbf: NOW + 10 }, 'ok'],
    ['nbf 11 s ahead', { ...times, nbf: NOW + 11 }, 'not_yet_valid nbf'],
    ['nbf a string', { ...times, nbf: '0' }, 'claim_invalid nbf'],
    ['nbf long ago', { ...times, nbf: 0 }, 'ok'],
    ['exactly the longest lifetime', { iat: NOW, exp: NOW + 3600 }, 'ok'],
    ['a second more', { iat: NOW, exp: NOW + 3601 }, 'lifetime_too_long exp'],
    ['a long lifetime that is nearly over', { iat: NOW - 86_400, exp: NOW + 10 }, 'lifetime_too_long exp'],
  ])('%s → %s', (_what, claims, expected) => {
    expect(outcome(checkTimes(claims, rules))).toBe(expected);
  });

  it('without iat, where it is optional, counts the lifetime from now', () => {
    const lax = { ...rules, requireIat: false };
    expect(checkTimes({ exp: NOW + 3600 }, lax)).toEqual({ exp: NOW + 3600, iat: undefined, nbf: undefined });
    expect(outcome(checkTimes({ exp: NOW + 3601 }, lax))).toBe('lifetime_too_long exp');
    expect(outcome(checkTimes({ exp: NOW + 10, iat: 'x' }, lax))).toBe('claim_invalid iat');
  });

  it('without a cap, accepts any lifetime', () => {
    expect(outcome(checkTimes({ exp: NOW + 10 ** 9 }, { nowSeconds: NOW, requireIat: false }))).toBe('ok');
  });
});

describe('readAudience (RFC 7519 §4.1.3)', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => `a${index}`);
  it.each([
    ['a string', 'x', ['x']],
    ['a list of one', ['x'], ['x']],
    ['a hundred', hundred, hundred],
  ])('reads %s', (_what, aud, expected) => {
    expect(readAudience({ aud })).toEqual(expected);
  });
  it.each([
    ['missing', undefined, 'claim_missing aud'],
    ['empty string', '', 'claim_invalid aud'],
    ['empty list', [], 'claim_invalid aud'],
    ['empty member', ['x', ''], 'claim_invalid aud'],
    ['a member that is no string', ['x', 1], 'claim_invalid aud'],
    ['a nested list', [['x']], 'claim_invalid aud'],
    ['the same twice', ['x', 'x'], 'claim_invalid aud'],
    ['101', [...hundred, 'x'], 'claim_invalid aud'],
    ['an object', { x: 1 }, 'claim_invalid aud'],
    ['null', null, 'claim_invalid aud'],
  ])('refuses %s', (_what, aud, expected) => {
    expect(outcome(readAudience({ aud }))).toBe(expected);
  });
});

describe('readString', () => {
  it.each([
    [{ sub: 'ada' }, 'sub', 'ok'],
    [{}, 'sub', 'claim_missing sub'],
    [{ sub: '' }, 'sub', 'claim_invalid sub'],
    [{ sub: { a: 1 } }, 'sub', 'claim_invalid sub'],
    [{ sub: null }, 'sub', 'claim_invalid sub'],
    [{}, 'constructor', 'claim_missing constructor'],
  ])('%j, %s → %s (R13)', (claims, name, expected) => {
    expect(outcome(readString(claims, name))).toBe(expected);
  });
});

describe('tokenIdentity', () => {
  it('is the pair (iss, jti), whatever else the token says', () => {
    expect(tokenIdentity('https://a', { jti: '1', exp: 1 })).toBe(tokenIdentity('https://a', { exp: 2, jti: '1' }));
  });

  it('differs by issuer and by jti, and their boundary cannot be moved', () => {
    const pairs = [
      ['https://a', '1'],
      ['https://b', '1'],
      ['https://a', '2'],
      ['https://a1', ''],
      ['https://a","', '1'],
    ] as const;
    expect(new Set(pairs.map(([iss, jti]) => tokenIdentity(iss, { jti }))).size).toBe(pairs.length);
  });

  it('without a usable jti, is the claims in canonical form (RFC 8785)', () => {
    const identity = tokenIdentity('https://a', { sub: 'x', exp: 1, act: { b: 1, a: 2 } });
    expect(identity).toBe(tokenIdentity('https://a', { act: { a: 2, b: 1 }, exp: 1, sub: 'x' }));
    expect(identity).not.toBe(tokenIdentity('https://a', { sub: 'x', exp: 2, act: { b: 1, a: 2 } }));
    expect(tokenIdentity('https://a', { jti: 1 })).not.toBe(tokenIdentity('https://a', { jti: '1' }));
    expect(tokenIdentity('https://a', { jti: '' })).toMatch(/^claims:[A-Za-z0-9_-]{43}$/);
  });

  it('is a literal that stays the same over releases, for replay marks outlive them', () => {
    expect(tokenIdentity('https://a', { jti: '1' })).toBe('jti:s4CcPviGjBn-Q3h4YYZHUFGuU_DcBci3BJR1iU_sfPA');
    expect(tokenIdentity('https://a', { sub: 'x' })).toBe('claims:LS03qoMiJCcwX86pb6Fg1lPkyvkJlS21x2XDWtE9nlc');
  });
});

describe('claimAt', () => {
  const claims = {
    a: { b: { c: 1 }, 'x.y': 2 },
    'a.b': 'exact',
    'https://example.com/groups': ['g'],
    list: [{ b: 1 }],
    nothing: null,
  };
  it.each([
    ['a', claims.a],
    ['a.b', 'exact'],
    ['a.b.c', 1],
    ['https://example.com/groups', ['g']],
    ['a.x.y', undefined],
    ['list.0.b', undefined],
    ['list.length', undefined],
    ['nothing', null],
    ['nothing.x', undefined],
    ['missing', undefined],
    ['constructor', undefined],
    ['a.constructor.name', undefined],
    ['__proto__', undefined],
    ['', undefined],
  ])('%s', (path, expected) => {
    expect(claimAt(claims, path)).toEqual(expected);
  });
});
