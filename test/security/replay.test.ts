/**
 * R5: what is single use is used once, on every node, whatever becomes of the request and however the copy is spelled;
 * what is reusable is not refused. The race of fifty copies runs here on one node, and on two nodes of one real
 * PostgreSQL.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { bearer, expectGranted, expectRefused, JWT_SPIFFE, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

const ALONE = { as: null };
const REPLAYED = { error: 'invalid_client', reason: 'client_assertion_replayed', unauthenticated: false };
const COPIES = 50;

function countOf(answers: readonly TokenAnswer[]): Record<number, number> {
  const count: Record<number, number> = {};
  for (const { status } of answers) count[status] = (count[status] ?? 0) + 1;
  return count;
}

/** P-256: (r, n − s) is as good a signature as (r, s). */
function otherSignature(jwt: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const [header, payload, signature = ''] = jwt.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`);
  const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]);
  return `${header}.${payload}.${twin.toString('base64url')}`;
}

describe('R5 one node', () => {
  let company: Company;
  let database: Database;
  /** Commits wait for this. */
  let gate = Promise.resolve();
  beforeAll(async () => {
    const logger = createLogger('silent');
    database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
    company = await startCompany({
      database: {
        engine: database.engine,
        maxInFlightBatches: database.maxInFlightBatches,
        schema: database.schema,
        query: async (text, values, options) => {
          if (options?.name === 'commit-batch') await gate;
          return database.query(text, values, options);
        },
        transaction: (work) => database.transaction(work),
        pool: () => database.pool(),
        close: () => database.close(),
      },
    });
  });
  afterAll(async () => {
    await company.stop();
    await database.close();
  });

  it('R5 an assertion that a client signed is good once, on every grant', async () => {
    const assertion = await company.assertion();
    expectGranted(await company.credentials(bearer(assertion), ALONE));
    await expectRefused(company, await company.credentials(bearer(assertion), ALONE), REPLAYED);
    await expectRefused(company, await company.exchange(bearer(assertion), ALONE), REPLAYED);
  });

  it('R5 a token string is no identity: the twin signature and a copy without jti are the same assertion', async () => {
    const assertion = await company.assertion();
    expect(otherSignature(assertion)).not.toBe(assertion);
    expectGranted(await company.credentials(bearer(otherSignature(await company.assertion())), ALONE));
    expectGranted(await company.credentials(bearer(assertion), ALONE));
    await expectRefused(company, await company.credentials(bearer(otherSignature(assertion)), ALONE), REPLAYED);
    const nameless = await company.assertion({ jti: undefined, nonce: 'a' });
    expectGranted(await company.credentials(bearer(nameless), ALONE));
    await expectRefused(company, await company.credentials(bearer(otherSignature(nameless)), ALONE), REPLAYED);
    const another = await company.assertion({ jti: undefined, nonce: 'b' });
    expectGranted(await company.credentials(bearer(another), ALONE));
  });

  it('R5 the same jti under other times is the same assertion; at another client it is another one', async () => {
    const jti = 'shared-by-two-clients';
    expectGranted(await company.credentials(bearer(await company.assertion({ jti })), ALONE));
    const later = await company.assertion({ jti }, { lifetimeSeconds: 600 });
    await expectRefused(company, await company.credentials(bearer(later), ALONE), REPLAYED);
    const ofRemote = await company.assertion({ jti, iss: 'remote', sub: 'remote' });
    expectGranted(await company.credentials(bearer(ofRemote), ALONE));
  });

  it('R5 it stays used when the request is refused for something else', async () => {
    const assertion = await company.assertion();
    const elsewhere = { resource: 'https://unknown.example', ...bearer(assertion) };
    await expectRefused(company, await company.credentials(elsewhere, ALONE), {
      error: 'invalid_target',
      reason: 'target_unknown',
    });
    await expectRefused(company, await company.credentials(bearer(assertion), ALONE), REPLAYED);
  });

  it('R5 it is used only once its signature verified: a forged copy takes nothing away', async () => {
    const jti = 'guessed-by-somebody';
    const key = await company.signer.strangerKey();
    const forged = await company.assertion({ jti }, { key, header: { kid: company.signer.keys[0]!.kid } });
    await expectRefused(company, await company.credentials(bearer(forged), ALONE), {
      error: 'invalid_client',
      reason: 'client_assertion_invalid',
      detail: { fault: 'signature_invalid' },
    });
    expectGranted(await company.credentials(bearer(await company.assertion({ jti })), ALONE));
  });

  it('R5 tokens of platforms and subject tokens are good until they expire', async () => {
    for (const form of [
      bearer(await company.podToken()),
      bearer(await company.githubToken()),
      bearer(await company.spiffeToken(), JWT_SPIFFE),
      { ...bearer(await company.podToken()), subject_token: await company.idToken({ aud: company.cambist.issuer }) },
    ])
      for (let use = 0; use < 3; use++) {
        const send = 'subject_token' in form ? company.exchange : company.credentials;
        expectGranted(await send(form, ALONE));
      }
  });

  it('R5 where a trusted issuer says single_use, its tokens are good once, as subject and as actor', async () => {
    const mint = (sub: string) => company.once.mint({ sub, aud: company.cambist.issuer, groups: ['staff'] });
    const subject = { subject_token: await mint('grace'), subject_token_type: `${TYPE}jwt` };
    expectGranted(await company.exchange(subject));
    const replayed = { error: 'invalid_request', reason: 'subject_token_replayed' };
    await expectRefused(company, await company.exchange(subject), replayed);
    await expectRefused(company, await company.exchange(subject, { as: 'second' }), replayed);
    const actor = { actor_token: subject.subject_token, actor_token_type: `${TYPE}jwt` };
    const answer = await company.exchange(actor);
    expect(answer.status).toBe(400);
    // As an assertion as well, for a workload that is bound to a client.
    const job = bearer(await mint('job-1'));
    expectGranted(await company.credentials(job, ALONE));
    await expectRefused(company, await company.credentials(job, ALONE), REPLAYED);
  });

  it('R5 fifty copies at once → exactly one 200', async () => {
    const form = bearer(await company.assertion());
    const copies = Array.from({ length: COPIES }, () => company.credentials(form, ALONE));
    expect(countOf(await Promise.all(copies))).toEqual({ 200: 1, 401: COPIES - 1 });
  });

  it('R5 fifty copies in one batch of commits → exactly one 200', async () => {
    const form = bearer(await company.assertion());
    let open = () => {};
    gate = new Promise((resolve) => (open = resolve));
    const first = company.credentials();
    const copies = Array.from({ length: COPIES }, () => company.credentials(form, ALONE));
    // The first commit is held up, and the copies gather behind it.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    open();
    expectGranted(await first);
    expect(countOf(await Promise.all(copies))).toEqual({ 200: 1, 401: COPIES - 1 });
  });
});

withPostgres('R5 two nodes on one PostgreSQL', () => {
  let cluster: PostgresCluster;
  let databases: Database[];
  let company: Company;
  let second: TestCambist;
  beforeAll(async () => {
    cluster = await startPostgres();
    const logger = createLogger('silent');
    const open = () => openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger });
    databases = [await open(), await open(), await open()];
    company = await startCompany({ database: databases[0]! });
    second = await startCambist({ objects: '', database: databases[1]!, joins: company.cambist });
  });
  afterAll(async () => {
    await second.stop();
    await company.stop();
    await Promise.all(databases.map((database) => database.close()));
    await cluster.stop();
  });

  /** The same request fifty times, by turns on both nodes. */
  const race = (send: (node: TestCambist) => Promise<TokenAnswer>) =>
    Promise.all(Array.from({ length: COPIES }, (_, copy) => send(copy % 2 === 0 ? company.cambist : second)));

  it('R5 fifty copies of an assertion on two nodes → exactly one 200; still refused after a restart', async () => {
    const assertion = await company.assertion();
    const answers = await race((node) => company.credentials(bearer(assertion), { as: null, node }));
    expect(countOf(answers)).toEqual({ 200: 1, 401: COPIES - 1 });
    for (const node of [company.cambist, second])
      expect((await company.credentials(bearer(assertion), { as: null, node })).status).toBe(401);
    const restarted = await startCambist({ objects: '', database: databases[2]!, joins: company.cambist });
    try {
      const answer = await company.credentials(bearer(assertion), { as: null, node: restarted });
      expect(answer.status).toBe(401);
      const [record] = await restarted.records(answer.headers.get('cambist-request-id')!);
      expect(record?.body).toMatchObject({ kind: 'refused', refusal: { reason: 'client_assertion_replayed' } });
      expectGranted(await company.credentials(bearer(await company.assertion()), { as: null, node: restarted }));
    } finally {
      await restarted.stop();
    }
  });

  it('R5 fifty copies of a single-use subject token on two nodes → exactly one 200', async () => {
    const subject_token = await company.once.mint({ sub: 'grace', aud: company.cambist.issuer, groups: ['staff'] });
    const form = { subject_token, subject_token_type: `${TYPE}jwt` };
    const answers = await race((node) => company.exchange(form, { node }));
    expect(countOf(answers)).toEqual({ 200: 1, 400: COPIES - 1 });
  });
});
