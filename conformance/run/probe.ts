/**
 * The probe of one scenario: sends within the scenario's budget and turns what it saw into judgements. It refuses to
 * judge what the scenario does not own, and to count a refusal whose positive control was not accepted.
 */
import type { Requirement } from '../requirements/requirement.ts';
import { isTokenAnswer } from '../scenarios/scenario.ts';
import type { Ask, Probe, RefusalExpected, Scenario } from '../scenarios/scenario.ts';
import { authenticated } from '../target/authenticate.ts';
import { answerInWords, clientOf, obtainToken } from '../target/target.ts';
import type { Target } from '../target/target.ts';
import { encodeForm } from '../wire/form.ts';
import type { Form } from '../wire/form.ts';
import type { Answer, Sent, Wire } from '../wire/http.ts';
import { decodeJwt } from '../wire/jwt.ts';

export type Verdict = 'pass' | 'fail' | 'warn' | 'skipped';

export interface Judgement {
  readonly requirement: Requirement;
  readonly verdict: Verdict;
  /** Passed by a choice that the standard leaves to the target. */
  readonly byPolicy: boolean;
  readonly seen: string;
  /** Failed because it could not be judged: its control was refused, or another requirement stood in the way. */
  readonly blocked: boolean;
  readonly evidence: readonly Answer[];
}

/** Ends a scenario: an honest request was refused, so nothing that follows would prove anything. */
export class ControlRefused extends Error {
  readonly answer: Answer;
  constructor(what: string, answer: Answer) {
    super(`positive control refused: ${what} got ${answerInWords(answer)}`);
    this.answer = answer;
  }
}

/** Ends a scenario: the target limits our rate, and a refusal for that reason proves nothing. */
export class TargetBusy extends Error {
  readonly answer: Answer;
  constructor(answer: Answer) {
    super('the target answered 429: raise its limits for the suite’s clients, or run fewer profiles at a time');
    this.answer = answer;
  }
}

const SEVERITY: Readonly<Record<Verdict, number>> = { skipped: 0, pass: 1, warn: 2, fail: 3 };

export interface ProbeRun {
  readonly probe: Probe;
  readonly judgements: ReadonlyMap<string, Judgement>;
  /** Judges every requirement of the scenario that has no verdict yet as not judged. */
  blockRest(why: string, evidence: readonly Answer[]): void;
}

export function openProbe(
  target: Target,
  wire: Wire,
  scenario: Scenario,
  requirements: readonly Requirement[],
): ProbeRun {
  const judgements = new Map<string, Judgement>();
  let sentCount = 0;
  let controlled = false;
  let lastControl: Answer | undefined;

  const send = async (sent: Sent): Promise<Answer> => {
    sentCount += 1;
    if (sentCount > scenario.requests)
      throw new Error(`${scenario.id} sends more than its ${scenario.requests} requests`);
    const answer = await wire.send(sent);
    if (answer.status === 429) throw new TargetBusy(answer);
    return answer;
  };

  const keep = (id: string, given: Omit<Judgement, 'requirement' | 'verdict'> & { verdict: Verdict }) => {
    const requirement = requirements.find((one) => one.id === id);
    if (requirement === undefined) throw new Error(`${scenario.id} judges ${id}, which is not its own`);
    const before = judgements.get(id);
    const worse = before === undefined ? 1 : SEVERITY[given.verdict] - SEVERITY[before.verdict];
    if (worse < 0 || (worse === 0 && !given.byPolicy)) return;
    judgements.set(id, { requirement, ...given });
  };

  const judge = (id: string, ok: boolean, seen: string, evidence: readonly Answer[]): boolean => {
    const level = requirements.find((one) => one.id === id)?.level;
    const broken: Verdict = level === 'SHOULD' || level === 'SHOULD NOT' ? 'warn' : level === 'MAY' ? 'pass' : 'fail';
    keep(id, { verdict: ok ? 'pass' : broken, byPolicy: !ok && level === 'MAY', seen, blocked: false, evidence });
    return ok;
  };

  const ask = async (given: Ask): Promise<Answer> => send(await requestOf(target, given));

  const probe: Probe = {
    target,
    ask,
    fetch: ({ method = 'GET', headers = {}, body, url }) => send({ method, url, headers, body }),
    token: async (source, tweak) => {
      const found = typeof source === 'string' ? target.config.subjects[source] : source;
      if (found === undefined) throw new Error(`the configuration has no subject ${source as string}`);
      return obtainToken(target, found, (client, form) => ask({ client, form }), tweak);
    },
    accepted(answer, what) {
      if (!isTokenAnswer(answer)) throw new ControlRefused(what, answer);
      controlled = true;
      lastControl = answer;
      return answer;
    },
    controlled(ok, what, answer) {
      if (!ok) throw new ControlRefused(what, answer);
      controlled = true;
      lastControl = answer;
    },
    claims: (answer) => claimsOf(target, answer, ask),
    holds: (id, ok, seen, ...evidence) => judge(id, ok, seen, evidence),
    refused(id, answer, expected = {}) {
      if (!controlled) throw new Error(`${scenario.id} judges the refusal ${id} without a positive control`);
      const fault = refusalFault(answer, expected);
      const seen = fault ?? `refused: ${answerInWords(answer)}`;
      return judge(id, fault === undefined, seen, lastControl === undefined ? [answer] : [answer, lastControl]);
    },
    byPolicy: (id, seen, ...evidence) => {
      keep(id, { verdict: 'pass', byPolicy: true, seen: `by policy: ${seen}`, blocked: false, evidence });
    },
    skip: (id, why) => {
      keep(id, { verdict: 'skipped', byPolicy: false, seen: why, blocked: false, evidence: [] });
    },
    blocked: (id, by) => {
      keep(id, {
        verdict: blockedVerdict(requirements, id),
        byPolicy: false,
        seen: `not judged: ${by}`,
        blocked: true,
        evidence: [],
      });
    },
  };

  return {
    probe,
    judgements,
    blockRest(why, evidence) {
      for (const { id } of requirements)
        if (!judgements.has(id))
          keep(id, { verdict: blockedVerdict(requirements, id), byPolicy: false, seen: why, blocked: true, evidence });
    },
  };
}

