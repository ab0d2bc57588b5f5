/**
 * What Cambist fetches and what it does not: R16 and R21 through the `jwks_uri` of a trusted issuer, A8 and A9. Every
 * issuer here is registered by `apply`, as an operator would; canary servers count who came.
 */
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { exportJWK, generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { bearer, expectErrorForm, expectGranted, expectRefused, requestIdOf, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
let honest: JwksIssuer;
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  company = await startCompany();
  honest = await issuer();
});
afterAll(async () => {
  await company.stop();
  for (const stop of stops) await stop();
});

async function issuer(): Promise<JwksIssuer> {
  const started = await startJwksIssuer();
  stops.push(() => started.stop());
  return started;
}

function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  stops.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  );
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

let count = 0;
/** Registers a trusted issuer with these keys, and asks for a token with a token that `signer` signed as it. */
async function askWith(spec: Record<string, unknown>, signer: JwksIssuer = honest) {
  count += 1;
  const iss = `https://issuer-${count}.example`;
  await company.cambist.apply(
    JSON.stringify({ issuers: [{ name: `issuer-${count}`, issuer: iss, token_types: { jwt: {} }, ...spec }] }),
  );
  return askAgain(iss, signer);
}
async function askAgain(iss: string, signer: JwksIssuer = honest) {
  const subject_token = await signer.mint({ iss, sub: 'ada', aud: company.cambist.issuer });
  // A client may have notes:read in its own right; who the subject is decides nothing here.
  return company.exchange({ subject_token, subject_token_type: `${TYPE}jwt`, scope: 'notes:read' });
}

/** The keys were had, the token verified: only policy stands between it and Ada's notes. */
async function expectVerified(answer: Awaited<ReturnType<typeof askWith>>): Promise<void> {
  await expectRefused(company, answer, { error: 'invalid_target', reason: 'all_scopes_denied' });
}

/** The keys were not had; the log says why. */
function expectUnfetched(answer: Awaited<ReturnType<typeof askWith>>, why: RegExp): void {
  expectErrorForm(answer, 503, 'temporarily_unavailable');
  expect(answer.headers.get('retry-after')).not.toBeNull();
  const lines = company.log.slice(-20).map((line) => JSON.parse(line));
  expect(lines.findLast((line) => line.msg === 'keys could not be fetched')?.err?.message).toMatch(why);
}

