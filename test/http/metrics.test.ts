/**
 * `/metrics` of a node at work, over real sockets: it is what Prometheus reads, it says what happened and nothing of who,
 * it does not grow with what callers send, and `docs/configuration.md` says the same as it.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { parseExposition } from '../support/exposition.ts';
import type { Exposition } from '../support/exposition.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { basicHeader, postForm } from '../support/token-client.ts';
import { exchange, EXCHANGE, forItself, ID_TOKEN, recordOf, tokenOf } from './asking.ts';
import { ALPHA, companyYaml } from './company.ts';

const REQUESTS = 'cambist_token_requests_total';

let corp: JwksIssuer;
let cluster: JwksIssuer;
let cambist: TestCambist;
const log: string[] = [];
beforeAll(async () => {
  [corp, cluster] = await Promise.all([startJwksIssuer(), startJwksIssuer()]);
  cambist = await startCambist({
    objects: companyYaml(corp, cluster),
    settings: { logger: createLogger('info', { write: (line) => void log.push(line) }) },
  });
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp.stop(), cluster.stop()]);
});

async function scrapeText(): Promise<string> {
  const response = await fetch(`${cambist.adminUrl}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return response.text();
}
const scrape = async (): Promise<Exposition> => parseExposition(await scrapeText());
const idToken = (claims: Record<string, unknown> = {}) => corp.mint({ aud: 'portal', sub: 'ada', ...claims });

/** What a sum grew by while something was done. */
async function growth(
  work: () => Promise<unknown>,
  name: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const before = (await scrape()).sum(name, labels);
  await work();
  return (await scrape()).sum(name, labels) - before;
}