function blockedVerdict(requirements: readonly Requirement[], id: string): Verdict {
  return requirements.find((one) => one.id === id)?.level.startsWith('SHOULD') === true ? 'warn' : 'fail';
}

/** Why an answer is no refusal of the expected kind; `undefined` if it is one. */
function refusalFault(answer: Answer, expected: RefusalExpected): string | undefined {
  if (isTokenAnswer(answer)) return 'accepted: a token was issued';
  if (answer.status === 0 || answer.status >= 500) return `no refusal but a failure: ${answerInWords(answer)}`;
  if (answer.status < 400) return `not refused: ${answerInWords(answer)}`;
  if (typeof answer.json?.['access_token'] === 'string') return 'an error answer that carries a token';
  if (expected.statuses !== undefined && !expected.statuses.includes(answer.status))
    return `refused with status ${answer.status} instead of ${expected.statuses.join(' or ')}`;
  const error = answer.json?.['error'];
  if (expected.codes !== undefined && !(typeof error === 'string' && expected.codes.includes(error)))
    return `refused with ${answerInWords(answer)} instead of ${expected.codes.join(' or ')}`;
  return undefined;
}

async function requestOf(target: Target, given: Ask): Promise<Sent> {
  const { headers, form } = await withAuthentication(target, given);
  const url = new URL(given.url ?? target.tokenEndpoint);
  for (const [name, value] of given.query ?? []) url.searchParams.append(name, value);
  const method = given.httpMethod ?? 'POST';
  const shared = { accept: 'application/json', ...headers, ...given.headers };
  if (method === 'GET') return { method, url: url.href, headers: shared, body: undefined };
  const contentType = given.contentType ?? 'application/x-www-form-urlencoded';
  return {
    method,
    url: url.href,
    headers: { ...shared, 'content-type': contentType },
    body: given.body ?? encodeForm(form),
  };
}

async function withAuthentication(
  target: Target,
  given: Ask,
): Promise<{ headers: Readonly<Record<string, string>>; form: Form }> {
  const who = given.client ?? 'requester';
  if (who === 'nobody') return { headers: {}, form: given.form };
  const client = typeof who === 'string' ? clientOf(target, who) : who;
  if (client === undefined) throw new Error(`the configuration has no client for the role ${who as string}`);
  const how = client.auth.find(({ method }) => given.method === undefined || method === given.method);
  if (how === undefined) throw new Error(`${client.client_id} has no ${String(given.method)}`);
  return authenticated(client, how, given.form, target);
}

async function claimsOf(target: Target, answer: Answer, ask: (given: Ask) => Promise<Answer>) {
  const token = answer.json?.['access_token'];
  if (typeof token !== 'string') return undefined;
  const read = decodeJwt(token);
  if (read !== undefined) return read.claims;
  const endpoint = target.metadata['introspection_endpoint'];
  const role = target.config.introspection?.client;
  if (typeof endpoint !== 'string' || role === undefined) return undefined;
  const answered = await ask({ url: endpoint, client: role, form: [['token', token]] });
  return answered.json?.['active'] === true ? answered.json : undefined;
}
