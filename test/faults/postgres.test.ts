/**
 * F1, F2, F3 and the ledger, with a real PostgreSQL that is killed by pid, refuses a row, or hangs.
 */
import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { CryptoKey } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import { withClient } from '../support/postgres-cluster.ts';
import { claimsOf } from '../support/token-client.ts';
import { countKinds, disagreements, openBooks } from './ledger.ts';
import type { Seen } from './ledger.ts';

const KILLS = 20;
const IN_FLIGHT = 50;
const objects = (corp: string, jwk: unknown) => `
issuers:
  - {name: corp, issuer: '${corp}', jwks: {keys: [${JSON.stringify(jwk)}]}, algorithms: [ES256]}
clients:
  - {id: agent, auth: [client_secret_basic]}
  - {id: signer, auth: [private_key_jwt], jwks: {keys: [${JSON.stringify(jwk)}]}, algorithms: [ES256]}
resources: [{name: notes, uri: https://notes.test/mcp, scopes: {read: Read}, default_scopes: [read]}]
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource in Resource::"https://notes.test/mcp");
      permit (principal == Client::"agent", action == Action::"act", resource in Resource::"https://notes.test/mcp");
`;

const CORP = 'https://corp.test';
const KID = 'key-of-the-test';

type Manner = 'secret' | 'exchange' | 'assertion';
/** A third of the workers exchange, a few sign; the impatient one, the first, exchanges. */
const mannerOf = (worker: number): Manner =>
  worker % 3 === 0 ? 'exchange' : worker % 10 === 1 ? 'assertion' : 'secret';

