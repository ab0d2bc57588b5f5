/**
 * The suite against a server that is correct, and against the same server with one fault at a time: each fault is caught
 * by exactly the requirements that it breaks, and nothing is found in the correct one.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyInFile } from '../issuer/keys.ts';
import type { SigningKey } from '../issuer/keys.ts';
import { openOwnIssuer } from '../issuer/own-issuer.ts';
import type { OwnIssuer } from '../issuer/own-issuer.ts';
import { REQUIREMENTS, SCENARIOS } from '../requirements/catalogue.ts';
import { planRun, runPlan } from '../run/runner.ts';
import type { Outcome } from '../run/runner.ts';
import { PROFILES } from '../scenarios/scenario.ts';
import type { Profile } from '../scenarios/scenario.ts';
import { openWire } from '../wire/http.ts';
import { smallTarget } from './servers/description.ts';
import { FAULTS } from './servers/faults.ts';
import type { Fault } from './servers/faults.ts';
import { startSmallServer } from './servers/small-server.ts';

let folder: string;
let own: OwnIssuer;
let clientKey: SigningKey;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  own = await openOwnIssuer({ listen: 'http://127.0.0.1:0', algorithm: 'RS256' });
  clientKey = await keyInFile(join(folder, 'keyed.json'), 'ES256');
});

afterAll(async () => {
  await own.close();
  rmSync(folder, { recursive: true });
});

interface Options {
  readonly profiles?: readonly Profile[];
  readonly modest?: boolean;
  readonly keyAudience?: string;
}

async function runAgainst(faults: readonly Fault[], options: Options = {}): Promise<Outcome> {
  const server = await startSmallServer({
    trustedIssuer: own.trusted.issuer,
    clientKey,
    faults,
    modest: options.modest === true,
  });
  try {
    const wire = openWire({ timeoutMs: 5000, allowedHosts: [] });
    const catalogue = { scenarios: SCENARIOS, requirements: REQUIREMENTS };
    const plan = planRun(options.profiles ?? PROFILES, catalogue, 5000);
    const config = smallTarget(server.issuer, join(folder, 'keyed.json'), options.keyAudience);
    // The canaries count what was fetched: a run must not see the fetches of the run before it.
    const before = { canary: own.hits('/canary/') };
    const counting: OwnIssuer = {
      ...own,
      hits: (part) => own.hits(part) - (part === '/canary/' ? before.canary : 0),
    };
    return await runPlan({ config, issuer: server.issuer, plan, wire, own: counting });
  } finally {
    await server.close();
  }
}

/** What a run found wrong, without what could not be judged because of it. */
function found({ judgements }: Outcome): string[] {
  return judgements
    .filter(({ verdict, blocked }) => (verdict === 'fail' || verdict === 'warn') && !blocked)
    .map(({ requirement }) => requirement.id)
    .sort();
}

describe('a correct server', () => {
  it('passes every requirement, with nothing skipped and nothing left to policy but what the standards leave free', async () => {
    const outcome = await runAgainst([]);
    const notPassed = outcome.judgements.filter(({ verdict }) => verdict !== 'pass');
    expect(notPassed.map(({ requirement, seen }) => `${requirement.id}: ${seen}`)).toEqual([]);
    expect(outcome.judgements).toHaveLength(REQUIREMENTS.length);
    const byPolicy = outcome.judgements.filter(({ byPolicy: free }) => free).map(({ requirement }) => requirement.id);
    expect(byPolicy).toEqual(['rfc8693-2.1-several-targets']);
    expect(outcome.requestsSent).toBeLessThanOrEqual(outcome.plan.requests);
  });

  it.each(PROFILES)('passes profile %s when that runs alone', async (profile) => {
    const outcome = await runAgainst([], { profiles: [profile] });
    expect(outcome.judgements.length).toBeGreaterThan(0);
    expect(outcome.counts.pass).toBe(outcome.judgements.length);
  });

  it('is not asked for what it does not advertise', async () => {
    const outcome = await runAgainst([], { modest: true });
    expect(found(outcome)).toEqual([]);
    const skipped = outcome.judgements
      .filter(({ verdict }) => verdict === 'skipped')
      .map(({ requirement }) => requirement);
    expect([...new Set(skipped.map(({ document }) => document))].sort()).toEqual([
      'field',
      'rfc7009',
      'rfc7662',
      'rfc8414',
      'rfc8693',
    ]);
    expect(skipped.filter(({ document }) => document === 'rfc8414').map(({ id }) => id)).toEqual([
      'rfc8414-3-location',
    ]);
  });
});

describe('a server with one fault', () => {
  it.each(Object.entries(FAULTS))('%s is caught by exactly %j', async (fault, caughtBy) => {
    const outcome = await runAgainst([fault as Fault]);
    expect(found(outcome)).toEqual([...caughtBy].sort());
  });
});

describe('a server that refuses everything', () => {
  it('passes nothing by introspection when every token is inactive', async () => {
    const outcome = await runAgainst(['always-inactive'], { profiles: ['introspection'] });
    expect(outcome.counts.pass).toBe(0);
    expect(outcome.counts.skipped).toBe(0);
  });

  it('passes no refusal when honest requests are refused too', async () => {
    const outcome = await runAgainst(['refuses-everything'], {
      profiles: ['core', 'delegation', 'external-subjects', 'jwt-client-auth', 'security'],
    });
    expect(outcome.counts.pass).toBe(0);
    expect(outcome.counts.skipped).toBe(0);
  });
});

describe('a server that takes assertions for its token endpoint only', () => {
  it('fails the update of RFC 7523 and nothing else', async () => {
    const outcome = await runAgainst(['assertion-token-endpoint-only'], {
      profiles: ['jwt-client-auth'],
      keyAudience: 'token_endpoint',
    });
    expect(found(outcome)).toEqual(['rfc7523bis-4-issuer-audience', 'rfc7523bis-4-not-the-token-endpoint']);
  });
});

describe('the table of faults', () => {
  // Without these a scenario has no positive control: a server that fails them fails everything that stands on them.
  const controls = [
    'field-advertised-grant-works',
    'mcp-rs-right-token',
    'rfc7523bis-4-issuer-audience',
    'rfc7662-2.2-active',
    'rfc8693-2.1-exchange',
  ];

  it('breaks every requirement but the positive controls and what the standards leave free', () => {
    const caught = new Set<string>(Object.values(FAULTS).flat());
    const never = REQUIREMENTS.filter(({ id, level }) => !caught.has(id) && level !== 'MAY').map(({ id }) => id);
    expect(never.sort()).toEqual(controls);
  });
});
