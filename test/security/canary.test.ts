/**
 * No secret comes out of the built program, wherever it entered and whatever goes wrong: not in a log at level trace, an
 * answer, a record, a row, an export, an output of a command, a file or an argument. The same search finds what is planted
 * (canary-planted.test.ts).
 */
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { createCanaries } from '../support/canary/canaries.ts';
import { BEHAVIOURS, startEchoingUpstream } from '../support/canary/echoing-upstream.ts';
import { createStageCaller } from '../support/canary/caller.ts';
import type { StageCaller } from '../support/canary/caller.ts';
import { startStage } from '../support/canary/stage.ts';
import type { Stage } from '../support/canary/stage.ts';
import { startEchoingTokenEndpoint } from '../support/canary/token-endpoint.ts';
import type { EchoingTokenEndpoint } from '../support/canary/token-endpoint.ts';
import { withPostgres } from '../support/databases.ts';
import type { TestUpstream } from '../support/egress.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { basicHeader } from '../support/token-client.ts';
import { ALPHA } from '../support/vault-company.ts';
import { selfSigned } from '../unit/net/certificate.ts';
import { canaryObjects, FETCHABLE, TROUBLES, WAYS } from './canary-company.ts';

withPostgres('canaries in the built program', () => {
  const canaries = createCanaries();
  const keys = new Map([...WAYS, 'dead', 'untrusted', 'broken'].map((name) => [name, canaries.make(`key ${name}`)]));
  const user = canaries.make('user name').replaceAll(':', '.');
  let token = '';
  let corp: JwksIssuer;
  let api: TestUpstream;
  let tokens: EchoingTokenEndpoint;
  let untrusted: Server;
  let stage: Stage;
  let caller: StageCaller;
  const statuses: Record<string, number[]> = {};
  /** Request ids of calls that were given a credential, or should have been. */
  const called = new Map<string, string>();

  beforeAll(async () => {
    corp = await startJwksIssuer();
    api = await startEchoingUpstream((name) => (name === 'by-token' ? token : (keys.get(name) ?? '')));
    tokens = await startEchoingTokenEndpoint(() => (token = canaries.make('access token')), keys.get('by-token') ?? '');
    const { key, cert } = selfSigned(['localhost']);
    untrusted = createServer({ key, cert }, (_, response) => response.end());
    await new Promise<void>((resolve) => untrusted.listen(0, '127.0.0.1', resolve));
    stage = await startStage(canaries);
    await setUp();
    await callEverything(await caller.received(ALPHA));
    await presentWrongly();
    await commandEverything();
    // For the last export of spans and numbers.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await stage.gather();
  }, 240_000);
  afterAll(async () => {
    await Promise.all([stage.stop(), corp.stop(), api.stop(), tokens.stop()]);
    untrusted.close();
  });

  async function setUp(): Promise<void> {
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    const { port } = untrusted.address() as AddressInfo;
    const places = { corp, api: api.url, tokens: tokens.url, nowhere, untrusted: `https://127.0.0.1:${port}` };
    stage.ownFile('objects.json', canaryObjects(places));
    expect(await stage.command('apply -f objects.json')).toMatchObject({ code: 0 });
    caller = await createStageCaller(stage, corp, (name, token) =>
      name === 'by-header' ? { 'x-api-key': `key=${token}` } : { authorization: `Bearer ${token}` },
    );
    for (const [name, key] of keys) {
      const value = name === 'broken' ? `${key}\nx-injected: yes` : key;
      const stdin = JSON.stringify({ key: value, ...(name === 'by-basic' ? { user } : {}) });
      const set = await stage.command(`secret set apis/${name} --json-fields`, { stdin });
      expect(set, set.err).toMatchObject({ code: 0 });
    }
  }

  async function callEverything(received: string): Promise<void> {
    const fetched = await caller.fetch(received, FETCHABLE);
    expect(fetched.body.access_token).toContain(JSON.stringify(keys.get(FETCHABLE)).slice(1, -1).slice(0, 20));
    const call = async (...[name, path, options]: [string, string, { hangUpAfterMs: number }?]) => {
      const answer = await caller.call(received, name, path, options);
      (statuses[name] ??= []).push(answer.status);
      if (path === 'echo') called.set(name, String(answer.headers['cambist-request-id']));
    };
    for (const name of WAYS) {
      for (const behaviour of BEHAVIOURS) await call(name, behaviour);
      await call(name, 'slow', { hangUpAfterMs: 100 });
    }
    for (const name of Object.keys(TROUBLES)) await call(name, 'echo');
  }

  /** What only somebody else could take for good. */
  async function presentWrongly(): Promise<void> {
    const wrong = canaries.make('wrong secret');
    const bearer = canaries.make('presented token');
    const { url, adminUrl } = stage.cambist;
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const spelled = encodeURIComponent(wrong);
    for (const path of ['token', 'introspect', 'revoke']) {
      const body = `token=${encodeURIComponent(bearer)}&client_id=agent&client_secret=${spelled}&grant_type=${spelled}`;
      const asked = { method: 'POST', headers: form, body };
      await stage.sinks.ask('answers of the token endpoint', `${url}/oauth2/${path}`, asked);
      const basic = { ...form, authorization: basicHeader('agent', wrong) };
      await stage.sinks.ask('answers of the token endpoint', `${url}/oauth2/${path}`, { ...asked, headers: basic });
    }
    for (const target of [`/egress/by-bearer/x?key=${spelled}`, `/egress/by-query/x?key=${spelled}`, `/${spelled}`])
      await stage.sinks.ask('answers of the egress', `${url}${target}`, {
        headers: { authorization: `Bearer ${bearer}` },
      });
    for (const path of ['/metrics', '/readyz', '/healthz', `/${spelled}`])
      for (const at of [url, adminUrl])
        await stage.sinks.ask('answers of the admin listener', `${at}${path}`, {
          headers: { authorization: `Bearer ${bearer}` },
        });
  }

  async function commandEverything(): Promise<void> {
    const planted = canaries.make('value of a bad command');
    const url = new URL(stage.cluster.url);
    const lines = [
      ...['export', 'secret list', 'secret show apis/by-basic', 'doctor', 'diff -f objects.json', 'token revocations'],
      ...['upstream list', 'upstream show by-query', 'client show agent', 'client secret list agent', 'keys list'],
      ...[...called.values()].map((id) => `explain ${id}`),
      ...['issuer list', 'backup --out backup.gz', 'secret rm apis/by-basic', 'nonsense'],
      ...['--json doctor', `--json explain ${called.get('by-basic') ?? ''}`, '--json nonsense', '--json export'],
    ];
    await several(lines, (line) => stage.command(line));
    const bad: [string, string][] = [
      ['secret set apis/bad --json-fields', `{"key": "${planted}`],
      ['secret set apis/bad --json-fields', `{"key": ["${encodeURIComponent(planted)}"]}`],
      ['secret set apis/bad --json-fields', JSON.stringify({ [planted]: planted, '': planted })],
      ['secret set apis/bad --json-fields', planted],
      ['secret set apis/bad --field key', planted.repeat(3000)],
      ['secret set ../bad --field key', planted],
      ['secret rotate apis/by-bearer --field key', keys.get('by-bearer') ?? ''],
      ['secret rotate apis/none --field key', planted],
      ['apply -f -', `clients: [{ id: x, secret: '${encodeURIComponent(planted)}' }]`],
      ['exchange --client agent --secret-file - --audience alpha', planted],
      ['token revoke --token-file -', planted],
      ['decode -', planted],
    ];
    await several(bad, async ([line, stdin]) => {
      expect(await stage.command(line, { stdin }), line).not.toMatchObject({ code: 0 });
    });
    const inUrl = encodeURIComponent(planted);
    const environments: Record<string, string>[] = [
      { CAMBIST_KEY_ENCRYPTION_KEY: planted },
      { CAMBIST_PREVIOUS_KEY_ENCRYPTION_KEYS: planted },
      { DATABASE_URL: `postgresql://postgres:${inUrl}@${url.host}/postgres` },
      { DATABASE_URL: `postgresql://postgres:${url.password}@127.0.0.1:1/postgres` },
      { DATABASE_URL: `postgresql://postgres:${inUrl}@127.0.0.1:none/postgres` },
      { DATABASE_URL: planted },
      { VAULT_ADDR: 'http://127.0.0.1:1', VAULT_TOKEN: planted },
      { VAULT_ADDR: `http://vault:${inUrl}@127.0.0.1:1`, VAULT_TOKEN: `${planted}\n` },
      { VAULT_TOKEN: `${planted}\nsecond line` },
      { OTEL_EXPORTER_OTLP_ENDPOINT: `nonsense://u:${inUrl}@x` },
    ];
    const attempts = environments.flatMap((env) => ['doctor', '--json secret list'].map((line) => ({ env, line })));
    for (const env of environments.slice(0, 6)) attempts.push({ env, line: 'serve' });
    await several(attempts, ({ env, line }) => stage.command(line, { env }));
  }

  it('the ground is what it should be: keys arrived, calls ended in every way, and all sinks hold something', () => {
    const arrived = canaries.found(JSON.stringify(api.arrived.map(({ url, headers }) => [url, headers])));
    for (const name of WAYS.filter((way) => way !== 'by-token'))
      expect(arrived).toContainEqual(expect.stringContaining(`key ${name} (`));
    expect(arrived).toContainEqual(expect.stringContaining('access token ('));
    for (const name of WAYS)
      expect(new Set(statuses[name]), name).toEqual(new Set([200, 302, 401, 403, 500, 502, 503, 504, 0]));
    for (const [name, [status]] of Object.entries(statuses).filter(([name]) => name in TROUBLES))
      expect([502, 503], name).toContain(status);
    expect(stage.sinks.places()).toEqual(
      expect.arrayContaining([
        ...['answers of the token endpoint', 'answers of the egress', 'answers of the admin listener'],
        ...['output of commands', 'log', 'exported /v1/traces', 'exported /v1/metrics', 'processes', 'file backup.gz'],
        ...['database: audit_record.canonical', 'database: secret.sealed'],
      ]),
    );
    expect(canaries.names.length).toBeGreaterThan(60);
  });

  it('no secret comes out anywhere', () => {
    expect(stage.sinks.leaks()).toEqual([]);
  });

  it('an error that nobody catches is told without what hangs on it', async () => {
    await stage.crash(canaries.make('secret on an error'));
    const log = readFileSync(stage.cambist.logFile, 'utf8').trimEnd().split('\n');
    expect(JSON.parse(log.at(-1) ?? '')).toMatchObject({
      level: 60,
      err: { type: 'Error', message: 'the request failed', stack: expect.stringContaining('crash.cjs') as string },
      msg: expect.stringContaining('bug of ours') as string,
    });
    expect(canaries.found(log.join('\n'))).toEqual([]);
  });
});

/** Three at a time. */
async function several<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const left = [...all];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next);
  };
  await Promise.all([worker(), worker(), worker()]);
}
