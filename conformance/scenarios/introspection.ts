/**
 * Profile `introspection` (RFC 7662), where the metadata advertise an endpoint for it.
 */
import type { ClientRole } from '../target/config.ts';
import type { Target } from '../target/target.ts';
import { answerInWords } from '../target/target.ts';
import { decodeJwt, tampered } from '../wire/jwt.ts';
import type { Answer } from '../wire/http.ts';
import { honestExchange, textMember, shown } from './asking.ts';
import type { Changes } from './asking.ts';
import { formOf } from '../wire/form.ts';
import type { Ask, Probe, Scenario } from './scenario.ts';

export function lacksIntrospection(target: Target): string | undefined {
  if (typeof target.metadata['introspection_endpoint'] !== 'string')
    return 'the metadata advertise no introspection_endpoint';
  return introspector(target) === undefined ? 'the configuration does not say who may introspect' : undefined;
}

function introspector(target: Target): ClientRole | undefined {
  const named = target.config.introspection?.client;
  return named !== undefined && target.config.clients[named] !== undefined ? named : undefined;
}

/** Asks about a token as the client that may. */
export async function introspect(
  probe: Probe,
  token: string,
  changes: Changes = {},
  ask: Omit<Ask, 'form'> = {},
): Promise<Answer> {
  return probe.ask({
    url: String(probe.target.metadata['introspection_endpoint']),
    client: introspector(probe.target) ?? 'requester',
    ...ask,
    form: formOf({ token, ...changes }),
  });
}

const isActive = (answer: Answer) => answer.status === 200 && answer.json?.['active'] === true;

async function activeToken(probe: Probe): Promise<{ token: string; answer: Answer }> {
  const token = textMember(await honestExchange(probe), 'access_token');
  const answer = await introspect(probe, token);
  probe.controlled(isActive(answer), 'introspection of a live token', answer);
  return { token, answer };
}

const active: Scenario = {
  id: 'introspection/active',
  profile: 'introspection',
  title: 'A live token, and what is said of it',
  requests: 8,
  lacks: lacksIntrospection,
  async run(probe) {
    const { token, answer } = await activeToken(probe);
    probe.holds('rfc7662-2.2-active', true, 'active is true', answer);
    const type = answer.headers['content-type'] ?? '';
    probe.holds('rfc7662-2.2-json', /^application\/json\b/i.test(type), `Content-Type is "${type}"`, answer);
    const json = answer.json ?? {};
    const odd = ['exp', 'iat', 'nbf'].filter((name) => json[name] !== undefined && !Number.isInteger(json[name]));
    const texts = ['scope', 'client_id', 'sub', 'iss', 'jti', 'username', 'token_type'];
    odd.push(...texts.filter((name) => json[name] !== undefined && typeof json[name] !== 'string'));
    probe.holds(
      'rfc7662-2.2-member-types',
      odd.length === 0,
      odd.length === 0 ? 'as they should be' : `wrong type: ${odd.join(', ')}`,
      answer,
    );
    const claims = decodeJwt(token)?.claims;
    if (claims === undefined) probe.skip('rfc7662-2.2-agrees-with-token', 'the token is opaque');
    else {
      const differing = ['exp', 'sub', 'iss', 'client_id', 'jti'].filter(
        (name) => json[name] !== undefined && claims[name] !== undefined && json[name] !== claims[name],
      );
      probe.holds(
        'rfc7662-2.2-agrees-with-token',
        differing.length === 0,
        differing.length === 0 ? 'agrees' : `differs: ${differing.join(', ')}`,
        answer,
      );
    }
    if (claims?.['act'] === undefined) probe.skip('rfc8693-4.1-act-in-introspection', 'the token has no act');
    else
      probe.holds(
        'rfc8693-4.1-act-in-introspection',
        json['act'] !== undefined,
        `act is ${shown(json['act'])}`,
        answer,
      );
    const hinted = await introspect(probe, token, { token_type_hint: 'refresh_token' });
    probe.holds('rfc7662-2.1-wrong-hint', isActive(hinted), `active is ${shown(hinted.json?.['active'])}`, hinted);
  },
};

const inactive: Scenario = {
  id: 'introspection/inactive',
  profile: 'introspection',
  title: 'Tokens that are none, and forged ones',
  requests: 8,
  lacks: lacksIntrospection,
  async run(probe) {
    const { token } = await activeToken(probe);
    const unknown = await introspect(probe, 'this-is-no-token');
    const said = unknown.status === 200 && unknown.json?.['active'] === false;
    probe.holds('rfc7662-2.2-unknown-is-inactive', said, answerInWords(unknown), unknown);
    if (!said) probe.blocked('rfc7662-2.2-nothing-about-inactive', 'there is no answer that says inactive');
    const extra = Object.keys(unknown.json ?? {}).filter((name) => name !== 'active');
    if (said)
      probe.holds(
        'rfc7662-2.2-nothing-about-inactive',
        extra.length === 0,
        extra.length === 0 ? 'nothing else' : `also ${extra.join(', ')}`,
        unknown,
      );
    const decoded = decodeJwt(token);
    const changed =
      decoded === undefined
        ? `${token.slice(0, -6)}AAAAAA`
        : tampered(token, { ...decoded.claims, sub: 'suite-somebody-else' });
    const forged = await introspect(probe, changed);
    probe.holds(
      'rfc7662-4-signature-is-checked',
      !isActive(forged) && forged.status < 500,
      answerInWords(forged),
      forged,
    );
  },
};

const callers: Scenario = {
  id: 'introspection/caller',
  profile: 'introspection',
  title: 'Who may ask',
  requests: 9,
  lacks: lacksIntrospection,
  async run(probe) {
    const { token } = await activeToken(probe);
    const anonymous = await introspect(probe, token, {}, { client: 'nobody' });
    probe.refused('rfc7662-2.1-caller-authenticates', anonymous, { statuses: [400, 401, 403] });
    const missing = await introspect(probe, '', { token: undefined });
    const id = 'rfc7662-2.1-token-required';
    if (missing.json?.['active'] === false) probe.byPolicy(id, 'answers inactive', missing);
    else probe.refused(id, missing);
    const query = [['token', token] as const];
    const get = await introspect(probe, token, {}, { httpMethod: 'GET', query });
    probe.holds('rfc7662-2.1-post', !isActive(get), answerInWords(get), get);
    const other = probe.target.config.clients.other;
    if (other === undefined) probe.skip('field-introspection-by-audience', 'the configuration has no client `other`');
    else {
      const answer = await introspect(probe, token, {}, { client: 'other' });
      probe.holds('field-introspection-by-audience', !isActive(answer), answerInWords(answer), answer);
    }
  },
};

export const introspectionScenarios: readonly Scenario[] = [active, inactive, callers];
