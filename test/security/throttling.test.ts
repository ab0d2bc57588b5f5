/**
 * Failed authentications are throttled where they come from, before credentials are looked at; a flood is shed early and
 * holds no memory. Sources are told apart by `X-Forwarded-For` from a trusted proxy, which is this machine.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { LimitSettings } from '../../src/limits/bounds.ts';
import type { Database } from '../../src/store/database.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { openMemoryDatabase } from '../support/memory-database.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';
import { generateKeyPair, exportJWK, SignJWT } from 'jose';

const OBJECTS = `
clients:
  - { id: agent, auth: [client_secret_basic, client_secret_post] }
  - { id: second, auth: [client_secret_basic] }
`;

async function start(limits: Partial<LimitSettings>, objects = OBJECTS, wrap = (database: Database) => database) {
  const database = await openMemoryDatabase();
  const cambist = await startCambist({
    objects,
    database: wrap(database),
    settings: { limits, trustedProxies: ['127.0.0.1/32'] },
  });
  onTestFinished(async () => {
    await cambist.stop();
    await database.close();
  });
  return { cambist, database };
}

interface From {
  readonly source?: string;
  readonly client?: string;
  readonly secret?: string;
}

function ask(cambist: TestCambist, from: From = {}, form: FormFields = {}): Promise<TokenAnswer> {
  const { client = 'agent', source } = from;
  return cambist.token(
    { grant_type: 'client_credentials', ...form },
    {
      basic: [client, from.secret ?? cambist.secretOf(client)],
      headers: { connection: 'close', ...(source === undefined ? {} : { 'x-forwarded-for': source }) },
    },
  );
}

function expectThrottled(answer: TokenAnswer): void {
  expect(answer.body).toEqual({
    error: 'temporarily_unavailable',
    error_description: 'The service cannot answer now. Try again later.',
  });
  expect(answer.status).toBe(429);
  const seconds = Number(answer.headers.get('retry-after'));
  expect(seconds).toBeGreaterThanOrEqual(1);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(answer.headers.get('www-authenticate')).toBeNull();
}

describe('failed authentications', () => {
  it('are refused as such up to the limit, and then turned away whatever the secret', async () => {
    const { cambist } = await start({ failedAuthenticationsPerMinute: 3 });
    for (let index = 0; index < 3; index++) expect((await ask(cambist, { secret: `guess-${index}` })).status).toBe(401);
    expectThrottled(await ask(cambist, { secret: 'guess' }));
    // Who guesses learns nothing from then on, not even that a guess was right.
    expectThrottled(await ask(cambist));
  });

  it('of one client lock out neither another behind the same address nor the same client elsewhere', async () => {
    const { cambist } = await start({ failedAuthenticationsPerMinute: 3 });
    for (let index = 0; index < 3; index++) await ask(cambist, { source: '192.0.2.1', secret: 'x' });
    expectThrottled(await ask(cambist, { source: '192.0.2.1' }));
    expect((await ask(cambist, { source: '192.0.2.1', client: 'second' })).status).toBe(200);
    expect((await ask(cambist, { source: '192.0.2.2' })).status).toBe(200);
  });

  it('are counted for whoever is claimed to be, by any method, and a success in between resets nothing', async () => {
    const { cambist } = await start({ failedAuthenticationsPerMinute: 3 });
    const source = '192.0.2.1';
    await ask(cambist, { source, secret: 'x' });
    expect((await ask(cambist, { source })).status).toBe(200);
    const posted = { grant_type: 'client_credentials', client_id: 'agent', client_secret: 'x' };
    await cambist.token(posted, { headers: { connection: 'close', 'x-forwarded-for': source } });
    expect((await ask(cambist, { source })).status).toBe(200);
    await ask(cambist, { source, secret: 'x' });
    expectThrottled(await ask(cambist, { source }));
  });

  it('of one address for client after client are turned away after ten times as many, the whole /64 of IPv6', async () => {
    const { cambist } = await start({ failedAuthenticationsPerMinute: 2 });
    for (let index = 0; index < 20; index++)
      expect(
        (await ask(cambist, { source: `2001:db8:1:1::${index}`, client: `guess-${index}`, secret: 'x' })).status,
      ).toBe(401);
    expectThrottled(await ask(cambist, { source: '2001:db8:1:1:ffff::1' }));
    expect((await ask(cambist, { source: '2001:db8:1:2::1' })).status).toBe(200);
  });

  it('a source that is not believed counts under the address that sent it (X-Forwarded-For of anybody opens nothing)', async () => {
    const cambist = await startCambist({
      objects: OBJECTS,
      settings: { limits: { failedAuthenticationsPerMinute: 2 } },
    });
    onTestFinished(() => cambist.stop());
    for (let index = 0; index < 2; index++)
      expect((await ask(cambist, { source: `192.0.2.${index}`, secret: 'x' })).status).toBe(401);
    expectThrottled(await ask(cambist, { source: '192.0.2.9' }));
  });

  it('are not looked at once they are throttled: the database is not asked', async () => {
    let statements = 0;
    const { cambist } = await start({ failedAuthenticationsPerMinute: 1 }, OBJECTS, (database) => ({
      ...database,
      query: (...statement) => {
        if (statement[2]?.name !== undefined) statements += 1;
        return database.query(...statement);
      },
    }));
    await ask(cambist, { secret: 'x' });
    const [before, answers] = [statements, [] as TokenAnswer[]];
    for (let index = 0; index < 20; index++) answers.push(await ask(cambist, { secret: 'x' }));
    for (const answer of answers) expectThrottled(answer);
    // Others ask too (the pulse); a request that is looked at asks for itself.
    expect(statements - before).toBeLessThan(20);
  });

  it('by a used assertion count like others, so that it cannot use up the quota of its client', async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k', alg: 'ES256', use: 'sig' };
    const { cambist } = await start(
      { failedAuthenticationsPerMinute: 3 },
      `clients: [{ id: signer, auth: [private_key_jwt], jwks: { keys: [${JSON.stringify(jwk)}] } }]`,
    );
    const assertion = await new SignJWT({ jti: 'once' })
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer('signer')
      .setSubject('signer')
      .setAudience(cambist.issuer)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(pair.privateKey);
    const present = () =>
      cambist.token(
        {
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: assertion,
        },
        { headers: { connection: 'close' } },
      );
    expect((await present()).status).toBe(200);
    for (let index = 0; index < 3; index++) expect((await present()).status).toBe(401);
    expectThrottled(await present());
  });

  it('are counted in one record, without who was claimed to be', async () => {
    const database = await openMemoryDatabase();
    onTestFinished(() => database.close());
    const cambist = await startCambist({
      objects: OBJECTS,
      database,
      settings: { limits: { failedAuthenticationsPerMinute: 2 } },
    });
    for (let index = 0; index < 5; index++) await ask(cambist, { secret: 'x' });
    await cambist.stop();
    const rows = await database.query<{ canonical: Uint8Array }>(
      `SELECT canonical FROM audit_record WHERE kind IN ('refused', 'noise')`,
    );
    expect(rows.map((row) => JSON.parse(new TextDecoder().decode(row.canonical)).refused)).toEqual([
      [
        { source_prefix: '127.0.0.0/24', reason: 'client_secret_wrong', count: 2 },
        { source_prefix: '127.0.0.0/24', reason: 'source_throttled', count: 3 },
      ],
    ]);
  });
});

describe('F10 overload', () => {
  it('what is beyond the bound is answered 503 while the rest waits, and leaves no memory behind', async () => {
    let release = () => {};
    let gate = Promise.resolve();
    const { cambist } = await start({ requestsUnderWayMax: 10 }, OBJECTS, (database) => ({
      ...database,
      query: async (...statement) => {
        if (statement[2]?.name === 'change-feed') await gate;
        return database.query(...statement);
      },
    }));
    expect((await ask(cambist)).status).toBe(200);
    gate = new Promise((resolve) => {
      release = resolve;
    });
    const waiting = Array.from({ length: 10 }, () => ask(cambist));
    while (cambist.service.limits.sizes().underWay < 10) await new Promise((resolve) => setTimeout(resolve, 10));

    const flood = async (requests: number) => {
      for (let sent = 0; sent < requests; sent += 50) {
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, at) => ask(cambist, {}, { padding: `${at}`.padEnd(30_000, 'x') })),
        );
        for (const { status, headers, body } of answers) {
          expect([status, body.error]).toEqual([503, 'temporarily_unavailable']);
          expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
        }
      }
    };
    await flood(200);
    const before = await heapAfterCollection();
    await flood(2000);
    const grownBytes = (await heapAfterCollection()) - before;
    // 60 MB went by.
    expect(grownBytes).toBeLessThan(15_000_000);
    expect(cambist.service.limits.sizes()).toMatchObject({ underWay: 10, shed: 2200 });

    release();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(Array(10).fill(200));
    expect((await ask(cambist)).status).toBe(200);
    expect(cambist.service.limits.sizes().underWay).toBe(0);
  });
});

/** Bytes in use, on the heap and beside it, once nothing is left to collect. */
async function heapAfterCollection(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    collect();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
