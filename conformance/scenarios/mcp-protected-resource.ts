/**
 * Profile `mcp-protected-resource`: MCP servers that take tokens of the target (RFC 9728 and MCP 2026-07-28).
 */
import type { Target } from '../target/target.ts';
import { answerInWords } from '../target/target.ts';
import type { TargetConfig } from '../target/config.ts';
import type { Answer } from '../wire/http.ts';
import { exchange, resourceNamed, textMember } from './asking.ts';
import type { Probe, Scenario } from './scenario.ts';

type ProtectedResource = TargetConfig['protected_resources'][number];

const lacksResource = (target: Target) =>
  target.config.protected_resources.length === 0 ? 'the configuration names no `protected_resources`' : undefined;

const firstOf = (target: Target): ProtectedResource => {
  const [first] = target.config.protected_resources;
  if (first === undefined) throw new Error('no protected resource');
  return first;
};

async function call(
  probe: Probe,
  server: ProtectedResource,
  token?: string,
  body = server.body,
  url = server.url,
): Promise<Answer> {
  return probe.fetch({
    url,
    method: body === undefined ? 'GET' : 'POST',
    body,
    headers: {
      accept: 'application/json, text/event-stream',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
  });
}

/** Parameters of a Bearer challenge (RFC 6750 §3). */
function challengeOf(answer: Answer): ReadonlyMap<string, string> | undefined {
  const header = answer.headers['www-authenticate'] ?? '';
  if (!/^bearer\b/i.test(header)) return undefined;
  const found = [...header.matchAll(/([a-z_]+)=(?:"([^"]*)"|([^\s,]+))/gi)];
  return new Map(found.map(([, name = '', quoted, plain]) => [name.toLowerCase(), quoted ?? plain ?? '']));
}

const isAuthorized = (answer: Answer) =>
  answer.status !== 0 && answer.status !== 401 && answer.status !== 403 && answer.status < 500;

const metadata: Scenario = {
  id: 'mcp-protected-resource/metadata',
  profile: 'mcp-protected-resource',
  title: 'Without a token: a challenge that leads to the metadata',
  requests: 6,
  lacks: lacksResource,
  async run(probe) {
    const server = firstOf(probe.target);
    const answer = await call(probe, server);
    probe.holds('mcp-rs-401', answer.status === 401, answerInWords(answer), answer);
    const challenge = challengeOf(answer);
    probe.holds(
      'rfc9728-5.1-challenge',
      challenge !== undefined,
      `WWW-Authenticate is "${answer.headers['www-authenticate'] ?? ''}"`,
      answer,
    );
    probe.holds(
      'mcp-rs-scope-in-challenge',
      challenge?.get('scope') !== undefined,
      `scope is ${challenge?.get('scope') ?? 'missing'}`,
      answer,
    );
    const { origin, pathname } = new URL(server.url);
    const wellKnown = `${origin}/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`;
    const found = await probe.fetch({
      url: challenge?.get('resource_metadata') ?? wellKnown,
      headers: { accept: 'application/json' },
    });
    const document = found.json ?? {};
    const reachable = found.status === 200 && found.json !== undefined;
    if (!probe.holds('rfc9728-3-metadata', reachable, answerInWords(found), found)) {
      for (const id of [
        'rfc9728-3.3-resource-identical',
        'rfc9728-2-authorization-server',
        'rfc9728-3.2-no-empty-lists',
      ])
        probe.blocked(id, 'no metadata');
      return;
    }
    const same =
      typeof document['resource'] === 'string' && [server.url, `${server.url}/`].includes(document['resource']);
    probe.holds('rfc9728-3.3-resource-identical', same, `resource is ${JSON.stringify(document['resource'])}`, found);
    const servers = document['authorization_servers'];
    const named = Array.isArray(servers) && servers.includes(probe.target.issuer);
    probe.holds('rfc9728-2-authorization-server', named, `authorization_servers is ${JSON.stringify(servers)}`, found);
    const empty = Object.entries(document).filter(([, value]) => Array.isArray(value) && value.length === 0);
    probe.holds(
      'rfc9728-3.2-no-empty-lists',
      empty.length === 0,
      empty.length === 0 ? 'no empty lists' : empty.map(([name]) => name).join(', '),
      found,
    );
  },
};

const tokens: Scenario = {
  id: 'mcp-protected-resource/tokens',
  profile: 'mcp-protected-resource',
  title: 'With a token: the right one only',
  requests: 16,
  lacks: lacksResource,
  async run(probe) {
    const server = firstOf(probe.target);
    const resource = resourceNamed(probe.target, server.resource);
    const scope = server.scope === undefined ? {} : { scope: server.scope };
    const issued = probe.accepted(await exchange(probe, scope, { resource }), `an exchange for ${resource.name}`);
    const token = textMember(issued, 'access_token');
    const right = await call(probe, server, token);
    probe.controlled(isAuthorized(right), 'a call with the right token', right);
    probe.holds('mcp-rs-right-token', true, answerInWords(right), right);

    const garbage = await call(probe, server, 'this-is-no-token');
    probe.holds('mcp-rs-invalid-token', garbage.status === 401, answerInWords(garbage), garbage);
    const error = challengeOf(garbage)?.get('error');
    probe.holds('mcp-rs-invalid-token-error', error === 'invalid_token', `error is ${error ?? 'missing'}`, garbage);
    const inQuery = new URL(server.url);
    inQuery.searchParams.set('access_token', token);
    const query = await call(probe, server, undefined, server.body, inQuery.href);
    probe.holds('mcp-rs-not-in-query', query.status === 401 || query.status === 400, answerInWords(query), query);
    const { token: subject } = await probe.token('default');
    const transit = await call(probe, server, subject);
    probe.holds(
      'mcp-rs-foreign-token',
      transit.status === 401,
      `a token of another issuer or audience: ${answerInWords(transit)}`,
      transit,
    );
    await judgeAudience(probe, server);
    await judgeScope(probe, server);
  },
};

async function judgeAudience(probe: Probe, server: ProtectedResource): Promise<void> {
  const other = probe.target.config.resources.find(({ name }) => name !== server.resource);
  if (other === undefined) {
    probe.skip('mcp-rs-audience', 'the configuration has a single resource');
    return;
  }
  const issued = probe.accepted(await exchange(probe, {}, { resource: other }), `an exchange for ${other.name}`);
  const answer = await call(probe, server, textMember(issued, 'access_token'));
  probe.holds('mcp-rs-audience', answer.status === 401, `a token for ${other.name}: ${answerInWords(answer)}`, answer);
}

async function judgeScope(probe: Probe, server: ProtectedResource): Promise<void> {
  const id = 'mcp-rs-insufficient-scope';
  if (server.too_little === undefined) {
    probe.skip(id, 'the configuration names no scope that is too little');
    return;
  }
  const resource = resourceNamed(probe.target, server.resource);
  const { scope, body } = server.too_little;
  const issued = probe.accepted(await exchange(probe, { scope }, { resource }), `an exchange for the scope ${scope}`);
  const answer = await call(probe, server, textMember(issued, 'access_token'), body ?? server.body);
  const challenge = challengeOf(answer);
  const ok = answer.status === 403 && challenge?.get('error') === 'insufficient_scope';
  probe.holds(id, ok, `${answerInWords(answer)}, error ${challenge?.get('error') ?? 'missing'}`, answer);
}

export const mcpProtectedResourceScenarios: readonly Scenario[] = [metadata, tokens];
