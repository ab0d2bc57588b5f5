import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/core/log.ts';
import type { DeclaredType } from '../../../src/trust/token-kinds.ts';
import type { ExternalTokenType } from '../../../src/objects/issuer.ts';
import { issuerSpec } from '../../../src/objects/issuer.ts';
import type { Fetcher } from '../../../src/net/fetcher.ts';
import { decodeCompact } from '../../../src/tokens/compact.ts';
import { issuerOfUnverified, verifyExternalToken } from '../../../src/trust/external-token.ts';
import { createKeySets } from '../../../src/trust/key-sets.ts';
import { ecKey, forge, outcome, rsaKey, valid } from '../tokens/forge.ts';

const NOW = 1_800_000_000;
const ISS = 'https://corp.example';
const key = ecKey('k1');
const other = ecKey('k1');
const rsa = rsaKey('r1');

/** Static keys only: a fetch would be a bug. */
const noFetcher: Fetcher = {
  getJson: () => Promise.reject(new Error('nothing here may fetch')),
  close: () => Promise.resolve(),
};
const clock = { nowMs: () => NOW * 1000 };
const keySets = createKeySets({ fetcher: noFetcher, clock, logger: createLogger('silent') });

interface Case {
  /** Merged over the trusted issuer `corp`. */
  readonly spec?: object;
  readonly header?: object;
  readonly claims?: object;
  readonly tokenType?: DeclaredType;
  readonly iss?: string;
  readonly by?: typeof key;
}

/** Verifies an ID token of `corp` with these differences. */
async function verify({ spec, header, claims, tokenType = 'id_token', iss, by = key }: Case = {}) {
  const parsed = issuerSpec.parse({
    name: 'corp',
    issuer: ISS,
    jwks: { keys: [key.jwk, rsa.jwk] },
    ...spec,
  });
  const token = forge(
    { alg: 'ES256', kid: 'k1', ...header },
    { iss: ISS, sub: 'ada', aud: 'cambist', iat: NOW, exp: NOW + 300, ...claims },
    by.privateKey,
  );
  const jwt = valid(decodeCompact(token));
  return verifyExternalToken(jwt, { spec: parsed, iss: iss ?? parsed.issuer, nowSeconds: NOW, tokenType, keySets });
}
const outcomeOf = async (changes: Case) => outcome(await verify(changes));

