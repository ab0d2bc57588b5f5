/**
 * Profile `delegation`: who acts for whom (RFC 8693 §1.1, §4.1, §4.4), across one exchange and across a second hop.
 */
import { nowSeconds, unsignedJwt } from '../wire/jwt.ts';
import type { Json } from '../wire/jwt.ts';
import { isRecord } from '../wire/http.ts';
import type { Answer } from '../wire/http.ts';
import type { Target } from '../target/target.ts';
import {
  ACCESS_TOKEN_TYPE,
  exchange,
  exchangeForm,
  hasClaims,
  honestExchange,
  OPAQUE,
  resourceNamed,
  textMember,
  shown,
} from './asking.ts';
import type { Changes } from './asking.ts';
import { replaced } from '../wire/form.ts';
import type { Probe, Scenario } from './scenario.ts';

const needsDelegation = (target: Target) =>
  target.config.delegation === undefined ? 'the configuration has no `delegation`' : undefined;

const actClaim: Scenario = {
  id: 'delegation/act',
  profile: 'delegation',
  title: 'The token names its subject and who acts for it',
  requests: 6,
  lacks: needsDelegation,
  async run(probe) {
    const answer = await honestExchange(probe);
    const claims = await probe.claims(answer);
    const ids = [
      'rfc8693-4.1-act-object',
      'rfc8693-4.1-act-names-actor',
      'rfc8693-4.1-no-validity-in-act',
      'rfc8693-1.1-subject-kept',
    ] as const;
    if (claims === undefined) {
      for (const id of ids) probe.skip(id, OPAQUE);
      return;
    }
    const subject = probe.target.config.expectations.subject;
    if (subject === undefined)
      probe.skip(ids[3], 'the configuration does not say what a token about the subject holds');
    else probe.holds(ids[3], hasClaims(claims, subject), `sub is ${JSON.stringify(claims['sub'])}`, answer);
    judgeAct(probe, claims['act'], answer);
  },
};

function judgeAct(probe: Probe, act: unknown, answer: Answer): void {
  const seen = act === undefined ? 'there is no act' : `act is ${JSON.stringify(act)}`;
  if (!probe.holds('rfc8693-4.1-act-object', isRecord(act), seen, answer)) {
    probe.blocked('rfc8693-4.1-act-names-actor', 'act is no object');
    probe.blocked('rfc8693-4.1-no-validity-in-act', 'act is no object');
    return;
  }
  const expected = probe.target.config.delegation?.expected ?? {};
  probe.holds(
    'rfc8693-4.1-act-names-actor',
    hasClaims(act, expected),
    `${seen}, wanted ${JSON.stringify(expected)}`,
    answer,
  );
  const odd = ['exp', 'nbf', 'iat', 'aud'].filter((name) => name in (act as Json));
  probe.holds(
    'rfc8693-4.1-no-validity-in-act',
    odd.length === 0,
    odd.length === 0 ? 'identity only' : `holds ${odd.join(', ')}`,
    answer,
  );
}

const secondHop: Scenario = {
  id: 'delegation/hop',
  profile: 'delegation',
  title: 'A server exchanges the token that it received: the chain grows at the outside',
  requests: 6,
  lacks: (target) =>
    needsDelegation(target) ??
    (target.config.delegation?.hop === undefined || target.config.clients.server === undefined
      ? 'the configuration has no `delegation.hop` or no client `server`'
      : undefined),
  async run(probe) {
    const hop = probe.target.config.delegation?.hop;
    if (hop === undefined) return;
    const first = await honestExchange(probe);
    const changes: Changes = {
      subject_token: textMember(first, 'access_token'),
      subject_token_type: ACCESS_TOKEN_TYPE,
      ...(hop.scope === undefined ? {} : { scope: hop.scope }),
    };
    const resource = resourceNamed(probe.target, hop.resource);
    const answer = await exchange(probe, changes, { resource }, { client: 'server' });
    probe.accepted(answer, 'the second hop');
    const [before, after] = [await probe.claims(first), await probe.claims(answer)];
    const ids = [
      'rfc8693-4.1-outermost-is-current',
      'field-chain-is-kept',
      'rfc8693-1.1-subject-kept-over-hops',
    ] as const;
    if (before === undefined || after === undefined) {
      for (const id of ids) probe.skip(id, OPAQUE);
      return;
    }
    const act = after['act'];
    const seen = `act is ${shown(act)}`;
    if (!isRecord(act)) {
      probe.holds(ids[1], false, seen, answer, first);
      probe.blocked(ids[0], 'there is no act');
    } else {
      probe.holds(
        ids[0],
        hasClaims(act, hop.expected),
        `${seen}, wanted ${JSON.stringify(hop.expected)} outermost`,
        answer,
      );
      const kept = hasClaims(act['act'], probe.target.config.delegation?.expected ?? {});
      probe.holds(ids[1], kept, seen, answer, first);
    }
    probe.holds(
      ids[2],
      after['sub'] === before['sub'],
      `sub was ${JSON.stringify(before['sub'])}, is ${JSON.stringify(after['sub'])}`,
      answer,
    );
  },
};

const actorTokens: Scenario = {
  id: 'delegation/actor-token',
  profile: 'delegation',
  title: 'Actor tokens are checked like subject tokens',
  requests: 10,
  lacks: (target) =>
    needsDelegation(target) ??
    (target.config.delegation?.actor_token === undefined
      ? 'the configuration has no `delegation.actor_token`'
      : undefined),
  async run(probe) {
    const source = probe.target.config.delegation?.actor_token;
    if (source === undefined) return;
    const actor = await probe.token(source);
    const honest = { actor_token: actor.token, actor_token_type: actor.type };
    const first = probe.accepted(await exchange(probe, honest), 'an exchange with an actor token');
    probe.holds('rfc8693-2.1-actor-token', true, 'an actor token is taken', first);
    const garbage = { ...honest, actor_token: 'this-is-no-token' };
    probe.refused('rfc8693-2.2.2-invalid-actor', await exchange(probe, garbage), { codes: ['invalid_request'] });
    const claims = { iss: 'https://nobody-trusts-this.example', sub: 'anybody', exp: nowSeconds() + 300 };
    const forged = { ...honest, actor_token: unsignedJwt({ alg: 'none' }, claims) };
    probe.refused('rfc8725-3.1-actor-none', await exchange(probe, forged));
  },
};

const mayAct: Scenario = {
  id: 'delegation/may-act',
  profile: 'delegation',
  title: 'may_act says who may become the actor',
  requests: 8,
  lacks: (target) =>
    needsDelegation(target) ??
    (target.config.delegation?.may_act === undefined || target.config.subjects['default']?.source !== 'suite'
      ? 'the configuration has no `delegation.may_act`, or the suite does not issue the default subject'
      : undefined),
  async run(probe) {
    const named = probe.target.config.delegation?.may_act;
    const honest = await exchangeForm(probe, {}, { tweak: { claims: { may_act: named } } });
    probe.accepted(await probe.ask({ form: honest }), 'a subject whose may_act names the requester');
    const values: unknown[] = [
      { ...named, sub: 'suite-somebody-else' },
      { ...named, iss: 'https://somebody-else.example' },
    ];
    for (const value of values) {
      const subject = await probe.token('default', { claims: { may_act: value } });
      const form = replaced(honest, { subject_token: subject.token });
      probe.refused('rfc8693-4.4-may-act', await probe.ask({ form }));
    }
  },
};

export const delegationScenarios: readonly Scenario[] = [actClaim, secondHop, actorTokens, mayAct];
