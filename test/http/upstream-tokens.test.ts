/**
 * An upstream is a target of the road like a resource is (docs/upstreams.md): found by its egress URI and by its name,
 * reached along call edges, had by nobody but its callers, and never in one token with another target.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import type { FormFields } from '../support/token-client.ts';
import { ACCESS_TOKEN, actors, exchange, forItself, granted, recordOf, refused, tokenOf } from './asking.ts';
import { ALPHA, companyYaml } from './company.ts';

let corp: JwksIssuer;
let cluster: JwksIssuer;
let cambist: TestCambist;
/** Ada's ID token, and what the agent sent to server A with it. */
let person: string;
let received: string;
beforeAll(async () => {
  [corp, cluster] = await Promise.all([startJwksIssuer(), startJwksIssuer()]);
  cambist = await startCambist({ objects: companyYaml(corp, cluster) });
  await cambist.apply(UPSTREAMS);
  person = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
  received = tokenOf(await exchange(cambist, { client: 'agent', subject: person, resource: ALPHA }));
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp.stop(), cluster.stop()]);
});

const UPSTREAMS = `
resources:
  - name: alpha
    uri: ${ALPHA}
    scopes: { 'alpha:read': Read, 'alpha:write': Write }
    default_scopes: ['alpha:read']
    served_by: [server-a]
    calls:
      - { upstream: github, needs: ['alpha:read'], gives: ['github:read'] }
      - { upstream: github, needs: ['alpha:write'], gives: ['github:write'] }
upstreams:
  - name: github
    base_url: https://api.github.example
    scopes: { 'github:read': Read, 'github:write': Write }
    default_scopes: ['github:read', 'github:write']
    callers: [server-a]
    requests: [{ methods: [GET], path: '/**', scopes: ['github:read'] }]
    credential: { kind: static, store: embedded, path: github, field: token }
    lifetime_seconds: 120
  - name: mail
    base_url: https://mail.example
    scopes: { 'mail:send': Send }
    default_scopes: ['mail:send']
    callers: [server-a, agent, twin, second]
    requests: [{ methods: [POST], path: '/send', scopes: ['mail:send'] }]
    requests_per_minute: 4321
    credential: { kind: static, store: embedded, path: mail, field: key }
policies:
  - id: twin-mail
    cedar: permit (principal == Client::"twin", action == Action::"impersonate", resource == Scope::"mail#mail:send");
`;

const egress = (name: string) => `${cambist.issuer}/egress/${name}`;
const hop = (target: FormFields, scope?: string) =>
  exchange(cambist, {
    client: 'server-a',
    subject: received,
    as: ACCESS_TOKEN,
    ...(scope === undefined ? {} : { scope }),
    more: target,
  });

describe('an upstream as target', () => {
  it.each<[string, () => FormFields]>([
    ['by its egress URI', () => ({ resource: egress('github') })],
    ['by its egress URI with a trailing slash', () => ({ resource: `${egress('github')}/` })],
    ['by its egress URI as audience', () => ({ audience: egress('github') })],
    ['by its name as audience', () => ({ audience: 'github' })],
    ['by both', () => ({ resource: egress('github'), audience: 'github' })],
  ])('is found %s, and its token is for exactly that URI', async (_, target) => {
    const answer = await hop(target());
    const claims = await granted(cambist, answer);
    expect(claims).toMatchObject({ aud: egress('github'), client_id: 'server-a', sub: 'corp:ada' });
    expect(claims.exp! - claims.iat!).toBe(120);
    expect(actors(claims)).toEqual(['server-a', 'agent']);
    expect((await recordOf(cambist, answer)).body).toMatchObject({ kind: 'issued', target: [egress('github')] });
  });

  it.each([
    ['one that is not registered', () => egress('gitlab')],
    ['a path below one', () => `${egress('github')}/repos`],
    ['a label of one', () => `${egress('github')}:uploads`],
    ['the place of all', () => `${cambist.issuer}/egress`],
    ['another spelling of its name', () => egress('GitHub')],
    ['its base URL', () => 'https://api.github.example'],
  ])('is not %s', async (_, uri) => {
    await refused(cambist, await hop({ resource: uri() }), 'invalid_target', 'target_unknown');
  });

  it('is refused while it is disabled', async () => {
    await cambist.disable('upstream', 'github');
    await refused(cambist, await hop({ audience: 'github' }), 'invalid_target', 'target_disabled');
    await cambist.enable('upstream', 'github');
    expect((await hop({ audience: 'github' })).status).toBe(200);
  });

  it.each([
    ['a resource', 'beta'],
    ['another upstream', 'mail'],
  ])('shares no token with %s', async (_, other) => {
    const answer = await hop({ audience: ['github', other] });
    await refused(cambist, answer, 'invalid_target', 'targets_not_grouped');
  });

  it('counts by its own quota at the token endpoint', async () => {
    const answer = await forItself(cambist, 'agent', { resource: egress('mail') });
    expect(answer.headers.get('ratelimit-policy')).toContain('"resource";q=4321;');
  });
});

