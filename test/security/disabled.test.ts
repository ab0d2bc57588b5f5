/**
 * A4: what was disabled takes part in nothing from the next request on, with tokens that are alive, on every node; and
 * it is back as soon as it is enabled. The same table runs on one node, and across two nodes of a real PostgreSQL:
 * disabled on one, asked on the other.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import type { Kind } from '../../src/objects/kinds.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startPostgres, withPostgres } from '../support/databases.ts';
import type { PostgresCluster } from '../support/databases.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { bearer, CALENDAR, NOTES, expectGranted, requestIdOf, startCompany, TYPE } from './company.ts';
import type { Caller, Company } from './company.ts';

interface Row {
  readonly what: string;
  readonly kind: Kind;
  readonly name: string;
  readonly error: string;
  readonly reason: string;
  /** A request that is granted until it is disabled; tokens in it are made before. */
  prepare(company: Company): Promise<(caller: Caller) => Promise<TokenAnswer>>;
}

/** A token of ours that Ada's agent got for notes, in the hands of the notes server. */
async function prepareHop(company: Company) {
  const first = await company.exchange({ scope: 'notes:write' });
  expectGranted(first);
  const form = {
    subject_token: first.body.access_token,
    subject_token_type: `${TYPE}access_token`,
    resource: CALENDAR,
  };
  return (caller: Caller) => company.exchange(form, { ...caller, as: 'notes-server' });
}

/** A token two hops on: `agent` is in its chain, and did not ask for it. */
async function prepareSecondHop(company: Company) {
  const second = await (await prepareHop(company))({});
  expectGranted(second);
  const form = {
    subject_token: second.body.access_token,
    subject_token_type: `${TYPE}access_token`,
    resource: NOTES,
    scope: 'notes:write',
  };
  return (caller: Caller) => company.exchange(form, { ...caller, as: 'calendar-server' });
}

const ROWS: readonly Row[] = [
  {
    what: 'a trusted issuer, with its token as subject',
    kind: 'issuer',
    name: 'corp',
    error: 'invalid_request',
    reason: 'subject_token_issuer_disabled',
    prepare: async (company) => {
      const subject_token = await company.idToken();
      return (caller) => company.exchange({ subject_token }, caller);
    },
  },
  {
    what: 'a trusted issuer, with a token that we issued for its subject',
    kind: 'issuer',
    name: 'corp',
    error: 'invalid_request',
    reason: 'subject_disabled',
    prepare: prepareHop,
  },
  {
    what: 'a trusted issuer, with its token as client assertion',
    kind: 'issuer',
    name: 'kubernetes',
    error: 'invalid_client',
    reason: 'client_assertion_invalid',
    prepare: async (company) => {
      const form = bearer(await company.podToken());
      return (caller) => company.credentials(form, { ...caller, as: null });
    },
  },
  {
    what: 'a client that authenticates with a secret',
    kind: 'client',
    name: 'agent',
    error: 'invalid_client',
    reason: 'client_disabled',
    prepare: (company) => Promise.resolve((caller) => company.credentials({}, caller)),
  },
  {
    what: 'a client whose workload authenticates',
    kind: 'client',
    name: 'pod',
    error: 'invalid_client',
    reason: 'client_disabled',
    prepare: async (company) => {
      const form = bearer(await company.podToken());
      return (caller) => company.credentials(form, { ...caller, as: null });
    },
  },
  {
    what: 'a client that is a member of the chain',
    kind: 'client',
    name: 'agent',
    error: 'invalid_request',
    reason: 'chain_member_disabled',
    prepare: prepareSecondHop,
  },
  {
    what: 'the trusted issuer of an earlier actor',
    kind: 'issuer',
    name: 'kubernetes',
    error: 'invalid_request',
    reason: 'chain_member_disabled',
    prepare: async (company) => {
      const act = { sub: 'system:serviceaccount:agents:other', iss: company.kubernetes.issuer };
      const subject_token = await company.idToken({ act });
      return (caller) => company.exchange({ subject_token }, caller);
    },
  },
  {
    what: 'a client whose actor token is presented',
    kind: 'client',
    name: 'robot',
    error: 'invalid_request',
    reason: 'actor_disabled',
    prepare: async (company) => {
      const actor_token = await company.corp.mint({ sub: 'robot', aud: 'portal' });
      return (caller) => company.exchange({ actor_token, actor_token_type: `${TYPE}id_token` }, caller);
    },
  },
  {
    what: 'a subject, with a token of its issuer',
    kind: 'subject',
    name: 'corp:ada',
    error: 'invalid_request',
    reason: 'subject_disabled',
    prepare: async (company) => {
      const subject_token = await company.idToken();
      return (caller) => company.exchange({ subject_token }, caller);
    },
  },
  {
    what: 'a subject, with a token that we issued',
    kind: 'subject',
    name: 'corp:ada',
    error: 'invalid_request',
    reason: 'subject_disabled',
    prepare: prepareHop,
  },
  {
    what: 'a resource',
    kind: 'resource',
    name: 'notes',
    error: 'invalid_target',
    reason: 'target_disabled',
    prepare: (company) => Promise.resolve((caller) => company.exchange({}, caller)),
  },
  {
    what: 'the resource that a token is for, on a hop',
    kind: 'resource',
    name: 'notes',
    error: 'invalid_request',
    reason: 'subject_token_not_meant_for_client',
    prepare: prepareHop,
  },
  {
    what: 'a policy',
    kind: 'policy',
    name: 'people',
    error: 'invalid_target',
    reason: 'all_scopes_denied',
    prepare: (company) => Promise.resolve((caller) => company.exchange({ scope: 'notes:write' }, caller)),
  },
  {
    what: 'a role',
    kind: 'role',
    name: 'employee',
    error: 'invalid_target',
    reason: 'all_scopes_denied',
    prepare: (company) => Promise.resolve((caller) => company.exchange({ scope: 'notes:write' }, caller)),
  },
];

