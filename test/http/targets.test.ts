/**
 * Which resource is meant (RFC 8707 §2, RFC 8693 §2.1): aliases, names and slashes lead to the one canonical audience,
 * everything else is `invalid_target`; and which scopes are had there.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import type { FormFields } from '../support/token-client.ts';
import { ACCESS_TOKEN, exchange, forItself, granted, JWT, recordOf, refused, tokenOf } from './asking.ts';
import { ALPHA, BETA, companyYaml, GAMMA } from './company.ts';

let corp: JwksIssuer;
let cluster: JwksIssuer;
let cambist: TestCambist;
let subject: string;
beforeAll(async () => {
  [corp, cluster] = await Promise.all([startJwksIssuer(), startJwksIssuer()]);
  cambist = await startCambist({ objects: companyYaml(corp, cluster) });
  await cambist.apply(MORE);
  await cambist.apply(partner(cluster.issuer));
  subject = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp.stop(), cluster.stop()]);
});

/** Delta's scopes are permitted in part, epsilon has no defaults, zeta is switched off by a test. */
const MORE = `
resources:
  - name: delta
    uri: https://delta.example/mcp/
    scopes: { 'delta:read': Read, 'delta:write': Write, 'delta:admin': Administer }
    default_scopes: ['delta:read', 'delta:admin']
  - { name: epsilon, uri: https://epsilon.example/mcp, scopes: { 'epsilon:read': Read } }
  - { name: zeta, uri: https://zeta.example/mcp, scopes: { 'zeta:read': Read }, default_scopes: ['zeta:read'], audience_group: other }
  - name: eta
    uri: https://eta.example/mcp
    scopes: { 'eta:read': Read }
    default_scopes: ['eta:read']
    lifetime_seconds: 60
    audience_group: suite
policies:
  - id: delta
    cedar: |
      forbid (principal, action == Action::"act", resource == Scope::"delta#delta:admin");
      forbid (principal, action == Action::"access", resource == Scope::"delta#delta:write");
`;

/** The second issuer again, with a meaning for one of its scopes. */
const partner = (issuer: string) => `
issuers:
  - name: cluster
    issuer: ${issuer}
    internal: true
    algorithms: [ES256]
    token_types: { jwt: {} }
    claims: { scope: { values: { 'alpha.use': [{ resource: '${ALPHA}', scopes: ['alpha:read'] }] } } }
`;

const asking = (target: FormFields, scope?: string) =>
  exchange(cambist, { client: 'agent', subject, ...(scope === undefined ? {} : { scope }), more: target });

describe('a target (RFC 8707 §2)', () => {
  it.each<[string, FormFields, string]>([
    ['its canonical URI', { resource: ALPHA }, ALPHA],
    ['a trailing slash', { resource: `${ALPHA}/` }, ALPHA],
    ['an alias', { resource: 'urn:example:alpha' }, ALPHA],
    ['an alias that is registered with a slash, without it', { resource: 'https://old.example/alpha' }, ALPHA],
    ['another spelling of scheme and host', { resource: 'HTTPS://Alpha.Example:443/mcp' }, ALPHA],
    ['its name as audience', { audience: 'alpha' }, ALPHA],
    ['its URI as audience', { audience: ALPHA }, ALPHA],
    ['its alias as audience', { audience: 'urn:example:alpha' }, ALPHA],
    ['the same resource three times over', { resource: [ALPHA, `${ALPHA}/`], audience: 'alpha' }, ALPHA],
    [
      'a URI that is registered with a slash, without it',
      { resource: 'https://delta.example/mcp' },
      'https://delta.example/mcp/',
    ],
  ])('asked for by %s gives exactly the canonical URI as aud, a string', async (_, target, aud) => {
    const claims = await granted(cambist, await asking(target, aud === ALPHA ? undefined : 'delta:read'));
    expect(claims.aud).toBe(aud);
  });

  it.each<[string, FormFields, string]>([
    ['none', {}, 'target_missing'],
    ['an empty one', { resource: '' }, 'target_missing'],
    ['a relative one', { resource: '/mcp' }, 'target_malformed'],
    ['its name as resource', { resource: 'alpha' }, 'target_malformed'],
    ['one with a fragment', { resource: `${ALPHA}#tools` }, 'target_malformed'],
    ['one with an empty fragment', { resource: `${ALPHA}#` }, 'target_malformed'],
    ['one with a user name', { resource: 'https://admin@alpha.example/mcp' }, 'target_malformed'],
    ['an unknown one', { resource: 'https://unknown.example/mcp' }, 'target_unknown'],
    ['a path below', { resource: `${ALPHA}/tools` }, 'target_unknown'],
    ['a path above', { resource: 'https://alpha.example/' }, 'target_unknown'],
    ['another case in the path', { resource: 'https://alpha.example/MCP' }, 'target_unknown'],
    ['a query', { resource: `${ALPHA}?a=b` }, 'target_unknown'],
    ['http for https', { resource: 'http://alpha.example/mcp' }, 'target_unknown'],
    ['an unknown name', { audience: 'nobody' }, 'target_unknown'],
    ['a client id', { audience: 'server-a' }, 'target_unknown'],
    ['a known and an unknown one', { resource: [ALPHA, 'https://unknown.example/mcp'] }, 'target_unknown'],
    ['a known resource and an unknown audience', { resource: ALPHA, audience: 'nobody' }, 'target_unknown'],
  ])('that is %s is invalid_target, never another audience', async (_, target, reason) => {
    await refused(cambist, await asking(target), 'invalid_target', reason);
  });

  it('that is Cambist itself cannot be asked for by exchange', async () => {
    await refused(cambist, await asking({ resource: cambist.issuer }), 'invalid_target', 'target_unknown');
    await refused(cambist, await asking({ audience: cambist.issuer }), 'invalid_target', 'target_unknown');
  });

  it('of which there are too many is refused before any is looked up', async () => {
    const many = Array.from({ length: 17 }, (_, index) => `https://r${index}.example/`);
    await refused(cambist, await asking({ resource: many }), 'invalid_target', 'target_malformed');
  });

  it('A4 that was disabled a moment ago is invalid_target, and is back when it is enabled', async () => {
    const zeta = { resource: 'https://zeta.example/mcp' };
    await granted(cambist, await asking(zeta));
    await cambist.disable('resource', 'zeta');
    await refused(cambist, await asking(zeta), 'invalid_target', 'target_disabled');
    await cambist.enable('resource', 'zeta');
    await granted(cambist, await asking(zeta));
  });

  it('that is unknown is in the record, so that shadow servers are found', async () => {
    const answer = await asking({ resource: 'https://shadow.example/mcp' });
    const record = await recordOf(cambist, answer);
    expect(record.body).toMatchObject({ refusal: { detail: { target: 'https://shadow.example/mcp' } } });
    expect(answer.text).not.toContain('shadow');
  });
});

