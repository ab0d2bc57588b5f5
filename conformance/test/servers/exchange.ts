/**
 * The token endpoint of the little server: parse, authenticate, check the subject, the actor, the targets and the scopes,
 * mint. Read it from top to bottom to see what a correct exchange does.
 */
import { isRecord } from '../../wire/http.ts';
import { decodeJwt } from '../../wire/jwt.ts';
import type { Json } from '../../wire/jwt.ts';
import { tokenTypeUrn } from '../../target/target.ts';
import { authenticateClient } from './clients.ts';
import { checkExternal, checkOwn, mint } from './tokens.ts';
import { broken, Refused } from './world.ts';
import type { Incoming, Party, Reply, SmallResource, World } from './world.ts';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const [ACCESS, ID, JWT] = [tokenTypeUrn('access_token'), tokenTypeUrn('id_token'), tokenTypeUrn('jwt')];
const KNOWN = [
  'grant_type subject_token subject_token_type actor_token actor_token_type resource audience scope',
  'requested_token_type client_id client_secret client_assertion client_assertion_type',
]
  .join(' ')
  .split(' ');

export async function tokenEndpoint(world: World, request: Incoming): Promise<Reply> {
  const form = checkedForm(world, request);
  const incoming = { ...request, form };
  const client = await authenticateClient(world, incoming);
  const grant = form.get('grant_type') ?? (broken(world, 'grant-optional') ? EXCHANGE : null);
  if (grant === null) throw new Refused('invalid_request');
  if (grant === 'client_credentials') return clientCredentials(world, client);
  if (grant !== EXCHANGE)
    throw new Refused(broken(world, 'unknown-grant-code') ? 'invalid_request' : 'unsupported_grant_type');
  if (!client.mayExchange && !broken(world, 'unentitled-may')) throw new Refused('unauthorized_client');
  return exchange(world, client, form);
}

function checkedForm(world: World, request: Incoming): URLSearchParams {
  let form = request.form;
  if (request.method !== 'POST') {
    if (request.method !== 'GET' || !broken(world, 'get-accepted')) throw new Refused('invalid_request', 405);
    form = request.query;
  } else if (!/^application\/x-www-form-urlencoded\b/i.test(request.contentType) && !broken(world, 'json-accepted'))
    throw new Refused('invalid_request');
  const checked = new URLSearchParams();
  const merged = [...request.query].filter(([name]) => !name.startsWith('client_'));
  const given = broken(world, 'query-merged') ? [...form, ...merged] : [...form];
  for (const [name, value] of given) {
    if (!KNOWN.includes(name) && broken(world, 'unknown-parameter-refused')) throw new Refused('invalid_request');
    if (value === '' && !broken(world, 'empty-is-a-value')) continue;
    if (checked.has(name) && name !== 'resource' && name !== 'audience') {
      if (!broken(world, 'first-wins')) throw new Refused('invalid_request');
      continue;
    }
    checked.append(name, value);
  }
  return checked;
}

function clientCredentials(world: World, client: Party): Reply {
  const { token, lifetimeSeconds } = mint(world, client.id, { sub: client.id, aud: world.issuer });
  const refresh = broken(world, 'refresh-token') ? { refresh_token: 'some-refresh-token' } : {};
  return { status: 200, body: { access_token: token, token_type: 'Bearer', expires_in: lifetimeSeconds, ...refresh } };
}

async function exchange(world: World, client: Party, form: URLSearchParams): Promise<Reply> {
  checkRequestedType(world, form);
  const subject = await checkSubject(world, client, form);
  checkActor(world, client, form);
  checkMayAct(world, client, subject);
  const targets = checkTargets(world, form);
  checkEdges(world, client, subject, targets);
  const scopes = checkScopes(world, form, subject, targets);
  const { token, lifetimeSeconds } = mint(
    world,
    client.id,
    {
      ...(broken(world, 'at-wrong-iss') ? { iss: 'https://somebody-else.example' } : {}),
      sub: subjectOf(world, client, subject),
      aud: audienceOf(world, client, targets),
      scope: scopes.granted.join(' '),
      ...actOf(world, client, subject),
    },
    typeof subject['exp'] === 'number' ? subject['exp'] : undefined,
  );
  return { status: 200, body: answerOf(world, form, token, lifetimeSeconds, scopes.told) };
}

