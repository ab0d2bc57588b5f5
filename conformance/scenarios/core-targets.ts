/**
 * Profile `core`, continued: which target a token is for (RFC 8693 §2.1, RFC 8707 §2).
 */
import { answerInWords } from '../target/target.ts';
import type { ResourceConfig } from '../target/config.ts';
import { audiences } from '../wire/jwt.ts';
import type { Changes } from './asking.ts';
import { exchange, expectedAudience, honestExchange, mainResource, OPAQUE, targetParameters } from './asking.ts';
import { isTokenAnswer } from './scenario.ts';
import type { Probe, Scenario } from './scenario.ts';

const audienceRestricted: Scenario = {
  id: 'core/target',
  profile: 'core',
  title: 'A token is for the target that was asked for',
  requests: 12,
  async run(probe) {
    const resources = probe.target.config.resources.slice(0, 2);
    for (const resource of resources) await judgeAudience(probe, resource);
    await judgeUnknownTarget(probe);
    await judgeSeveralTargets(probe, resources);
  },
};

async function judgeAudience(probe: Probe, resource: ResourceConfig): Promise<void> {
  const answer = probe.accepted(await exchange(probe, {}, { resource }), `an exchange for ${resource.name}`);
  const claims = await probe.claims(answer);
  const wanted = expectedAudience(resource);
  if (claims === undefined || wanted === undefined) {
    probe.skip('rfc8707-2-audience-restricted', OPAQUE);
    return;
  }
  const aud = audiences(claims);
  probe.holds(
    'rfc8707-2-audience-restricted',
    aud.includes(wanted),
    `aud is ${JSON.stringify(aud)}, wanted ${wanted}`,
    answer,
  );
}

/** A target that nobody registered: refused as `invalid_target`, or really issued for that very target. */
async function judgeUnknownTarget(probe: Probe): Promise<void> {
  const main = mainResource(probe.target);
  const unknown = probe.target.config.unknown_target;
  const changes: Changes = main.resource === undefined ? { audience: unknown } : { resource: unknown };
  const answer = await exchange(probe, changes);
  if (!isTokenAnswer(answer)) {
    probe.holds('field-never-another-target', true, `refused: ${answerInWords(answer)}`, answer);
    probe.refused('rfc8693-2.2.2-invalid-target', answer, { codes: ['invalid_target'] });
    return;
  }
  const claims = await probe.claims(answer);
  if (claims === undefined) {
    probe.skip('field-never-another-target', OPAQUE);
    probe.byPolicy('rfc8693-2.2.2-invalid-target', 'issues for any target (opaque token)', answer);
    return;
  }
  const aud = audiences(claims);
  const forIt = aud.includes(unknown);
  probe.holds(
    'field-never-another-target',
    forIt,
    `asked for ${unknown}, got a token for ${JSON.stringify(aud)}`,
    answer,
  );
  if (forIt) probe.byPolicy('rfc8693-2.2.2-invalid-target', 'issues for any target that is asked for', answer);
  else probe.holds('rfc8693-2.2.2-invalid-target', false, 'a token was issued for something else', answer);
}

async function judgeSeveralTargets(probe: Probe, resources: readonly ResourceConfig[]): Promise<void> {
  const id = 'rfc8693-2.1-several-targets';
  const [first, second] = resources;
  if (first === undefined || second === undefined) {
    probe.skip(id, 'the configuration has a single resource');
    return;
  }
  const [name] = Object.keys(targetParameters(first));
  const values = [first, second].map((one) => (name === 'resource' ? one.resource : one.audience));
  if (name === undefined || !values.every((value) => value !== undefined)) {
    probe.skip(id, 'the two resources are asked for with different parameters');
    return;
  }
  const answer = await exchange(probe, { [name]: values });
  if (!isTokenAnswer(answer)) {
    if (probe.refused(id, answer)) probe.byPolicy(id, `one target a request: ${answerInWords(answer)}`, answer);
    return;
  }
  const claims = await probe.claims(answer);
  if (claims === undefined) {
    probe.skip(id, OPAQUE);
    return;
  }
  const aud = audiences(claims);
  const both = [first, second].every((one) => aud.includes(expectedAudience(one) ?? ''));
  probe.holds(id, both, `aud is ${JSON.stringify(aud)}`, answer);
}

const resourceSyntax: Scenario = {
  id: 'core/resource-syntax',
  profile: 'core',
  title: 'A resource is an absolute URI without a fragment',
  requests: 6,
  lacks: (target) =>
    mainResource(target).resource === undefined ? 'the configuration asks for targets by `audience` only' : undefined,
  async run(probe) {
    await honestExchange(probe);
    const value = mainResource(probe.target).resource ?? '';
    const codes = ['invalid_target', 'invalid_request'];
    probe.refused('rfc8707-2-no-fragment', await exchange(probe, { resource: `${value}#fragment` }), { codes });
    probe.refused('rfc8707-2-absolute', await exchange(probe, { resource: '/relative/path' }), { codes });
  },
};

const policyDenials: Scenario = {
  id: 'core/policy',
  profile: 'core',
  title: 'What the target’s owner says that policy denies is denied',
  requests: 24,
  lacks: (target) =>
    target.config.expectations.denied.length === 0
      ? 'the configuration names no denials under `expectations`'
      : undefined,
  async run(probe) {
    await honestExchange(probe);
    for (const rule of probe.target.config.expectations.denied.slice(0, 10)) {
      const resource = probe.target.config.resources.find(({ name }) => name === rule.resource);
      if (resource === undefined) throw new Error(`the configuration has no resource ${rule.resource}`);
      const changes = rule.scope === undefined ? {} : { scope: rule.scope };
      const answer = await exchange(probe, changes, { resource, subject: rule.subject }, { client: rule.client });
      probe.refused('field-policy-denies', answer);
    }
  },
};

export const coreTargetScenarios: readonly Scenario[] = [audienceRestricted, resourceSyntax, policyDenials];
