/**
 * How a token is written, and what in it may choose key and algorithm: R11, R12, R14. Tokens that no library would make
 * are put together by hand here; each is the honest token with one thing changed.
 */
import { createHmac, KeyObject, createPublicKey } from 'node:crypto';
import { CompactEncrypt } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { IssuerKey, JwksIssuer } from '../support/jwks-issuer.ts';
import { bearer, expectGranted, expectRefused, signClaims, signText, startCompany } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
let canary: JwksIssuer;
/** A second key of corp, published for PS256. */
let pss: IssuerKey;
beforeAll(async () => {
  [company, canary] = await Promise.all([startCompany(), startJwksIssuer({ algorithm: 'RS256' })]);
  pss = await company.corp.rotate({ algorithm: 'PS256' });
});
afterAll(async () => {
  await company.stop();
  await canary.stop();
});

const refusedFor = (fault: string) => ({
  error: 'invalid_request',
  reason: 'subject_token_invalid',
  detail: { fault },
});
const MALFORMED = refusedFor('malformed');
/** Signed by corp with its first key. */
const sign = (claims: string | object, header: Readonly<Record<string, unknown>> = {}) =>
  signText(company.corp, typeof claims === 'string' ? claims : JSON.stringify(claims), header, company.corp.keys[0]);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

function adaNow() {
  const iat = Math.floor(Date.now() / 1000);
  return { iss: company.corp.issuer, sub: 'ada', aud: 'portal', groups: ['staff'], iat, exp: iat + 300 };
}

/** Refused as subject token for this fault. */
async function refusedAsSubject(token: string, fault: string): Promise<void> {
  await expectRefused(company, await company.exchange({ subject_token: token }), refusedFor(fault));
}

describe('R11 algorithms: an allow-list per trusted issuer and per key (RFC 8725 §3.1)', () => {
  it('R11 unsigned tokens are refused, however "none" is spelled', async () => {
    expectGranted(await company.exchange({ subject_token: sign(adaNow()) }));
    for (const alg of ['none', 'None', 'nOnE', 'NONE', '']) {
      const header = encode({ alg, typ: 'JWT' });
      await refusedAsSubject(`${header}.${encode(adaNow())}.`, 'malformed');
      await refusedAsSubject(`${header}.${encode(adaNow())}`, 'malformed');
      // With a signature that would fit.
      await refusedAsSubject(sign(adaNow(), { alg }), 'algorithm_not_allowed');
    }
  });

  it('R11 an HMAC made with the public key as secret is refused', async () => {
    const key = company.corp.keys[0]!;
    const publicKey = createPublicKey({ key: key.publicJwk as never, format: 'jwk' });
    const secrets = [
      publicKey.export({ type: 'spki', format: 'pem' }),
      publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(key.publicJwk),
      Buffer.from(key.publicJwk.n ?? '', 'base64url'),
    ];
    for (const secret of secrets) {
      const input = `${encode({ alg: 'HS256', kid: key.kid, typ: 'JWT' })}.${encode(adaNow())}`;
      const signature = createHmac('sha256', secret).update(input).digest('base64url');
      await refusedAsSubject(`${input}.${signature}`, 'algorithm_not_allowed');
    }
  });

  it('R11 one key, one algorithm: PS256 with a key published for RS256, though the issuer may use both', async () => {
    const key = company.corp.keys[0]!;
    const asPss: IssuerKey = { ...key, algorithm: 'PS256' };
    await refusedAsSubject(signClaims(company.corp, adaNow(), {}, asPss), 'algorithm_not_allowed');
    // The control: a key of the same issuer that is published for PS256.
    expectGranted(await company.exchange({ subject_token: signClaims(company.corp, adaNow(), {}, pss) }));
    await refusedAsSubject(signClaims(company.corp, adaNow(), { alg: 'RS256' }, pss), 'algorithm_not_allowed');
  });

  it("R11 an algorithm outside the trusted issuer's list is refused, though its key set has such a key", async () => {
    const honest = { form: bearer(await company.podToken()), as: null };
    expectGranted(await company.credentials(honest.form, honest));
    const curve = await company.kubernetes.rotate({ algorithm: 'ES256' });
    const token = await company.podToken({}, { key: curve });
    const answer = await company.credentials(bearer(token), { as: null });
    await expectRefused(company, answer, {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'algorithm_not_allowed' },
    });
  });

  it("R11 an algorithm outside the client's list is refused, though its key is registered", async () => {
    expectGranted(await company.credentials(bearer(await company.assertion()), { as: null }));
    const ofNarrow = await company.assertion({ iss: 'narrow', sub: 'narrow' });
    await expectRefused(company, await company.credentials(bearer(ofNarrow), { as: null }), {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'algorithm_not_allowed' },
    });
  });

  it('R11 a key of another curve under the kid of a known key is refused', async () => {
    const partner = company.partner;
    const honest = { ...adaNow(), iss: partner.issuer, aud: company.cambist.issuer, sub: 'grace' };
    expectGranted(await company.exchange({ subject_token: signClaims(partner, honest) }));
    for (const algorithm of ['ES384', 'ES512']) {
      const other = await partner.strangerKey(algorithm);
      const { kid } = partner.keys[0]!;
      await refusedAsSubject(signClaims(partner, honest, { kid }, other), 'algorithm_not_allowed');
      await refusedAsSubject(signClaims(partner, honest, { kid, alg: 'ES256' }, other), 'signature_invalid');
    }
  });
});

