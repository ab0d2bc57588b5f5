import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Database } from '../../src/store/database.ts';
import type { LimitSettings } from '../../src/limits/bounds.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { withDatabases } from '../support/databases.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import type { FormFields, TokenAnswer } from '../support/token-client.ts';
import { EXCHANGE, ID_TOKEN } from './asking.ts';

const NOTES = 'https://notes.example/mcp';
const MAIL = 'https://mail.example/mcp';
const A_DAY = 86_400;

/** The same database, with windows of another length than a minute: so that none ends in the middle of a test. */
function withWindows(database: Database, windowSeconds: number): Database {
  return {
    ...database,
    query: (text, values, options) =>
      database.query(text, options?.name === 'rates-take' ? [...values!.slice(0, 3), windowSeconds] : values, options),
  };
}

const objects = (corp: JwksIssuer, more: { agent?: number; notes?: number } = {}) => `
issuers:
  - name: corp
    issuer: ${corp.issuer}
    internal: true
    audiences: [{ value: portal, clients: [agent, second] }]
clients:
  - { id: agent, auth: [client_secret_basic]${more.agent === undefined ? '' : `, requests_per_minute: ${more.agent}`} }
  - { id: second, auth: [client_secret_basic] }
resources:
  - name: notes
    uri: ${NOTES}
    aliases: ['urn:example:notes']
    scopes: { 'notes:read': Read }
    default_scopes: ['notes:read']
    ${more.notes === undefined ? '' : `requests_per_minute: ${more.notes}`}
  - { name: mail, uri: '${MAIL}', scopes: { 'mail:read': Read }, default_scopes: ['mail:read'] }
policies:
  - { id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }
`;

const credentials = (cambist: TestCambist, client = 'agent', form: FormFields = {}, secret?: string) =>
  cambist.token(
    { grant_type: 'client_credentials', ...form },
    // Or each end of a node would wait for the connections that are left open.
    { basic: [client, secret ?? cambist.secretOf(client)], headers: { connection: 'close' } },
  );

const exchange = (
  cambist: TestCambist,
  ask: { client: string; subject: string; resource: string; more?: FormFields },
) =>
  credentials(cambist, ask.client, {
    grant_type: EXCHANGE,
    subject_token: ask.subject,
    subject_token_type: ID_TOKEN,
    resource: ask.resource,
    ...ask.more,
  });

const statuses = (answers: readonly TokenAnswer[]) => answers.map(({ status }) => status).sort();

function expectLimited(answer: TokenAnswer): void {
  expect(answer.body).toEqual({
    error: 'temporarily_unavailable',
    error_description: 'The service cannot answer now. Try again later.',
  });
  expect(answer.status).toBe(429);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
}

