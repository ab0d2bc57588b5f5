/**
 * "Never wider" (R7, R8): generated companies, generated requests, the real service over HTTP, and an oracle that was
 * written from the requirements alone. Every 200 is exactly what the oracle expects, claim by claim; every refusal has a
 * reason that the oracle gives; what the oracle permits is not refused.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { REASONS } from '../../src/core/refusal.ts';
import type { Reason } from '../../src/core/refusal.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { objectsOf, plans } from './company.ts';
import { play } from './session.ts';
import type { Counts, Stage } from './session.ts';
import { steps } from './steps.ts';

const RUNS = 7;
/** In CI the same cases every time, so that it cannot fail by chance; elsewhere new ones, under a seed that is shown. */
const CI_SEED = 20_261_123;

const PARSE = 'read off the form before there is a client: test/security/parsing.test.ts';
const CLIENT = 'authentication, before there is a request to decide: test/security/client-authentication.test.ts';
const LIMIT = 'counted, not decided: test/http/limits.test.ts, test/security/throttling.test.ts';
const REVOKED = 'needs a revocation: test/security/revocation.test.ts';
const UNCOMMITTED = 'needs a commit that failed after signing: test/security/stale-authority.test.ts';
const CREDENTIAL = 'had after the decision: test/http/fetch.test.ts, test/http/egress.test.ts, test/unit/upstream';
const EGRESS = 'a call, not an exchange: test/http/egress.test.ts, test/security/egress.test.ts';
/** Reasons that the generated requests cannot have. All others have to be met at least once. */
const NOT_GENERATED: Partial<Record<Reason, string>> = {
  method_not_allowed: PARSE,
  content_type_unsupported: PARSE,
  body_too_large: PARSE,
  body_malformed: PARSE,
  parameter_in_query: PARSE,
  parameter_duplicated: PARSE,
  parameter_missing: PARSE,
  source_throttled: LIMIT,
  client_authentication_missing: CLIENT,
  client_authentication_ambiguous: CLIENT,
  client_unknown: CLIENT,
  client_disabled: CLIENT,
  client_method_not_allowed: CLIENT,
  client_secret_wrong: CLIENT,
  client_id_mismatch: CLIENT,
  client_assertion_type_unsupported: CLIENT,
  client_assertion_invalid: CLIENT,
  client_assertion_replayed: CLIENT,
  client_rate_exceeded: LIMIT,
  resource_rate_exceeded: LIMIT,
  subject_rate_exceeded: LIMIT,
  grant_unsupported: 'dispatch, before there are tokens: test/http/records.test.ts',
  grant_not_allowed: 'dispatch, before there are tokens: test/security/wire-errors.test.ts',
  token_type_unsupported: 'read off the form: test/security/subject-tokens.test.ts',
  requested_token_type_unsupported: 'read off the form: test/security/subject-tokens.test.ts',
  subject_token_unknown: UNCOMMITTED,
  actor_token_unknown: UNCOMMITTED,
  subject_token_revoked: REVOKED,
  actor_token_revoked: REVOKED,
  token_not_own: REVOKED,
  target_not_upstream: 'of a fetch: test/http/fetch.test.ts',
  credential_not_fetchable: CREDENTIAL,
  credential_missing: CREDENTIAL,
  credential_forbidden: CREDENTIAL,
  credential_not_pinned: CREDENTIAL,
  credential_refused: CREDENTIAL,
  egress_token_missing: EGRESS,
  egress_token_invalid: EGRESS,
  egress_token_not_meant: EGRESS,
  egress_token_revoked: EGRESS,
  egress_path_refused: EGRESS,
  egress_request_not_allowed: EGRESS,
  egress_scope_missing: EGRESS,
  egress_body_too_large: EGRESS,
  egress_calls_exceeded: EGRESS,
  subject_name_taken: 'needs an issuer with verbatim subjects: test/security/subject-tokens.test.ts',
};

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
  const trusted = {
    corp: await start(),
    partner: await start(),
    cluster: await start(),
    once: await start(),
    stranger: await start(),
  };
  stage = {
    cambist,
    trusted,
    issuers: {
      ours: cambist.issuer,
      corp: trusted.corp.issuer,
      partner: trusted.partner.issuer,
      cluster: trusted.cluster.issuer,
      once: trusted.once.issuer,
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
  const seed = Number(
    process.env['PROPERTY_SEED'] ?? (process.env['CI'] === undefined ? Date.now() % 2 ** 31 : CI_SEED),
  );
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
  // Of the cases that are always the same; others are as they come.
  const known = seed === CI_SEED;
  expect(counts.delegatedAndGranted / counts.requests).toBeGreaterThanOrEqual(known ? 0.3 : 0.15);
  expect(twoHops / counts.requests).toBeGreaterThanOrEqual(known ? 0.2 : 0.1);
  expect(counts.grantedHops[3] ?? 0).toBeGreaterThan(0);
  expect(counts.impersonated).toBeGreaterThan(0);
  expect(REASONS.filter((reason) => counts.reasons.has(reason) === Object.hasOwn(NOT_GENERATED, reason))).toEqual([]);
}, 240_000);

function sum(values: readonly (number | undefined)[]): number {
  return values.reduce<number>((total, value) => total + (value ?? 0), 0);
}