describe('R21 fetching through jwks_uri', () => {
  it('R21 https alone, and no address that is not public, in whatever notation: a canary listener sees nobody', async () => {
    await expectVerified(await askWith({ jwks_uri: honest.jwksUri, internal: true }));
    let visitors = 0;
    const port = await listen(createTcpServer((socket) => void (visitors++, socket.destroy())));
    for (const host of [
      '127.0.0.1',
      'localhost',
      '2130706433',
      '0x7f.1',
      '017700000001',
      '127.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
      '0.0.0.0',
      '[::]',
      '10.0.0.1',
      '172.16.0.1',
      '192.168.0.1',
      '169.254.169.254',
      '100.64.0.1',
      '[fe80::1]',
      '[fd00:ec2::254]',
      '168.63.129.16',
      '255.255.255.255',
    ])
      expectUnfetched(await askWith({ jwks_uri: `https://${host}:${port}/jwks` }), /not public/);
    expect(visitors).toBe(0);
  }, 60_000);

  it('R21 plain http is for loopback and internal issuers only; credentials in a URL are refused', async () => {
    for (const spec of [
      { jwks_uri: honest.jwksUri },
      { jwks_uri: 'http://keys.example/jwks', internal: true },
      { jwks_uri: 'http://10.0.0.1/jwks', internal: true },
      { jwks_uri: 'file:///etc/passwd', internal: true },
    ])
      await expect(askWith(spec)).rejects.toThrow(/https|http\(s\)/);
    const withUser = honest.jwksUri.replace('http://', 'http://user:hunter2@');
    expectUnfetched(await askWith({ jwks_uri: withUser, internal: true }), /only https/);
    expect(company.log.join()).not.toContain('hunter2');
  });

  it('R21 redirects are not followed', async () => {
    const canary = await issuer();
    const redirecting = await issuer();
    await expectVerified(await askWith({ jwks_uri: redirecting.jwksUri, internal: true }, redirecting));
    redirecting.breakEndpoint({ kind: 'redirect', location: canary.jwksUri });
    expectUnfetched(await askWith({ jwks_uri: `${redirecting.jwksUri}?again`, internal: true }, canary), /redirect/);
    expect(canary.fetches()).toBe(0);
  });

  it('R21 metadata cannot send us to another scheme, nor name another issuer', async () => {
    const discovered = await issuer();
    const spec = { issuer: discovered.issuer, internal: true };
    const ask = async () => {
      await askWith(spec, discovered).catch(() => undefined);
      return askAgain(discovered.issuer, discovered);
    };
    const canary = await issuer();
    discovered.setMetadata({ issuer: canary.issuer, jwks_uri: canary.jwksUri });
    expectUnfetched(await ask(), /another issuer/);
    expect(canary.fetches()).toBe(0);
    discovered.setMetadata({});
    await expect
      .poll(async () => (await askAgain(discovered.issuer, discovered)).status, { timeout: 10_000 })
      .toBe(400);
    await expectVerified(await askAgain(discovered.issuer, discovered));
  });

  it('R21 an encoded answer is not decoded, a large one not read, an endless one not waited for', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000, ' '));
    const serve = async (listener: RequestListener) => `http://127.0.0.1:${await listen(createServer(listener))}/jwks`;
    const gzip = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb);
    });
    expectUnfetched(await askWith({ jwks_uri: gzip, internal: true }), /encoded/);
    let sent = 0;
    const large = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => {
        sent += 65_536;
        response.write(Buffer.alloc(65_536, ' '));
      }, 5);
      response.on('close', () => clearInterval(timer));
    });
    expectUnfetched(await askWith({ jwks_uri: large, internal: true }), /too large/);
    expect(sent).toBeLessThan(2_000_000);
    const html = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('{"keys":[]}');
    });
    expectUnfetched(await askWith({ jwks_uri: html, internal: true }), /not JSON/);
    const dripping = await issuer();
    dripping.breakEndpoint({ kind: 'drip', intervalMs: 200 });
    const started = performance.now();
    expectUnfetched(await askWith({ jwks_uri: dripping.jwksUri, internal: true }), /in time/);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('R21 the same guard stands before the jwks_uri of a client', async () => {
    const secret = { id: 'guarded', auth: ['private_key_jwt'], jwks_uri: 'https://169.254.169.254/jwks' };
    await company.cambist.apply(JSON.stringify({ clients: [secret] }));
    const assertion = await company.assertion({ iss: 'guarded', sub: 'guarded' });
    expectUnfetched(await company.credentials(bearer(assertion), { as: null }), /not public/);
    const remote = await company.assertion({ iss: 'remote', sub: 'remote' });
    expectGranted(await company.credentials(bearer(remote), { as: null }));
  });
});

