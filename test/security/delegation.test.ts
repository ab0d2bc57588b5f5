/**
 * Who acts for whom: R8, A7 and the chain part of R7 (RFC 8693 §4.1, §4.4). Chains that a company's provider would issue
 * are put into ID tokens of Ada.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CALENDAR, expectGranted, expectRefused, NOTES, POD, startCompany, TYPE } from './company.ts';
import type { Company } from './company.ts';

let company: Company;
beforeAll(async () => {
  company = await startCompany();
});
afterAll(() => company.stop());

const ACCESS = `${TYPE}access_token`;
const bad = (reason: string, detail?: Record<string, unknown>) => ({
  error: 'invalid_request',
  reason,
  ...(detail === undefined ? {} : { detail }),
});

/** Ada's ID token with more claims, exchanged. */
async function withClaims(claims: Record<string, unknown>, fields = {}, caller = {}) {
  return company.exchange({ subject_token: await company.idToken(claims), ...fields }, caller);
}

/** A chain of actors that nobody here knows, `depth` deep. */
function chainOf(depth: number, size = 1): Record<string, unknown> | undefined {
  let act: Record<string, unknown> | undefined;
  for (let level = depth; level > 0; level--)
    act = { sub: `bot-${level}-`.padEnd(size, 'x'), iss: 'https://elsewhere.example', ...(act && { act }) };
  return act;
}

describe('A7 a chain is never lost (Keycloak #52691)', () => {
  it('A7 re-exchanging a delegated token without an actor token keeps the chain and adds the client', async () => {
    const first = await company.exchange({ scope: 'notes:write' });
    expect(expectGranted(first).act).toEqual({ sub: 'agent', iss: company.cambist.issuer, client_id: 'agent' });
    const hop = { subject_token: first.body.access_token, subject_token_type: ACCESS, resource: CALENDAR };
    const second = await company.exchange(hop, { as: 'notes-server' });
    expect(expectGranted(second)).toMatchObject({
      sub: 'corp:ada',
      act: { sub: 'notes-server', act: { sub: 'agent' } },
    });
    // A → B → A: the loop shows.
    const back = {
      subject_token: second.body.access_token,
      subject_token_type: ACCESS,
      resource: NOTES,
      scope: 'notes:write',
    };
    const third = expectGranted(await company.exchange(back, { as: 'calendar-server' }));
    expect(third).toMatchObject({
      sub: 'corp:ada',
      act: { sub: 'calendar-server', act: { sub: 'notes-server', act: { sub: 'agent' } } },
    });
    expect(third.act.act.act.act).toBeUndefined();
  });

  it('A7 the client that is the subject is self only where nobody acted before', async () => {
    const identity = (await company.credentials({ resource: undefined })).body.access_token as string;
    const self = { subject_token: identity, subject_token_type: ACCESS };
    expect(expectGranted(await company.exchange(self)).act).toBeUndefined();
    // A workload's own token that names an actor: the client is the subject, and the chain stays.
    const chained = await company.podToken({ act: { sub: 'https://elsewhere.example/bot' } });
    const pod = {
      client_assertion: await company.podToken(),
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    };
    const plain = { ...pod, subject_token: await company.podToken(), subject_token_type: `${TYPE}jwt` };
    expect(expectGranted(await company.exchange(plain, { as: null }))).toMatchObject({ sub: 'pod' });
    expect(expectGranted(await company.exchange(plain, { as: null })).act).toBeUndefined();
    const claims = expectGranted(await company.exchange({ ...plain, subject_token: chained }, { as: null }));
    expect(claims).toMatchObject({
      sub: 'pod',
      act: { sub: 'pod', act: { sub: 'https://elsewhere.example/bot', iss: company.kubernetes.issuer } },
    });
    // The unbound part of the name: it is the client, not "kubernetes:system:…".
    expect(claims.sub_id).toEqual({ format: 'iss_sub', iss: company.cambist.issuer, sub: 'pod' });
    expect(POD).not.toBe('pod');
  });

  it("A7 R8 an external token's chain is kept beneath ours", async () => {
    const act = { sub: 'bot', iss: 'https://elsewhere.example', act: { sub: 'older' } };
    expect(expectGranted(await withClaims({ act })).act).toMatchObject({
      sub: 'agent',
      act: { sub: 'bot', iss: 'https://elsewhere.example', act: { sub: 'older', iss: company.corp.issuer } },
    });
  });

  it('R8 the same actor twice in a row adds no level', async () => {
    const act = { sub: 'agent', iss: company.cambist.issuer };
    const claims = expectGranted(await withClaims({ act }));
    expect(claims.act.sub).toBe('agent');
    expect(claims.act.act).toBeUndefined();
  });
});

