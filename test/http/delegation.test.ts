/**
 * Who acts for whom (RFC 8693 §1.1, §4.1, §4.4), over real sockets: self, chains and loops, actor tokens, `may_act`,
 * depth, impersonation. Policies permit everything here, so that what is refused is refused by these rules.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { ACCESS_TOKEN, actors, exchange, forItself, granted, JWT, recordOf, refused, tokenOf } from './asking.ts';
import { AGENT_WORKLOAD, ALPHA, BETA, companyYaml, SERVER_WORKLOAD } from './company.ts';

const BOT = { iss: 'https://bots.elsewhere.example', sub: 'bot' };

let corp: JwksIssuer;
let cluster: JwksIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  [corp, cluster] = await Promise.all([startJwksIssuer(), startJwksIssuer()]);
  cambist = await startCambist({ objects: companyYaml(corp, cluster) });
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp.stop(), cluster.stop()]);
});

const ada = (claims: Record<string, unknown> = {}) => corp.mint({ aud: cambist.issuer, sub: 'ada', ...claims });
const workload = (sub: string, claims: Record<string, unknown> = {}) =>
  cluster.mint({ aud: cambist.issuer, sub, ...claims });
const identity = async (client: string) => tokenOf(await forItself(cambist, client));
/** Ada's token for alpha, in the hands of the agent. */
const atAlpha = async (claims: Record<string, unknown> = {}) =>
  tokenOf(await exchange(cambist, { client: 'agent', subject: await ada(claims), resource: ALPHA }));
const hop = (client: string, subject: string, resource: string) =>
  exchange(cambist, { client, subject, as: ACCESS_TOKEN, resource });
/** An `act` claim with this many actors elsewhere. */
const actOf = (depth: number): Record<string, unknown> => ({
  ...BOT,
  sub: `bot-${depth}`,
  ...(depth > 1 ? { act: actOf(depth - 1) } : {}),
});

describe('the actor (RFC 8693 §4.1)', () => {
  it('is the authenticated client, with sub, iss and client_id, where it differs from the subject', async () => {
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject: await ada(), resource: ALPHA }),
    );
    expect(claims['act']).toEqual({ sub: 'agent', iss: cambist.issuer, client_id: 'agent' });
    expect(claims).toMatchObject({ sub: 'corp:ada', sub_id: { format: 'iss_sub', iss: corp.issuer, sub: 'ada' } });
  });

  it('is absent where the client is the subject and nobody acted before: self', async () => {
    const claims = await granted(
      cambist,
      await exchange(cambist, {
        client: 'second',
        subject: await identity('second'),
        as: ACCESS_TOKEN,
        resource: ALPHA,
      }),
    );
    expect(claims).toMatchObject({ sub: 'second', client_id: 'second', aud: ALPHA });
    expect(claims).not.toHaveProperty('act');
  });

  it('A7 is kept where the client is the subject but somebody acted for it before', async () => {
    const subject = await workload(AGENT_WORKLOAD, { act: BOT });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject, as: JWT, resource: ALPHA }),
    );
    expect(claims.sub).toBe('agent');
    expect(actors(claims)).toEqual(['agent', 'bot']);
  });

  it('R8 nests in a loop A → B → A, and nobody is lost', async () => {
    const first = await atAlpha();
    const second = tokenOf(await hop('server-a', first, BETA));
    const third = await granted(cambist, await hop('server-b', second, ALPHA));
    expect(actors(third)).toEqual(['server-b', 'server-a', 'agent']);
    const fourth = await granted(cambist, await hop('server-a', tokenOf(await hop('server-b', second, ALPHA)), BETA));
    expect(actors(fourth)).toEqual(['server-a', 'server-b', 'server-a', 'agent']);
    expect(fourth).toMatchObject({ sub: 'corp:ada', client_id: 'server-a', scope: 'beta:read' });
  });

  it('adds no level when the same actor exchanges twice in a row', async () => {
    const first = await atAlpha();
    const again = await hop('server-a', first, ALPHA);
    expect(actors(await granted(cambist, again))).toEqual(['server-a', 'agent']);
    const more = await granted(cambist, await hop('server-a', tokenOf(again), BETA));
    expect(actors(more)).toEqual(['server-a', 'agent']);
  });

  it("keeps an external token's act beneath ours, with the issuer that an absent iss means", async () => {
    const subject = await ada({ act: { sub: 'helper', act: BOT } });
    const claims = await granted(cambist, await exchange(cambist, { client: 'agent', subject, resource: ALPHA }));
    expect(claims['act']).toEqual({
      sub: 'agent',
      iss: cambist.issuer,
      client_id: 'agent',
      act: { sub: 'helper', iss: corp.issuer, act: BOT },
    });
  });

  it('adds no level for the client that an external chain already names as current', async () => {
    const subject = await ada({ act: { sub: 'agent', iss: cambist.issuer } });
    const claims = await granted(cambist, await exchange(cambist, { client: 'agent', subject, resource: ALPHA }));
    expect(actors(claims)).toEqual(['agent']);
  });

  it('is the client, not its workload, where an external chain names the bound workload identity as current', async () => {
    const subject = await ada({ act: { sub: AGENT_WORKLOAD, iss: cluster.issuer } });
    const claims = await granted(cambist, await exchange(cambist, { client: 'agent', subject, resource: ALPHA }));
    expect(actors(claims)).toEqual(['agent']);
  });

  it('R8 is bounded to eight: the eighth is given, the ninth refused', async () => {
    const seven = await ada({ act: actOf(7) });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'agent', subject: seven, resource: ALPHA }),
    );
    expect(actors(claims)).toHaveLength(8);
    const eight = await ada({ act: actOf(8) });
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: eight, resource: ALPHA }),
      'invalid_request',
      'chain_too_deep',
    );
    const nine = await ada({ act: actOf(9) });
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: nine, resource: ALPHA }),
      'invalid_request',
      'subject_token_invalid',
    );
  });

  it.each([
    ['a string', 'agent'],
    ['a list', [BOT]],
    ['without sub', { iss: BOT.iss }],
    ['with an empty sub', { ...BOT, sub: '' }],
    ['with a number as sub', { ...BOT, sub: 7 }],
    ['unreadable further in', { ...BOT, act: 'bot' }],
    ['null', null],
  ])('R8 that cannot be read (%s) refuses the token, it is never an empty chain', async (_, act) => {
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: await ada({ act }), resource: ALPHA }),
      'invalid_request',
      'subject_token_invalid',
    );
  });
});