describe('R16 key sets: unique kids, public members only, weak keys never', () => {
  const publish = async (keys: readonly unknown[]) => {
    const lying = await issuer();
    lying.publish(keys);
    return lying;
  };

  it('R16 our own key set is public and strong, with unique kids', async () => {
    const response = await fetch(`${company.cambist.url}/oauth2/jwks`);
    expect(response.headers.get('cache-control')).toContain('max-age=300');
    const { keys } = (await response.json()) as { keys: Record<string, unknown>[] };
    expect(keys.length).toBeGreaterThan(0);
    expect(new Set(keys.map((key) => key['kid'])).size).toBe(keys.length);
    for (const key of keys) {
      expect(Object.keys(key).filter((name) => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].includes(name))).toEqual(
        [],
      );
      expect(key).toMatchObject({ use: 'sig' });
      expect(['ES256', 'RS256']).toContain(key['alg']);
    }
  });

  it('R16 a set with a private or secret member, or one kid twice, is refused whole', async () => {
    const good = honest.keys[0]!;
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    for (const bad of [
      { ...(await exportJWK(privateKey)), kid: 'leaked', alg: 'ES256', use: 'sig' },
      { kty: 'oct', k: 'c2VjcmV0', kid: 'secret', alg: 'HS256' },
      { ...good.publicJwk },
    ]) {
      const lying = await publish([good.publicJwk, bad]);
      expectUnfetched(await askWith({ jwks_uri: lying.jwksUri, internal: true }), /key set is invalid/);
    }
    const fine = await publish([good.publicJwk]);
    await expectVerified(await askWith({ jwks_uri: fine.jwksUri, internal: true }));
  });

  it('R16 a weak key, or one for another use, verifies nothing', async () => {
    const weak = { modulusLength: 1024 };
    const { generateKeyPairSync, sign } = await import('node:crypto');
    const small = generateKeyPairSync('rsa', weak);
    const odd = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });
    const normal = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwk = (pair: typeof small, more: object = {}) => ({
      ...pair.publicKey.export({ format: 'jwk' }),
      kid: 'k',
      alg: 'RS256',
      use: 'sig',
      ...more,
    });
    const ask = async (pair: typeof small, published: object) => {
      const lying = await publish([published]);
      count += 1;
      const iss = `https://issuer-${count}.example`;
      const spec = {
        name: `issuer-${count}`,
        issuer: iss,
        token_types: { jwt: {} },
        jwks_uri: lying.jwksUri,
        internal: true,
      };
      await company.cambist.apply(JSON.stringify({ issuers: [spec] }));
      const iat = Math.floor(Date.now() / 1000);
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
      const claims = { iss, sub: 'ada', aud: company.cambist.issuer, iat, exp: iat + 60 };
      const input = `${part({ alg: 'RS256', kid: 'k' })}.${part(claims)}`;
      const subject_token = `${input}.${sign('sha256', Buffer.from(input), pair.privateKey).toString('base64url')}`;
      return company.exchange({ subject_token, subject_token_type: `${TYPE}jwt`, scope: 'notes:read' });
    };
    await expectVerified(await ask(normal, jwk(normal)));
    const unknown = { error: 'invalid_request', reason: 'subject_token_invalid', detail: { fault: 'key_unknown' } };
    await expectRefused(company, await ask(small, jwk(small)), unknown);
    await expectRefused(company, await ask(odd, jwk(odd)), unknown);
    await expectRefused(company, await ask(normal, jwk(normal, { use: 'enc' })), unknown);
    await expectRefused(company, await ask(normal, jwk(normal, { key_ops: ['encrypt'] })), unknown);
  });

  it('R16 keys of a SPIFFE bundle that are not for JWT-SVIDs verify none', async () => {
    const sent = () => company.spiffeToken();
    const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
    expectGranted(await company.credentials(bearer(await sent(), type), { as: null }));
    const other = await company.spiffe.rotate();
    company.spiffe.publish([
      { ...company.spiffe.keys[0]!.publicJwk, use: 'jwt-svid' },
      { ...other.publicJwk, use: 'x509-svid' },
    ]);
    const answer = await company.credentials(bearer(await sent(), type), { as: null });
    await expectRefused(company, answer, {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'key_unknown' },
    });
  });
});