describe('several targets', () => {
  it('of one audience group share a token: aud is the list of canonical URIs, scope covers both', async () => {
    const claims = await granted(cambist, await asking({ resource: [BETA, `${GAMMA}/`] }));
    expect(claims.aud).toEqual([BETA, GAMMA]);
    expect(String(claims['scope']).split(' ').sort()).toEqual(['beta:read', 'gamma:read']);
  });

  it('live as long as the shortest of them', async () => {
    const answer = await asking({ resource: [BETA, 'https://eta.example/mcp'] });
    expect(answer.body.expires_in).toBe(60);
  });

  it.each([
    ['one has no group', [ALPHA, BETA]],
    ['their groups differ', [BETA, 'https://zeta.example/mcp']],
    ['neither has a group', [ALPHA, 'https://epsilon.example/mcp']],
  ])('are invalid_target where %s', async (_, resource) => {
    await refused(cambist, await asking({ resource }), 'invalid_target', 'targets_not_grouped');
  });

  it('are refused where the asked scopes leave one of them with nothing', async () => {
    await refused(
      cambist,
      await asking({ resource: [BETA, GAMMA] }, 'beta:read'),
      'invalid_scope',
      'no_default_scope_left',
    );
  });

  it('R9 give each server only its own part: gamma’s server cannot use beta’s scopes', async () => {
    const both = tokenOf(await asking({ resource: [BETA, GAMMA] }));
    const answer = await exchange(cambist, { client: 'server-c', subject: both, as: ACCESS_TOKEN, resource: ALPHA });
    await refused(cambist, answer, 'invalid_target', 'call_edge_missing');
    const own = await exchange(cambist, { client: 'server-b', subject: both, as: ACCESS_TOKEN, resource: ALPHA });
    expect((await granted(cambist, own))['scope']).toBe('alpha:read');
  });
});