describe('R12 compact serialisation, in one spelling (RFC 7515 §3.1)', () => {
  it('R12 JSON serialisations and JWE are refused', async () => {
    const honest = sign(adaNow());
    expectGranted(await company.exchange({ subject_token: honest }));
    const [header = '', payload = '', signature = ''] = honest.split('.');
    await refusedAsSubject(JSON.stringify({ protected: header, payload, signature }), 'malformed');
    await refusedAsSubject(JSON.stringify({ payload, signatures: [{ protected: header, signature }] }), 'malformed');
    const jwe = await new CompactEncrypt(Buffer.from(honest))
      .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', cty: 'JWT' })
      .encrypt(createPublicKey({ key: company.corp.keys[0]!.publicJwk as never, format: 'jwk' }));
    await refusedAsSubject(jwe, 'malformed');
  });

  it('R12 other alphabets, padding, white space, stray bits, wrong number of parts are refused', async () => {
    const honest = sign(adaNow());
    const [header = '', payload = '', signature = ''] = honest.split('.');
    const last = signature.at(-1)!;
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // 256 bytes: the last character carries four bits that decoders drop.
    const stray = signature.slice(0, -1) + alphabet[alphabet.indexOf(last) ^ 1]!;
    expect(Buffer.from(stray, 'base64url')).toEqual(Buffer.from(signature, 'base64url'));
    expectGranted(await company.exchange({ subject_token: honest }));
    for (const token of [
      `${header}.${payload}.${stray}`,
      `${honest}=`,
      `${header}=.${payload}.${signature}`,
      ` ${honest}`,
      `${honest} `,
      `${header}. ${payload}.${signature}`,
      `${header}.${payload}.${signature}.`,
      `${honest}.${signature}`,
      `${header}.${payload}`,
      `.${payload}.${signature}`,
      `${header}..${signature}`,
      `${header}.${payload}.${signature.slice(0, -2)}+/`,
      `Bearer ${honest}`,
      `${honest}é`,
    ])
      await expectRefused(company, await company.exchange({ subject_token: token }), MALFORMED);
  });

  it('R12 duplicate keys, deep nesting, lone surrogates and non-objects are refused, though the signature is right', async () => {
    const claims = JSON.stringify(adaNow());
    const inside = claims.slice(0, -1);
    expectGranted(await company.exchange({ subject_token: sign(`${inside},"x":[[1]]}`) }));
    for (const text of [
      `${inside},"sub":"mallory"}`,
      `${inside},"s\\u0075b":"mallory"}`,
      `${inside},"x":{"a":1,"a":2}}`,
      `${inside},"x":${'['.repeat(40)}${']'.repeat(40)}}`,
      `${inside},"x":${'{"a":'.repeat(1500)}1${'}'.repeat(1500)}}`,
      `${inside},"x":"\\ud800"}`,
      `${inside},"x":1e999}`,
      `[${claims}]`,
      `"${company.corp.issuer}"`,
      'null',
      `\ufeff${claims}`,
      `${claims}x`,
    ])
      await expectRefused(company, await company.exchange({ subject_token: sign(text) }), MALFORMED);
    const { kid } = company.corp.keys[0]!;
    const twice = company.corp.mintRaw(`{"alg":"RS256","kid":"${kid}","alg":"none"}`, claims, company.corp.keys[0]);
    await refusedAsSubject(twice, 'malformed');
  });

  it('R12 a token beyond 16 KiB is refused before it is read', async () => {
    const padded = (characters: number) => sign({ ...adaNow(), x: 'a'.repeat(characters) });
    expectGranted(await company.exchange({ subject_token: padded(10_000) }));
    await refusedAsSubject(padded(13_000), 'too_large');
  });

  it('R12 critical header extensions are not understood and refused (RFC 7515 §4.1.11)', async () => {
    for (const header of [{ crit: ['exp'], exp: 1 }, { crit: [] }, { b64: false, crit: ['b64'] }, { b64: true }])
      await refusedAsSubject(sign(adaNow(), header), 'critical_header');
    expectGranted(await company.exchange({ subject_token: sign(adaNow(), { zip: 'x' }) }));
  });
});

