/**
 * How requests are read: the parsing half of R6, R20, A11, and the known faults of express and of
 * @node-oauth/oauth2-server as they would look from outside. What the library does with a request that reached it is
 * nobody's business here: only the answers count.
 */
import { request } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { basicHeader } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { EXCHANGE, expectErrorForm, expectGranted, expectRefused, NOTES, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());

const FORM = 'application/x-www-form-urlencoded';
const unread = (reason: string, status = 400) => ({ error: 'invalid_request', reason, status, unauthenticated: true });

interface Raw {
  readonly path?: string;
  readonly method?: string;
  /** A list repeats its header. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
}

/** A request exactly as it is given, with agent's secret: no client tidies up path or headers. */
function send({ path = '/oauth2/token', method = 'POST', headers = {}, body }: Raw): Promise<TokenAnswer> {
  const { port } = new URL(company.cambist.url);
  return new Promise((resolve, reject) => {
    const all = {
      'content-type': FORM,
      authorization: basicHeader('agent', company.cambist.secretOf('agent')),
      ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
      ...headers,
    };
    const sent = request({ host: '127.0.0.1', port, path, method, headers: all }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        let parsed = {};
        try {
          parsed = JSON.parse(text);
        } catch {
          // Not JSON: the test looks at the text.
        }
        const received = new Headers();
        for (const [name, value] of Object.entries(response.headers)) received.set(name, String(value));
        resolve({ status: response.statusCode ?? 0, headers: received, text, body: parsed });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const CREDENTIALS = `grant_type=client_credentials&resource=${encodeURIComponent(NOTES)}`;
const grantedRaw = async (raw: Raw = {}) => expectGranted(await send({ body: CREDENTIALS, ...raw }));
const refusedRaw = async (raw: Raw, reason: string, status = 400) => {
  await expectRefused(company, await send({ body: CREDENTIALS, ...raw }), unread(reason, status));
};

describe('R6 forms, strictly', () => {
  it('R6 a duplicate parameter → 400, known or not, but for resource and audience (RFC 6749 §3.2)', async () => {
    await grantedRaw({ body: `${CREDENTIALS}&resource=${encodeURIComponent(NOTES)}&audience=notes&audience=notes` });
    for (const name of ['grant_type', 'scope', 'client_id', 'subject_token', 'unknown', 'requested_token_type'])
      await refusedRaw({ body: `${CREDENTIALS}&${name}=a&${name}=b` }, 'parameter_duplicated');
    await refusedRaw({ body: `${CREDENTIALS}&scope=notes:read&scope=notes:read` }, 'parameter_duplicated');
    await refusedRaw({ body: `${CREDENTIALS}&scope=notes:read&scope=` }, 'parameter_duplicated');
    await refusedRaw({ body: `${CREDENTIALS}&scope=notes:read&%73cope=notes:write` }, 'parameter_duplicated');
  });

  it('R6 a parameter without a value is treated as absent (RFC 6749 §3.2)', async () => {
    expect((await grantedRaw({ body: `${CREDENTIALS}&scope=` })).scope).toBe('notes:read');
    await grantedRaw({ body: `${CREDENTIALS}&scope` });
  });

  it('R6 brackets and dots in names make no objects and no lists', async () => {
    const body = CREDENTIALS.replace('resource=', 'resource[]=');
    expect((await grantedRaw({ body })).aud).toBe(company.cambist.issuer);
    expect(
      (await grantedRaw({ body: `${CREDENTIALS}&scope[0]=notes:purge&__proto__=x&constructor.prototype=y` })).scope,
    ).toBe('notes:read');
  });

  it('R6 what is not percent-encoded UTF-8 without control characters → 400', async () => {
    await grantedRaw({ body: `${CREDENTIALS}&x=%C3%A9+%F0%9F%98%80` });
    for (const value of ['%', '%2', '%zz', '%C3', '%ED%A0%80', '%00', '%0A', '%7F', '%C2%85'])
      await refusedRaw({ body: `${CREDENTIALS}&x=${value}` }, 'body_malformed');
    await refusedRaw({ body: Buffer.from(`${CREDENTIALS}&x=é`, 'latin1') }, 'body_malformed');
    await refusedRaw({ body: `${CREDENTIALS}&x=é` }, 'body_malformed');
    await refusedRaw({ body: `${CREDENTIALS}&&` }, 'body_malformed');
    await refusedRaw({ body: `${CREDENTIALS}&=x` }, 'body_malformed');
    await refusedRaw({ body: `${CREDENTIALS}\n` }, 'body_malformed');
  });

  it('R6 parameters in the query are refused, whatever the body says', async () => {
    await grantedRaw();
    for (const query of [`?${CREDENTIALS}`, '?', '?x', '?client_secret=x'])
      await refusedRaw({ path: `/oauth2/token${query}` }, 'parameter_in_query');
  });
});

describe('dependency express: its parsers and its pages never answer', () => {
  it('dependency express: only a form is read; JSON, multipart, none and odd charsets → 400 as OAuth says it', async () => {
    for (const type of [FORM, `${FORM}; charset=utf-8`, `${FORM};charset="UTF-8"`, FORM.toUpperCase()])
      await grantedRaw({ headers: { 'content-type': type } });
    for (const type of [
      'application/json',
      'multipart/form-data; boundary=x',
      'text/plain',
      '',
      `${FORM}; charset=latin1`,
      `${FORM}; charset=no-such-charset`,
      `${FORM}; charset=utf-8; charset=utf-16`,
      `${FORM}, application/json`,
      `${FORM}-x`,
    ])
      await refusedRaw({ headers: { 'content-type': type } }, 'content_type_unsupported');
    const json = JSON.stringify({ grant_type: 'client_credentials', resource: NOTES });
    await refusedRaw({ body: json, headers: { 'content-type': 'application/json' } }, 'content_type_unsupported');
  });

  it('dependency express: an encoded body is not decoded, so it cannot be a bomb', async () => {
    const body = gzipSync(Buffer.alloc(10_000_000, 'a'));
    await refusedRaw({ body, headers: { 'content-encoding': 'gzip' } }, 'content_type_unsupported');
    await refusedRaw({ headers: { 'content-encoding': 'identity, x' } }, 'content_type_unsupported');
    await refusedRaw({ headers: { 'content-type': 'application/json' }, body: '{"x":' }, 'content_type_unsupported');
  });

  it('dependency express: at most 32 KiB of body and 64 parameters', async () => {
    const filler = (bytes: number) => `${CREDENTIALS}&x=${'a'.repeat(bytes - CREDENTIALS.length - 3)}`;
    await grantedRaw({ body: filler(32 * 1024) });
    await refusedRaw({ body: filler(32 * 1024 + 1) }, 'body_too_large', 413);
    const many = (count: number) =>
      CREDENTIALS + Array.from({ length: count - 2 }, (_, index) => `&p${index}=1`).join('');
    await grantedRaw({ body: many(64) });
    await refusedRaw({ body: many(65) }, 'body_malformed');
  });

  it('dependency express: a body that never ends is cut off at its bound, without waiting for the rest', async () => {
    const { port } = new URL(company.cambist.url);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1');
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('error', () => resolve(text));
      socket.on('close', () => resolve(text));
      setTimeout(() => reject(new Error('the connection was left open')), 10_000).unref();
      socket.write(
        `POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: ${FORM}\r\ncontent-length: 100000000\r\n\r\n`,
      );
      socket.write('x=' + 'a'.repeat(40_000));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('"error":"invalid_request"');
  });

  it('dependency express: other methods → 405 with Allow, as OAuth says it', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const answer = await send({ method });
      await expectRefused(company, answer, unread('method_not_allowed', 405));
      expect(answer.headers.get('allow')).toBe('POST');
    }
    expect((await send({ method: 'HEAD' })).status).toBe(405);
    // Nothing in a header makes another method of it.
    const override = await send({ method: 'GET', headers: { 'x-http-method-override': 'POST' } });
    expect(override.status).toBe(405);
  });

  it('dependency express: no answer is HTML, none shows a stack or what it runs on', async () => {
    const answers = [
      await send({ path: '/%' }),
      await send({ path: '/nowhere' }),
      await send({ path: '/%c0%ae%c0%ae/' }),
      await send({ body: CREDENTIALS, headers: { 'content-type': 'text/plain; charset=%' } }),
      await send({ method: 'PUT', path: '/oauth2/jwks' }),
      await send({ method: 'GET', path: '/oauth2/jwks/%zz' }),
    ];
    for (const answer of answers) {
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(answer.text).not.toMatch(/<|node_modules|Error|\.ts|\.js/);
      expect(answer.headers.get('x-powered-by')).toBeNull();
    }
  });
});

describe('dependency oauth2-server: the library sees only what we made', () => {
  it('dependency oauth2-server: a PKCE-shaped request needs client authentication like any other', async () => {
    const pkce = { code_verifier: 'a'.repeat(43), code: 'x', redirect_uri: 'https://x.example' };
    expectGranted(await company.credentials(pkce));
    const missing = { error: 'invalid_client', reason: 'client_authentication_missing' };
    await expectRefused(company, await company.credentials({ ...pkce, client_id: 'agent' }, { as: null }), missing);
    const authorizationCode = { ...pkce, grant_type: 'authorization_code', client_id: 'agent' };
    await expectRefused(company, await company.credentials(authorizationCode, { as: null }), missing);
  });

  it("dependency oauth2-server: its built-in grants do not exist, and a client's own list is kept", async () => {
    for (const grant_type of [
      'password',
      'refresh_token',
      'authorization_code',
      'implicit',
      'urn:ietf:params:oauth:grant-type:jwt-bearer',
      'Client_Credentials',
      'client_credentials ',
      '__proto__',
      'constructor',
    ])
      await expectRefused(company, await company.credentials({ grant_type }), {
        error: 'unsupported_grant_type',
        reason: 'grant_unsupported',
      });
    expectGranted(await company.credentials({}, { as: 'limited' }));
    expectGranted(await company.exchange());
    await expectRefused(company, await company.exchange({}, { as: 'limited' }), {
      error: 'unauthorized_client',
      reason: 'grant_not_allowed',
      detail: { grant: EXCHANGE },
    });
  });

  it('dependency oauth2-server: a request without grant_type → invalid_request', async () => {
    await expectRefused(company, await company.credentials({ grant_type: undefined }), {
      error: 'invalid_request',
      reason: 'parameter_missing',
      detail: { parameter: 'grant_type' },
    });
  });

  it('dependency oauth2-server: no refresh token, no other member, no-store on success too (RFC 6749 §5.1)', async () => {
    const answer = await company.exchange();
    expectGranted(answer);
    expect(Object.keys(answer.body).sort()).toEqual([
      'access_token',
      'expires_in',
      'issued_token_type',
      'scope',
      'token_type',
    ]);
    expect(answer.body).toMatchObject({
      issued_token_type: `${TYPE}access_token`,
      expires_in: 300,
      scope: 'notes:read',
    });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('content-type')).toBe('application/json');
  });
});

describe('R20 A11 what stands in headers and paths', () => {
  it('R20 metadata is the same whatever Host and forwarded headers say', async () => {
    const path = '/.well-known/oauth-authorization-server';
    const honest = await send({ method: 'GET', path });
    expect(honest.body).toMatchObject({
      issuer: company.cambist.issuer,
      token_endpoint: `${company.cambist.issuer}/oauth2/token`,
      jwks_uri: `${company.cambist.issuer}/oauth2/jwks`,
    });
    for (const headers of [
      { host: 'evil.example' },
      { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', 'x-forwarded-port': '1' },
      { forwarded: 'host=evil.example;proto=https' },
      { 'x-original-url': '/evil', 'x-forwarded-prefix': '/evil' },
    ]) {
      expect((await send({ method: 'GET', path, headers })).text).toBe(honest.text);
      const spoofed = await send({ body: CREDENTIALS, headers });
      expect(expectGranted(spoofed).iss).toBe(company.cambist.issuer);
    }
  });

  // Open finding: Node hands over the first of several and drops the others; both clients' secrets were sent.
  it('R2 two Authorization headers are two credentials → 400 invalid_request (RFC 6749 §2.3)', async () => {
    await grantedRaw();
    const of = (client: string) => basicHeader(client, company.cambist.secretOf(client));
    const answer = await send({ body: CREDENTIALS, headers: { authorization: [of('agent'), of('second')] } });
    expectErrorForm(answer, 400, 'invalid_request');
  });

  it('A11 path tricks open nothing (oauth2-proxy 2026)', async () => {
    await grantedRaw();
    for (const path of [
      '/oauth2/token/',
      '//oauth2/token',
      '/oauth2//token',
      '/%6fauth2/token',
      '/oauth2/%74oken',
      '/oauth2%2ftoken',
      '/OAUTH2/TOKEN',
      '/oauth2/token;x=y',
      '/oauth2/token/..;/',
      '/oauth2/jwks/../token',
      '/oauth2/token%00',
      '/oauth2/token.json',
      '/oauth2/token%23',
      '\\oauth2\\token',
      '/admin',
      '/admin#',
      '//admin',
      '/%61dmin',
      '/admin/..;/',
      '/oauth2/token/../admin',
    ]) {
      const answer = await send({ path, body: CREDENTIALS });
      expect([400, 404], path).toContain(answer.status);
      expect(answer.text, path).toBe('');
    }
  });

  it('A11 user agents, forwarded headers and rewriting headers open nothing', async () => {
    for (const headers of [
      { 'user-agent': 'kube-probe/1.30' },
      { 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1' },
      { 'x-original-url': '/oauth2/token', 'x-rewrite-url': '/oauth2/token' },
      { 'x-forwarded-user': 'agent', 'x-remote-user': 'agent', 'x-auth-request-user': 'agent' },
      { 'x-client-cert': 'x', 'ssl-client-verify': 'SUCCESS' },
    ]) {
      await grantedRaw({ headers });
      const answer = await company.credentials({}, { as: null, headers });
      await expectRefused(company, answer, { error: 'invalid_client', reason: 'client_authentication_missing' });
      expect((await send({ path: '/admin', headers })).status).toBe(404);
    }
  });

  it('A11 the address in a record is that of the connection, not of a header', async () => {
    const answer = await company.exchange(
      {},
      { headers: { 'x-forwarded-for': '203.0.113.9', forwarded: 'for=203.0.113.9' } },
    );
    expectGranted(answer);
    const [record] = await company.cambist.records(answer.headers.get('cambist-request-id')!);
    expect(record?.body['source_prefix']).toBe('127.0.0.0/24');
    expect(record?.persons[0]?.source).toMatch(/127\.0\.0\.1$/);
  });

  it('A11 a failed request is answered as an error of the token endpoint, not of the framework', async () => {
    expectErrorForm(await send({ body: '' }), 400, 'invalid_request');
  });
});
