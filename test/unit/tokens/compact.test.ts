import { describe, expect, it } from 'vitest';
import { decodeCompact, MAX_TOKEN_LENGTH, normalizeTyp } from '../../../src/tokens/compact.ts';
import { MAX_JSON_DEPTH } from '../../../src/tokens/strict-json.ts';
import { base64url, ecKey, forge, forgeText, outcome, valid } from './forge.ts';

const key = ecKey('k1');
const header = { alg: 'ES256', kid: 'k1' };
const token = forge(header, { sub: 'ada' }, key.privateKey);
const [headerPart = '', claimsPart = '', signaturePart = ''] = token.split('.');
const part = (text: string | Uint8Array) => `${base64url(text)}.${claimsPart}.${signaturePart}`;
const claims = (text: string | Uint8Array) => `${headerPart}.${base64url(text)}.${signaturePart}`;
const nested = (depth: number) => '{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1);

/** The same bytes in another spelling: the last character's unused bits set. */
function withStrayBits(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(text.at(-1) ?? '');
  const spelled = text.slice(0, -1) + (alphabet[last + 1] ?? '');
  expect(Buffer.from(spelled, 'base64url')).toEqual(Buffer.from(text, 'base64url'));
  return spelled;
}

describe('decodeCompact', () => {
  it('takes a compact JWT apart', () => {
    const jwt = valid(decodeCompact(token));
    expect(jwt).toEqual({ raw: token, header, unverifiedClaims: { sub: 'ada' } });
  });

  it.each([
    ['empty', ''],
    ['one part', headerPart],
    ['two parts', `${headerPart}.${claimsPart}`],
    ['four parts', `${token}.x`],
    ['five parts (JWE)', `${headerPart}.a.b.c.d`],
    ['JSON serialisation', JSON.stringify({ protected: headerPart, payload: claimsPart, signature: signaturePart })],
    ['empty header', `.${claimsPart}.${signaturePart}`],
    ['empty claims', `${headerPart}..${signaturePart}`],
    ['empty signature', `${headerPart}.${claimsPart}.`],
    ['leading white space', ` ${token}`],
    ['trailing newline', `${token}\n`],
    ['white space inside a part', `${headerPart.slice(0, 4)} ${headerPart.slice(4)}.${claimsPart}.${signaturePart}`],
    ['padding', `${headerPart}.${claimsPart}.${signaturePart}==`],
    ['standard base64 alphabet', `${headerPart}.${claimsPart}.a+/a`],
    ['a part of impossible length', `${headerPart}.${claimsPart}.aaaaa`],
    ['a letter outside ASCII', `${headerPart}.${claimsPart}.ääää`],
  ])('refuses what is not the compact serialisation: %s (R12)', (_what, text) => {
    expect(outcome(decodeCompact(text))).toBe('malformed');
  });

  it('refuses a second spelling of the same bytes, so that one token is one string (RFC 4648 §3.5)', () => {
    expect(signaturePart).toHaveLength(86); // 64 bytes: four unused bits
    expect(outcome(decodeCompact(`${headerPart}.${claimsPart}.${withStrayBits(signaturePart)}`))).toBe('malformed');
    const odd = base64url('{"sub":"a"}'); // 11 bytes: two unused bits
    expect(outcome(decodeCompact(`${headerPart}.${odd}.${signaturePart}`))).toBe('ok');
    expect(outcome(decodeCompact(`${headerPart}.${withStrayBits(odd)}.${signaturePart}`))).toBe('malformed claims');
  });

  it('reads up to 16 KiB and no more', () => {
    const padding = (length: number) => `${headerPart}.${claimsPart}.${'A'.repeat(length)}`;
    const most = padding(MAX_TOKEN_LENGTH - headerPart.length - claimsPart.length - 2);
    expect(most).toHaveLength(16_384);
    expect(outcome(decodeCompact(most))).not.toBe('too_large');
    expect(outcome(decodeCompact(`${most}A`))).toBe('too_large');
  });

  it('refuses 8 MB at once', () => {
    const startedMs = performance.now();
    expect(outcome(decodeCompact('A'.repeat(8_000_000)))).toBe('too_large');
    expect(performance.now() - startedMs).toBeLessThan(1_000);
  });

  it.each([
    ['an array', '[]'],
    ['null', 'null'],
    ['a string', '"x"'],
    ['a number', '1'],
    ['not JSON', '{sub:1}'],
    ['trailing text', '{} {}'],
    ['single quotes', "{'sub':'a'}"],
    ['a byte order mark', '\ufeff{}'],
    ['a duplicate key', '{"sub":"a","sub":"b"}'],
    ['a duplicate key in other spelling', '{"sub":"a","s\\u0075b":"b"}'],
    ['a duplicate key inside', '{"act":{"sub":"a","iss":"i","sub":"b"}}'],
    ['a duplicate key after nested values', '{"a":{"b":[1,{"c":2}]},"d":[],"a":1}'],
    ['a duplicate key in an object inside arrays', '{"x":[[{"k":1,"k":2}]]}'],
    ['a duplicate __proto__', '{"__proto__":1,"__proto__":2}'],
    ['a number beyond the doubles', '{"exp":1e999}'],
    ['a lone surrogate in a value', '{"sub":"\\ud800"}'],
    ['a lone surrogate in a key', '{"a":[{"\\udfff":1}]}'],
    ['a control character in a string', '{"sub":"a\nb"}'],
    ['an unclosed string', '{"sub":"a'],
  ])('refuses claims that are not one plain JSON object: %s', (_what, text) => {
    expect(outcome(decodeCompact(claims(text)))).toBe('malformed claims');
  });

  it.each([
    ['an overlong form', [0x22, 0xc0, 0xaf, 0x22]],
    ['a surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a cut sequence', [0x22, 0xe2, 0x82, 0x22]],
  ])('refuses invalid UTF-8: %s', (_what, bytes) => {
    expect(outcome(decodeCompact(claims(Buffer.from([...Buffer.from('{"a":'), ...bytes, 0x7d]))))).toBe(
      'malformed claims',
    );
  });

  it('does not take equal keys of different objects, equal values, or quoted braces for duplicates', () => {
    const text = '{"a":{"x":"a"},"b":{"x":"a"},"c":["a","a",{"x":1}],"d\\"{":"}","e":"{\\"a\\":1,\\"a\\":2}"}';
    expect(valid(decodeCompact(claims(text))).unverifiedClaims).toEqual(JSON.parse(text));
  });

  it('reads nesting up to a bound and never overflows the stack', () => {
    expect(outcome(decodeCompact(claims(nested(MAX_JSON_DEPTH))))).toBe('ok');
    expect(outcome(decodeCompact(claims(nested(MAX_JSON_DEPTH + 1))))).toBe('malformed claims');
    expect(outcome(decodeCompact(claims(`{"a":${'['.repeat(11_000)}}`)))).toBe('malformed claims');
  });

  it('keeps "__proto__" an ordinary member', () => {
    const { unverifiedClaims } = valid(decodeCompact(claims('{"__proto__":{"sub":"root"}}')));
    expect(unverifiedClaims.sub).toBeUndefined();
    expect(Object.keys(unverifiedClaims)).toEqual(['__proto__']);
  });

  it.each([
    ['no alg', '{"kid":"k1"}', 'malformed alg'],
    ['alg not a string', '{"alg":["ES256"]}', 'malformed alg'],
    ['kid not a string', '{"alg":"ES256","kid":1}', 'malformed kid'],
    ['kid null', '{"alg":"ES256","kid":null}', 'malformed kid'],
    ['kid too long', JSON.stringify({ alg: 'ES256', kid: 'k'.repeat(257) }), 'malformed kid'],
    ['typ not a string', '{"alg":"ES256","typ":{}}', 'malformed typ'],
    ['duplicate alg', '{"alg":"ES256","alg":"none"}', 'malformed header'],
    ['header an array', '["alg"]', 'malformed header'],
    ['crit', '{"alg":"ES256","crit":["exp"]}', 'critical_header'],
    ['empty crit', '{"alg":"ES256","crit":[]}', 'critical_header'],
    ['b64 false (RFC 7797)', '{"alg":"ES256","b64":false}', 'critical_header'],
  ])('refuses a header with %s', (_what, text, expected) => {
    expect(outcome(decodeCompact(part(text)))).toBe(expected);
  });

  it('accepts a kid of 256 characters', () => {
    expect(outcome(decodeCompact(part(JSON.stringify({ alg: 'ES256', kid: 'k'.repeat(256) }))))).toBe('ok');
  });

  it('lets headers through that point to keys, for nothing reads them (R14)', () => {
    const text = forgeText(JSON.stringify({ ...header, jku: 'https://evil.example/', x5u: 'x' }), '{}', key.privateKey);
    expect(outcome(decodeCompact(text))).toBe('ok');
  });
});

describe('normalizeTyp', () => {
  it.each([
    [undefined, ''],
    ['', ''],
    ['JWT', 'jwt'],
    ['at+jwt', 'at+jwt'],
    ['application/at+jwt', 'at+jwt'],
    ['Application/AT+JWT', 'at+jwt'],
    ['text/application/jwt', 'text/application/jwt'],
  ])('%s → "%s" (RFC 7515 §4.1.9)', (typ, expected) => {
    expect(normalizeTyp(typ)).toBe(expected);
  });
});
