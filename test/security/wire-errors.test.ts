/**
 * "Errors on the wire", row by row: what a caller reads for each cause, and nothing else. `expectRefused` checks for
 * every row the status, the code, the constant description, `Cache-Control: no-store`, the request id and the record.
 * Dependencies that are down and bugs are made by a database that fails on demand.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { Unavailable } from '../../src/core/refusal.ts';
import type { Database } from '../../src/store/database.ts';
import { openDatabase } from '../../src/store/open.ts';
import { basicHeader } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { bearer, EXCHANGE, expectErrorForm, expectGranted, expectRefused, PAYROLL, startCompany } from './company.ts';
import type { Company, Expected } from './company.ts';

let company: Company;
let database: Database;
/** What every statement of the database throws; undefined = it works. */
let failure: Error | undefined;
beforeAll(async () => {
  const logger = createLogger('silent');
  database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
  const failing: Database = {
    engine: database.engine,
    maxInFlightBatches: database.maxInFlightBatches,
    schema: database.schema,
    query: (...query) => (failure === undefined ? database.query(...query) : Promise.reject(failure)),
    transaction: (work) => (failure === undefined ? database.transaction(work) : Promise.reject(failure)),
    pool: () => database.pool(),
    close: () => database.close(),
  };
  company = await startCompany({ database: failing });
});
afterEach(() => {
  failure = undefined;
});
afterAll(async () => {
  await company.stop();
  await database.close();
});

interface Row extends Expected {
  readonly cause: string;
  send(): Promise<TokenAnswer>;
}

const ROWS: readonly Row[] = [
  {
    cause: 'a parameter is missing',
    error: 'invalid_request',
    reason: 'parameter_missing',
    send: () => company.exchange({ subject_token: undefined }),
  },
  {
    cause: 'a parameter is duplicated',
    error: 'invalid_request',
    reason: 'parameter_duplicated',
    unauthenticated: true,
    send: () => company.exchange({ scope: ['a', 'b'] }),
  },
  {
    cause: 'a token type is unknown',
    error: 'invalid_request',
    reason: 'token_type_unsupported',
    send: () => company.exchange({ subject_token_type: 'x' }),
  },
  {
    cause: 'the subject token is bad',
    error: 'invalid_request',
    reason: 'subject_token_invalid',
    send: () => company.exchange({ subject_token: 'bad' }),
  },
  {
    cause: 'the subject token expired',
    error: 'invalid_request',
    reason: 'subject_token_invalid',
    detail: { fault: 'expired' },
    send: async () => company.exchange({ subject_token: await company.idToken({}, { lifetimeSeconds: 0 }) }),
  },
  {
    cause: 'the subject token is not meant for us',
    error: 'invalid_request',
    reason: 'subject_token_not_meant_for_client',
    send: async () => company.exchange({ subject_token: await company.idToken({ aud: 'other' }) }),
  },
  {
    cause: 'no target',
    error: 'invalid_target',
    reason: 'target_missing',
    send: () => company.exchange({ resource: undefined }),
  },
  {
    cause: 'an unknown target',
    error: 'invalid_target',
    reason: 'target_unknown',
    send: () => company.exchange({ resource: 'https://unknown.example' }),
  },
  {
    cause: 'every asked scope denied',
    error: 'invalid_target',
    reason: 'all_scopes_denied',
    send: () => company.exchange({ scope: 'notes:purge' }),
  },
  {
    cause: 'some asked scope denied',
    error: 'invalid_scope',
    reason: 'some_scopes_denied',
    send: () => company.exchange({ scope: 'notes:read notes:purge' }),
  },
  {
    cause: 'nothing left of the default',
    error: 'invalid_scope',
    reason: 'no_default_scope_left',
    send: () => company.exchange({ resource: PAYROLL }),
  },
  {
    cause: 'client authentication failed',
    error: 'invalid_client',
    reason: 'client_secret_wrong',
    send: () => company.exchange({ client_id: 'agent', client_secret: 'wrong' }, { as: null }),
  },
  {
    cause: 'two authentication methods',
    error: 'invalid_request',
    reason: 'client_authentication_ambiguous',
    unauthenticated: true,
    send: () => company.exchange({ client_secret: 'x' }),
  },
  {
    cause: 'the client may not use the grant',
    error: 'unauthorized_client',
    reason: 'grant_not_allowed',
    send: () => company.exchange({}, { as: 'limited' }),
  },
  {
    cause: 'the grant is unknown',
    error: 'unsupported_grant_type',
    reason: 'grant_unsupported',
    send: () => company.credentials({ grant_type: 'password' }),
  },
];