withPostgres('a real PostgreSQL that fails', () => {
  let cluster: PostgresCluster;
  let database: Database;
  let cambist: TestCambist;
  let signingKey: CryptoKey;
  const seen: Seen[] = [];
  const issuedBy: Record<Manner, number> = { secret: 0, exchange: 0, assertion: 0 };

  beforeAll(async () => {
    cluster = await startPostgres();
    database = await openDatabase({
      source: { engine: 'postgresql', url: cluster.url, connectTimeoutMs: 1000, statementTimeoutMs: 2000 },
      migrate: true,
      logger: createLogger('silent'),
    });
    const pair = await generateKeyPair('ES256');
    signingKey = pair.privateKey;
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: KID, alg: 'ES256', use: 'sig' };
    cambist = await startCambist({ objects: objects(CORP, jwk), database });
  });
  afterAll(async () => {
    await cambist.stop();
    await database.close();
    await cluster.stop();
  });

  const sign = (claims: Readonly<Record<string, unknown>>) =>
    new SignJWT({ jti: randomUUID(), ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: KID, typ: 'JWT' })
      .setIssuedAt()
      .setExpirationTime('60s')
      .sign(signingKey);
  const basic = () => ({
    authorization: `Basic ${Buffer.from(`agent:${cambist.secretOf('agent')}`).toString('base64')}`,
  });

  /** Three ways to ask, with all that a commit can hold: a plain row, a sealed person, a replay mark. */
  const manners: Readonly<
    Record<Manner, () => Promise<{ headers?: Record<string, string>; form: Record<string, string> }>>
  > = {
    secret: () => Promise.resolve({ headers: basic(), form: { grant_type: 'client_credentials' } }),
    exchange: async () => ({
      headers: basic(),
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await sign({ iss: CORP, aud: cambist.issuer, sub: `person-${Math.floor(Math.random() * 40)}` }),
        subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      },
    }),
    assertion: async () => ({
      form: {
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await sign({ iss: 'signer', sub: 'signer', aud: cambist.issuer }),
      },
    }),
  };

  async function ask(signal?: AbortSignal, manner: Manner = 'secret'): Promise<Seen> {
    const { headers = {}, form } = await manners[manner]();
    try {
      const response = await fetch(`${cambist.url}/oauth2/token`, {
        method: 'POST',
        headers,
        body: new URLSearchParams({ ...form, resource: 'https://notes.test/mcp' }),
        ...(signal === undefined ? {} : { signal }),
      });
      const requestId = response.headers.get('cambist-request-id') ?? undefined;
      const body = (await response.json()) as { access_token?: string; error?: string };
      if (response.status === 200) return { outcome: 'issued', requestId, jti: claimsOf(body.access_token ?? '').jti };
      const unavailable =
        response.status === 503 && body.error === 'temporarily_unavailable' && response.headers.has('retry-after');
      return {
        outcome: unavailable ? 'unavailable' : 'other',
        requestId,
        jti: undefined,
        detail: `${response.status} ${body.error ?? ''}`,
      };
    } catch {
      return { outcome: 'cut', requestId: undefined, jti: undefined };
    }
  }

  /** Keeps IN_FLIGHT requests under way until told to stop; some callers hang up before their answer. */
  function load(): { stop(): Promise<void> } {
    let running = true;
    const worker = async (index: number) => {
      while (running) {
        const impatient = index === 0 ? AbortSignal.timeout(Math.round(3 + Math.random() * 20)) : undefined;
        const entry = await ask(impatient, mannerOf(index));
        seen.push(entry);
        if (entry.outcome === 'issued') issuedBy[mannerOf(index)] += 1;
        if (entry.outcome !== 'issued') await pause(20);
      }
    };
    const workers = Array.from({ length: IN_FLIGHT }, (_, index) => worker(index));
    return {
      stop: async () => {
        running = false;
        await Promise.all(workers);
      },
    };
  }

  /** Commits are flushed and then wait for a standby that never answers: the state in which COMMIT was sent and not acknowledged. */
  const holdCommits = (hold: boolean) =>
    withClient(cluster.url, async (client) => {
      await client.query(
        hold ? `ALTER SYSTEM SET synchronous_standby_names = 'nobody'` : 'ALTER SYSTEM RESET synchronous_standby_names',
      );
      await client.query('SELECT pg_reload_conf()');
    });

  async function untilServed(): Promise<void> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const entry = await ask();
      seen.push(entry);
      if (entry.outcome === 'issued') return;
      if (Date.now() > deadline) throw new Error(`did not recover: ${entry.detail ?? entry.outcome}`);
      await pause(50);
    }
  }

  test(`F1 the postmaster is killed ${KILLS} times under ${IN_FLIGHT} requests in flight, some after COMMIT was sent: every 200 has its record, every other issued record is followed by undelivered`, async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      const traffic = load();
      await pause(100 + Math.random() * 100);
      if (kill % 2 === 1) {
        await holdCommits(true);
        await pause(60);
      }
      await cluster.kill9();
      await pause(30);
      await cluster.restart();
      if (kill % 2 === 1) await holdCommits(false);
      await untilServed();
      await traffic.stop();
    }
    await settled();
    const books = await openBooks(cambist, seen);
    const kinds = countKinds(books);
    const count = (outcome: Seen['outcome']) => seen.filter((entry) => entry.outcome === outcome).length;
    console.log(
      `kills ${KILLS}: 200 ${count('issued')}, 503 ${count('unavailable')}, cut ${count('cut')}; ` +
        `issued by ${JSON.stringify(issuedBy)}; of unknown outcome and found out: committed ${kinds['undelivered'] ?? 0}, never committed ${kinds['failed'] ?? 0}`,
    );
    expect(disagreements(books)).toEqual([]);
    expect(seen.filter((entry) => entry.outcome === 'other')).toEqual([]);
    for (const [manner, issued] of Object.entries(issuedBy)) expect(issued, manner).toBeGreaterThan(KILLS);
    expect(count('unavailable')).toBeGreaterThan(0);
    expect(count('cut')).toBeGreaterThan(0);
    expect(kinds['undelivered'] ?? 0).toBeGreaterThan(0);
  }, 240_000);

  /** Until nothing is queued, in flight or unsettled: the number of records stands still. */
  async function settled(): Promise<void> {
    let before = -1;
    for (;;) {
      const [row] = await database.query<{ n: number }>('SELECT count(*)::int AS n FROM audit_record');
      if (row?.n === before) return;
      before = row?.n ?? 0;
      await pause(7000);
    }
  }

  test('F2 one INSERT that fails refuses its own request alone: 503, no token, no orphan', async () => {
    await withClient(cluster.url, async (client) => {
      await client.query(`SET search_path = cambist`);
      await client.query(`
        CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS
          $f$ BEGIN IF new.jti LIKE '%0' OR new.jti LIKE '%8' THEN RAISE EXCEPTION 'no'; END IF; RETURN new; END $f$;
        CREATE TRIGGER refuse_some BEFORE INSERT ON issued_token FOR EACH ROW EXECUTE FUNCTION refuse_some()`);
    });
    const mine = await Promise.all(Array.from({ length: 120 }, () => ask()));
    await withClient(cluster.url, (client) => client.query('DROP TRIGGER refuse_some ON cambist.issued_token'));
    const books = await openBooks(cambist, mine);
    const issued = mine.filter((entry) => entry.outcome === 'issued');
    const refused = mine.filter((entry) => entry.outcome === 'unavailable');
    expect(issued.length + refused.length).toBe(120);
    expect(refused.length).toBeGreaterThan(0);
    expect(issued.length).toBeGreaterThan(refused.length);
    for (const { requestId } of refused) expect(books.records.get(requestId ?? '')).toBeUndefined();
    for (const { requestId } of issued) expect(books.records.get(requestId ?? '')?.length).toBe(1);
  }, 60_000);

  test('F3 a database that hangs: every request is answered 503 within bounds, and the next one after it recovers is served', async () => {
    await untilServed();
    cluster.pauseAll();
    const started = Date.now();
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask()));
    const tookMs = Date.now() - started;
    cluster.resumeAll();
    expect(answers.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 30 }, () => 'unavailable'));
    expect(tookMs).toBeLessThan(15_000);
    await untilServed();
  }, 60_000);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
