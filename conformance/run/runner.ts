/**
 * Runs the scenarios of the chosen profiles one after another and returns a verdict for every one of their requirements.
 * What a run will cost is known beforehand from the scenarios' budgets.
 */
import type { Requirement } from '../requirements/requirement.ts';
import type { Profile, Scenario } from '../scenarios/scenario.ts';
import type { OwnIssuer } from '../issuer/own-issuer.ts';
import type { TargetConfig } from '../target/config.ts';
import { discover } from '../target/discover.ts';
import { TokenUnavailable } from '../target/target.ts';
import type { Target } from '../target/target.ts';
import type { Answer, Wire } from '../wire/http.ts';
import { ControlRefused, openProbe, TargetBusy } from './probe.ts';
import type { Judgement, Verdict } from './probe.ts';

export interface Plan {
  readonly profiles: readonly Profile[];
  readonly scenarios: readonly Scenario[];
  readonly requirements: readonly Requirement[];
  /** Most requests that the run sends. */
  readonly requests: number;
  /** Longest that it can take, if every request runs into its timeout. */
  readonly worstSeconds: number;
}

const DISCOVERY_REQUESTS = 3;

export function planRun(
  profiles: readonly Profile[],
  catalogue: { scenarios: readonly Scenario[]; requirements: readonly Requirement[] },
  timeoutMs: number,
): Plan {
  const scenarios = catalogue.scenarios.filter(({ profile }) => profiles.includes(profile));
  const chosen = new Set(scenarios.map(({ id }) => id));
  const requirements = catalogue.requirements.filter(({ scenario }) => chosen.has(scenario));
  const requests = DISCOVERY_REQUESTS + scenarios.reduce((sum, one) => sum + one.requests, 0);
  return { profiles, scenarios, requirements, requests, worstSeconds: Math.ceil((requests * timeoutMs) / 1000) };
}

export interface Outcome {
  readonly target: { readonly name: string; readonly issuer: string };
  readonly plan: Plan;
  readonly judgements: readonly Judgement[];
  readonly counts: Readonly<Record<Verdict, number>> & { readonly byPolicy: number };
  readonly requestsSent: number;
  readonly startedAt: string;
  readonly durationMs: number;
}

export interface RunInput {
  readonly config: TargetConfig;
  readonly issuer: string;
  readonly plan: Plan;
  readonly wire: Wire;
  readonly own: OwnIssuer | undefined;
  onScenario?(scenario: Scenario, judgements: readonly Judgement[]): void;
}

/** Thrown when the target does not answer at all. */
export class TargetUnreachable extends Error {}

export async function runPlan(input: RunInput): Promise<Outcome> {
  const started = performance.now();
  const startedAt = new Date().toISOString();
  const target = await openTarget(input);
  const judgements: Judgement[] = [];
  for (const scenario of input.plan.scenarios) {
    const own = input.plan.requirements.filter((one) => one.scenario === scenario.id);
    const made = await runScenario(target, input.wire, scenario, own);
    judgements.push(...made);
    input.onScenario?.(scenario, made);
  }
  return {
    target: { name: input.config.name, issuer: input.issuer },
    plan: input.plan,
    judgements,
    counts: countOf(judgements),
    requestsSent: input.wire.answers.length,
    startedAt,
    durationMs: Math.round(performance.now() - started),
  };
}

async function openTarget(input: RunInput): Promise<Target> {
  const discovery = await discover(input.wire, input.issuer);
  const last = discovery.tried.at(-1);
  if (discovery.tried.every(({ status }) => status === 0))
    throw new TargetUnreachable(`${input.issuer} does not answer: ${last?.fault ?? 'no reason known'}`);
  const metadata = discovery.metadata?.document ?? {};
  const tokenEndpoint = metadata['token_endpoint'] ?? input.config.token_endpoint;
  if (typeof tokenEndpoint !== 'string')
    throw new TargetUnreachable(
      `no metadata with a token_endpoint found for ${input.issuer}; the configuration may give one`,
    );
  return { ...input, tokenEndpoint, discovery, metadata, kept: new Map() };
}

async function runScenario(
  target: Target,
  wire: Wire,
  scenario: Scenario,
  requirements: readonly Requirement[],
): Promise<Judgement[]> {
  const opened = openProbe(target, wire, scenario, requirements);
  const { probe, judgements } = opened;
  const lacking = scenario.lacks?.(target);
  if (lacking !== undefined) for (const { id } of requirements) probe.skip(id, lacking);
  else
    try {
      await scenario.run(probe);
      const silent = requirements.filter(({ id }) => !judgements.has(id));
      if (silent.length > 0) throw new Error(`${scenario.id} forgot ${silent.map(({ id }) => id).join(', ')}`);
    } catch (error) {
      if (!(error instanceof ControlRefused || error instanceof TargetBusy || error instanceof TokenUnavailable))
        throw error;
      const evidence: Answer[] = error instanceof TokenUnavailable ? [] : [error.answer];
      opened.blockRest(error.message, evidence);
    }
  return requirements.flatMap(({ id }) => judgements.get(id) ?? []);
}

function countOf(judgements: readonly Judgement[]): Outcome['counts'] {
  const count = (verdict: Verdict) => judgements.filter((one) => one.verdict === verdict).length;
  return {
    pass: count('pass'),
    fail: count('fail'),
    warn: count('warn'),
    skipped: count('skipped'),
    byPolicy: judgements.filter(({ byPolicy }) => byPolicy).length,
  };
}