describe('an actor token (RFC 8693 §2.1)', () => {
  it("of the client itself changes nothing: its identity token, or its workload's", async () => {
    for (const [actor, actorAs] of [
      [await identity('agent'), ACCESS_TOKEN],
      [await workload(AGENT_WORKLOAD), JWT],
    ] as const) {
      const claims = await granted(
        cambist,
        await exchange(cambist, { client: 'agent', subject: await ada(), actor, actorAs, resource: ALPHA }),
      );
      expect(claims['act']).toEqual({ sub: 'agent', iss: cambist.issuer, client_id: 'agent' });
    }
  });

  it('bounds the life of what is issued', async () => {
    const actor = await cluster.mint({ aud: cambist.issuer, sub: AGENT_WORKLOAD }, { lifetimeSeconds: 30 });
    const answer = await exchange(cambist, { client: 'agent', subject: await ada(), actor, resource: ALPHA });
    expect((await granted(cambist, answer)).exp).toBe(
      JSON.parse(Buffer.from(actor.split('.')[1]!, 'base64url').toString()).exp,
    );
  });

  it('of another is refused without actAs', async () => {
    const actor = await workload(AGENT_WORKLOAD);
    await refused(
      cambist,
      await exchange(cambist, { client: 'second', subject: await ada(), actor, resource: ALPHA }),
      'invalid_request',
      'act_as_denied',
    );
  });

  it('of another is the actor where policy permits actAs, and the client stays visible as client_id', async () => {
    const actor = await workload(AGENT_WORKLOAD);
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'gateway', subject: await ada(), actor, resource: ALPHA }),
    );
    expect(claims['act']).toEqual({ sub: 'agent', iss: cambist.issuer, client_id: 'agent' });
    expect(claims['client_id']).toBe('gateway');
    const bob = await corp.mint({ aud: cambist.issuer, sub: 'bob' });
    const actedByBob = await granted(
      cambist,
      await exchange(cambist, { client: 'gateway', subject: await ada(), actor: bob, actorAs: JWT, resource: ALPHA }),
    );
    expect(actedByBob['act']).toEqual({ sub: 'bob', iss: corp.issuer });
  });

  it('R9 that is an identity token counts only in the hands of its own client, whatever actAs says', async () => {
    const actor = await identity('agent');
    await refused(
      cambist,
      await exchange(cambist, {
        client: 'gateway',
        subject: await ada(),
        actor,
        actorAs: ACCESS_TOKEN,
        resource: ALPHA,
      }),
      'invalid_request',
      'actor_token_not_meant_for_client',
    );
  });

  it('with a chain of its own is refused: one of the two would be lost', async () => {
    const actor = await workload(AGENT_WORKLOAD, { act: BOT });
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: await ada(), actor, resource: ALPHA }),
      'invalid_request',
      'chain_invalid',
    );
  });

  it.each([
    ['the token without its type', { actor_token: 'x' }],
    ['the type without its token', { actor_token_type: JWT }],
    ['an unknown type', { actor_token: 'x', actor_token_type: 'urn:ietf:params:oauth:token-type:saml2' }],
  ])('R6 given as %s is invalid_request', async (_, more) => {
    const answer = await exchange(cambist, { client: 'agent', subject: await ada(), resource: ALPHA, more });
    expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request']);
  });
});