describe('R14 nothing in a header brings a key (RFC 8725 §3.10)', () => {
  it('R14 jku, x5u, jwk and x5c are not looked at: a canary listener sees no request', async () => {
    expectGranted(await company.exchange({ subject_token: sign(adaNow()) }));
    const theirs = canary.keys[0]!;
    const { kid } = company.corp.keys[0]!;
    const certificate = KeyObject.from(theirs.privateKey).export({ type: 'pkcs8', format: 'der' }).toString('base64');
    for (const header of [
      { jku: canary.jwksUri },
      { x5u: canary.jwksUri },
      { jwk: theirs.publicJwk },
      { x5c: [certificate] },
      { jku: canary.jwksUri, jwk: theirs.publicJwk, x5u: canary.jwksUri },
    ]) {
      await refusedAsSubject(signClaims(company.corp, adaNow(), { ...header, kid }, theirs), 'signature_invalid');
      await refusedAsSubject(signClaims(company.corp, adaNow(), header, theirs), 'key_unknown');
    }
    expect(canary.fetches()).toBe(0);
  });

  it('R14 the same for client assertions', async () => {
    expectGranted(await company.credentials(bearer(await company.assertion()), { as: null }));
    const theirs = await company.signer.strangerKey();
    const { kid } = company.signer.keys[0]!;
    const header = { kid, jku: canary.jwksUri, jwk: theirs.publicJwk };
    const answer = await company.credentials(bearer(await company.assertion({}, { key: theirs, header })), {
      as: null,
    });
    await expectRefused(company, answer, {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'signature_invalid' },
    });
    expect(canary.fetches()).toBe(0);
  });

  it('R14 a kid is compared and nothing else: not a path, not SQL, not a URL', async () => {
    for (const kid of [
      '../../../../dev/null',
      "x' OR '1'='1",
      "'; DROP TABLE audit_record; --",
      canary.jwksUri,
      '\u0000',
      '__proto__',
      '',
    ])
      await refusedAsSubject(sign(adaNow(), { kid }), 'key_unknown');
    for (const kid of [1, null, { a: 1 }, ['x'], 'x'.repeat(300)])
      await refusedAsSubject(sign(adaNow(), { kid }), 'malformed');
    expect(canary.fetches()).toBe(0);
    expectGranted(await company.exchange({ subject_token: sign(adaNow()) }));
    // Our own keys are looked up in the database.
    const own = { iss: company.cambist.issuer, kid: "x' OR '1'='1", typ: 'at+jwt' };
    const token = sign({ ...adaNow(), iss: own.iss }, { kid: own.kid, typ: own.typ, alg: 'ES256' });
    const form = { subject_token: token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' };
    await expectRefused(company, await company.exchange(form), refusedFor('key_unknown'));
  });
});
