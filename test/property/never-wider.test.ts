/**
 * "Never wider" (R7, R8): generated companies, generated requests, the real service over HTTP, and an oracle that was
 * written from the requirements alone. Every 200 is exactly what the oracle expects, claim by claim; every refusal has a
 * reason that the oracle gives; what the oracle permits is not refused.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { objectsOf, plans } from './company.ts';
import { play } from './session.ts';
import type { Counts, Stage } from './session.ts';
import { steps } from './steps.ts';

const RUNS = 7;
/** Reasons that a decision about verified tokens can have: each has to be met at least once. */
const DECISION_REASONS = [
  'subject_token_issuer_unknown',
  'subject_token_not_meant_for_client',
  'subject_token_bound',
  'subject_disabled',
  'actor_token_issuer_unknown',
  'actor_token_not_meant_for_client',
  'actor_token_bound',
  'chain_member_disabled',
  'target_missing',
  'target_malformed',
  'target_unknown',
  'target_disabled',
  'targets_not_grouped',
  'scope_malformed',
  'scope_unknown',
  'call_edge_missing',
  'may_act_mismatch',
  'act_as_denied',
  'chain_invalid',
  'chain_too_deep',
  'all_scopes_denied',
  'some_scopes_denied',
  'no_default_scope_left',
  'nothing_left_to_live',
];

let cambist: TestCambist;
let stage: Stage;
const started: JwksIssuer[] = [];
const counts: Counts = {
  requests: 0,
  granted: 0,
  delegatedAndGranted: 0,
  impersonated: 0,
  presentedHops: [],
  grantedHops: [],
  reasons: new Map(),
};

beforeAll(async () => {
  let frozenMs: number | undefined;
  cambist = await startCambist({
    objects: '',
    settings: {
      clock: { nowMs: () => frozenMs ?? Date.now() },
      observe: (phase) => {
        if (phase === 'verify' && frozenMs !== undefined) frozenMs += 2000;
      },
    },
  });
  const start = async () => {
    const issuer = await startJwksIssuer();
    started.push(issuer);
    return issuer;
  };
  const trusted = { corp: await start(), partner: await start(), cluster: await start(), stranger: await start() };
  stage = {
    cambist,
    trusted,
    issuers: {
      ours: cambist.issuer,
      corp: trusted.corp.issuer,
      partner: trusted.partner.issuer,
      cluster: trusted.cluster.issuer,
    },
    counts,
    freezeUntilVerified: (nowMs) => {
      frozenMs = nowMs;
    },
    thaw: () => {
      frozenMs = undefined;
    },
  };
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all(started.map((issuer) => issuer.stop()));
});

it('R7 R8 no exchange is wider than policy, call edges and lifetimes allow, and none is refused without a reason', async () => {
  const seed = Number(process.env['PROPERTY_SEED'] ?? Date.now() % 2 ** 31);
  console.log(`never wider: PROPERTY_SEED=${seed}`);
  const property = fc.asyncProperty(plans, steps, async (plan, run) => {
    await cambist.apply(objectsOf(plan, stage.issuers), { prune: true });
    await play(stage, plan, run);
  });
  await fc.assert(property, { numRuns: RUNS, seed, endOnFailure: true });

  const share = (n: number) => `${((100 * n) / counts.requests).toFixed(1)} %`;
  const twoHops = sum(counts.grantedHops.slice(2));
  console.log(
    `never wider: ${counts.requests} requests, ${counts.granted} granted; delegated and granted ` +
      `${counts.delegatedAndGranted} (${share(counts.delegatedAndGranted)}); granted over two hops or more ` +
      `${twoHops} (${share(twoHops)}); by hops presented ${counts.presentedHops.join('/')}, granted ` +
      `${counts.grantedHops.join('/')}; impersonated ${counts.impersonated}`,
  );
  console.log(`never wider: refused ${[...counts.reasons].map(([reason, n]) => `${reason} ${n}`).join(', ')}`);
  expect(counts.delegatedAndGranted / counts.requests).toBeGreaterThanOrEqual(0.3);
  expect(twoHops / counts.requests).toBeGreaterThanOrEqual(0.2);
  expect(counts.grantedHops[3] ?? 0).toBeGreaterThan(0);
  expect(counts.impersonated).toBeGreaterThan(0);
  expect(DECISION_REASONS.filter((reason) => !counts.reasons.has(reason))).toEqual([]);
}, 240_000);

function sum(values: readonly (number | undefined)[]): number {
  return values.reduce<number>((total, value) => total + (value ?? 0), 0);
}