describe('requests at the token endpoint are counted as they were answered', () => {
  it('issued: by grant, with the time of each step that they took', async () => {
    const before = await scrape();
    for (let index = 0; index < 3; index++)
      tokenOf(await exchange(cambist, { client: 'agent', subject: await idToken(), resource: ALPHA }));
    tokenOf(await forItself(cambist, 'agent'));
    const after = await scrape();
    const grown = (name: string, labels: Record<string, string>) => after.sum(name, labels) - before.sum(name, labels);
    expect(grown(REQUESTS, { grant: 'token_exchange', outcome: 'issued', reason: 'none' })).toBe(3);
    expect(grown(REQUESTS, { grant: 'client_credentials', outcome: 'issued', reason: 'none' })).toBe(1);
    expect(grown(REQUESTS, {})).toBe(4);
    expect(grown('cambist_token_duration_seconds_count', { outcome: 'issued' })).toBe(4);
    for (const phase of [
      'registry',
      'authenticate',
      'dispatch',
      'verify',
      'resolve',
      'decide',
      'mint',
      'record',
      'commit',
    ])
      expect(grown('cambist_token_phase_duration_seconds_count', { phase }), phase).toBe(4);
    // A step that the catalogue does not know would be called so.
    expect(after.sum('cambist_token_phase_duration_seconds_count', { phase: 'other' })).toBe(0);
  });

  it('refused: by the reason that stands in the record', async () => {
    const subject = await idToken();
    const answer = await exchange(cambist, { client: 'agent', subject, resource: 'https://unknown.example/' });
    const { refusal } = (await recordOf(cambist, answer)).body as unknown as { refusal: { reason: string } };
    const labels = { grant: 'token_exchange', outcome: 'refused', reason: refusal.reason };
    const again = () => exchange(cambist, { client: 'agent', subject, resource: 'https://unknown.example/' });
    expect(await growth(again, REQUESTS, labels)).toBe(1);
    const wrong = () => cambist.token({ grant_type: 'client_credentials' }, { basic: ['agent', 'wrong'] });
    expect(await growth(wrong, REQUESTS, { outcome: 'refused', reason: 'client_secret_wrong' })).toBe(1);
    const noForm = () => cambist.token('%', {});
    expect(await growth(noForm, REQUESTS, { grant: 'none', outcome: 'refused' })).toBe(1);
  });

  it('failed: by what was down', async () => {
    const dark = await startJwksIssuer();
    await cambist.apply(
      `issuers: [{ name: dark, issuer: '${dark.issuer}', internal: true, audiences: [{ value: portal, clients: [agent] }] }]`,
    );
    const subject = await dark.mint({ aud: 'portal', sub: 'ada' });
    await dark.stop();
    const ask = () => exchange(cambist, { client: 'agent', subject, resource: ALPHA });
    expect(await growth(ask, REQUESTS, { outcome: 'failed', reason: 'trusted_issuer' })).toBe(1);
    expect((await scrape()).value('cambist_key_fetches_total', { source: 'dark', outcome: 'connect' })).toBe(1);
  });

  it('429: by the limit', async () => {
    await cambist.apply('clients: [{ id: eager, auth: [client_secret_basic], requests_per_minute: 2 }]');
    const statuses: number[] = [];
    const ask = async () => {
      for (let index = 0; index < 6; index++) statuses.push((await forItself(cambist, 'eager')).status);
    };
    const limited = await growth(ask, 'cambist_limited_total', { kind: 'client' });
    expect(limited).toBe(statuses.filter((status) => status === 429).length);
    expect(limited).toBeGreaterThan(0);
  });

  it('introspection and revocation are counted by answer', async () => {
    const token = tokenOf(await exchange(cambist, { client: 'agent', subject: await idToken(), resource: ALPHA }));
    const ask = (path: string, client: string, form: Record<string, string>) => () =>
      postForm(`${cambist.url}${path}`, form, {
        headers: { authorization: basicHeader(client, cambist.secretOf(client)) },
      });
    const name = 'cambist_introspections_total';
    expect(await growth(ask('/oauth2/introspect', 'server-a', { token }), name, { outcome: 'active' })).toBe(1);
    expect(await growth(ask('/oauth2/introspect', 'server-b', { token }), name, { outcome: 'inactive' })).toBe(1);
    expect(await growth(ask('/oauth2/introspect', 'server-b', {}), name, { outcome: 'refused' })).toBe(1);
    const revoke = ask('/oauth2/revoke', 'agent', { token });
    expect(await growth(revoke, 'cambist_revocation_requests_total', { outcome: 'done' })).toBe(1);
    expect(await growth(ask('/oauth2/introspect', 'server-a', { token }), name, { outcome: 'inactive' })).toBe(1);
    expect((await scrape()).sum(REQUESTS, { outcome: 'other' })).toBe(0);
    expect((await fetch(`${cambist.url}/oauth2/revocations`)).status).toBe(200);
    expect((await scrape()).value('cambist_revocations_in_force', { kind: 'token' })).toBe(1);
  });
});