describe('a scope (RFC 6749 §3.3)', () => {
  const DELTA = { resource: 'https://delta.example/mcp' };

  it('that is not asked for is the default that is permitted, and the answer says what was given', async () => {
    const answer = await asking(DELTA);
    expect((await granted(cambist, answer))['scope']).toBe('delta:read');
    expect(answer.body.scope).toBe('delta:read');
  });

  it('that is named and denied is refused, never dropped: some → invalid_scope, all → invalid_target', async () => {
    await refused(cambist, await asking(DELTA, 'delta:read delta:admin'), 'invalid_scope', 'some_scopes_denied');
    await refused(cambist, await asking(DELTA, 'delta:admin'), 'invalid_target', 'all_scopes_denied');
    await refused(cambist, await asking(DELTA, 'delta:admin delta:write'), 'invalid_target', 'all_scopes_denied');
  });

  it('A2 of another resource, or of none, is invalid_scope', async () => {
    await refused(cambist, await asking({ resource: ALPHA }, 'beta:read'), 'invalid_scope', 'scope_unknown');
    await refused(cambist, await asking({ resource: ALPHA }, 'alpha:read toString'), 'invalid_scope', 'scope_unknown');
    await refused(cambist, await asking({ resource: ALPHA }, '__proto__'), 'invalid_scope', 'scope_unknown');
  });

  it.each(['alpha:read  alpha:write', ' alpha:read', 'alpha:read ', 'alpha:"read"', 'alpha:réad', 'alpha\\read'])(
    'that is malformed (%s) is invalid_scope',
    async (scope) => {
      await refused(cambist, await asking({ resource: ALPHA }, scope), 'invalid_scope', 'scope_malformed');
    },
  );

  it('named twice is one', async () => {
    expect((await asking({ resource: ALPHA }, 'alpha:read alpha:read')).body.scope).toBe('alpha:read');
  });

  it('without defaults must be named', async () => {
    const epsilon = { resource: 'https://epsilon.example/mcp' };
    await refused(cambist, await asking(epsilon), 'invalid_scope', 'no_default_scope_left');
    expect((await asking(epsilon, 'epsilon:read')).body.scope).toBe('epsilon:read');
  });
});

describe('a hop (R7)', () => {
  const atAlpha = async (scope: string) => tokenOf(await asking({ resource: ALPHA }, scope));
  const toBeta = (token: string, scope?: string, client = 'server-a') =>
    exchange(cambist, {
      client,
      subject: token,
      as: ACCESS_TOKEN,
      resource: BETA,
      ...(scope === undefined ? {} : { scope }),
    });

  it('has what the edge gives, no more, and not without what the edge needs', async () => {
    expect((await toBeta(await atAlpha('alpha:read'))).body.scope).toBe('beta:read');
    await refused(
      cambist,
      await toBeta(await atAlpha('alpha:read'), 'beta:read beta:write'),
      'invalid_scope',
      'some_scopes_denied',
    );
    await refused(
      cambist,
      await toBeta(await atAlpha('alpha:read'), 'beta:write'),
      'invalid_target',
      'all_scopes_denied',
    );
    await refused(cambist, await toBeta(await atAlpha('alpha:write')), 'invalid_target', 'call_edge_missing');
  });

  it('without an edge is invalid_target, though policy would permit it to a first exchange', async () => {
    const answer = await exchange(cambist, {
      client: 'server-a',
      subject: await atAlpha('alpha:read'),
      as: ACCESS_TOKEN,
      resource: GAMMA,
    });
    await refused(cambist, answer, 'invalid_target', 'call_edge_missing');
  });

  it('R9 is for a client that serves the resource, and for no other, the one that got the token included', async () => {
    const token = await atAlpha('alpha:read');
    for (const client of ['agent', 'server-b', 'second'])
      await refused(
        cambist,
        await toBeta(token, undefined, client),
        'invalid_request',
        'subject_token_not_meant_for_client',
      );
  });

  it('never outlives the token that it came from', async () => {
    const short = await corp.mint({ aud: cambist.issuer, sub: 'ada' }, { lifetimeSeconds: 40 });
    const first = await exchange(cambist, { client: 'agent', subject: short, resource: ALPHA });
    const second = await granted(cambist, await toBeta(tokenOf(first)));
    expect(second.exp).toBe(JSON.parse(Buffer.from(short.split('.')[1]!, 'base64url').toString()).exp);
  });

  it('of a client that asked for itself follows the same edges', async () => {
    const own = tokenOf(await forItself(cambist, 'second', { resource: ALPHA }));
    const claims = await granted(cambist, await toBeta(own));
    expect(claims).toMatchObject({ sub: 'second', act: { sub: 'server-a' }, scope: 'beta:read' });
  });
});

describe('the scope of an external token', () => {
  const withScope = async (scope: string | undefined, resource: string, asked?: string) =>
    exchange(cambist, {
      client: 'second',
      subject: await cluster.mint({ aud: cambist.issuer, sub: 'robot', scope }),
      as: JWT,
      resource,
      ...(asked === undefined ? {} : { scope: asked }),
    });

  it('A2 counts where the mapping says what it means here, and is then the limit', async () => {
    expect((await withScope('alpha.use openid', ALPHA)).body.scope).toBe('alpha:read');
    const wider = await withScope('alpha.use', ALPHA, 'alpha:read alpha:write');
    await refused(cambist, wider, 'invalid_scope', 'some_scopes_denied');
  });

  it('A2 that means nothing here opens nothing', async () => {
    for (const scope of ['other.things', '', undefined])
      await refused(cambist, await withScope(scope, ALPHA), 'invalid_target', 'call_edge_missing');
  });

  it('R7 does not open the call edges of the resource that it stands for', async () => {
    await refused(cambist, await withScope('alpha.use', BETA), 'invalid_target', 'call_edge_missing');
  });
});