describe('a call edge to an upstream (R7)', () => {
  it('gives what it says for what the presented token has, and no more', async () => {
    expect(await granted(cambist, await hop({ audience: 'github' }))).toMatchObject({ scope: 'github:read' });
    const wider = await hop({ audience: 'github' }, 'github:write');
    const record = await refused(cambist, wider, 'invalid_target', 'all_scopes_denied');
    expect(record.body).toMatchObject({ decision: { beyond_token: ['github:write'] } });
  });

  it('is needed: without one the token leads nowhere, whoever is a caller', async () => {
    await refused(cambist, await hop({ audience: 'mail' }), 'invalid_target', 'call_edge_missing');
  });

  it('is followed as via in the question to policy', async () => {
    const record = await recordOf(cambist, await hop({ audience: 'github' }));
    expect(record.body).toMatchObject({
      decision: { inputs: [{ resource: { name: 'github', uri: egress('github') }, context: { via: ALPHA } }] },
    });
  });
});

describe('the callers of an upstream', () => {
  it('are the only ones who may have its tokens: an agent with the token of a person is none', async () => {
    const answer = await exchange(cambist, { client: 'agent', subject: person, audience: 'github' });
    const record = await refused(cambist, answer, 'invalid_target', 'caller_not_listed');
    expect(record.body).toMatchObject({ refusal: { detail: { upstream: 'github', caller: 'agent' } } });
  });

  it('may come with the token of a person, or for themselves', async () => {
    const answer = await exchange(cambist, { client: 'agent', subject: person, audience: 'mail' });
    expect(actors(await granted(cambist, answer))).toEqual(['agent']);
    const own = await granted(cambist, await forItself(cambist, 'second', { audience: 'mail' }));
    expect(own).toMatchObject({ sub: 'second', client_id: 'second', aud: egress('mail') });
  });

  it('do not include who asks for itself and is not listed', async () => {
    const answer = await forItself(cambist, 'gateway', { audience: 'mail' });
    await refused(cambist, answer, 'invalid_target', 'caller_not_listed');
  });

  it('are judged by who acts, not by who asks: an actor token counts', async () => {
    const bob = await corp.mint({ aud: cambist.issuer, sub: 'bob' });
    const agent = tokenOf(await forItself(cambist, 'agent'));
    const as = (actor: string) =>
      exchange(cambist, {
        client: 'gateway',
        subject: person,
        actor,
        actorAs: actor === agent ? ACCESS_TOKEN : 'urn:ietf:params:oauth:token-type:id_token',
        audience: 'mail',
      });
    // An identity token is good in the hands of its own client only.
    expect((await as(agent)).status).toBe(400);
    const workload = await cluster.mint({ aud: cambist.issuer, sub: 'system:serviceaccount:prod:agent' });
    const accepted = await exchange(cambist, {
      client: 'gateway',
      subject: person,
      actor: workload,
      audience: 'mail',
    });
    expect(actors(await granted(cambist, accepted))).toEqual(['agent']);
    // A person is no client, whoever presents the token.
    const record = await refused(cambist, await as(bob), 'invalid_target', 'caller_not_listed');
    expect(record.body).not.toMatchObject({ refusal: { detail: { caller: expect.anything() } } });
  });

  it('are the client itself under impersonation', async () => {
    const allowed = await exchange(cambist, { client: 'twin', subject: person, audience: 'mail' });
    expect(await granted(cambist, allowed)).not.toHaveProperty('act');
    await cambist.apply(UPSTREAMS.replace('[server-a, agent, twin, second]', '[server-a, agent, second]'));
    const answer = await exchange(cambist, { client: 'twin', subject: person, audience: 'mail' });
    await refused(cambist, answer, 'invalid_target', 'caller_not_listed');
    await cambist.apply(UPSTREAMS);
  });
});

describe('a token for an upstream', () => {
  it('is nothing to exchange on: nobody serves it', async () => {
    const token = tokenOf(await hop({ audience: 'github' }));
    for (const client of ['server-a', 'agent'])
      await refused(
        cambist,
        await exchange(cambist, { client, subject: token, as: ACCESS_TOKEN, audience: 'github' }),
        'invalid_request',
        'subject_token_not_meant_for_client',
      );
  });
});