describe('R8 only the outermost actor counts, and what act may be', () => {
  it('R8 a forged inner actor does not authorise: earlier actors are history (RFC 8693 §4.1)', async () => {
    expectGranted(await withClaims({}));
    const act = { sub: 'agent', iss: company.cambist.issuer, act: { sub: 'second', iss: company.cambist.issuer } };
    const answer = await withClaims({ act }, { scope: 'notes:read' }, { as: 'powerless' });
    await expectRefused(company, answer, { error: 'invalid_target', reason: 'all_scopes_denied' });
    await expectRefused(company, await withClaims({}, { scope: 'notes:read' }, { as: 'powerless' }), {
      error: 'invalid_target',
      reason: 'all_scopes_denied',
    });
  });

  it('R8 at most eight actors', async () => {
    const deep = expectGranted(await withClaims({ act: chainOf(7) }));
    let depth = 0;
    for (let level = deep.act; level !== undefined; level = level.act) depth += 1;
    expect(depth).toBe(8);
    await expectRefused(company, await withClaims({ act: chainOf(8) }), bad('chain_too_deep', { depth: 9 }));
    await expectRefused(
      company,
      await withClaims({ act: chainOf(9) }),
      bad('subject_token_invalid', { fault: 'claim_invalid', claim: 'act' }),
    );
  });

  it('R8 act is at most 8 KiB, coming in and going out', async () => {
    expectGranted(await withClaims({ act: chainOf(4, 1900) }));
    await expectRefused(
      company,
      await withClaims({ act: chainOf(5, 1700) }),
      bad('subject_token_invalid', { claim: 'act' }),
    );
    await expectRefused(
      company,
      await withClaims({ act: chainOf(4, 1985) }),
      bad('chain_too_deep', { limit: 'bytes' }),
    );
  });

  it('R8 a chain that cannot be read is a fault, never an empty chain', async () => {
    for (const act of [null, 'bot', [], {}, { sub: '' }, { sub: 7 }, { sub: 'bot', iss: 7 }, { sub: 'bot', act: null }])
      await expectRefused(
        company,
        await withClaims({ act }),
        bad('subject_token_invalid', { fault: 'claim_invalid', claim: 'act' }),
      );
  });
});