describe('verifyExternalToken', () => {
  it('reads an ID token', async () => {
    const claims = { jti: 'j1', auth_time: NOW - 60, acr: 'mfa', amr: ['pwd'] };
    expect(await verify({ claims })).toEqual({
      principal: { issuer: ISS, sub: 'ada' },
      issuerName: 'corp',
      audience: ['cambist'],
      exp: NOW + 300,
      iat: NOW,
      identity: expect.stringMatching(/^jti:/),
      groups: [],
      chain: [],
      authTime: NOW - 60,
      acr: 'mfa',
      amr: ['pwd'],
    });
  });

  it.each<[string, Case, string]>([
    ['a signature of another key (R13)', { by: other }, 'signature_invalid'],
    ['our key, but another iss (R13)', { claims: { iss: 'https://evil.example' } }, 'issuer_mismatch iss'],
    ['no iss', { claims: { iss: undefined } }, 'issuer_mismatch iss'],
    ['iss as a list', { claims: { iss: [ISS] } }, 'issuer_mismatch iss'],
    [
      'an algorithm that is not listed (R11)',
      { header: { alg: 'PS256', kid: 'r1' }, by: rsa },
      'algorithm_not_allowed',
    ],
    ['alg none (R11)', { header: { alg: 'none' } }, 'algorithm_not_allowed'],
    ['an unknown kid', { header: { kid: 'k2' } }, 'key_unknown kid'],
    ['exp now (R15)', { claims: { exp: NOW } }, 'expired exp'],
    ['no exp (R15)', { claims: { exp: undefined } }, 'claim_missing exp'],
    ['iat 11 s ahead (R15)', { claims: { iat: NOW + 11 } }, 'issued_in_future iat'],
    ['nbf 11 s ahead (R15)', { claims: { nbf: NOW + 11 } }, 'not_yet_valid nbf'],
    ['no iat in an ID token', { claims: { iat: undefined } }, 'claim_missing iat'],
    ['a life beyond the cap (R15)', { spec: { max_lifetime_seconds: 299 } }, 'lifetime_too_long exp'],
    ['a binding (R17)', { claims: { cnf: { jkt: 'x' } } }, 'bound cnf'],
    ['a binding that is null (R17)', { claims: { cnf: null } }, 'bound cnf'],
    ['no sub (R13)', { claims: { sub: undefined } }, 'claim_missing sub'],
    ['an empty sub (R13)', { claims: { sub: '' } }, 'claim_invalid sub'],
    ['sub as an object (R13)', { claims: { sub: { id: 1 } } }, 'claim_invalid sub'],
    ['sub as a number (R13)', { claims: { sub: 7 } }, 'claim_invalid sub'],
    ['sub with a control character', { claims: { sub: 'ada\u0000' } }, 'claim_invalid sub'],
    ['sub of 1025 characters', { claims: { sub: 'a'.repeat(1025) } }, 'claim_invalid sub'],
    ['no aud', { claims: { aud: undefined } }, 'claim_missing aud'],
    ['an empty aud', { claims: { aud: [] } }, 'claim_invalid aud'],
    ['an unreadable act (R8)', { claims: { act: {} } }, 'claim_invalid act'],
    ['act null (R8)', { claims: { act: null } }, 'claim_invalid act'],
  ])('refuses %s', async (_what, changes, expected) => {
    expect(await outcomeOf(changes)).toBe(expected);
  });

  it('refuses by header before it asks for keys', async () => {
    const spec = { jwks: undefined, jwks_uri: 'https://corp.example/jwks' };
    expect(await outcomeOf({ spec, header: { alg: 'HS256' } })).toBe('algorithm_not_allowed');
    expect(await outcomeOf({ spec, header: { typ: 'at+jwt' } })).toBe('type_not_allowed typ');
    await expect(verify({ spec })).rejects.toThrow('could not be fetched');
  });

  it('is bound to one tenant of a templated issuer (R13)', async () => {
    const subject = { claims: ['tid', 'oid'] };
    const spec = { issuer: 'https://login.example/{tenant}/v2.0', tenants: ['a', 'b'], subject };
    const claims = { iss: 'https://login.example/a/v2.0', tid: 'a', oid: 'ada' };
    expect(await outcomeOf({ spec, claims, iss: 'https://login.example/a/v2.0' })).toBe('ok');
    expect(await outcomeOf({ spec, claims, iss: 'https://login.example/b/v2.0' })).toBe('issuer_mismatch iss');
    // Signed for tenant a, about somebody of tenant b.
    expect(await outcomeOf({ spec, claims: { ...claims, tid: 'b' }, iss: 'https://login.example/a/v2.0' })).toBe(
      'issuer_mismatch sub',
    );
  });

  it('keeps the actors that the token names, and its may_act', async () => {
    const claims = { act: { sub: 'bot', act: { sub: 'x', iss: 'https://x' } }, may_act: { sub: 'agent' } };
    expect(await verify({ claims })).toMatchObject({
      chain: [
        { issuer: ISS, sub: 'bot' },
        { issuer: 'https://x', sub: 'x' },
      ],
      mayAct: { sub: 'agent' },
    });
  });

  it('has one identity whatever its signature', async () => {
    const [first, second] = [valid(await verify()), valid(await verify())];
    expect(first.identity).toMatch(/^claims:/);
    expect(second.identity).toBe(first.identity);
    expect(valid(await verify({ claims: { exp: NOW + 301 } })).identity).not.toBe(first.identity);
  });
});

