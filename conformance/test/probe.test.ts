/**
 * The rules of judging: no refusal without its positive control, no judgement of foreign requirements, no request beyond
 * the budget, no verdict forgotten.
 */
import { describe, expect, it } from 'vitest';
import { openProbe } from '../run/probe.ts';
import { runPlan } from '../run/runner.ts';
import type { Requirement } from '../requirements/requirement.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import type { Target } from '../target/target.ts';
import { targetSchema } from '../target/config.ts';
import { openWire } from '../wire/http.ts';
import type { Answer, Wire } from '../wire/http.ts';

const requirement = (id: string, level: Requirement['level'] = 'MUST'): Requirement => ({
  id,
  document: 'field',
  section: '',
  level,
  sentence: 'Something is as it should be.',
  scenario: 'core/test',
});

const config = targetSchema.parse({
  name: 'nobody',
  clients: { requester: { client_id: 'a', auth: [{ method: 'client_secret_basic', secret: 'secret' }] } },
  subjects: { default: { source: 'static', token: 'token' } },
  resources: [{ name: 'r', resource: 'https://r.example' }],
});

const answerOf = (status: number, json: Record<string, unknown>): Answer => ({
  index: 0,
  sent: { method: 'POST', url: 'http://127.0.0.1/token', headers: {}, body: '' },
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(json),
  json,
  durationMs: 1,
});

function probeOf(
  levels: Readonly<Record<string, Requirement['level']>>,
  answer = answerOf(200, { access_token: 't' }),
) {
  const target: Target = {
    config,
    issuer: 'http://127.0.0.1',
    tokenEndpoint: 'http://127.0.0.1/token',
    discovery: { metadata: undefined, tried: [] },
    metadata: {},
    own: undefined,
    kept: new Map(),
  };
  const wire: Wire = { answers: [], send: () => Promise.resolve(answer) };
  const scenario: Scenario = { id: 'core/test', profile: 'core', title: '', requests: 2, run: () => Promise.resolve() };
  const requirements = Object.entries(levels).map(([id, level]) => requirement(id, level));
  return openProbe(target, wire, scenario, requirements);
}

const refusal = answerOf(400, { error: 'invalid_request' });
const granted = answerOf(200, { access_token: 'token' });

describe('a refusal', () => {
  it('cannot be judged before an honest request was accepted', () => {
    const { probe } = probeOf({ a: 'MUST' });
    expect(() => probe.refused('a', refusal)).toThrow('without a positive control');
    probe.accepted(granted, 'honest');
    expect(probe.refused('a', refusal)).toBe(true);
  });

  it('ends the scenario when the honest request is refused too', () => {
    const { probe } = probeOf({ a: 'MUST' });
    expect(() => probe.accepted(refusal, 'an honest exchange')).toThrow('positive control refused');
  });

  it.each([
    [answerOf(500, { error: 'server_error' }), 'a failure is no refusal'],
    [answerOf(0, {}), 'silence is no refusal'],
    [answerOf(302, {}), 'a redirect is no refusal'],
    [answerOf(400, { error: 'invalid_request', access_token: 'token' }), 'an error with a token is no refusal'],
    [granted, 'a token is no refusal'],
  ])('is a 4xx without a token: %#', (answer) => {
    const { probe, judgements } = probeOf({ a: 'MUST' });
    probe.accepted(granted, 'honest');
    expect(probe.refused('a', answer)).toBe(false);
    expect(judgements.get('a')?.verdict).toBe('fail');
  });

  it('counts only with the error code that the standard names', () => {
    const { probe } = probeOf({ a: 'MUST' });
    probe.accepted(granted, 'honest');
    expect(probe.refused('a', answerOf(400, { error: 'access_denied' }), { codes: ['invalid_request'] })).toBe(false);
  });

  it('proves nothing when the target limits the rate', async () => {
    const { probe } = probeOf({ a: 'MUST' }, answerOf(429, { error: 'slow_down' }));
    await expect(probe.ask({ form: [] })).rejects.toThrow('429');
  });
});

describe('a verdict', () => {
  it('is fail for MUST, warn for SHOULD and policy for MAY', () => {
    const { probe, judgements } = probeOf({ a: 'MUST NOT', b: 'SHOULD', c: 'MAY' });
    for (const id of ['a', 'b', 'c']) probe.holds(id, false, 'no');
    expect([...judgements.values()].map(({ verdict, byPolicy }) => [verdict, byPolicy])).toEqual([
      ['fail', false],
      ['warn', false],
      ['pass', true],
    ]);
  });

  it('is the worst of several', () => {
    const { probe, judgements } = probeOf({ a: 'MUST' });
    probe.holds('a', false, 'no');
    probe.holds('a', true, 'yes');
    probe.byPolicy('a', 'free');
    expect(judgements.get('a')?.verdict).toBe('fail');
  });

  it('is not given to a requirement of another scenario', () => {
    expect(() => probeOf({ a: 'MUST' }).probe.holds('b', true, '')).toThrow('not its own');
  });
});

describe('a scenario', () => {
  it('may not send more than its budget', async () => {
    const { probe } = probeOf({ a: 'MUST' });
    await probe.ask({ form: [] });
    await probe.ask({ form: [] });
    await expect(probe.ask({ form: [] })).rejects.toThrow('more than its 2 requests');
  });

  it('may not forget a requirement', async () => {
    const scenario: Scenario = {
      id: 'core/test',
      profile: 'core',
      title: '',
      requests: 2,
      run: () => Promise.resolve(),
    };
    const metadata = { issuer: 'http://127.0.0.1', token_endpoint: 'http://127.0.0.1/token' };
    const wire: Wire = { answers: [], send: () => Promise.resolve(answerOf(200, metadata)) };
    const plan = {
      profiles: ['core' as const],
      scenarios: [scenario],
      requirements: [requirement('a')],
      requests: 5,
      worstSeconds: 5,
    };
    const input = { config, issuer: 'http://127.0.0.1', plan, wire, own: undefined };
    await expect(runPlan(input)).rejects.toThrow('forgot a');
  });
});

describe('the wire', () => {
  const get = (url: string) => ({ method: 'GET', url, headers: {}, body: undefined });

  it.each(['http://10.0.0.1/', 'https://sts.example.com/', 'http://127.0.0.1.example.com/', 'http://169.254.169.254/'])(
    'sends nothing to %s unless it was allowed by name',
    async (url) => {
      const wire = openWire({ timeoutMs: 200, allowedHosts: [] });
      await expect(wire.send(get(url))).rejects.toThrow('is not loopback');
      expect(wire.answers).toEqual([]);
    },
  );

  it('keeps what it could not send', async () => {
    const wire = openWire({ timeoutMs: 2000, allowedHosts: [] });
    const answer = await wire.send(get('http://127.0.0.1:1/'));
    expect([answer.status, answer.fault !== undefined]).toEqual([0, true]);
  });
});
