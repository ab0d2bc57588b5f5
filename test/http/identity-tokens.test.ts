/**
 * The client credentials grant (RFC 6749 §4.4) with a resource and without one. Without one it gives an identity token:
 * its only audience is Cambist, and it is good only as subject or actor token, only in the hands of its own client.
 * Also what is asked for by `requested_token_type` (RFC 8693 §2.1).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { headerOf } from '../support/token-client.ts';
import { ACCESS_TOKEN, exchange, forItself, granted, ID_TOKEN, JWT, refused, tokenOf } from './asking.ts';
import { ALPHA, BETA, companyYaml } from './company.ts';

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

describe('client_credentials with a resource', () => {
  it('gives a token for it, about the client, without act, and without what only an exchange has', async () => {
    const answer = await forItself(cambist, 'second', { resource: ALPHA });
    expect(Object.keys(answer.body).sort()).toEqual(['access_token', 'expires_in', 'scope', 'token_type']);
    expect(answer.body).toMatchObject({ token_type: 'Bearer', expires_in: 300, scope: 'alpha:read' });
    const claims = await granted(cambist, answer);
    expect(claims).toMatchObject({ sub: 'second', client_id: 'second', aud: ALPHA, scope: 'alpha:read' });
    expect(claims).not.toHaveProperty('act');
    expect(headerOf(answer.body.access_token)).toEqual({ alg: 'ES256', kid: expect.any(String), typ: 'at+jwt' });
  });

  it('refuses what it must, with the same errors as an exchange', async () => {
    await refused(
      cambist,
      await forItself(cambist, 'second', { resource: `${ALPHA}/x` }),
      'invalid_target',
      'target_unknown',
    );
    await refused(
      cambist,
      await forItself(cambist, 'second', { resource: ALPHA, scope: 'beta:read' }),
      'invalid_scope',
      'scope_unknown',
    );
    await refused(
      cambist,
      await forItself(cambist, 'second', { resource: [ALPHA, BETA] }),
      'invalid_target',
      'targets_not_grouped',
    );
  });

  it('A1 is never the fallback of an exchange whose subject token is missing, empty or blank', async () => {
    for (const subjectToken of [undefined, '', ' ']) {
      const answer = await cambist.token(
        {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: subjectToken,
          subject_token_type: ACCESS_TOKEN,
          resource: ALPHA,
        },
        { basic: ['second', cambist.secretOf('second')] },
      );
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request']);
    }
  });
});

describe('an identity token', () => {
  const identity = async (client: string) => tokenOf(await forItself(cambist, client));

  it('has Cambist as its only audience, and no scope', async () => {
    const answer = await forItself(cambist, 'agent');
    expect(answer.body).not.toHaveProperty('scope');
    const claims = await granted(cambist, answer);
    expect(claims).toMatchObject({ aud: cambist.issuer, sub: 'agent', client_id: 'agent' });
    expect(claims).not.toHaveProperty('scope');
    expect(claims).not.toHaveProperty('act');
  });

  it('is not given scopes', async () => {
    await refused(
      cambist,
      await forItself(cambist, 'agent', { scope: 'alpha:read' }),
      'invalid_scope',
      'scope_unknown',
    );
  });

  it.each([ACCESS_TOKEN, JWT])('R9 is a subject token in the hands of its own client (%s)', async (as) => {
    const answer = await exchange(cambist, { client: 'agent', subject: await identity('agent'), as, resource: ALPHA });
    expect(await granted(cambist, answer)).toMatchObject({ sub: 'agent', aud: ALPHA });
  });

  it('R10 is not an ID token', async () => {
    const answer = await exchange(cambist, {
      client: 'agent',
      subject: await identity('agent'),
      as: ID_TOKEN,
      resource: ALPHA,
    });
    await refused(cambist, answer, 'invalid_request', 'subject_token_invalid');
  });

  it('R9 is nothing in the hands of another client, as subject or as actor, a gateway with actAs included', async () => {
    const token = await identity('agent');
    for (const client of ['second', 'gateway', 'server-a'])
      await refused(
        cambist,
        await exchange(cambist, { client, subject: token, as: ACCESS_TOKEN, resource: ALPHA }),
        'invalid_request',
        'subject_token_not_meant_for_client',
      );
    const subject = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    await refused(
      cambist,
      await exchange(cambist, { client: 'gateway', subject, actor: token, actorAs: ACCESS_TOKEN, resource: ALPHA }),
      'invalid_request',
      'actor_token_not_meant_for_client',
    );
  });

  it('A6 does not authenticate its client', async () => {
    const answer = await cambist.token({
      grant_type: 'client_credentials',
      client_assertion: await identity('agent'),
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    });
    expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client']);
  });

  it('A4 stops when its client is disabled, for whom it was exchanged as well', async () => {
    const atAlpha = tokenOf(await forItself(cambist, 'second', { resource: ALPHA }));
    await cambist.disable('client', 'second');
    const hop = await exchange(cambist, { client: 'server-a', subject: atAlpha, as: ACCESS_TOKEN, resource: BETA });
    await refused(cambist, hop, 'invalid_request', 'subject_disabled');
    expect((await forItself(cambist, 'second')).status).toBe(401);
    await cambist.enable('client', 'second');
  });

  it('R9 a token that was issued for a resource is never the input of the client that got it', async () => {
    const token = tokenOf(await forItself(cambist, 'agent', { resource: ALPHA }));
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject: token, as: ACCESS_TOKEN, resource: BETA }),
      'invalid_request',
      'subject_token_not_meant_for_client',
    );
  });
});

describe('requested_token_type (RFC 8693 §2.1, §3)', () => {
  const asking = async (requested: string | undefined) =>
    exchange(cambist, {
      client: 'agent',
      subject: await corp.mint({ aud: cambist.issuer, sub: 'ada' }),
      resource: ALPHA,
      more: { requested_token_type: requested },
    });

  it.each([
    ['omitted', undefined, ACCESS_TOKEN],
    ['access_token', ACCESS_TOKEN, ACCESS_TOKEN],
    ['jwt', JWT, JWT],
  ])('%s gives the same kind of token, Bearer, and says what it is', async (_, requested, issued) => {
    const answer = await asking(requested);
    expect(Object.keys(answer.body).sort()).toEqual([
      'access_token',
      'expires_in',
      'issued_token_type',
      'scope',
      'token_type',
    ]);
    expect(answer.body).toMatchObject({ issued_token_type: issued, token_type: 'Bearer' });
    expect(headerOf(answer.body.access_token)).toMatchObject({ typ: 'at+jwt' });
    await granted(cambist, answer);
  });

  it.each([
    ID_TOKEN,
    'urn:ietf:params:oauth:token-type:refresh_token',
    'urn:ietf:params:oauth:token-type:saml2',
    'jwt',
    'N_A',
  ])('%s is not given: invalid_request', async (requested) => {
    await refused(cambist, await asking(requested), 'invalid_request', 'requested_token_type_unsupported');
  });
});
