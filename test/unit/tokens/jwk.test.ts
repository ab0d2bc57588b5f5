import { describe, expect, it } from 'vitest';
import { admitJwks } from '../../../src/tokens/jwk.ts';
import { base64url, ecKey, edKey, outcome, rsaKey, valid } from './forge.ts';

const p256 = ecKey('p256').jwk;
const rsa = rsaKey('rsa').jwk;
const ed = edKey('ed').jwk;
const admittedKids = (document: unknown, uses?: string[]) =>
  valid(admitJwks(document, uses === undefined ? {} : { uses })).map(({ kid }) => kid);
const { kid: _kid, ...anonymous } = p256;
const shorterBy = (text: string | undefined, bytes: number) =>
  base64url(Buffer.from(text ?? '', 'base64url').subarray(bytes));

/** All of them, with both signs and in the encodings that are not canonical. */
const SMALL_ORDER_POINTS = [
  `01${'00'.repeat(31)}`,
  `01${'00'.repeat(30)}80`,
  `ec${'ff'.repeat(30)}7f`,
  `ec${'ff'.repeat(31)}`,
  '00'.repeat(32),
  `${'00'.repeat(31)}80`,
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(31)}`,
];

describe('admitJwks (R16)', () => {
  it.each([
    ['RSA', rsa, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']],
    ['RSA that names PS256', { ...rsa, alg: 'PS256' }, ['PS256']],
    ['P-256', p256, ['ES256']],
    ['P-384', ecKey('k', 'P-384').jwk, ['ES384']],
    ['P-521', ecKey('k', 'P-521').jwk, ['ES512']],
    ['Ed25519', ed, ['EdDSA']],
    ['P-256 that names ES256', { ...p256, alg: 'ES256' }, ['ES256']],
  ])('admits %s, with its algorithms', (_what, jwk, algorithms) => {
    const [key] = valid(admitJwks({ keys: [jwk] }));
    expect(key?.algorithms).toEqual(algorithms);
    expect(key?.kid).toBe(jwk.kid);
    expect(key?.key.type).toBe('public');
  });

  it.each([
    ['undefined', undefined, 'malformed keys'],
    ['a list', [p256], 'malformed keys'],
    ['a single key', p256, 'malformed keys'],
    ['keys not a list', { keys: { p256 } }, 'malformed keys'],
    ['a member that is no object', { keys: [p256, 'x'] }, 'malformed keys'],
    ['a member without kty', { keys: [{ kid: 'x' }] }, 'malformed kty'],
    [
      '21 keys',
      { keys: Array.from({ length: 21 }, (_, index) => ({ ...p256, kid: String(index) })) },
      'too_large keys',
    ],
    ['one kid twice', { keys: [p256, { ...ed, kid: 'p256' }] }, 'malformed kid'],
    [
      'one kid twice, one of them for encryption',
      { keys: [p256, { ...rsa, kid: 'p256', use: 'enc' }] },
      'malformed kid',
    ],
    ['an empty kid', { keys: [{ ...p256, kid: '' }] }, 'malformed kid'],
    ['a kid that is a number', { keys: [{ ...p256, kid: 7 }] }, 'malformed kid'],
    ['a kid of 257 characters', { keys: [{ ...p256, kid: 'k'.repeat(257) }] }, 'malformed kid'],
    ['a shared secret', { keys: [p256, { kty: 'oct', k: 'AAAA', kid: 'secret' }] }, 'malformed private'],
    ['a private EC key', { keys: [{ ...p256, d: 'AAAA' }] }, 'malformed private'],
    ['a private RSA key for encryption', { keys: [p256, { ...rsa, use: 'enc', p: 'AAAA' }] }, 'malformed private'],
    ['private members of a kind not used here', { keys: [{ kty: 'XYZ', d: 'AAAA' }] }, 'malformed private'],
  ])('refuses the whole document: %s', (_what, document, expected) => {
    expect(outcome(admitJwks(document))).toBe(expected);
  });

  it('admits 20 keys, and a document without keys', () => {
    expect(
      admittedKids({ keys: Array.from({ length: 20 }, (_, index) => ({ ...p256, kid: String(index) })) }),
    ).toHaveLength(20);
    expect(admittedKids({ keys: [] })).toEqual([]);
  });

  it('is not fooled by a key that looks like a fault', () => {
    expect(admittedKids({ keys: [{ ...p256, kind: 'fault', code: 'expired' }] })).toEqual(['p256']);
  });

  it.each([
    ['RSA of 1024 bits', rsaKey('weak', 1024).jwk],
    ['RSA of 2040 bits', rsaKey('weak', 2040).jwk],
    ['RSA with exponent 3', rsaKey('weak', 2048, 3).jwk],
    ['RSA with exponent 1', { ...rsa, kid: 'weak', e: 'AQ' }],
    ['RSA with an even exponent', { ...rsa, kid: 'weak', e: 'AQAA' }],
    ['RSA with a huge exponent', { ...rsa, kid: 'weak', e: rsa.n }],
    [
      'RSA of 2048 bits with leading zeros instead of bits',
      {
        ...rsa,
        kid: 'weak',
        n: base64url(Buffer.concat([Buffer.alloc(128), Buffer.from(rsaKey('x', 1024).jwk.n ?? '', 'base64url')])),
      },
    ],
    [
      'RSA with an even modulus',
      {
        ...rsa,
        kid: 'weak',
        n: base64url(Buffer.from(rsa.n ?? '', 'base64url').map((byte, at) => (at === 255 ? byte & 0xfe : byte))),
      },
    ],
    ['RSA without modulus', { kty: 'RSA', kid: 'weak', e: 'AQAB' }],
    ['an EC point that is not on its curve', { ...p256, kid: 'weak', y: p256.x }],
    ['an EC point with a short coordinate', { ...p256, kid: 'weak', x: shorterBy(p256.x, 1) }],
    [
      'the EC point (0, 0)',
      { ...p256, kid: 'weak', x: base64url(new Uint8Array(32)), y: base64url(new Uint8Array(32)) },
    ],
    ['an EC key without y', { ...p256, kid: 'weak', y: undefined }],
    ['a P-256 point under the name P-384', { ...p256, kid: 'weak', crv: 'P-384' }],
    ['secp256k1', ecKey('weak', 'secp256k1').jwk],
    ['Ed25519 of 31 bytes', { ...ed, kid: 'weak', x: shorterBy(ed.x, 1) }],
    ['X25519', { kty: 'OKP', crv: 'X25519', kid: 'weak', x: ed.x }],
    ...SMALL_ORDER_POINTS.map((hex): [string, unknown] => [
      `the Ed25519 point ${hex.slice(0, 4)}…${hex.slice(-4)} of small order`,
      { ...ed, kid: 'weak', x: base64url(Buffer.from(hex, 'hex')) },
    ]),
    ['a number where a string belongs', { ...p256, kid: 'weak', x: 1 }],
  ])('never admits %s, and keeps the good key beside it', (_what, weak) => {
    expect(admittedKids({ keys: [weak, p256] })).toEqual(['p256']);
  });

  it('admits RSA of 2048 and 4096 bits, not more', () => {
    expect(admittedKids({ keys: [rsaKey('r4096', 4096).jwk] })).toEqual(['r4096']);
    // A modulus of 4104 bits; whether it is a product of primes does not matter here.
    const n = base64url(Buffer.from(new Uint8Array(513).fill(0xff)));
    expect(admittedKids({ keys: [{ kty: 'RSA', kid: 'r4104', n, e: 'AQAB' }] })).toEqual([]);
  });

  it.each([
    ['a key for encryption', { ...rsa, use: 'enc' }],
    ['a key for X.509', { ...p256, use: 'x509-svid' }],
    ['use that is not a string', { ...p256, use: ['sig'] }],
    ['key_ops without verify', { ...p256, key_ops: ['encrypt'] }],
    ['key_ops that is no list', { ...p256, key_ops: 'verify' }],
    ['an unknown kty', { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA', kid: 'pq' }],
    ['an alg of another family', { ...rsa, alg: 'RSA-OAEP' }],
    ['an alg of another curve', { ...p256, alg: 'ES384' }],
    ['an HMAC alg on a public key', { ...rsa, alg: 'HS256' }],
  ])('leaves out %s', (_what, jwk) => {
    expect(admittedKids({ keys: [jwk, { ...ed, kid: 'good' }] })).toEqual(['good']);
  });

  it('admits a kid of 256 characters', () => {
    expect(admittedKids({ keys: [{ ...p256, kid: 'k'.repeat(256) }] })).toHaveLength(1);
  });

  it('admits keys without kid, without use, and with key_ops that include verify', () => {
    expect(admittedKids({ keys: [anonymous, { ...anonymous, use: undefined }] })).toEqual([undefined, undefined]);
    expect(admittedKids({ keys: [{ ...p256, key_ops: ['sign', 'verify'] }] })).toEqual(['p256']);
  });

  it('of a SPIFFE bundle admits only what says jwt-svid (SPIFFE JWT-SVID §6)', () => {
    const bundle = {
      spiffe_sequence: 1,
      keys: [
        { ...rsa, use: 'x509-svid', x5c: ['MIIB'] },
        { ...p256, use: 'jwt-svid' },
        { ...ed, use: undefined },
        { ...ecKey('sig').jwk, use: 'sig' },
      ],
    };
    expect(admittedKids(bundle, ['jwt-svid'])).toEqual(['p256']);
    expect(admittedKids(bundle)).toEqual(['ed', 'sig']);
    expect(admittedKids(bundle, ['jwt-svid', 'sig'])).toEqual(['p256', 'ed', 'sig']);
  });
});
