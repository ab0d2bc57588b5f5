import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { readOwnToken, signAccessToken } from '../../../src/tokens/access-token.ts';
import type { AccessTokenClaims, SigningKey } from '../../../src/tokens/access-token.ts';
import { decodeCompact } from '../../../src/tokens/compact.ts';
import { verifySignature } from '../../../src/tokens/verify.ts';
import { admitted, ecKey, forge, outcome, rsaKey, valid } from './forge.ts';

const ISSUER = 'https://sts.example';
const NOW = 1_800_000_000;
const key = ecKey('k1');
const signing: SigningKey = { kid: 'k1', alg: 'ES256', privateKey: key.privateKey };
const claims: AccessTokenClaims = {
  iss: ISSUER,
  sub: 'corp:ada',
  aud: 'https://mcp.example/files',
  client_id: 'agent',
  jti: 'j1',
  iat: NOW,
  exp: NOW + 300,
  scope: 'read write',
  sub_id: { format: 'iss_sub', iss: 'https://corp.example', sub: 'ada' },
  act: { sub: 'agent', iss: ISSUER, client_id: 'agent' },
  auth_time: NOW - 60,
  acr: 'mfa',
  amr: ['pwd', 'otp'],
};

async function read(token: string, nowSeconds = NOW) {
  const verified = valid(await verifySignature(valid(decodeCompact(token)), admitted(key), ['ES256']));
  return readOwnToken(verified, { issuer: ISSUER, nowSeconds });
}

describe('signAccessToken', () => {
  it('writes exactly alg, kid and typ into the header (RFC 9068 §2.1), and the claims as they are', async () => {
    const token = await signAccessToken(claims, signing);
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' });
    expect(decodeJwt(token)).toEqual(claims);
  });

  it.each([
    ['ES256', key],
    ['RS256', rsaKey('k1')],
  ] as const)('signs with %s what other libraries verify', async (alg, { privateKey, publicKey }) => {
    const token = await signAccessToken(claims, { kid: 'k1', alg, privateKey });
    const { payload } = await jwtVerify(token, publicKey, {
      issuer: ISSUER,
      audience: 'https://mcp.example/files',
      typ: 'at+jwt',
      algorithms: [alg],
      currentDate: new Date(NOW * 1000),
    });
    expect(payload.sub).toBe('corp:ada');
  });

  it('leaves absent claims out', async () => {
    const { scope: _, act: __, ...few } = claims;
    expect(Object.keys(decodeJwt(await signAccessToken(few, signing)))).not.toContain('act');
  });
});

describe('readOwnToken', () => {
  it('reads back what was signed', async () => {
    expect(await read(await signAccessToken(claims, signing))).toEqual({
      subject: { issuer: 'https://corp.example', sub: 'ada' },
      sub: 'corp:ada',
      audience: ['https://mcp.example/files'],
      clientId: 'agent',
      jti: 'j1',
      iat: NOW,
      exp: NOW + 300,
      scopes: ['read', 'write'],
      chain: [{ issuer: ISSUER, sub: 'agent', clientId: 'agent' }],
      authTime: NOW - 60,
      acr: 'mfa',
      amr: ['pwd', 'otp'],
      kid: 'k1',
    });
  });

  it('reads a token without scope and act as one without scopes and actors', async () => {
    const { scope: _, act: __, ...few } = claims;
    expect(valid(await read(await signAccessToken(few, signing)))).toMatchObject({ scopes: [], chain: [] });
  });

  it.each([
    ['typ JWT (R10)', { typ: 'JWT' }, {}, 'type_not_allowed typ'],
    ['no typ (R10)', { typ: undefined }, {}, 'type_not_allowed typ'],
    ['typ in another spelling than ours', { typ: 'application/at+jwt' }, {}, 'type_not_allowed typ'],
    ['no kid', { kid: undefined }, {}, 'key_unknown kid'],
    ['another issuer (R13)', {}, { iss: 'https://corp.example' }, 'issuer_mismatch iss'],
    ['our issuer with a slash (R13)', {}, { iss: `${ISSUER}/` }, 'issuer_mismatch iss'],
    ['expired (R15)', {}, { iat: NOW - 300, exp: NOW }, 'expired exp'],
    ['no iat', {}, { iat: undefined }, 'claim_missing iat'],
    ['a life of 901 s', {}, { exp: NOW + 901 }, 'lifetime_too_long exp'],
    ['a binding (R17)', {}, { cnf: { jkt: 'x' } }, 'bound cnf'],
    ['no sub', {}, { sub: undefined }, 'claim_missing sub'],
    ['sub an object (R13)', {}, { sub: { a: 1 } }, 'claim_invalid sub'],
    ['no client_id', {}, { client_id: undefined }, 'claim_missing client_id'],
    ['no jti', {}, { jti: undefined }, 'claim_missing jti'],
    ['jti a number', {}, { jti: 7 }, 'claim_invalid jti'],
    ['no aud', {}, { aud: undefined }, 'claim_missing aud'],
    ['no sub_id', {}, { sub_id: undefined }, 'claim_missing sub_id'],
    ['sub_id of another format', {}, { sub_id: { format: 'email', email: 'a@b' } }, 'claim_invalid sub_id'],
    ['sub_id a string', {}, { sub_id: 'ada' }, 'claim_invalid sub_id'],
    [
      'sub_id of another format, with iss and sub',
      {},
      { sub_id: { ...claims.sub_id, format: 'x' } },
      'claim_invalid sub_id',
    ],
    ['sub_id without iss', {}, { sub_id: { format: 'iss_sub', sub: 'ada' } }, 'claim_invalid sub_id'],
    ['sub_id with an empty sub', {}, { sub_id: { ...claims.sub_id, sub: '' } }, 'claim_invalid sub_id'],
    ['sub_id with an empty iss', {}, { sub_id: { ...claims.sub_id, iss: '' } }, 'claim_invalid sub_id'],
    ['sub_id with a sub that is no string', {}, { sub_id: { ...claims.sub_id, sub: 7 } }, 'claim_invalid sub_id'],
    ['sub_id without sub', {}, { sub_id: { format: 'iss_sub', iss: 'https://corp.example' } }, 'claim_invalid sub_id'],
    ['scope a list', {}, { scope: ['read'] }, 'claim_invalid scope'],
    ['act a string (R8)', {}, { act: 'agent' }, 'claim_invalid act'],
  ])('refuses one with %s', async (_what, header, changed, expected) => {
    const token = forge(
      { alg: 'ES256', kid: 'k1', typ: 'at+jwt', ...header },
      { ...claims, ...changed },
      key.privateKey,
    );
    expect(outcome(await read(token))).toBe(expected);
  });

  it.each([
    ['auth_time', 'yesterday'],
    ['auth_time', -1],
    ['auth_time', 1.5],
    ['acr', 7],
    ['acr', ''],
    ['amr', 'pwd'],
    ['amr', ['pwd', 7]],
    ['amr', Array.from({ length: 33 }, () => 'pwd')],
  ])('treats %s as absent where it is %j', async (name, value) => {
    const token = forge({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' }, { ...claims, [name]: value }, key.privateKey);
    const own = valid(await read(token));
    expect([own.authTime, own.acr, own.amr].filter((known) => known === undefined)).toHaveLength(1);
  });

  it('accepts a life of 900 s, to its last second', async () => {
    const token = await signAccessToken({ ...claims, exp: NOW + 900 }, signing);
    expect(outcome(await read(token, NOW + 899))).toBe('ok');
    expect(outcome(await read(token, NOW + 900))).toBe('expired exp');
  });
});