describe('may_act (RFC 8693 §4.4)', () => {
  const asking = async (mayAct: unknown, client = 'agent') =>
    exchange(cambist, { client, subject: await ada({ may_act: mayAct }), resource: ALPHA });

  it.each([
    ['the client by sub and iss', () => ({ sub: 'agent', iss: cambist.issuer })],
    ['the client by iss and client_id', () => ({ iss: cambist.issuer, client_id: 'agent' })],
    ['the client by all three', () => ({ sub: 'agent', iss: cambist.issuer, client_id: 'agent' })],
    ['the workload that the client is', () => ({ sub: AGENT_WORKLOAD, iss: cluster.issuer })],
  ])('that names %s permits it', async (_, mayAct) => {
    expect(actors(await granted(cambist, await asking(mayAct())))).toEqual(['agent']);
  });

  it.each([
    ['another client', () => ({ sub: 'second', iss: cambist.issuer })],
    ['another client_id', () => ({ iss: cambist.issuer, client_id: 'second' })],
    ['a client_id without iss, which is a name of the token’s issuer', () => ({ client_id: 'agent' })],
    ['the right sub and another client_id', () => ({ sub: 'agent', iss: cambist.issuer, client_id: 'second' })],
    ['the client without iss, which means the subject token’s issuer', () => ({ sub: 'agent' })],
    ['the sub under another issuer', () => ({ sub: 'agent', iss: BOT.iss })],
    ['another workload', () => ({ sub: SERVER_WORKLOAD, iss: cluster.issuer })],
    ['a member that is not understood', () => ({ sub: 'agent', iss: cambist.issuer, purpose: 'reading' })],
    ['nobody', () => ({})],
    ['iss alone', () => ({ iss: cambist.issuer })],
    ['a number', () => ({ sub: 7, iss: cambist.issuer })],
    ['a string', () => 'agent'],
    ['a list', () => [{ sub: 'agent', iss: cambist.issuer }]],
    ['null', () => null],
  ])('that names %s refuses it', async (_, mayAct) => {
    await refused(cambist, await asking(mayAct()), 'invalid_request', 'may_act_mismatch');
  });

  it('without iss means a party of the token’s own issuer', async () => {
    const subject = await ada({ may_act: { sub: 'bob' } });
    const bob = await corp.mint({ aud: cambist.issuer, sub: 'bob' });
    const claims = await granted(
      cambist,
      await exchange(cambist, { client: 'gateway', subject, actor: bob, resource: ALPHA }),
    );
    expect(actors(claims)).toEqual(['bob']);
  });

  it('is held against the actor, not against the client that presents its token', async () => {
    const subject = await ada({ may_act: { sub: 'gateway', iss: cambist.issuer } });
    const actor = await workload(AGENT_WORKLOAD);
    await refused(
      cambist,
      await exchange(cambist, { client: 'gateway', subject, actor, resource: ALPHA }),
      'invalid_request',
      'may_act_mismatch',
    );
  });
});

describe('impersonation (RFC 8693 §1.1)', () => {
  const twin = async (
    claims: Record<string, unknown> = {},
    more: { scope?: string; resource?: string; actor?: string } = {},
  ) => exchange(cambist, { client: 'twin', subject: await ada(claims), resource: ALPHA, ...more });

  it('happens where policy permits it by name: no act, the client only as client_id', async () => {
    const answer = await twin();
    const claims = await granted(cambist, answer);
    expect(claims).toMatchObject({ sub: 'corp:ada', client_id: 'twin', scope: 'alpha:read' });
    expect(claims).not.toHaveProperty('act');
    const record = await recordOf(cambist, answer);
    expect(record.body).toMatchObject({ kind: 'issued', impersonation: true, client: { id: 'twin' } });
  });

  it.each([
    ['a scope that it is not permitted for', {}, { scope: 'alpha:read alpha:write' }],
    ['a resource that it is not permitted for', {}, { resource: BETA }],
  ])('does not happen with %s: the client is the actor', async (_, claims, more) => {
    expect(actors(await granted(cambist, await twin(claims, more)))).toEqual(['twin']);
  });

  it('A7 never happens at the price of a chain', async () => {
    expect(actors(await granted(cambist, await twin({ act: BOT })))).toEqual(['twin', 'bot']);
  });

  it('never happens with an actor token', async () => {
    const actor = await identity('twin');
    const answer = await exchange(cambist, {
      client: 'twin',
      subject: await ada(),
      actor,
      actorAs: ACCESS_TOKEN,
      resource: ALPHA,
    });
    expect(actors(await granted(cambist, answer))).toEqual(['twin']);
  });

  it('never happens for a client that policy does not name, though policy permits it everything else', async () => {
    expect(
      actors(
        await granted(cambist, await exchange(cambist, { client: 'gateway', subject: await ada(), resource: ALPHA })),
      ),
    ).toEqual(['gateway']);
  });
});
