/**
 * Fetch (docs/upstreams.md): a token exchange whose `requested_token_type` is that of a credential is answered with the
 * credential itself (RFC 8693 §2.2.1: `token_type` `N_A`), committed before it is out, never alive for longer than the
 * token that it was had with, and ended where nobody got it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Unavailable } from '../../src/core/refusal.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import {
  ALPHA,
  failingCommits,
  fetchingObjects,
  KEY,
  LEASED,
  setKey,
  startTokenEndpoint,
  testLeases,
} from '../support/fetching.ts';
import type { TestLeases, TokenEndpoint } from '../support/fetching.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { openMemoryDatabase } from '../support/memory-database.ts';
import type { FormFields } from '../support/token-client.ts';
import { createBench } from '../unit/cli/bench.ts';
import { ACCESS_TOKEN, exchange, recordOf, refused, tokenOf } from './asking.ts';

const CREDENTIAL = 'urn:cambist:params:oauth:token-type:credential';

let corp: JwksIssuer;
let once: JwksIssuer;
let endpoint: TokenEndpoint;
/** With the stores of the service itself, and with leases of the test; one database that can fail. */
let cambist: TestCambist;
let leasing: TestCambist;
let leases: TestLeases;
let commits: ReturnType<typeof failingCommits>;
beforeAll(async () => {
  [corp, once, endpoint] = await Promise.all([startJwksIssuer(), startJwksIssuer(), startTokenEndpoint()]);
  const objects = fetchingObjects({ corp: corp.issuer, once: once.issuer }, endpoint.url);
  leases = testLeases();
  commits = failingCommits(await openMemoryDatabase());
  cambist = await startCambist({ objects });
  leasing = await startCambist({ objects, database: commits.database, settings: { credentials: leases } });
  await setKey(cambist);
});
afterAll(async () => {
  await Promise.all([cambist.stop(), leasing.stop()]);
  await commits.database.close();
  await Promise.all([corp.stop(), once.stop(), endpoint.stop()]);
});
beforeEach(() => {
  leases.discarded.length = 0;
  leases.uses.length = 0;
  leases.lifetimeSeconds = 900;
  leases.before = () => Promise.resolve();
  commits.failing = undefined;
});

/** What an agent sent to server A for Ada. */
async function received(at: TestCambist, lifetimeSeconds = 900): Promise<string> {
  const person = await corp.mint({ aud: at.issuer, sub: 'ada' }, { lifetimeSeconds });
  return tokenOf(await exchange(at, { client: 'agent', subject: person, resource: ALPHA }));
}

async function fetchFrom(at: TestCambist, name: string, more: FormFields & { subject?: string; client?: string } = {}) {
  const { subject, client = 'server-a', ...fields } = more;
  return exchange(at, {
    client,
    subject: subject ?? (await received(at)),
    as: ACCESS_TOKEN,
    audience: name,
    more: { requested_token_type: CREDENTIAL, ...fields },
  });
}

