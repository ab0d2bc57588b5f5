import type { KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { SignatureAlgorithm } from '../../../src/core/protocol.ts';
import { SIGNATURE_ALGORITHMS } from '../../../src/core/protocol.ts';
import { decodeCompact } from '../../../src/tokens/compact.ts';
import type { AdmittedKey } from '../../../src/tokens/jwk.ts';
import { verifySignature } from '../../../src/tokens/verify.ts';
import { admitted, base64url, ecKey, edKey, forge, outcome, rsaKey, valid } from './forge.ts';

const p256 = ecKey('p256');
const p384 = ecKey('p384', 'P-384');
const p521 = ecKey('p521', 'P-521');
const rsa = rsaKey('rsa');
const ed = edKey('ed');
const rsaForPs = { ...rsa, jwk: { ...rsa.jwk, alg: 'PS256' } };
const rsaForRs = { ...rsa, jwk: { ...rsa.jwk, alg: 'RS256' } };
const stranger = ecKey('p256');

async function verify(
  token: string,
  keys: readonly AdmittedKey[],
  algorithms: readonly SignatureAlgorithm[] = SIGNATURE_ALGORITHMS,
) {
  return verifySignature(valid(decodeCompact(token)), keys, algorithms);
}

const claims = { iss: 'https://a.example', sub: 'ada' };

describe('verifySignature', () => {
  it.each([
    ['ES256', p256],
    ['ES384', p384],
    ['ES512', p521],
    ['RS256', rsa],
    ['RS384', rsa],
    ['RS512', rsa],
    ['PS256', rsa],
    ['PS384', rsa],
    ['PS512', rsa],
    ['EdDSA', ed],
  ] as const)('verifies %s', async (alg, key) => {
    const token = forge({ alg, kid: key.jwk.kid }, claims, key.privateKey);
    expect(valid(await verify(token, admitted(p256, p384, p521, rsa, ed), [alg])).claims).toEqual(claims);
  });

  it.each([
    ['another key with the same kid', forge({ alg: 'ES256', kid: 'p256' }, claims, stranger.privateKey)],
    ['other claims', replacePart(forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey), 1, '{"sub":"eve"}')],
    [
      'another header',
      replacePart(
        forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey),
        0,
        '{"alg":"ES256","kid":"p256","typ":"at+jwt"}',
      ),
    ],
    [
      'a short signature',
      replacePart(forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey), 2, new Uint8Array(63)),
    ],
    [
      'a signature of zeros',
      replacePart(forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey), 2, new Uint8Array(64)),
    ],
    ['a DER signature', derSigned()],
  ])('refuses %s', async (_what, token) => {
    expect(outcome(await verify(token, admitted(p256)))).toBe('signature_invalid');
  });

  describe('algorithm confusion (R11, RFC 8725 §3.1)', () => {
    const spki = (key: KeyObject) => Buffer.from(key.export({ type: 'spki', format: 'pem' }));
    const all = admitted(p256, p384, p521, rsa, ed);
    it.each([
      ['none', forge({ alg: 'none' }, claims, p256.privateKey), all, 'algorithm_not_allowed'],
      ['nOnE', forge({ alg: 'nOnE', kid: 'p256' }, claims, p256.privateKey), all, 'algorithm_not_allowed'],
      ['empty alg', forge({ alg: '', kid: 'p256' }, claims, p256.privateKey), all, 'algorithm_not_allowed'],
      [
        'es256 in lower case',
        forge({ alg: 'es256', kid: 'p256' }, claims, p256.privateKey),
        all,
        'algorithm_not_allowed',
      ],
      [
        'HS256 with the RSA public key (PEM)',
        forge({ alg: 'HS256', kid: 'rsa' }, claims, spki(rsa.publicKey)),
        all,
        'algorithm_not_allowed',
      ],
      [
        'HS256 with the EC public key (PEM)',
        forge({ alg: 'HS256', kid: 'p256' }, claims, spki(p256.publicKey)),
        all,
        'algorithm_not_allowed',
      ],
      [
        'HS256 with the public JWK',
        forge({ alg: 'HS256', kid: 'p256' }, claims, Buffer.from(JSON.stringify(p256.jwk))),
        all,
        'algorithm_not_allowed',
      ],
      [
        'RS256 by a key for PS256',
        forge({ alg: 'RS256', kid: 'rsa' }, claims, rsa.privateKey),
        admitted(rsaForPs),
        'algorithm_not_allowed',
      ],
      [
        'PS256 by a key for RS256',
        forge({ alg: 'PS256', kid: 'rsa' }, claims, rsa.privateKey),
        admitted(rsaForRs),
        'algorithm_not_allowed',
      ],
      [
        'RS512 by a key for RS256',
        forge({ alg: 'RS512', kid: 'rsa' }, claims, rsa.privateKey),
        admitted(rsaForRs),
        'algorithm_not_allowed',
      ],
      [
        'ES256 by a P-384 key',
        forge({ alg: 'ES256', kid: 'p384' }, claims, p384.privateKey),
        all,
        'algorithm_not_allowed',
      ],
      [
        'ES384 by a P-256 key',
        forge({ alg: 'ES384', kid: 'p256' }, claims, p256.privateKey),
        all,
        'algorithm_not_allowed',
      ],
      [
        'RS256 naming an EC key',
        forge({ alg: 'RS256', kid: 'p256' }, claims, rsa.privateKey),
        all,
        'algorithm_not_allowed',
      ],
      ['ES256K', forge({ alg: 'ES256K', kid: 'p256' }, claims, p256.privateKey), all, 'algorithm_not_allowed'],
      ['dir', forge({ alg: 'dir', enc: 'A128GCM' }, claims, p256.privateKey), all, 'algorithm_not_allowed'],
      [
        'RS256 body, signed as PS256',
        replaceAlg(forge({ alg: 'PS256', kid: 'rsa' }, claims, rsa.privateKey), 'RS256'),
        admitted(rsa),
        'signature_invalid',
      ],
    ])('refuses %s', async (_what, token, keys, expected) => {
      expect(outcome(await verify(token, keys))).toBe(expected);
    });

    it('refuses an algorithm outside the caller’s list, whatever the key can do', async () => {
      const token = forge({ alg: 'PS256', kid: 'rsa' }, claims, rsa.privateKey);
      expect(outcome(await verify(token, admitted(rsa), ['RS256']))).toBe('algorithm_not_allowed');
      expect(outcome(await verify(token, admitted(rsa), ['RS256', 'PS256']))).toBe('ok');
    });
  });

  describe('choice of the key', () => {
    it('refuses an unknown kid, even where another key would verify', async () => {
      const token = forge({ alg: 'ES256', kid: 'other' }, claims, p256.privateKey);
      expect(outcome(await verify(token, admitted(p256)))).toBe('key_unknown kid');
    });

    it('without kid, takes the only key for the algorithm', async () => {
      const token = forge({ alg: 'ES256' }, claims, p256.privateKey);
      expect(outcome(await verify(token, admitted(rsa, p256, p384)))).toBe('ok');
    });

    it('without kid, refuses to guess between two keys', async () => {
      const token = forge({ alg: 'ES256' }, claims, p256.privateKey);
      expect(outcome(await verify(token, admitted(p256, ecKey('second'))))).toBe('key_unknown');
    });

    it('without keys, knows none', async () => {
      expect(outcome(await verify(forge({ alg: 'ES256' }, claims, p256.privateKey), []))).toBe('key_unknown');
    });

    it('never uses a key that the token brings along (R14)', async () => {
      const header = { alg: 'ES256', kid: 'p256', jwk: stranger.jwk, x5c: ['MIIB'], jku: 'https://evil.example' };
      expect(outcome(await verify(forge(header, claims, stranger.privateKey), admitted(p256)))).toBe(
        'signature_invalid',
      );
    });
  });

  it('verifies a signature with s replaced by n − s like any ES256 verifier: strings are not identities', async () => {
    const token = forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey);
    const twin = malleated(token);
    expect(twin).not.toBe(token);
    expect(outcome(await verify(twin, admitted(p256)))).toBe('ok');
  });
});

function replacePart(token: string, index: number, value: string | Uint8Array): string {
  return token
    .split('.')
    .map((part, at) => (at === index ? base64url(value) : part))
    .join('.');
}

function replaceAlg(token: string, alg: string): string {
  return replacePart(token, 0, JSON.stringify({ alg, kid: 'rsa' }));
}

function malleated(token: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const signature = Buffer.from(token.split('.')[2] ?? '', 'base64url');
  const s = BigInt(`0x${signature.subarray(32).toString('hex')}`);
  const other = Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex');
  return replacePart(token, 2, Buffer.concat([signature.subarray(0, 32), other]));
}

function derSigned(): string {
  const token = forge({ alg: 'ES256', kid: 'p256' }, claims, p256.privateKey);
  const raw = Buffer.from(token.split('.')[2] ?? '', 'base64url');
  const integer = (bytes: Buffer) => Buffer.concat([Buffer.from([2, 33, 0]), bytes]);
  const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
  return replacePart(token, 2, Buffer.concat([Buffer.from([0x30, body.length]), body]));
}