function answerOf(
  world: World,
  form: URLSearchParams,
  token: string,
  lifetimeSeconds: number,
  told: string | undefined,
): Json {
  const requested = form.get('requested_token_type');
  const asked = requested === JWT ? JWT : ACCESS;
  const issued = broken(world, 'issued-type-wrong')
    ? JWT
    : broken(world, 'requested-type-echoed')
      ? (requested ?? ACCESS)
      : asked;
  const answer: Json = {
    access_token: broken(world, 'jwt-is-opaque') && asked === JWT ? 'opaque-token-0123456789' : token,
    issued_token_type: issued,
    token_type: 'Bearer',
    expires_in: broken(world, 'expires-in-lies') ? lifetimeSeconds + 600 : lifetimeSeconds,
    scope: told,
  };
  if (broken(world, 'no-issued-type')) answer['issued_token_type'] = undefined;
  if (broken(world, 'no-token-type')) answer['token_type'] = undefined;
  if (broken(world, 'no-expires-in')) answer['expires_in'] = undefined;
  return answer;
}

function checkRequestedType(world: World, form: URLSearchParams): void {
  const requested = form.get('requested_token_type');
  if (requested !== null && requested !== ACCESS && requested !== JWT && !broken(world, 'requested-type-echoed'))
    throw new Refused('invalid_request');
}

async function checkSubject(world: World, client: Party, form: URLSearchParams): Promise<Json> {
  let token = form.get('subject_token');
  const type = form.get('subject_token_type') ?? (broken(world, 'subject-type-optional') ? JWT : null);
  if (type === null) throw new Refused('invalid_request');
  if (token !== null && token.trim() === '' && broken(world, 'blank-is-self')) token = null;
  else if (token === null && !broken(world, 'subject-optional')) throw new Refused('invalid_request');
  if (token === null) return { sub: client.id };
  try {
    return await checkSubjectToken(world, client, token, type);
  } catch (error) {
    if (error instanceof Refused && broken(world, 'bad-subject-code')) throw new Refused('access_denied');
    throw error;
  }
}

async function checkSubjectToken(world: World, client: Party, token: string, type: string): Promise<Json> {
  const { iss, aud } = decodeJwt(token)?.claims ?? {};
  const any =
    type === JWT ||
    (broken(world, 'saml-is-jwt') && type.endsWith(':saml2')) ||
    (broken(world, 'unknown-type-is-jwt') && type.startsWith('urn:example:'));
  const party = world.parties.find(({ id, key }) => id === iss && key !== undefined);
  if (party !== undefined && broken(world, 'assertion-as-subject')) return { sub: party.id };
  if (iss !== world.issuer) {
    if (type !== ID && !any && !(type === ACCESS && broken(world, 'declared-type-ignored')))
      throw new Refused('invalid_request');
    return checkExternal(world, token);
  }
  if (type !== ACCESS && !any) throw new Refused('invalid_request');
  const claims = checkOwn(world, token);
  const served = world.resources.find(({ uri }) => uri === aud);
  const mine = served?.server === client.id || (aud === world.issuer && claims['client_id'] === client.id);
  const tolerated =
    (broken(world, 'foreign-subject') && client.id === 'other') || (broken(world, 'rescope') && client.id === 'agent');
  if (!mine && !tolerated) throw new Refused('invalid_request');
  return claims;
}

function checkActor(world: World, client: Party, form: URLSearchParams): void {
  const [token, type] = [form.get('actor_token'), form.get('actor_token_type')];
  if (token === null && type === null) return;
  if (token === null) {
    if (broken(world, 'actor-type-alone')) return;
    throw new Refused('invalid_request');
  }
  if (type === null) {
    if (broken(world, 'actor-token-alone')) return;
    throw new Refused('invalid_request');
  }
  if (broken(world, 'actor-unchecked')) return;
  if (broken(world, 'actor-none') && decodeJwt(token)?.header['alg'] === 'none') return;
  try {
    if (checkOwn(world, token)['sub'] !== client.id) throw new Refused('invalid_request');
  } catch (error) {
    if (error instanceof Refused && broken(world, 'bad-actor-code')) throw new Refused('access_denied');
    throw error;
  }
}

function checkMayAct(world: World, client: Party, subject: Json): void {
  const mayAct = subject['may_act'];
  if (!isRecord(mayAct) || broken(world, 'may-act-ignored')) return;
  const issuer = mayAct['iss'] ?? subject['iss'];
  if (mayAct['sub'] !== client.id || issuer !== world.issuer) throw new Refused('invalid_request');
}