describe('R6 errors on the wire', () => {
  it('R6 the control: the request without a fault', async () => {
    expectGranted(await company.exchange());
  });

  for (const row of ROWS)
    it(`R6 ${row.cause} → ${row.error}`, async () => {
      const answer = await row.send();
      await expectRefused(company, answer, row);
      expect(answer.headers.get('pragma')).toBe('no-cache');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    });

  it('R6 WWW-Authenticate comes with a 401 exactly where the header was used (RFC 6749 §5.2)', async () => {
    const headers = { authorization: basicHeader('agent', 'wrong') };
    const byHeader = await company.credentials({}, { as: null, headers });
    await expectRefused(company, byHeader, { error: 'invalid_client', reason: 'client_secret_wrong' });
    expect(byHeader.headers.get('www-authenticate')).toBe('Basic realm="cambist", charset="UTF-8"');
    for (const form of [{}, { client_id: 'agent', client_secret: 'wrong' }, bearer('bad')]) {
      const answer = await company.credentials(form, { as: null });
      expectErrorForm(answer, 401, 'invalid_client');
      expect(answer.headers.get('www-authenticate')).toBeNull();
    }
    const refused = await company.credentials({ scope: 'unknown' });
    expectErrorForm(refused, 400, 'invalid_scope');
    expect(refused.headers.get('www-authenticate')).toBeNull();
  });

  it('R6 every answer has a request id of its own, refused or not', async () => {
    const answers = [await company.exchange(), await company.exchange(), await company.exchange({ scope: 'x' })];
    const ids = answers.map((answer) => answer.headers.get('cambist-request-id'));
    expect(new Set(ids).size).toBe(3);
    expect(ids).not.toContain(null);
  });

  it('R6 a request id that the caller sends is not taken over', async () => {
    const theirs = '0190a2b3-0000-7000-8000-000000000000';
    const answer = await company.exchange({}, { headers: { 'cambist-request-id': theirs, 'x-request-id': theirs } });
    expectGranted(answer);
    expect(answer.headers.get('cambist-request-id')).not.toBe(theirs);
  });
});

describe('R23 what a dependency says never reaches a caller', () => {
  const SECRET = 'connect ECONNREFUSED 10.0.0.5:5432 password=hunter2';

  it('R23 dependency oauth2-server: a dependency that is down → 503 temporarily_unavailable + Retry-After', async () => {
    for (const send of [() => company.credentials(), () => company.exchange()]) {
      expectGranted(await send());
      failure = new Unavailable('database', SECRET, { cause: new Error(SECRET) });
      const answer = await send();
      failure = undefined;
      expectErrorForm(answer, 503, 'temporarily_unavailable');
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect([...answer.headers].join()).not.toContain('10.0.0.5');
      expectGranted(await send());
    }
  });

  it('R23 dependency oauth2-server: a bug → 500 server_error or 503, its text nowhere', async () => {
    expectGranted(await company.credentials());
    failure = new TypeError(SECRET);
    const answer = await company.credentials();
    failure = undefined;
    expect([500, 503]).toContain(answer.status);
    expectErrorForm(answer, answer.status, answer.status === 500 ? 'server_error' : 'temporarily_unavailable');
    expectGranted(await company.credentials());
  });

  it('R23 no refusal echoes what was sent', async () => {
    const canary = 'CANARY-7f3a';
    for (const form of [
      { scope: canary },
      { resource: `https://${canary}.example` },
      { audience: canary },
      { grant_type: canary },
      { subject_token: canary },
      { subject_token_type: canary },
      { requested_token_type: canary },
      { [canary]: ['a', 'b'] },
      { client_id: canary },
    ]) {
      const answer = await company.exchange(form);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.text + [...answer.headers].join()).not.toContain(canary);
    }
    expect(EXCHANGE).not.toContain(canary);
  });
});
