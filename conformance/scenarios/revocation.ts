/**
 * Profile `revocation` (RFC 7009), where the metadata advertise an endpoint for it. That a token stopped working is seen
 * by introspection, or by exchanging it again.
 */
import type { Target } from '../target/target.ts';
import { answerInWords } from '../target/target.ts';
import type { Answer } from '../wire/http.ts';
import { formOf } from '../wire/form.ts';
import { honestExchange, textMember } from './asking.ts';
import type { Changes } from './asking.ts';
import { introspect, lacksIntrospection } from './introspection.ts';
import type { Ask, Probe, Scenario } from './scenario.ts';

function lacksRevocation(target: Target): string | undefined {
  return typeof target.metadata['revocation_endpoint'] === 'string'
    ? undefined
    : 'the metadata advertise no revocation_endpoint';
}

const lacksEffect = (target: Target) =>
  lacksRevocation(target) ??
  (lacksIntrospection(target) === undefined
    ? undefined
    : 'the effect of a revocation cannot be seen without introspection');

async function revoke(
  probe: Probe,
  token: string,
  changes: Changes = {},
  ask: Omit<Ask, 'form'> = {},
): Promise<Answer> {
  // A server may revoke more than it was asked to, up to the sign-in that everything came from (RFC 7009 §2.1): subject
  // tokens that were kept for use again may be dead after this.
  probe.target.kept.clear();
  return probe.ask({
    url: String(probe.target.metadata['revocation_endpoint']),
    ...ask,
    form: formOf({ token, ...changes }),
  });
}

const isActive = (answer: Answer) => answer.status === 200 && answer.json?.['active'] === true;

/** A token that is seen to be alive. */
async function liveToken(probe: Probe): Promise<string> {
  const token = textMember(await honestExchange(probe), 'access_token');
  const answer = await introspect(probe, token);
  probe.controlled(isActive(answer), 'introspection of a live token', answer);
  return token;
}

const effect: Scenario = {
  id: 'revocation/effect',
  profile: 'revocation',
  title: 'A revoked token is dead, and only for those who may revoke it',
  requests: 16,
  lacks: lacksEffect,
  async run(probe) {
    const token = await liveToken(probe);
    const done = await revoke(probe, token);
    probe.holds('rfc7009-2.2-success-is-200', done.status === 200, answerInWords(done), done);
    const after = await introspect(probe, token);
    probe.holds(
      'rfc7009-2-token-is-dead',
      !isActive(after),
      `introspection says ${JSON.stringify(after.json?.['active'])}`,
      after,
    );
    const hinted = await liveToken(probe);
    await revoke(probe, hinted, { token_type_hint: 'refresh_token' });
    const afterHint = await introspect(probe, hinted);
    probe.holds(
      'rfc7009-2.1-wrong-hint',
      !isActive(afterHint),
      `introspection says ${JSON.stringify(afterHint.json?.['active'])}`,
      afterHint,
    );
    if (probe.target.config.clients.other === undefined) {
      probe.skip('rfc7009-2.1-only-own-tokens', 'the configuration has no client `other`');
      return;
    }
    const kept = await liveToken(probe);
    const foreign = await revoke(probe, kept, {}, { client: 'other' });
    const still = await introspect(probe, kept);
    probe.holds(
      'rfc7009-2.1-only-own-tokens',
      isActive(still),
      `another client got ${answerInWords(foreign)}`,
      foreign,
      still,
    );
  },
};

const requests: Scenario = {
  id: 'revocation/requests',
  profile: 'revocation',
  title: 'Unknown tokens, missing parts, strangers',
  requests: 8,
  lacks: lacksRevocation,
  async run(probe) {
    const token = textMember(await honestExchange(probe), 'access_token');
    const anonymous = await revoke(probe, token, {}, { client: 'nobody' });
    probe.refused('rfc7009-2.1-caller-authenticates', anonymous);
    const missing = await revoke(probe, '', { token: undefined });
    probe.refused('rfc7009-2.1-token-required', missing, { codes: ['invalid_request'] });
    const unknown = await revoke(probe, 'this-is-no-token');
    probe.holds('rfc7009-2.2-unknown-is-200', unknown.status === 200, answerInWords(unknown), unknown);
  },
};

export const revocationScenarios: readonly Scenario[] = [effect, requests];