describe('R8 may_act says who may act (RFC 8693 §4.4)', () => {
  it('R8 may_act is enforced: another client is refused', async () => {
    const ours = company.cambist.issuer;
    for (const may_act of [
      { sub: 'agent', iss: ours },
      { iss: ours, client_id: 'agent' },
      { sub: 'agent', iss: ours, client_id: 'agent' },
    ])
      expect(expectGranted(await withClaims({ may_act })).act.sub).toBe('agent');
    const mismatch = bad('may_act_mismatch');
    for (const may_act of [
      { sub: 'second', iss: ours },
      { iss: ours, client_id: 'second' },
      // Without `iss` it is a name of the token's issuer.
      { client_id: 'agent' },
      { sub: 'agent', iss: ours, client_id: 'second' },
      { sub: 'second', iss: ours, client_id: 'agent' },
    ])
      await expectRefused(company, await withClaims({ may_act }), mismatch);
    await expectRefused(
      company,
      await withClaims({ may_act: { sub: 'agent', iss: ours } }, {}, { as: 'second' }),
      mismatch,
    );
  });

  it("R8 may_act without iss names a party of the token's own issuer", async () => {
    await expectRefused(company, await withClaims({ may_act: { sub: 'agent' } }), bad('may_act_mismatch'));
    // A bound workload of that issuer is its client.
    const robot = await company.corp.mint({
      sub: 'ada',
      aud: company.cambist.issuer,
      groups: ['staff'],
      may_act: { sub: 'robot' },
    });
    await expectRefused(company, await company.exchange({ subject_token: robot }), bad('may_act_mismatch'));
    const pod = await company.corp.mint({
      sub: 'ada',
      aud: company.cambist.issuer,
      groups: ['staff'],
      may_act: { sub: POD, iss: company.kubernetes.issuer },
    });
    const asPod = {
      subject_token: pod,
      client_assertion: await company.podToken(),
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    };
    expect(expectGranted(await company.exchange(asPod, { as: null })).act.sub).toBe('pod');
    await expectRefused(company, await company.exchange({ subject_token: pod }), bad('may_act_mismatch'));
  });

  it('R8 a may_act that cannot be read whole permits nobody', async () => {
    for (const may_act of [
      {},
      'agent',
      null,
      [{ client_id: 'agent' }],
      { client_id: 7 },
      { client_id: 'agent', unless: 'x' },
      { iss: company.cambist.issuer },
    ])
      await expectRefused(company, await withClaims({ may_act }), bad('may_act_mismatch', { may_act: 'unreadable' }));
  });
});

describe('R8 actor tokens', () => {
  it("R8 an actor token must be the client's own unless policy permits actAs by name", async () => {
    const robot = {
      actor_token: await company.corp.mint({ sub: 'robot', aud: 'portal' }),
      actor_token_type: `${TYPE}id_token`,
    };
    await expectRefused(company, await company.exchange(robot), bad('act_as_denied'));
    const own = (await company.credentials({ resource: undefined })).body.access_token as string;
    expect(expectGranted(await company.exchange({ actor_token: own, actor_token_type: ACCESS })).act.sub).toBe('agent');
    await company.cambist.apply(
      JSON.stringify({
        policies: [
          {
            id: 'robots',
            cedar: `permit (principal == Client::"agent", action == Action::"actAs", resource == Client::"robot");
              permit (principal == Client::"robot", action == Action::"act", resource);`,
          },
        ],
      }),
    );
    expect(expectGranted(await company.exchange(robot))).toMatchObject({
      sub: 'corp:ada',
      act: { sub: 'robot' },
      client_id: 'agent',
    });
    await expectRefused(company, await company.exchange(robot, { as: 'second' }), bad('act_as_denied'));
    await company.cambist.disable('policy', 'robots');
    await expectRefused(company, await company.exchange(robot), bad('act_as_denied'));
  });

  it('R8 an actor token that names actors of its own is refused: a history would be lost', async () => {
    const actor_token = await company.corp.mint({ sub: 'robot', aud: 'portal', act: { sub: 'x' } });
    await expectRefused(
      company,
      await company.exchange({ actor_token, actor_token_type: `${TYPE}id_token` }),
      bad('chain_invalid', { chain: 'actor_token' }),
    );
  });

  it('R8 impersonation only where policy says so by name, and never over a chain', async () => {
    expect(expectGranted(await company.exchange()).act).toBeDefined();
    const cedar = 'permit (principal == Client::"second", action == Action::"impersonate", resource);';
    await company.cambist.apply(JSON.stringify({ policies: [{ id: 'impersonators', cedar }] }));
    const silent = expectGranted(await company.exchange({}, { as: 'second' }));
    expect(silent).toMatchObject({ sub: 'corp:ada', client_id: 'second' });
    expect(silent.act).toBeUndefined();
    expect(expectGranted(await company.exchange()).act).toBeDefined();
    const chained = expectGranted(await withClaims({ act: { sub: 'bot' } }, {}, { as: 'second' }));
    expect(chained.act).toMatchObject({ sub: 'second', act: { sub: 'bot' } });
  });
});