function checkTargets(world: World, form: URLSearchParams): SmallResource[] {
  const [first] = world.resources;
  if (first === undefined) throw new Error('no resource');
  if (broken(world, 'target-ignored')) return [first];
  let asked = [...form.getAll('resource'), ...form.getAll('audience')];
  if (asked.length > 1 && broken(world, 'first-target-only')) asked = asked.slice(0, 1);
  const found = asked.map((value) => {
    if (value.startsWith('/') && broken(world, 'relative-target')) return first;
    const plain = broken(world, 'fragment-ignored') ? value.replace(/#.*$/, '') : value;
    const known = world.resources.find(
      ({ uri }) => uri === plain || (`${uri}/` === plain && !broken(world, 'slash-matters')),
    );
    if (known === undefined && broken(world, 'unknown-target-is-first') && value.startsWith('https://nobody'))
      return first;
    if (known === undefined) throw new Refused('invalid_target');
    return known;
  });
  if (found.length === 0 || new Set(found).size > 1) throw new Refused('invalid_target');
  return found;
}

function checkEdges(world: World, client: Party, subject: Json, targets: readonly SmallResource[]): void {
  const from = world.resources.find(({ uri }) => uri === subject['aud']);
  if (from === undefined || from.server !== client.id || broken(world, 'target-ignored')) return;
  if (!targets.every(({ uri }) => from.calls.includes(uri))) throw new Refused('invalid_target');
}

function checkScopes(
  world: World,
  form: URLSearchParams,
  _subject: Json,
  targets: readonly SmallResource[],
): { granted: string[]; told: string | undefined } {
  const asked = form.get('scope');
  const allowed = targets.flatMap(({ scopes }) => scopes);
  if (asked === null) return { granted: allowed.slice(0, 1), told: allowed[0] };
  if (broken(world, 'scope-syntax-granted') && asked.includes('"')) return { granted: asked.split(' '), told: asked };
  const wanted = asked.split(' ');
  const denied = targets.flatMap((one) => one.denied);
  const permitted = wanted.filter(
    (scope) => allowed.includes(scope) || (broken(world, 'denied-granted') && denied.includes(scope)),
  );
  if (permitted.length < wanted.length) {
    const unknown = wanted.some((scope) => scope.startsWith('suite-'));
    if (!(broken(world, 'scope-dropped') && unknown)) throw new Refused('invalid_scope');
    return { granted: permitted, told: undefined };
  }
  if (broken(world, 'scope-widened')) return { granted: allowed, told: allowed.join(' ') };
  if (broken(world, 'scope-lies')) return { granted: permitted, told: `${permitted.join(' ')} more` };
  return { granted: permitted, told: permitted.join(' ') };
}

function subjectOf(world: World, client: Party, subject: Json): unknown {
  if (broken(world, 'at-no-sub')) return undefined;
  if (broken(world, 'actor-takes-over')) return client.id;
  if (broken(world, 'hop-changes-subject') && subject['act'] !== undefined) return `${String(subject['sub'])}-2`;
  return typeof subject['sub'] === 'string' ? subject['sub'] : 'nobody';
}

function audienceOf(world: World, client: Party, targets: readonly SmallResource[]): string | string[] | undefined {
  if (broken(world, 'at-no-aud')) return undefined;
  if (broken(world, 'aud-is-client')) return client.id;
  const uris = targets.map(({ uri }) => uri);
  return uris.length === 1 ? (uris[0] ?? world.issuer) : uris;
}

/** The client acts for the subject, before whoever acted earlier. */
function actOf(world: World, client: Party, subject: Json): Json {
  if (broken(world, 'act-dropped')) return {};
  const earlier = subject['act'];
  const sub = broken(world, 'act-names-subject') && earlier === undefined ? String(subject['sub']) : client.id;
  const current: Json = { sub, iss: world.issuer };
  if (broken(world, 'act-with-exp')) current['exp'] = subject['exp'];
  if (earlier === undefined || broken(world, 'chain-forgotten')) return { act: current };
  if (broken(world, 'chain-reversed') && isRecord(earlier)) return { act: { ...earlier, act: current } };
  return { act: { ...current, act: earlier } };
}
