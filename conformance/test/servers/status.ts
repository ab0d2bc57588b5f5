/**
 * Introspection and revocation of the little server.
 */
import { decodeJwt } from '../../wire/jwt.ts';
import type { Json } from '../../wire/jwt.ts';
import { authenticateClient } from './clients.ts';
import { checkOwn } from './tokens.ts';
import { broken, Refused } from './world.ts';
import type { Incoming, Reply, World } from './world.ts';

function formOf(world: World, request: Incoming): URLSearchParams {
  if (request.method === 'POST') return request.form;
  if (request.method === 'GET' && broken(world, 'introspect-get')) return request.query;
  throw new Refused('invalid_request', 405);
}

export async function introspectionEndpoint(world: World, request: Incoming): Promise<Reply> {
  const form = formOf(world, request);
  const anonymous = request.headers['authorization'] === undefined;
  const caller =
    anonymous && broken(world, 'introspect-anonymous')
      ? undefined
      : await authenticateClient(world, { ...request, form });
  const token = form.get('token');
  if (token === null) {
    if (broken(world, 'introspect-nothing')) return { status: 200, body: { active: true } };
    throw new Refused('invalid_request');
  }
  const inactive = { active: false, ...(broken(world, 'chatty-inactive') ? { reason: 'unknown' } : {}) };
  if (broken(world, 'always-inactive')) return { status: 200, body: inactive };
  if (form.get('token_type_hint') === 'refresh_token' && broken(world, 'hint-believed'))
    return { status: 200, body: inactive };
  const claims = liveClaims(world, token);
  if (claims === undefined)
    return broken(world, 'unknown-is-error')
      ? { status: 400, body: { error: 'invalid_token' } }
      : { status: 200, body: inactive };
  const serves = world.resources.some(({ uri, server }) => uri === claims['aud'] && server === caller?.id);
  if (!serves && caller !== undefined && !broken(world, 'anybody-introspects'))
    return { status: 200, body: { active: false } };
  const answer: Json = { active: true, ...claims };
  if (broken(world, 'introspect-no-act')) answer['act'] = undefined;
  if (broken(world, 'introspect-scope-list')) answer['scope'] = String(claims['scope']).split(' ');
  if (broken(world, 'introspect-other-client')) answer['client_id'] = 'somebody-else';
  return { status: 200, body: answer };
}

function liveClaims(world: World, token: string): Json | undefined {
  if (broken(world, 'introspect-unsigned')) {
    const claims = decodeJwt(token)?.claims;
    return world.revoked.has(token) ? undefined : claims;
  }
  try {
    return checkOwn(world, token);
  } catch {
    return undefined;
  }
}

export async function revocationEndpoint(world: World, request: Incoming): Promise<Reply> {
  const { form } = request;
  if (request.method !== 'POST') throw new Refused('invalid_request', 405);
  const anonymous = request.headers['authorization'] === undefined;
  const caller = anonymous && broken(world, 'revoke-anonymous') ? undefined : await authenticateClient(world, request);
  const done = { status: broken(world, 'revoke-204') ? 204 : 200, body: {} };
  const token = form.get('token');
  if (token === null) {
    if (broken(world, 'revoke-nothing')) return done;
    throw new Refused('invalid_request');
  }
  const owner = world.issuedTo.get(token);
  if (owner === undefined)
    return broken(world, 'revoke-unknown-is-error') ? { status: 400, body: { error: 'invalid_token' } } : done;
  if (broken(world, 'revoke-does-nothing')) return done;
  if (form.get('token_type_hint') === 'refresh_token' && broken(world, 'revoke-hint-believed')) return done;
  if (owner === caller?.id || broken(world, 'anybody-revokes')) world.revoked.add(token);
  return done;
}
