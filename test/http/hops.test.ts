/**
 * user → agent → server A → server B with a real OpenID provider's sign-in: what each token says, what each record says,
 * and what a hop does not change: subject, groups, authentication, expiry.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { claimsOf } from '../support/token-client.ts';
import { ACCESS_TOKEN, exchange, granted, recordOf, refused, tokenOf } from './asking.ts';

const ORDERS = 'https://orders.example/mcp';
const STOCK = 'https://stock.example/mcp';
const SHIPPING = 'https://shipping.example/mcp';
const API = 'https://api.corp.example';

let people: OidcIssuer;
let cambist: TestCambist;
beforeAll(async () => {
  people = await startOidcIssuer({
    relyingParties: ['portal', 'elsewhere'],
    people: {
      ada: { name: 'Ada Lovelace', email: 'ada@corp.example', groups: ['staff', 'buyers'] },
      eve: { name: 'Eve', email: 'eve@corp.example', groups: ['staff'] },
    },
    apis: [{ uri: API, scopes: ['orders.read', 'other.things'] }],
  });
  cambist = await startCambist({ objects: company() });
});
afterAll(async () => {
  await cambist.stop();
  await people.stop();
});

const company = () => `
issuers:
  - name: corp
    issuer: ${people.issuer}
    internal: true
    audiences: [{ value: portal, clients: [agent] }, { value: '${API}', clients: [agent] }]
    token_types: { id_token: {}, access_token: {} }
    claims: { groups: groups, email: email, name: name }
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: orders-server, auth: [client_secret_basic] }
  - { id: stock-server, auth: [client_secret_basic] }
resources:
  - name: orders
    uri: ${ORDERS}
    scopes: { 'orders:read': Read, 'orders:place': Place }
    default_scopes: ['orders:read']
    served_by: [orders-server]
    calls:
      - { resource: stock, needs: ['orders:read'], gives: ['stock:read'] }
      - { resource: stock, needs: ['orders:place'], gives: ['stock:reserve'] }
  - name: stock
    uri: ${STOCK}
    scopes: { 'stock:read': Read, 'stock:reserve': Reserve }
    default_scopes: ['stock:read']
    served_by: [stock-server]
    calls: [{ resource: shipping, needs: ['stock:reserve'], gives: ['shipping:quote'] }]
  - { name: shipping, uri: '${SHIPPING}', scopes: { 'shipping:quote': Quote }, default_scopes: ['shipping:quote'] }
roles:
  - { name: buyer, groups: ['corp:buyers'] }
policies:
  - id: reading
    cedar: |
      permit (principal in Group::"corp:staff", action == Action::"access", resource)
      when { resource.name == "orders:read" || resource.name == "stock:read" };
      permit (principal in Role::"buyer", action == Action::"access", resource);
  - id: actors
    cedar: |
      permit (principal == Client::"agent", action == Action::"act", resource) when { resource.resource == "orders" };
      permit (principal == Client::"orders-server", action == Action::"act", resource)
      when { resource.resource == "stock" && context has via && context.via == Resource::"${ORDERS}" };
      permit (principal == Client::"stock-server", action == Action::"act", resource == Scope::"shipping#shipping:quote");
`;

const hop = (client: string, subject: string, resource: string, scope: string) =>
  exchange(cambist, { client, subject, as: ACCESS_TOKEN, resource, scope });

describe('user → agent → server A → server B → server C', () => {
  it('reads correctly at each hop, in the token and in the record', async () => {
    const idToken = await people.idToken('ada');
    const signIn = claimsOf(idToken);
    const first = await exchange(cambist, {
      client: 'agent',
      subject: idToken,
      resource: ORDERS,
      scope: 'orders:read orders:place',
    });
    const second = await hop('orders-server', tokenOf(first), STOCK, 'stock:reserve');
    const third = await hop('stock-server', tokenOf(second), SHIPPING, 'shipping:quote');

    const client = (id: string) => ({ sub: id, iss: cambist.issuer, client_id: id });
    const expected = [
      { answer: first, client: 'agent', aud: ORDERS, scope: 'orders:read orders:place', act: client('agent') },
      {
        answer: second,
        client: 'orders-server',
        aud: STOCK,
        scope: 'stock:reserve',
        act: { ...client('orders-server'), act: client('agent') },
      },
      {
        answer: third,
        client: 'stock-server',
        aud: SHIPPING,
        scope: 'shipping:quote',
        act: { ...client('stock-server'), act: { ...client('orders-server'), act: client('agent') } },
      },
    ];
    let endsBy = signIn.exp as number;
    const seen = new Set<string>();
    for (const { answer, client: id, aud, scope, act } of expected) {
      const claims = await granted(cambist, answer);
      expect(claims).toMatchObject({
        sub: 'corp:ada',
        sub_id: { format: 'iss_sub', iss: people.issuer, sub: 'ada' },
        client_id: id,
        aud,
        scope,
      });
      expect(claims['act']).toEqual(act);
      expect(claims.exp).toBeLessThanOrEqual(endsBy);
      // How Ada signed in is known to the last server as it was to the first (RFC 9068 §2.2.1).
      expect(claims['auth_time']).toBe(signIn.auth_time);
      expect(claims['amr']).toEqual(signIn.amr);
      endsBy = claims.exp!;
      seen.add(claims.jti!);

      const record = await recordOf(cambist, answer);
      expect(record.body).toMatchObject({
        kind: 'issued',
        client: { id },
        target: [aud],
        token: { jti: claims.jti, aud, scope, exp: claims.exp },
      });
      expect(record.persons).toMatchObject([
        { iss: people.issuer, sub: 'ada', email: 'ada@corp.example', groups: ['corp:staff', 'corp:buyers'] },
      ]);
    }
    expect(seen.size).toBe(3);
  });

  it("keeps the person's groups: what needs a role at the second server is decided by it", async () => {
    const token = async (who: string) =>
      tokenOf(await exchange(cambist, { client: 'agent', subject: await people.idToken(who), resource: ORDERS }));
    expect((await hop('orders-server', await token('eve'), STOCK, 'stock:read')).body.scope).toBe('stock:read');
    await refused(
      cambist,
      await exchange(cambist, {
        client: 'agent',
        subject: await people.idToken('eve'),
        resource: ORDERS,
        scope: 'orders:place',
      }),
      'invalid_target',
      'all_scopes_denied',
    );
    await refused(
      cambist,
      await hop('orders-server', await token('ada'), STOCK, 'stock:reserve'),
      'invalid_target',
      'all_scopes_denied',
    );
  });

  it('R8 gives an inner actor no say: what the agent may at orders does not help the server at shipping', async () => {
    const first = tokenOf(
      await exchange(cambist, {
        client: 'agent',
        subject: await people.idToken('ada'),
        resource: ORDERS,
        scope: 'orders:place',
      }),
    );
    const second = tokenOf(await hop('orders-server', first, STOCK, 'stock:reserve'));
    await refused(
      cambist,
      await hop('stock-server', second, ORDERS, 'orders:read'),
      'invalid_target',
      'call_edge_missing',
    );
    await refused(
      cambist,
      await hop('orders-server', second, SHIPPING, 'shipping:quote'),
      'invalid_request',
      'subject_token_not_meant_for_client',
    );
  });

  it('lets the server do on a hop what it may not do with a first token (context.via)', async () => {
    const answer = await exchange(cambist, {
      client: 'orders-server',
      subject: await people.idToken('ada'),
      resource: STOCK,
      scope: 'stock:read',
    });
    await refused(cambist, answer, 'invalid_request', 'subject_token_not_meant_for_client');
  });

  it('A4 stops at the next hop when the agent in the chain was disabled, and when the person was', async () => {
    await cambist.apply('subjects: [{ issuer: corp, sub: ada }]');
    const first = tokenOf(
      await exchange(cambist, { client: 'agent', subject: await people.idToken('ada'), resource: ORDERS }),
    );
    await cambist.disable('client', 'agent');
    await refused(
      cambist,
      await hop('orders-server', first, STOCK, 'stock:read'),
      'invalid_request',
      'chain_member_disabled',
    );
    await cambist.enable('client', 'agent');
    await cambist.disable('subject', 'corp:ada');
    await refused(
      cambist,
      await hop('orders-server', first, STOCK, 'stock:read'),
      'invalid_request',
      'subject_disabled',
    );
    await cambist.enable('subject', 'corp:ada');
    expect((await hop('orders-server', first, STOCK, 'stock:read')).status).toBe(200);
  });
});

describe("the provider's own tokens", () => {
  it('R9 A3 an ID token for another relying party is not for this agent', async () => {
    const subject = await people.idToken('ada', 'elsewhere');
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject, resource: ORDERS }),
      'invalid_request',
      'subject_token_not_meant_for_client',
    );
  });

  it('an access token for an API that this agent may present counts, under its own type', async () => {
    const subject = await people.accessToken('ada', API);
    const answer = await exchange(cambist, { client: 'agent', subject, as: ACCESS_TOKEN, resource: ORDERS });
    // The access token has no groups, so policy knows Ada as nobody in particular.
    await refused(cambist, answer, 'invalid_scope', 'no_default_scope_left');
    await refused(
      cambist,
      await exchange(cambist, { client: 'agent', subject, resource: ORDERS }),
      'invalid_request',
      'subject_token_invalid',
    );
  });

  it('may be exchanged again and again until they expire', async () => {
    const subject = await people.idToken('ada');
    for (const resource of [ORDERS, ORDERS])
      await granted(cambist, await exchange(cambist, { client: 'agent', subject, resource }));
  });
});