describe('a credential that is fetched', () => {
  it('is the answer itself: its one field as it is, with its own token type and a true lifetime', async () => {
    const answer = await fetchFrom(cambist, 'keys');
    expect(answer.status, answer.text).toBe(200);
    expect(answer.body).toEqual({
      access_token: KEY,
      issued_token_type: CREDENTIAL,
      token_type: 'N_A',
      expires_in: expect.any(Number),
      scope: 'keys:use',
    });
    // 300 s by default at an upstream; what a static key has no end of its own.
    expect(answer.body.expires_in).toBeGreaterThan(290);
    expect(answer.body.expires_in).toBeLessThanOrEqual(300);
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  it('is compact JSON where it has several fields: those that are named, and no other of that secret', async () => {
    const answer = await fetchFrom(cambist, 'pair');
    expect(answer.body.access_token).toBe(`{"key":"${KEY}","user":"cambist"}`);
    const leased = await fetchFrom(leasing, 'database');
    expect(JSON.parse(leased.body.access_token)).toEqual(LEASED);
  });

  it('of a token endpoint is the token, which ends for its user with what it was had with', async () => {
    const answer = await fetchFrom(cambist, 'calendar');
    expect(answer.body).toMatchObject({ access_token: `canary-upstream-token-${endpoint.issued}`, token_type: 'N_A' });
    expect(answer.body.expires_in).toBeLessThanOrEqual(300);
  });

  it('ends no later than the presented token, than its own end, and than the upstream lets it', async () => {
    const short = await received(leasing, 100);
    const capped = await fetchFrom(leasing, 'database', { subject: short });
    expect(capped.body.expires_in).toBeLessThanOrEqual(100);
    expect(leases.uses.at(-1)?.token.expiresAtSeconds).toBeLessThanOrEqual(Math.ceil(Date.now() / 1000) + 100);
    leases.lifetimeSeconds = 45;
    const own = await fetchFrom(leasing, 'database');
    expect(own.body.expires_in).toBeLessThanOrEqual(45);
    expect(own.body.expires_in).toBeGreaterThan(40);
  });

  it('is recorded as issued: which one it was, for whom, and never what', async () => {
    const answer = await fetchFrom(leasing, 'database');
    const { body, canonical } = await recordOf(leasing, answer);
    expect(body).toMatchObject({
      kind: 'issued',
      target: [`${leasing.issuer}/egress/database`],
      client: { id: 'server-a' },
      asked: { requested_token_type: CREDENTIAL },
      act: ['client:server-a', 'client:agent'],
      credential: { kind: 'dynamic', store: 'vault', path: 'database/creds/app', version: 'lease-1' },
    });
    expect(body).not.toHaveProperty('token');
    expect(body).not.toHaveProperty('static_fetched');
    expect(canonical).not.toContain(LEASED.password.slice(0, 12));
  });

  it('that lives on is flagged in every record of it', async () => {
    const { body, canonical } = await recordOf(cambist, await fetchFrom(cambist, 'keys'));
    expect(body).toMatchObject({
      static_fetched: true,
      credential: { kind: 'static', path: 'apis/keys', version: '1' },
    });
    expect(canonical).not.toContain(KEY);
  });

  it('is asked for on the strength of the presented token, which ends it, for the one who acts', async () => {
    const token = await received(leasing);
    await fetchFrom(leasing, 'database', { subject: token });
    const [use] = leases.uses;
    const { jti } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString());
    expect(use).toMatchObject({
      purpose: 'fetch',
      subject: { issuer: corp.issuer, sub: 'ada' },
      subjectName: 'corp:ada',
      clientId: 'server-a',
      resource: 'alpha',
      token: { identity: jti, facts: { resources: [`${leasing.issuer}/egress/database`] } },
    });
    expect(use?.token.ancestors).toHaveLength(1);
    expect(use?.token.facts?.identities).toEqual([jti, ...(use?.token.ancestors ?? [])]);
    expect(use?.token.facts?.clients).toEqual(expect.arrayContaining(['server-a', 'agent']));
  });

  it('is had with a token of a trusted issuer as well, where policy lets it and the caller is listed', async () => {
    const person = await corp.mint({ aud: cambist.issuer, sub: 'ada' });
    const ask = (client: string) =>
      exchange(cambist, { client, subject: person, audience: 'keys', more: { requested_token_type: CREDENTIAL } });
    expect((await ask('server-a')).body.access_token).toBe(KEY);
    await refused(cambist, await ask('agent'), 'invalid_target', 'caller_not_listed');
  });
});

describe('cambist exchange --requested-token-type credential', () => {
  it('shows what it is and keeps it back, but for a file, or where it is asked for', async () => {
    const bench = createBench();
    bench.file('token', await received(cambist));
    bench.file('secret', cambist.secretOf('server-a'));
    const ask = `exchange --client server-a --secret-file secret --subject-token-file token --requested-token-type credential --issuer ${cambist.issuer}`;
    const shown = await bench.run(`${ask} --audience keys`);
    expect(shown).toMatchObject({ code: 0, out: expect.stringMatching(/^FETCHED {2}request /) });
    expect(shown.out).toMatch(/credential {2}one value\n {2}scope {7}keys:use\n {2}good for {4}\d+ s\n/);
    const pair = await bench.run(`${ask} --audience pair --out pair.json`);
    expect(pair.out).toMatch(/JSON with key, user\n.*Wrote the credential to .*pair\.json \(0600\)/s);
    const json = await bench.run(`${ask} --audience keys --json`);
    expect(JSON.parse(json.out)).toMatchObject({ token_type: 'N_A', fields: null, out: null });
    expect(shown.out + shown.err + pair.out + json.out).not.toContain(KEY);
    expect(JSON.parse(readFileSync(join(bench.cwd, 'pair.json'), 'utf8'))).toEqual({ key: KEY, user: 'cambist' });
    expect((await bench.run(`${ask} --audience keys --raw`)).out).toBe(`${KEY}\n`);
    const alone = await bench.run(
      'exchange --client server-a --secret-file secret --audience keys --requested-token-type credential',
    );
    expect(alone).toMatchObject({ code: 2, err: expect.stringContaining('give --subject-token-file') });
  });
});

describe('a fetch that is refused', () => {
  it.each([
    ['a key that may only be injected', 'sealed', 'credential_not_fetchable'],
    ['a secret that is not there', 'missing', 'credential_missing'],
    ['a resource', 'beta', 'target_not_upstream'],
    ['several upstreams', ['keys', 'calendar'], 'targets_not_grouped'],
    ['an upstream that is unknown', 'elsewhere', 'target_unknown'],
  ])('is one of %s: the caller learns invalid_target, the operator why', async (_, audience, reason) => {
    const answer = await fetchFrom(cambist, 'none', { audience });
    const { canonical } = await refused(cambist, answer, 'invalid_target', reason);
    expect(answer.text).not.toMatch(/apis|vault|embedded/);
    if (reason === 'credential_missing') expect(canonical).toContain('apis/server-a');
  });

  it('is one by a client that is no caller, though it may serve the resource', async () => {
    const answer = await fetchFrom(cambist, 'keys', { client: 'server-b' });
    await refused(cambist, answer, 'invalid_target', 'caller_not_listed');
  });

  it('has no target at all', async () => {
    const answer = await exchange(cambist, {
      client: 'server-a',
      subject: await received(cambist),
      as: ACCESS_TOKEN,
      more: { requested_token_type: CREDENTIAL },
    });
    await refused(cambist, answer, 'invalid_target', 'target_missing');
  });

  it('is never what client credentials give: there the parameter means nothing', async () => {
    const answer = await cambist.token(
      { grant_type: 'client_credentials', audience: 'keys', requested_token_type: CREDENTIAL },
      { basic: ['server-a', cambist.secretOf('server-a')] },
    );
    expect(answer.body.token_type).toBe('Bearer');
    expect(answer.text).not.toContain(KEY);
  });

  it('came too late: what was had meanwhile is given back', async () => {
    leases.lifetimeSeconds = -1;
    await refused(leasing, await fetchFrom(leasing, 'database'), 'invalid_request', 'nothing_left_to_live');
    expect(leases.discarded).toEqual(['lease-1']);
  });
});

describe('a credential that nobody got', () => {
  it('is given back where its record could not be committed: 503, and no credential', async () => {
    const subject = await received(leasing);
    leases.before = () => {
      commits.failing = new Unavailable('database', 'down');
      return Promise.resolve();
    };
    const answer = await fetchFrom(leasing, 'database', { subject });
    expect(answer.status).toBe(503);
    expect(answer.text).not.toContain(LEASED.username);
    expect(leases.discarded).toEqual(['lease-1']);
  });

  it('is given back where the presented token was used meanwhile', async () => {
    const single = await once.mint({ aud: leasing.issuer, sub: 'ada' });
    const ask = () =>
      exchange(leasing, {
        client: 'server-a',
        subject: single,
        audience: 'database',
        more: { requested_token_type: CREDENTIAL },
      });
    const answers = await Promise.all([ask(), ask()]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400]);
    const lost = answers.find(({ status }) => status === 400)!;
    const record = await refused(leasing, lost, 'invalid_request', 'subject_token_replayed');
    expect(record.body).not.toHaveProperty('credential');
    expect(leases.discarded).toHaveLength(1);
  });

  it('is given back where its caller hung up, and the record says that it was not delivered', async () => {
    const subject = await received(leasing);
    let there!: () => void;
    const reached = new Promise<void>((resolve) => (there = resolve));
    let goOn!: () => void;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    leases.before = () => {
      there();
      return held;
    };
    const hangUp = new AbortController();
    const asking = fetch(`${leasing.url}/oauth2/token`, {
      method: 'POST',
      signal: hangUp.signal,
      headers: {
        authorization: `Basic ${Buffer.from(`server-a:${leasing.secretOf('server-a')}`).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: subject,
        subject_token_type: ACCESS_TOKEN,
        audience: 'database',
        requested_token_type: CREDENTIAL,
      }),
    }).catch(() => undefined);
    await reached;
    hangUp.abort();
    await asking;
    await new Promise((resolve) => setTimeout(resolve, 50));
    goOn();
    await expect.poll(() => leases.discarded).toEqual(['lease-1']);
    await expect
      .poll(async () =>
        commits.database.query("SELECT count(*)::int AS count FROM audit_record WHERE kind = 'undelivered'"),
      )
      .toEqual([{ count: 1 }]);
  });
});