describe('A8 the right to use an issuer comes before its keys are fetched (Dex GHSA-7qjx-gp9h-65qj)', () => {
  it('A8 subject and actor tokens: who may not present them causes no fetch', async () => {
    const fresh = await issuer();
    const spec = { name: 'fresh', issuer: fresh.issuer, internal: true, clients: ['agent'], token_types: { jwt: {} } };
    await company.cambist.apply(JSON.stringify({ issuers: [spec] }));
    const token = await fresh.mint({ sub: 'ada', aud: company.cambist.issuer });
    const asSubject = { subject_token: token, subject_token_type: `${TYPE}jwt`, scope: 'notes:read' };
    await expectRefused(company, await company.exchange(asSubject, { as: 'second' }), {
      error: 'invalid_request',
      reason: 'subject_token_not_meant_for_client',
    });
    await expectRefused(
      company,
      await company.exchange({ actor_token: token, actor_token_type: `${TYPE}jwt` }, { as: 'second' }),
      {
        error: 'invalid_request',
        reason: 'actor_token_not_meant_for_client',
      },
    );
    const elsewhere = await fresh.mint({ sub: 'ada', aud: 'elsewhere' });
    await expectRefused(company, await company.exchange({ ...asSubject, subject_token: elsewhere }), {
      error: 'invalid_request',
      reason: 'subject_token_not_meant_for_client',
    });
    expect(fresh.fetches()).toBe(0);
    await expectVerified(await company.exchange(asSubject));
    expect(fresh.fetches()).toBeGreaterThan(0);
  });

  it('A8 client assertions, on every grant: an unbound workload, a wrong audience or algorithm causes no fetch', async () => {
    const fresh = await issuer();
    const sub = 'job';
    await company.cambist.apply(
      JSON.stringify({
        issuers: [
          { name: 'batch', issuer: fresh.issuer, internal: true, token_types: { jwt: {} }, algorithms: ['ES256'] },
        ],
        clients: [
          { id: 'job', auth: ['workload_identity'], identities: [{ issuer: 'batch', sub }], groups: ['agents'] },
        ],
      }),
    );
    const aud = company.cambist.issuer;
    const stranger = await fresh.strangerKey('RS256');
    for (const token of [
      await fresh.mint({ sub: 'another', aud }),
      await fresh.mint({ sub, aud: 'elsewhere' }),
      await fresh.mint({ sub, aud }, { key: stranger }),
      await fresh.mint({ sub, aud }, { header: { typ: 'at+jwt' } }),
    ])
      for (const send of [company.credentials, company.exchange])
        expectErrorForm(await send(bearer(token), { as: null }), 401, 'invalid_client');
    expect(fresh.fetches()).toBe(0);
    expectGranted(await company.credentials(bearer(await fresh.mint({ sub, aud })), { as: null }));
    expect(fresh.fetches()).toBeGreaterThan(0);
  });
});

describe('A9 what an issuer refused is remembered only as narrowly as it is true', () => {
  it('A9 while the key set is down, an unknown kid must wait and a known one goes on', async () => {
    const flaky = await issuer();
    const iss = `https://issuer-${count + 1}.example`;
    await expectVerified(await askWith({ jwks_uri: flaky.jwksUri, internal: true }, flaky));
    flaky.breakEndpoint({ kind: 'status', status: 500 });
    const stranger = await flaky.strangerKey();
    // Past the freshness of the set, so that it is asked for again and fails.
    const now = Math.floor(Date.now() / 1000);
    company.holdClock(now + 400);
    const ask = async (key = flaky.keys[0]!) => {
      const subject_token = await flaky.mint(
        { iss, sub: 'ada', aud: company.cambist.issuer, iat: now + 300, exp: now + 900 },
        { key },
      );
      return company.exchange({ subject_token, subject_token_type: `${TYPE}jwt`, scope: 'notes:read' });
    };
    expectErrorForm(await ask(stranger), 503, 'temporarily_unavailable');
    await expectVerified(await ask());
    company.holdClock(undefined);
  });

  it("A9 an unknown kid of one issuer keeps nobody else's token out, nor that issuer's own", async () => {
    const busy = await issuer();
    const iss = `https://issuer-${count + 1}.example`;
    await expectVerified(await askWith({ jwks_uri: busy.jwksUri, internal: true }, busy));
    const fetched = busy.fetches();
    for (let attempt = 0; attempt < 5; attempt++) {
      const key = await busy.strangerKey();
      const subject_token = await busy.mint({ iss, sub: 'ada', aud: company.cambist.issuer }, { key });
      const answer = await company.exchange({ subject_token, subject_token_type: `${TYPE}jwt` });
      await expectRefused(company, answer, {
        error: 'invalid_request',
        reason: 'subject_token_invalid',
        detail: { fault: 'key_unknown' },
      });
    }
    // Nobody outside decides how often we fetch.
    expect(busy.fetches()).toBeLessThanOrEqual(fetched + 1);
    await expectVerified(await askAgain(iss, busy));
    const fine = await company.exchange();
    expectGranted(fine);
    expect(requestIdOf(fine)).not.toBe('');
  });
});