const ROBOTS = JSON.stringify({
  policies: [
    {
      id: 'robots',
      cedar: `permit (principal == Client::"agent", action == Action::"actAs", resource == Client::"robot");
        permit (principal == Client::"robot", action == Action::"act", resource);`,
    },
  ],
});

/** Granted, then disabled on one node and refused on the next request to the other, then enabled and granted. */
async function check(row: Row, company: Company, asked: TestCambist, told: TestCambist): Promise<void> {
  const send = await row.prepare(company);
  expectGranted(await send({ node: asked }));
  await told.disable(row.kind, row.name);
  try {
    const answer = await send({ node: asked });
    expect(answer.body.error, answer.text).toBe(row.error);
    if (row.error !== 'invalid_client') {
      const [record] = await company.cambist.records(requestIdOf(answer));
      expect(record?.body).toMatchObject({ kind: 'refused', refusal: { reason: row.reason } });
    } else if (asked === company.cambist) {
      const line = company.log
        .map((text) => JSON.parse(text))
        .find((entry) => entry.request_id === requestIdOf(answer));
      expect(line.reason).toBe(row.reason);
    }
  } finally {
    await told.enable(row.kind, row.name);
  }
  expectGranted(await send({ node: asked }));
}

describe('A4 one node', () => {
  let company: Company;
  beforeAll(async () => {
    company = await startCompany();
    await company.cambist.apply(ROBOTS);
  });
  afterAll(() => company.stop());

  for (const row of ROWS)
    it(`A4 disabled: ${row.what} → ${row.error} on the next request`, async () => {
      await check(row, company, company.cambist, company.cambist);
    });
});

withPostgres('A4 two nodes on one PostgreSQL', () => {
  let cluster: PostgresCluster;
  let databases: Database[];
  let company: Company;
  let second: TestCambist;
  beforeAll(async () => {
    cluster = await startPostgres();
    const logger = createLogger('silent');
    const open = () => openDatabase({ source: { engine: 'postgresql', url: cluster.url }, migrate: true, logger });
    databases = [await open(), await open()];
    company = await startCompany({ database: databases[0]! });
    second = await startCambist({ objects: '', database: databases[1]!, joins: company.cambist });
    await company.cambist.apply(ROBOTS);
  });
  afterAll(async () => {
    await second.stop();
    await company.stop();
    await Promise.all(databases.map((database) => database.close()));
    await cluster.stop();
  });

  for (const row of ROWS)
    it(`A4 disabled on one node: ${row.what} → ${row.error} on the next request to the other`, async () => {
      await check(row, company, second, company.cambist);
      await check(row, company, company.cambist, second);
    });
});