withDatabases('limits', (databases) => {
  async function start(
    limits: Partial<LimitSettings>,
    more: { agent?: number; notes?: number; windowSeconds?: number } = {},
  ) {
    const corp = await startJwksIssuer();
    const { db, anotherNode } = await databases.fresh();
    const node = async (database: Database, joins?: TestCambist) => {
      const cambist = await startCambist({
        objects: joins === undefined ? objects(corp, more) : '',
        database: withWindows(database, more.windowSeconds ?? A_DAY),
        settings: { limits },
        ...(joins === undefined ? {} : { joins }),
      });
      onTestFinished(() => cambist.stop());
      return cambist;
    };
    onTestFinished(() => corp.stop());
    const cambist = await node(db);
    const ada = (claims: Record<string, unknown> = {}) => corp.mint({ aud: 'portal', sub: 'ada', ...claims });
    return { corp, db, cambist, ada, second: async () => node(await anotherNode(), cambist) };
  }

  describe('two nodes', () => {
    it.each([7, 45])(
      'share the limit of a client (%i) and never grant more, one at a time or all at once',
      async (quota) => {
        const { cambist, second } = await start({ clientPerMinute: quota });
        const nodes = [cambist, await second()];
        const answers = await Promise.all(Array.from({ length: quota + 25 }, (_, at) => credentials(nodes[at % 2]!)));
        const granted = answers.filter(({ status }) => status === 200).length;
        // What one node holds of a block while the other asks for the last may be left over; never the other way round.
        expect(granted).toBeLessThanOrEqual(quota);
        if (quota < 40) expect(granted).toBe(quota);
        while ((await credentials(nodes[0]!)).status === 200 || (await credentials(nodes[1]!)).status === 200);
        for (const one of nodes) expectLimited(await credentials(one));
      },
    );

    it('grant exactly the limit, to the last request, where what is left lies with one of them', async () => {
      const { cambist, second } = await start({ clientPerMinute: 100 });
      const nodes = [cambist, await second()];
      let granted = 0;
      for (const one of nodes)
        for (let limited = false; !limited;) {
          const { status } = await credentials(one);
          if (status === 200) granted += 1;
          else limited = true;
        }
      expect(granted).toBe(100);
    });
  });

  it('a client has its own number where it has one; another client is not concerned', async () => {
    const { cambist } = await start({ clientPerMinute: 3 }, { agent: 1 });
    expect((await credentials(cambist)).status).toBe(200);
    expectLimited(await credentials(cambist));
    const others = [];
    for (let index = 0; index < 4; index++) others.push(await credentials(cambist, 'second'));
    expect(statuses(others)).toEqual([200, 200, 200, 429]);
  });

  it('a limit that is changed holds with the next request', async () => {
    const { cambist, corp } = await start({}, { agent: 1 });
    expect((await credentials(cambist)).status).toBe(200);
    expectLimited(await credentials(cambist));
    await cambist.apply(objects(corp, { agent: 3 }));
    expect(statuses([await credentials(cambist), await credentials(cambist), await credentials(cambist)])).toEqual([
      200, 200, 429,
    ]);
  });

  it('a resource is limited by whatever name it is asked for; no client uses it up for another, and others are not concerned', async () => {
    const { cambist } = await start({}, { notes: 3 });
    const answers = [
      await credentials(cambist, 'agent', { resource: NOTES }),
      await credentials(cambist, 'agent', { resource: 'urn:example:notes' }),
      await credentials(cambist, 'agent', { audience: 'notes', resource: NOTES }),
      await credentials(cambist, 'agent', { audience: 'notes' }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expectLimited(answers[3]!);
    for (let index = 0; index < 3; index++)
      expect((await credentials(cambist, 'second', { resource: 'urn:example:notes' })).status).toBe(200);
    expectLimited(await credentials(cambist, 'second', { resource: NOTES }));
    expect((await credentials(cambist, 'agent', { resource: MAIL })).status).toBe(200);
    // Not registered: not counted, refused as ever.
    expect((await credentials(cambist, 'agent', { resource: 'https://notes.example/other' })).status).toBe(400);
  });

  it('a client that is over its own limit takes nothing from a resource', async () => {
    const { cambist, corp } = await start({}, { agent: 1, notes: 3 });
    for (let index = 0; index < 20; index++) await credentials(cambist, 'agent', { resource: NOTES });
    await cambist.apply(objects(corp, { agent: 100, notes: 3 }));
    const later = [];
    for (let index = 0; index < 3; index++) later.push(await credentials(cambist, 'agent', { resource: NOTES }));
    expect(statuses(later)).toEqual([200, 200, 429]);
  });

  it('no signature is looked at and no key fetched for a request that is over a limit', async () => {
    const { cambist, corp, ada } = await start({}, { agent: 1 });
    const token = await ada();
    expect((await credentials(cambist)).status).toBe(200);
    expectLimited(await exchange(cambist, { client: 'agent', subject: token, resource: NOTES }));
    expect(corp.fetches()).toBe(0);
    expect((await exchange(cambist, { client: 'second', subject: token, resource: NOTES })).status).toBe(200);
    expect(corp.fetches()).toBeGreaterThan(0);
  });

  it('a subject is limited over all clients; a client that asks for itself is not a subject', async () => {
    const { cambist, ada } = await start({ subjectPerMinute: 2 });
    const answers = [
      await exchange(cambist, { client: 'agent', subject: await ada(), resource: NOTES }),
      await exchange(cambist, { client: 'second', subject: await ada(), resource: MAIL }),
      await exchange(cambist, { client: 'second', subject: await ada(), resource: NOTES }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
    expectLimited(answers[2]!);
    expect(
      (await exchange(cambist, { client: 'agent', subject: await ada({ sub: 'bob' }), resource: NOTES })).status,
    ).toBe(200);
    for (let index = 0; index < 5; index++) expect((await credentials(cambist)).status).toBe(200);
  });

  it('nobody uses up the quota of a subject without a token of theirs that verifies', async () => {
    const { cambist, corp, ada } = await start({ subjectPerMinute: 2 });
    const stranger = await corp.strangerKey();
    const good = await ada();
    const flipped = `${good.slice(0, -4)}${good.endsWith('AAAA') ? 'BBBB' : 'AAAA'}`;
    for (let index = 0; index < 3; index++) {
      const worthless = [
        await corp.mint({ aud: 'portal', sub: 'ada' }, { key: stranger }),
        flipped,
        await ada({ aud: 'elsewhere' }),
        await corp.mint({ aud: 'portal', sub: 'ada' }, { issuedInSeconds: -900, lifetimeSeconds: 60 }),
      ];
      for (const subject of worthless)
        expect((await exchange(cambist, { client: 'agent', subject, resource: NOTES })).status).toBe(400);
    }
    const answers = [];
    for (let index = 0; index < 3; index++)
      answers.push(await exchange(cambist, { client: 'agent', subject: await ada(), resource: NOTES }));
    expect(statuses(answers)).toEqual([200, 200, 429]);
  });

  it('nobody uses up the quota of a client without its credentials', async () => {
    const { cambist } = await start({ failedAuthenticationsPerMinute: 1000 }, { agent: 1 });
    for (let index = 0; index < 10; index++)
      expect((await credentials(cambist, 'agent', {}, 'wrong')).status).toBe(401);
    expect((await credentials(cambist)).status).toBe(200);
  });

  it('says how the caller stands with every limit that applied (draft-ietf-httpapi-ratelimit-headers-11)', async () => {
    const { cambist, ada } = await start({ clientPerMinute: 10, subjectPerMinute: 2 }, { notes: 30 });
    const ask = async (more: FormFields = {}) =>
      exchange(cambist, { client: 'agent', subject: await ada(), resource: NOTES, more });
    const first = await ask();
    expect(first.status).toBe(200);
    expect(first.headers.get('ratelimit-policy')).toBe('"client";q=10;w=60, "resource";q=30;w=60, "subject";q=2;w=60');
    expect(first.headers.get('ratelimit')).toMatch(/^"client";r=9;t=\d+, "resource";r=29;t=\d+, "subject";r=1;t=\d+$/);
    const refused = await ask({ scope: 'unknown' });
    expect(refused.status).toBe(400);
    expect(refused.headers.get('ratelimit')).toMatch(
      /^"client";r=8;t=\d+, "resource";r=28;t=\d+, "subject";r=0;t=\d+$/,
    );
    const limited = await ask();
    expectLimited(limited);
    const [, seconds] = /"subject";r=0;t=(\d+)$/.exec(limited.headers.get('ratelimit')!)!;
    expect(limited.headers.get('retry-after')).toBe(seconds);
    const unknown = await cambist.token({ grant_type: EXCHANGE }, { basic: ['agent', 'wrong'] });
    expect(unknown.status).toBe(401);
    expect(unknown.headers.get('ratelimit-policy')).toBeNull();
  });

  it('says nothing where there is no limit', async () => {
    const { cambist } = await start({ clientPerMinute: null, subjectPerMinute: null });
    const { status, headers } = await credentials(cambist);
    expect(status).toBe(200);
    expect(headers.get('ratelimit')).toBeNull();
    expect(headers.get('ratelimit-policy')).toBeNull();
  });

  it('who comes back after Retry-After is let in, once per permit of the new window', async () => {
    const { cambist } = await start({ clientPerMinute: 1 }, { windowSeconds: 2 });
    for (let turn = 0; turn < 2; turn++) {
      let answer = await credentials(cambist);
      while (answer.status === 429) {
        expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(2);
        await new Promise((resolve) => setTimeout(resolve, Number(answer.headers.get('retry-after')) * 1000));
        answer = await credentials(cambist);
      }
      expect(answer.status).toBe(200);
    }
  });

  it('what is over a limit is counted by client in one record, and has none of its own', async () => {
    const { cambist, db } = await start({}, { agent: 1 });
    const answers = [];
    for (let index = 0; index < 6; index++) answers.push(await credentials(cambist));
    for (const answer of answers.slice(1))
      expect(await cambist.records(answer.headers.get('cambist-request-id')!)).toEqual([]);
    await cambist.stop();
    const rows = await db.query<{ kind: string; canonical: Uint8Array }>(
      `SELECT kind, canonical FROM audit_record WHERE kind IN ('refused', 'noise')`,
    );
    expect(rows.map(({ kind }) => kind)).toEqual(['noise']);
    expect(JSON.parse(new TextDecoder().decode(rows[0]!.canonical)).refused).toEqual([
      { source_prefix: '127.0.0.0/24', reason: 'client_rate_exceeded', client: 'agent', count: 5 },
    ]);
  });

  it('an assertion whose request was over a limit was not used: it is good once, afterwards', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256', use: 'sig' };
    const signer = (perMinute: number) =>
      `clients: [{ id: signer, auth: [private_key_jwt], requests_per_minute: ${perMinute}, jwks: { keys: [${JSON.stringify(jwk)}] } }]`;
    const { cambist } = await start({});
    await cambist.apply(signer(1));
    const assertion = (jti: string) =>
      new SignJWT({ jti })
        .setProtectedHeader({ alg: 'ES256', kid: 'k' })
        .setIssuer('signer')
        .setSubject('signer')
        .setAudience(cambist.issuer)
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey);
    const present = (signed: string) =>
      cambist.token(
        {
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: signed,
        },
        { headers: { connection: 'close' } },
      );
    const [first, later] = [await assertion('first'), await assertion('later')];
    expect((await present(first)).status).toBe(200);
    expectLimited(await present(later));
    await cambist.apply(signer(5));
    expect((await present(later)).status).toBe(200);
    const replayed = await present(later);
    expect(replayed.status).toBe(401);
    expect(replayed.headers.get('ratelimit')).toBeNull();
    expect(replayed.headers.get('ratelimit-policy')).toBeNull();
  });

  it('where the count cannot be had there is no token', async () => {
    const corp = await startJwksIssuer();
    const { db, asRole } = await databases.fresh();
    const cambist = await startCambist({ objects: objects(corp), database: db });
    onTestFinished(async () => {
      await cambist.stop();
      await corp.stop();
    });
    await asRole(undefined, (owner) => owner.query('REVOKE INSERT ON rate_window FROM cambist_runtime'));
    expect((await credentials(cambist)).status).toBeGreaterThanOrEqual(500);
  });
});