describe('what a node tells of itself', () => {
  it('commits, caches, fetches, pool, keys, clock, readiness, jobs, process, version', async () => {
    tokenOf(await exchange(cambist, { client: 'agent', subject: await idToken(), resource: ALPHA }));
    await cambist.service.housekeeping.runOnce();
    const { value, sum } = await scrape();
    expect(sum('cambist_commit_batch_size_sum')).toBeGreaterThan(5);
    expect(sum('cambist_commit_duration_seconds_count', { outcome: 'done' })).toBeGreaterThan(0);
    expect(value('cambist_commit_queue_length', {})).toBe(0);
    expect(value('cambist_commits_unsettled', {})).toBe(0);
    expect(value('cambist_token_requests_under_way', {})).toBe(0);
    expect(sum('cambist_cache_lookups_total', { cache: 'client_secrets', result: 'hit' })).toBeGreaterThan(0);
    for (const result of ['hit', 'miss'])
      expect(sum('cambist_cache_lookups_total', { result }), result).toBeGreaterThan(0);
    expect(value('cambist_key_fetches_total', { source: 'corp', outcome: 'done' })).toBe(1);
    expect(sum('cambist_fetch_duration_seconds_count', { outcome: 'done' })).toBeGreaterThan(0);
    expect(sum('cambist_database_connections')).toBe(1);
    for (const algorithm of ['ES256', 'RS256']) {
      const labels = { purpose: 'access-token', algorithm };
      expect(value('cambist_signing_key_age_seconds', { ...labels, state: 'active' })).toBeGreaterThanOrEqual(0);
      expect(value('cambist_signing_key_next_rotation_seconds', labels)).toBeGreaterThan(86_400);
    }
    expect(sum('cambist_signing_key_age_seconds', { purpose: 'other' })).toBe(0);
    expect(Math.abs(value('cambist_clock_skew_seconds', {}) ?? NaN)).toBeLessThan(1);
    for (const check of ['draining', 'database', 'clock', 'keys'])
      expect(value('cambist_ready', { check }), check).toBe(1);
    expect(value('cambist_housekeeping_runs_total', { job: 'replay_marks', outcome: 'done' })).toBe(1);
    const lastSeconds = value('cambist_housekeeping_last_success_timestamp_seconds', { job: 'replay_marks' }) ?? 0;
    expect(Math.abs(lastSeconds - Date.now() / 1000)).toBeLessThan(60);
    expect(value('cambist_process_resident_memory_bytes', {})).toBeGreaterThan(10_000_000);
    expect(sum('cambist_build_info')).toBe(1);
  });

  it('is on the admin listener alone', async () => {
    expect((await fetch(`${cambist.url}/metrics`)).status).toBe(404);
  });
});

it('does not grow with what callers send, and names nobody (R23)', async () => {
  const canary = { sub: 'canary-ada', email: 'canary.ada@corp.example', name: 'Canary Lovelace' };
  const subject = await idToken(canary);
  tokenOf(await exchange(cambist, { client: 'agent', subject, resource: ALPHA }));
  await scrape();
  const odd = Array.from({ length: 1000 }, (_, index) => `canary-${index}"}\n{x="`);
  const ask = (value: string, index: number) =>
    index % 2 === 0
      ? cambist.token(
          { grant_type: value, scope: value },
          { basic: [value, value], headers: { 'user-agent': 'canary-agent' } },
        )
      : cambist.token(
          {
            grant_type: EXCHANGE,
            subject_token: subject,
            subject_token_type: index % 4 === 1 ? ID_TOKEN : value,
            resource: value,
          },
          { basic: ['agent', cambist.secretOf('agent')], headers: { traceparent: value.replaceAll('\n', '') } },
        );
  for (let start = 0; start < odd.length; start += 50)
    await Promise.all(odd.slice(start, start + 50).map((value, index) => ask(value, start + index)));
  const text = await scrapeText();
  const { families } = parseExposition(text);
  for (const { name, samples } of families.values()) expect(samples.length, name).toBeLessThan(500);
  expect(text.length).toBeLessThan(100_000);
  for (const secret of ['canary', 'Canary', subject, cambist.secretOf('agent'), 'ada', '127.0.0.1'])
    expect(text).not.toContain(secret);
  expect(log.length).toBeGreaterThan(900);
});

it('docs/configuration.md lists every metric with its type and labels, and no other', async () => {
  const docs = readFileSync('docs/configuration.md', 'utf8');
  const rows = [...docs.matchAll(/^\| `(cambist_[a-z_]+)` +\| (counter|gauge|histogram) +\| ([^|]*?) +\|/gm)];
  const listed = rows.map(([, name, type, labels]) => ({
    name,
    type,
    labels: [...labels!.matchAll(/`([a-z]+)`/g)].map((match) => match[1]),
  }));
  const { families } = await scrape();
  expect(listed.map(({ name, type }) => `${name} ${type}`)).toEqual(
    [...families.values()].map(({ name, type }) => `${name} ${type}`),
  );
  for (const { name, labels } of listed)
    for (const sample of families.get(name!)!.samples)
      expect(
        Object.keys(sample.labels).filter((label) => label !== 'le'),
        name,
      ).toEqual(labels);
});