describe('kinds of tokens (R10, RFC 8725 §3.11)', () => {
  // The telling members of tokens as the products write them.
  const products: [string, object, object, ExternalTokenType[]][] = [
    [
      'Okta ID token',
      {},
      { ver: 1, amr: ['pwd'], idp: 'i', auth_time: NOW, at_hash: 'h', nonce: 'n' },
      ['id_token', 'jwt'],
    ],
    ['Okta access token', {}, { ver: 1, cid: 'c', uid: 'u', scp: ['openid'] }, ['jwt']],
    [
      'Entra ID token',
      { typ: 'JWT' },
      { ver: '2.0', oid: 'o', tid: 't', rh: 'r', uti: 'u', groups: ['g'] },
      ['id_token', 'jwt'],
    ],
    ['Entra access token for a user', { typ: 'JWT' }, { ver: '2.0', azp: 'c', azpacr: '1', scp: 'read' }, ['jwt']],
    ['Entra access token for an app', { typ: 'JWT' }, { ver: '2.0', azp: 'c', azpacr: '1', roles: ['r'] }, ['jwt']],
    [
      'Keycloak ID token',
      { typ: 'JWT' },
      { typ: 'ID', azp: 'c', sid: 's', acr: '1', email_verified: true },
      ['id_token', 'jwt'],
    ],
    ['Keycloak access token', { typ: 'JWT' }, { typ: 'Bearer', azp: 'c', scope: 'openid' }, ['jwt']],
    ['Keycloak access token without scope', { typ: 'JWT' }, { typ: 'Bearer', azp: 'c' }, ['jwt']],
    ['Keycloak logout token', { typ: 'logout+jwt' }, { typ: 'Logout', events: {} }, []],
    ['logout token without typ', {}, { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, []],
    ['oidc-provider ID token', { typ: 'JWT' }, { at_hash: 'h', sid: 's', nonce: 'n' }, ['id_token', 'jwt']],
    ['RFC 9068 access token', { typ: 'at+jwt' }, { client_id: 'c', scope: 's', jti: 'j' }, ['access_token', 'jwt']],
    [
      'RFC 9068 access token, long typ',
      { typ: 'application/AT+JWT' },
      { client_id: 'c', jti: 'j' },
      ['access_token', 'jwt'],
    ],
    [
      'Google ID token',
      { typ: 'JWT' },
      { azp: 'c', hd: 'corp.example', email_verified: true, at_hash: 'h' },
      ['id_token', 'jwt'],
    ],
    ['ZITADEL ID token', {}, { azp: 'c', client_id: 'c', amr: ['pwd'], at_hash: 'h', sid: 's' }, ['id_token', 'jwt']],
    ['Auth0 machine token', { typ: 'JWT' }, { azp: 'c', gty: 'client-credentials' }, ['jwt']],
    ['Cognito ID token', {}, { token_use: 'id', 'cognito:username': 'ada' }, ['id_token', 'jwt']],
    ['Cognito access token', {}, { token_use: 'access', client_id: 'c', scope: 'openid' }, ['jwt']],
    ['Kubernetes service account token', {}, { 'kubernetes.io': { namespace: 'n' } }, ['id_token', 'jwt']],
    ['ID-JAG', { typ: 'oauth-id-jag+jwt' }, { client_id: 'c' }, []],
    ['security event token', { typ: 'secevent+jwt' }, { events: {} }, []],
    ['DPoP proof', { typ: 'dpop+jwt' }, { htm: 'POST' }, []],
    ['our own kind of nested JWT', { typ: 'JWS' }, {}, []],
  ];
  const spec = { token_types: { access_token: {}, id_token: {}, jwt: {} } };

  it.each(products)('%s', async (_what, header, claims, expected) => {
    const accepted: ExternalTokenType[] = [];
    for (const tokenType of ['access_token', 'id_token', 'jwt'] as const)
      if ((await outcomeOf({ spec, header, claims, tokenType })) === 'ok') accepted.push(tokenType);
    expect(accepted).toEqual(expected);
  });

  it('a kind that the trusted issuer does not list is refused', async () => {
    expect(await outcomeOf({ header: { typ: 'at+jwt' }, tokenType: 'access_token' })).toBe('type_not_allowed typ');
    expect(await outcomeOf({ spec: { token_types: { jwt: {} } } })).toBe('type_not_allowed typ');
    const onlyAccess = { token_types: { access_token: {} } };
    expect(await outcomeOf({ spec: onlyAccess, tokenType: 'jwt' })).toBe('type_not_allowed typ');
    expect(await outcomeOf({ spec: onlyAccess, header: { typ: 'at+jwt' }, tokenType: 'jwt' })).toBe('ok');
  });

  it('a client assertion of a platform is of kind jwt and no other', async () => {
    const tokenType = 'platform';
    expect(await outcomeOf({ spec: { token_types: { jwt: {} } }, tokenType })).toBe('ok');
    expect(await outcomeOf({ spec: { token_types: { id_token: {} } }, tokenType })).toBe('type_not_allowed typ');
    const access = { token_types: { access_token: {} } };
    expect(await outcomeOf({ spec: access, header: { typ: 'at+jwt' }, tokenType })).toBe('type_not_allowed typ');
  });

  it('declared as jwt, is any one kind that it meets', async () => {
    const either = { token_types: { id_token: { require: { nonce: true } }, jwt: { require: { ref: true } } } };
    expect(await outcomeOf({ spec: either, claims: { nonce: 'n' }, tokenType: 'jwt' })).toBe('ok');
    expect(await outcomeOf({ spec: either, claims: { ref: 'main' }, tokenType: 'jwt' })).toBe('ok');
    expect(await outcomeOf({ spec: either, tokenType: 'jwt' })).toBe('claim_missing ref');
  });

  it('declared as jwt, says why the last kind that fits the header did not fit the claims', async () => {
    expect(await outcomeOf({ claims: { scope: 'x' }, tokenType: 'jwt' })).toBe('claim_forbidden scope');
  });

  describe('explicit rules replace the defaults', () => {
    const access = { typ: ['JWT'], require: { token_use: 'access', client_id: true as const }, forbid: ['nonce'] };
    const rules = { token_types: { access_token: access, id_token: { forbid: ['scp'] } } };
    const accessCase = (claims: object, header: object = { typ: 'JWT' }): Case => ({
      spec: rules,
      header,
      claims,
      tokenType: 'access_token',
    });
    it.each<[string, Case, string]>([
      ['what is required is there', accessCase({ token_use: 'access', client_id: 'c' }), 'ok'],
      ['a required claim is missing', accessCase({ token_use: 'access' }), 'claim_missing client_id'],
      ['a required claim is null', accessCase({ token_use: 'access', client_id: null }), 'claim_missing client_id'],
      [
        'a required claim has another value',
        accessCase({ token_use: 'id', client_id: 'c' }),
        'claim_invalid token_use',
      ],
      ['a forbidden claim', accessCase({ token_use: 'access', client_id: 'c', nonce: 'n' }), 'claim_forbidden nonce'],
      [
        'a forbidden claim that is null',
        accessCase({ token_use: 'access', client_id: 'c', nonce: null }),
        'claim_forbidden nonce',
      ],
      [
        'the default typ',
        accessCase({ token_use: 'access', client_id: 'c' }, { typ: 'at+jwt' }),
        'type_not_allowed typ',
      ],
      ['a claim that the default forbids', { spec: rules, claims: { scope: 's', typ: 'Bearer' } }, 'ok'],
      ['a claim that the rule forbids', { spec: rules, claims: { scp: 's' } }, 'claim_forbidden scp'],
    ])('%s', async (_what, changes, expected) => {
      expect(await outcomeOf(changes)).toBe(expected);
    });
  });
});

describe('required claims', () => {
  const spec = { required_claims: { hd: 'corp.example', 'org.id': 7, mfa: true } };
  it.each([
    ['all there', { hd: 'corp.example', org: { id: 7 }, mfa: 'any value' }, 'ok'],
    ['one missing', { hd: 'corp.example', mfa: false }, 'claim_missing org.id'],
    ['another value', { hd: 'evil.example', org: { id: 7 }, mfa: true }, 'claim_invalid hd'],
    ['the value as a string', { hd: 'corp.example', org: { id: '7' }, mfa: true }, 'claim_invalid org.id'],
    ['the value in a list', { hd: ['corp.example'], org: { id: 7 }, mfa: true }, 'claim_invalid hd'],
  ])('%s', async (_what, claims, expected) => {
    expect(await outcomeOf({ spec, claims })).toBe(expected);
  });
});

describe('the subject (R13)', () => {
  const sub = async (claims: object, names: string[]) =>
    valid(await verify({ spec: { subject: { claims: names } }, claims })).principal.sub;

  it('is one claim verbatim', async () => {
    const text = 'system:serviceaccount:prod:web%3A';
    expect(await sub({ sub: text }, ['sub'])).toBe(text);
    expect(await sub({ oid: 'o' }, ['oid'])).toBe('o');
  });

  it('is several claims, joined so that no two lists give one string', async () => {
    expect(await sub({ tid: 't', oid: 'o' }, ['tid', 'oid'])).toBe('t:o');
    const lists = [
      ['a:b', 'c'],
      ['a', 'b:c'],
      ['a%3Ab', 'c'],
      ['a%', '3Ab:c'],
    ];
    const subjects = await Promise.all(lists.map(([tid, oid]) => sub({ tid, oid }, ['tid', 'oid'])));
    expect(subjects).toEqual(['a%3Ab:c', 'a:b%3Ac', 'a%253Ab:c', 'a%25:3Ab%3Ac']);
  });

  it('needs every one of its claims, and stays within 1024 characters', async () => {
    const spec = { subject: { claims: ['tid', 'oid'] } };
    expect(await outcomeOf({ spec, claims: { tid: 't' } })).toBe('claim_missing oid');
    expect(await outcomeOf({ spec, claims: { tid: 't', oid: '' } })).toBe('claim_invalid oid');
    expect(await outcomeOf({ spec, claims: { tid: 't'.repeat(512), oid: 'o'.repeat(511) } })).toBe('ok');
    expect(await outcomeOf({ spec, claims: { tid: 't'.repeat(512), oid: 'o'.repeat(512) } })).toBe('claim_invalid sub');
  });
});

describe('claim mapping', () => {
  const spec = { claims: { groups: 'groups', email: 'email', name: 'profile.name' } };

  it('prefixes groups with the trusted issuer’s name, each once', async () => {
    expect(await verify({ spec, claims: { groups: ['a', 'b', 'a'] } })).toMatchObject({ groups: ['corp:a', 'corp:b'] });
    expect(await verify({ spec, claims: { groups: 'only' } })).toMatchObject({ groups: ['corp:only'] });
    expect(await verify({ spec })).toMatchObject({ groups: [] });
  });

  it('reads no groups that are not mapped', async () => {
    expect(await verify({ claims: { groups: ['a'] } })).toMatchObject({ groups: [] });
    expect(await outcomeOf({ claims: { hasgroups: true, _claim_names: { groups: 's' } } })).toBe('ok');
  });

  it.each([
    ['_claim_names', { _claim_names: { groups: 'src1' }, _claim_sources: { src1: {} } }, 'groups_overage groups'],
    ['_claim_names beside a list', { _claim_names: { groups: 'src1' }, groups: ['a'] }, 'groups_overage groups'],
    ['hasgroups', { hasgroups: true }, 'groups_overage groups'],
    ['hasgroups as text', { hasgroups: 'true' }, 'groups_overage groups'],
    ['hasgroups false', { hasgroups: false, groups: ['a'] }, 'ok'],
    ['_claim_names of something else', { _claim_names: { photos: 'src1' } }, 'ok'],
    ['1000 groups', { groups: Array.from({ length: 1000 }, (_, index) => `g${index}`) }, 'ok'],
    ['1001 groups', { groups: Array.from({ length: 1001 }, (_, index) => `${index}`) }, 'groups_overage groups'],
    ['a group that is no string', { groups: ['a', 1] }, 'claim_invalid groups'],
    ['an empty group', { groups: [''] }, 'claim_invalid groups'],
    ['a group with a line break', { groups: ['a\nb'] }, 'claim_invalid groups'],
    ['groups as an object', { groups: { a: true } }, 'claim_invalid groups'],
  ])('groups that are elsewhere are not no groups: %s', async (_what, claims, expected) => {
    expect(await outcomeOf({ spec, claims })).toBe(expected);
  });

  it('reads e-mail and name where mapped, and leaves out what is no plain text or not verified', async () => {
    const claims = { email: 'ada@corp.example', profile: { name: 'Ada' } };
    expect(await verify({ spec, claims })).toMatchObject({ email: 'ada@corp.example', name: 'Ada' });
    for (const odd of [{ email_verified: false }, { email_verified: 'false' }, { email: ['a'] }, { email: 'a\nb' }])
      expect(valid(await verify({ spec, claims: { ...claims, ...odd } }))).not.toHaveProperty('email');
    expect(valid(await verify({ claims }))).not.toHaveProperty('email');
  });

  describe('its own scopes', () => {
    const files = 'https://mcp.example/files';
    const mail = 'https://mcp.example/mail';
    const mapped = {
      token_types: { access_token: {} },
      claims: {
        scope: {
          values: {
            'files.read': [{ resource: files, scopes: ['read'] }],
            'files.all': [{ resource: files, scopes: ['read', 'write'] }],
            office: [
              { resource: files, scopes: ['read'] },
              { resource: mail, scopes: ['send'] },
            ],
          },
        },
      },
    };
    const entitled = async (claims: object, spec: object = mapped) => {
      const token = await verify({ spec, claims, header: { typ: 'at+jwt' }, tokenType: 'access_token' });
      return valid(token).entitled;
    };

    it('mean nothing without a mapping', async () => {
      expect(await entitled({ scope: 'files.all' }, { token_types: { access_token: {} } })).toBeUndefined();
    });

    it.each([
      ['a string', { scope: 'files.read openid' }, [{ resource: files, scopes: ['read'] }]],
      ['a list', { scope: ['files.read'] }, [{ resource: files, scopes: ['read'] }]],
      ['several for one resource', { scope: 'files.read files.all' }, [{ resource: files, scopes: ['read', 'write'] }]],
      [
        'one for several resources',
        { scope: 'office' },
        [
          { resource: files, scopes: ['read'] },
          { resource: mail, scopes: ['send'] },
        ],
      ],
      ['unknown ones', { scope: 'openid toString constructor' }, []],
      ['none', {}, []],
      ['null', { scope: null }, []],
      ['an empty string', { scope: '' }, []],
    ])('read from %s', async (_what, claims, expected) => {
      expect(await entitled(claims)).toEqual(expected);
    });

    it.each([
      ['an object', { scope: { a: 1 } }],
      ['a list of numbers', { scope: [1] }],
    ])('are refused as %s', async (_what, claims) => {
      const refused = await verify({ spec: mapped, claims, header: { typ: 'at+jwt' }, tokenType: 'access_token' });
      expect(outcome(refused)).toBe('claim_invalid scope');
    });
  });
});

describe('SPIFFE JWT-SVIDs', () => {
  const spec = {
    name: 'prod',
    issuer: 'spiffe://prod.example',
    jwks: { keys: [{ ...key.jwk, use: 'jwt-svid' }] },
    token_types: { jwt: {} },
  };
  const svid = { iss: undefined, iat: undefined, sub: 'spiffe://prod.example/ns/web' };
  const check = (claims: object, header: object = {}) =>
    verify({ spec, claims: { ...svid, ...claims }, header, tokenType: 'jwt' });

  it('have no iss, maybe no iat, and the SPIFFE id as subject', async () => {
    expect(await check({})).toMatchObject({
      principal: { issuer: 'spiffe://prod.example', sub: 'spiffe://prod.example/ns/web' },
      issuerName: 'prod',
    });
  });

  it.each(['JWT', 'JOSE', undefined])('may have typ %s (JWT-SVID §2.3)', async (typ) => {
    expect(outcome(await check({}, { typ }))).toBe('ok');
  });

  it('alone may have typ JOSE', async () => {
    expect(await outcomeOf({ spec: { token_types: { jwt: {} } }, header: { typ: 'JOSE' }, tokenType: 'jwt' })).toBe(
      'type_not_allowed typ',
    );
    const bundle = { ...spec, token_types: { id_token: {} } };
    expect(await outcomeOf({ spec: bundle, claims: svid, header: { typ: 'JOSE' } })).toBe('type_not_allowed typ');
  });

  it.each([
    ['a subject of another trust domain', { sub: 'spiffe://evil.example/ns/web' }, 'claim_invalid sub'],
    ['a trust domain that only begins alike', { sub: 'spiffe://prod.example.evil/ns/web' }, 'claim_invalid sub'],
    ['a subject that is no SPIFFE id', { sub: 'web' }, 'claim_invalid sub'],
    ['the trust domain itself', { sub: 'spiffe://prod.example' }, 'claim_invalid sub'],
    ['an empty segment', { sub: 'spiffe://prod.example//web' }, 'claim_invalid sub'],
    ['a trailing slash', { sub: 'spiffe://prod.example/web/' }, 'claim_invalid sub'],
    ['a dot segment', { sub: 'spiffe://prod.example/web/../admin' }, 'claim_invalid sub'],
    ['a percent escape', { sub: 'spiffe://prod.example/w%65b' }, 'claim_invalid sub'],
    ['an iss', { iss: ISS }, 'issuer_mismatch iss'],
    ['no audience', { aud: undefined }, 'claim_missing aud'],
    ['no exp', { exp: undefined }, 'claim_missing exp'],
  ])('are refused with %s', async (_what, claims, expected) => {
    expect(outcome(await check(claims))).toBe(expected);
  });

  it('are not verified by a bundle’s other keys', async () => {
    const bundle = { ...spec, jwks: { keys: [{ ...key.jwk, use: 'x509-svid' }] } };
    expect(await outcomeOf({ spec: bundle, claims: svid, tokenType: 'jwt' })).toBe('key_unknown kid');
  });
});

describe('issuerOfUnverified', () => {
  it.each([
    [{ iss: ISS }, ISS],
    [{ iss: ISS, sub: 'spiffe://prod.example/web' }, ISS],
    [{ sub: 'spiffe://prod.example/ns/web' }, 'spiffe://prod.example'],
    [{ iss: '', sub: 'spiffe://prod.example/web' }, undefined],
    [{ iss: null, sub: 'spiffe://prod.example/web' }, undefined],
    [{ iss: [ISS] }, undefined],
    [{ sub: 'ada' }, undefined],
    [{ sub: 'spiffe://' }, undefined],
    [{ sub: 'spiffe://PROD.example/web' }, undefined],
    [{ sub: 'spiffe://prod.example:1/web' }, undefined],
    [{ sub: ['spiffe://prod.example/web'] }, undefined],
    [{}, undefined],
  ])('%j → %s', (claims, expected) => {
    const token = forge({ alg: 'ES256' }, claims, key.privateKey);
    expect(issuerOfUnverified(valid(decodeCompact(token)))).toBe(expected);
  });
});
