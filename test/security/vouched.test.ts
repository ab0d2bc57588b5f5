/**
 * A client that authenticates with the token of a platform is itself in what it gets, and not the platform: no claim names
 * the issuer that vouched for it. When that issuer is revoked, disabled or removed, such tokens, and what was exchanged from
 * them, are dead all the same: here at once, and at servers that verify offline by the revocation document.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RevokeArguments } from '../../src/admin/revocation-operations.ts';
import { createLogger } from '../../src/core/log.ts';
import { openDatabase } from '../../src/store/open.ts';
import type { Database } from '../../src/store/database.ts';
import { claimsOf } from '../support/token-client.ts';
import { bearer, expectGranted, expectRefused, POD, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';
import { askHop, readDocument, tokenFor, tokenOf } from './status.ts';

let company: Company;
let database: Database;
beforeAll(async () => {
  const logger = createLogger('silent');
  database = await openDatabase({ source: { engine: 'pglite', dataDir: 'memory' }, migrate: true, logger });
  company = await startCompany({ database });
  await company.cambist.apply(`
clients:
  - id: both
    auth: [client_secret_basic, workload_identity]
    identities: [{ issuer: kubernetes, sub: 'system:serviceaccount:agents:both' }]
    groups: [agents]
`);
});
afterAll(async () => {
  await company.stop();
  await database.close();
});
beforeEach(async () => {
  company.holdClock(undefined);
  await database.query('DELETE FROM revocation', [], { name: 'test-forget' });
});

const ALONE = { as: null };
const aboutAda = async () => ({
  subject_token: await company.corp.mint({ sub: 'ada', aud: company.cambist.issuer, groups: ['staff'] }),
  subject_token_type: `${TYPE}id_token`,
});

/** With the name of who may introspect each. */
async function issued() {
  const asPod = async () => bearer(await company.podToken());
  const forAda = await tokenFor(company, { ...(await aboutAda()), scope: 'notes:write', ...(await asPod()) }, ALONE);
  return {
    own: [tokenOf(await company.credentials(await asPod(), ALONE)), 'notes-server'],
    forAda: [forAda, 'notes-server'],
    hop: [tokenOf(await askHop(company, forAda)), 'calendar-server'],
    // The pod as subject: its token was presented by another client.
    presented: [
      await tokenFor(company, { subject_token: await company.podToken(), subject_token_type: `${TYPE}jwt` }),
      'notes-server',
    ],
    bySecret: [tokenOf(await company.credentials({}, { as: 'both' })), 'notes-server'],
    ofAnother: [await tokenFor(company, await aboutAda()), 'notes-server'],
  } as const;
}
type Tokens = Awaited<ReturnType<typeof issued>>;
const ALL = ['own', 'forAda', 'hop', 'presented', 'bySecret', 'ofAnother'];
const VOUCHED = ['own', 'forAda', 'hop', 'presented'];

async function alive(tokens: Tokens): Promise<readonly string[]> {
  const names: string[] = [];
  for (const [name, [token, as]] of Object.entries(tokens))
    if ((await company.introspect(token, { as })).body.active === true) names.push(name);
  return names;
}

async function listedOffline(tokens: Tokens): Promise<readonly string[]> {
  const { tokens: listed } = await readDocument(company.cambist);
  return Object.entries(tokens).flatMap(([name, [token]]) => (listed.includes(claimsOf(token).jti) ? [name] : []));
}

const removeIssuer = (name: string) =>
  company.cambist.service.objects.change([{ type: 'remove', kind: 'issuer', name }], {
    author: 'test',
    origin: 'test',
  });

describe('what an issuer vouched for by authenticating a client', () => {
  it('dies when the issuer is revoked, until now and not for ever', async () => {
    const tokens = await issued();
    expect([await alive(tokens), await listedOffline(tokens)]).toEqual([ALL, []]);
    const args: RevokeArguments = { by: 'issuer', value: 'kubernetes' };
    expect(await company.operations.revoke(args)).toMatchObject({ ok: true });
    expect(await alive(tokens)).toEqual(['bySecret', 'ofAnother']);
    expect(await listedOffline(tokens)).toEqual(VOUCHED);
    await expectRefused(company, await askHop(company, tokens.forAda[0]), {
      error: 'invalid_request',
      reason: 'subject_token_revoked',
      detail: { revoked: 'issuer' },
    });
    // By its secret it is not vouched for, and gets tokens at once.
    expectGranted(await company.credentials({}, { as: 'both' }));
    company.holdClock(Math.floor(Date.now() / 1000) + 5);
    const later = Math.floor(Date.now() / 1000) + 5;
    const again = await company.credentials(bearer(await company.podToken({ iat: later, exp: later + 300 })), ALONE);
    expect((await company.introspect(tokenOf(again))).body.active).toBe(true);
  });

  it('is spared where it was issued after what is revoked', async () => {
    const tokens = await issued();
    const issuedBefore = new Date(Date.now() - 60_000).toISOString();
    await company.operations.revoke({ by: 'issuer', value: 'kubernetes', issuedBefore });
    expect([await alive(tokens), await listedOffline(tokens)]).toEqual([ALL, []]);
  });

  it('A4 is dead while the issuer is disabled, and back when it is enabled', async () => {
    const tokens = await issued();
    await company.cambist.disable('issuer', 'kubernetes');
    try {
      expect(await alive(tokens)).toEqual(['bySecret', 'ofAnother']);
      expect(await listedOffline(tokens)).toEqual(VOUCHED);
      await expectRefused(company, await askHop(company, tokens.forAda[0]), {
        error: 'invalid_request',
        reason: 'subject_token_issuer_disabled',
      });
      expectGranted(await company.credentials({}, { as: 'both' }));
    } finally {
      await company.cambist.enable('issuer', 'kubernetes');
    }
    expect([await alive(tokens), await listedOffline(tokens)]).toEqual([ALL, []]);
  });

  it('A4 is dead when the issuer is removed', async () => {
    const spec = (await company.cambist.service.objects.list('issuer', { limit: 100 })).find(
      ({ name }) => name === 'kubernetes',
    )?.spec;
    const tokens = await issued();
    await removeIssuer('kubernetes');
    try {
      expect(await alive(tokens)).toEqual(['bySecret', 'ofAnother']);
      expect(await listedOffline(tokens)).toEqual(VOUCHED);
    } finally {
      await company.cambist.apply(JSON.stringify({ issuers: [spec] }));
    }
    expect(await alive(tokens)).toEqual(ALL);
  });

  it('names the issuer nowhere in the token', async () => {
    const { own } = await issued();
    expect(JSON.stringify(claimsOf(own[0]))).not.toContain(company.kubernetes.issuer);
    expect(claimsOf(own[0]).sub).toBe('pod');
    expect(POD).toContain('planner');
  });
});
