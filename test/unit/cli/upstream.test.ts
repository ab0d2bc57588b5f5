import { beforeEach, describe, expect, test } from 'vitest';
import { createDecider } from '../../../src/exchange/decision.ts';
import { createRehearsal } from '../../../src/exchange/rehearse.ts';
import { describeFacts } from '../../../src/cli/record-view.ts';
import { createPolicyEngine } from '../../../src/policy/engine.ts';
import { createBench } from './bench.ts';
import type { Bench } from './bench.ts';

let bench: Bench;
const specOf = (label: string) => bench.store.objects.get(label)?.spec as Record<string, any> | undefined;

const ADD =
  'upstream add github --base-url https://api.github.com --caller notes-server --scope "github:read=Read issues" --scope github:write=Write --default-scope github:read --allow "get,head /repos/*/*/issues github:read" --allow "POST /repos/** github:read,github:write" --credential static --store embedded --path github/bot --field token --inject header --header-name x-token --header-template "Token {credential}" --lifetime-seconds 60';
const CALLS =
  'resource add mail --uri https://mail.example.com/mcp --scope mail:read=Read --calls "upstream:github needs=mail:read gives=github:read" --calls "files needs=mail:read gives=files:read"';

beforeEach(async () => {
  bench = createBench();
  expect((await bench.run('apply -f company.yaml')).code).toBe(0);
});

describe('cambist upstream', () => {
  test('add takes the main fields from flags, and says what comes next', async () => {
    const { code, out, err } = await bench.run(ADD);
    expect({ code, out }).toEqual({ code: 0, out: 'Added upstream github. In force with the next request.\n' });
    expect(err).toContain('cambist secret set github/bot --field token');
    expect(err).toContain('--calls "upstream:github needs=… gives=…"');
    expect(specOf('upstream github')).toMatchObject({
      base_url: 'https://api.github.com',
      callers: ['notes-server'],
      scopes: { 'github:read': 'Read issues', 'github:write': 'Write' },
      default_scopes: ['github:read'],
      requests: [
        { methods: ['GET', 'HEAD'], path: '/repos/*/*/issues', scopes: ['github:read'] },
        { methods: ['POST'], path: '/repos/**', scopes: ['github:read', 'github:write'] },
      ],
      credential: { kind: 'static', store: 'embedded', path: 'github/bot', field: 'token', allow_fetch: false },
      inject: { kind: 'header', name: 'x-token', template: 'Token {credential}' },
      lifetime_seconds: 60,
    });
  });

  test('add says faults by flag: a path that could escape, a caller that is nobody, a rule that is none', async () => {
    const escaping = await bench.run(ADD.replace('--path github/bot', '--path ../bot'));
    expect(escaping.err).toMatch(/cambist upstream add --path: must be segments/);
    const unknown = await bench.run(ADD.replace('--path github/bot', '--path "mail/{email}"'));
    expect(unknown.err).toContain('--path: has a placeholder {email} that is not known');
    const nobody = await bench.run(ADD.replace('--caller notes-server', '--caller notes-sever'));
    expect(nobody.err).toContain('--caller: names a client that is not registered (got "notes-sever")');
    const rule = await bench.run(ADD.replace('"get,head /repos/*/*/issues github:read"', '"get github:read"'));
    expect(rule).toMatchObject({ code: 2, err: expect.stringContaining('such as "GET /repos/** github:read"') });
    const named = await bench.run(ADD.replace('upstream add github', 'upstream add notes'));
    expect(named.err).toContain('is the name of resource notes');
    expect(bench.store.objects.has('upstream github')).toBe(false);
  });

  test('a call edge to it is typed as upstream:NAME, and shown and exported as it is taken back', async () => {
    await bench.run(ADD);
    expect(await bench.run(CALLS)).toMatchObject({ code: 0 });
    expect(specOf('resource mail')?.['calls']).toEqual([
      { upstream: 'github', needs: ['mail:read'], gives: ['github:read'] },
      { resource: 'files', needs: ['mail:read'], gives: ['files:read'] },
    ]);
    const exported = await bench.run('export');
    bench.file('exported.yaml', exported.out);
    const diff = await bench.run('diff -f exported.yaml --json');
    expect(JSON.parse(diff.out)).toMatchObject({ create: [], update: [], remove: [] });
    expect((await bench.run('upstream list')).out).toMatch(
      /github +enabled +command +https:\/\/api\.github\.com +static embedded:github\/bot +notes-server/,
    );
  });

  test('a call edge names one of the two, an upstream that is there, and scopes that it has', async () => {
    await bench.run(ADD);
    const add = (calls: string) => {
      bench.file('mail.yaml', `{name: mail, uri: 'https://m.example', scopes: {read: R}, calls: [${calls}]}`);
      return bench.run('resource add -f mail.yaml');
    };
    for (const both of ['resource: files, upstream: github,', ''])
      expect((await add(`{${both} needs: [read], gives: ['github:read']}`)).err).toContain(
        'calls[0]: must name a resource or an upstream, one of the two',
      );
    expect((await add(`{upstream: gitlab, needs: [read], gives: ['github:read']}`)).err).toContain(
      'calls[0].upstream: names an upstream that is not registered (got "gitlab")',
    );
    expect((await add(`{upstream: github, needs: [read], gives: ['files:read']}`)).err).toContain(
      'calls[0].gives[0]: is not a scope of github (got "files:read")',
    );
    expect((await add(`{resource: github, needs: [read], gives: ['github:read']}`)).err).toContain(
      'calls[0].resource: names a resource that is not registered (got "github")',
    );
  });

  test('neither it nor a scope that an edge gives can go while a resource calls it', async () => {
    await bench.run(ADD);
    await bench.run(CALLS);
    const removed = await bench.run('upstream rm github --yes');
    expect(removed).toMatchObject({ code: 1, err: expect.stringContaining('upstream github is in use') });
    expect(removed.err).toContain('calls[0].upstream: needs upstream github');
    const { out } = await bench.run('upstream show github');
    bench.file('fewer.yaml', out.replaceAll('github:read', 'github:look'));
    const stranded = await bench.run('apply -f fewer.yaml');
    expect(stranded.err).toContain('resource mail (registered) calls.0.gives.0: after this apply, is not a scope');
    const client = await bench.run('client rm notes-server --yes');
    expect(client.err).toContain('upstream github');
  });

  test('removing it says which policies go on naming it', async () => {
    await bench.run(ADD);
    bench.file('p.cedar', 'permit (principal, action == Action::"act", resource == Scope::"github#github:read");');
    await bench.run('policy add naming --cedar-file p.cedar');
    expect((await bench.run('upstream rm github --yes')).err).toContain('policy naming names it');
  });

  test('what is weaker is said at every apply: a key that is handed out, a key in a URL', async () => {
    await bench.run(ADD);
    const spec = specOf('upstream github');
    const credential = { ...spec?.['credential'], allow_fetch: true };
    const weak = { ...spec, credential, inject: { kind: 'query', name: 'key', allow_query: true } };
    bench.file('weak.yaml', JSON.stringify({ upstreams: [weak] }));
    for (let times = 0; times < 2; times++) {
      const { code, err } = await bench.run('apply -f weak.yaml');
      expect(code, err).toBe(0);
      expect(err).toContain('upstream github: credential.allow_fetch hands the key itself to its callers');
      expect(err).toContain('upstream github: inject.kind query puts the key into URLs');
    }
  });
});

describe('policy check of an upstream', () => {
  // Two runs are compared, second by second.
  const clock = { nowMs: () => Date.UTC(2026, 10, 26) };
  const rehearse = {
    rehearse: (issuer: string) =>
      Promise.resolve(createRehearsal({ issuer, clock, decide: createDecider(createPolicyEngine()) })),
  };
  const check =
    'policy check --objects exported.yaml --issuer https://sts.example.com --subject corp:alice --resource github --scope github:read';

  test('asks what the endpoint asks: the edge, the policies, the callers', async () => {
    await bench.run(ADD);
    await bench.run(CALLS.replace('--uri', '--served-by notes-server --served-by files-server --uri'));
    bench.file('p.cedar', 'permit (principal, action in [Action::"access", Action::"act"], resource);');
    await bench.run('policy add all --cedar-file p.cedar');
    bench.file('exported.yaml', (await bench.run('export')).out);
    const via = '--via mail=mail:read --actor planner';
    const permitted = await bench.run(`${check} --client notes-server ${via}`, rehearse);
    expect(permitted.out).toMatch(/^PERMITTED\n/);
    expect(permitted.out).toContain('aud: https://sts.example.com/egress/github');
    const byUri = await bench.run(
      `${check} --client notes-server ${via}`.replace(
        '--resource github',
        '--resource https://sts.example.com/egress/github/',
      ),
      rehearse,
    );
    expect(byUri.out).toBe(permitted.out.replace(/jti: .*/, /jti: .*/.exec(byUri.out)?.[0] ?? ''));
    expect((await bench.run(`${check} --client files-server ${via}`, rehearse as never)).out).toMatch(
      /^REFUSED {2}caller_not_listed\n/,
    );
    const write = check.replace('github:read', 'github:write');
    expect((await bench.run(`${write} --client notes-server ${via}`, rehearse as never)).out).toMatch(/^REFUSED/);
  });
});

test('explain says which credential was handed out, and shouts where it was a key', () => {
  const facts = (credential: object, more: object = {}) =>
    describeFacts({ id: 'e', kind: 'issued', body: { credential, ...more }, persons: [] }, (value) =>
      JSON.stringify(value),
    ).join('\n');
  expect(
    facts({ kind: 'dynamic', store: 'vault', path: 'database/creds/app', version: 'x1', scope: 'db:use', exp: 60 }),
  ).toBe(
    '  credential  dynamic, vault:database/creds/app, lease x1; handed out for scope db:use; for use until 1970-01-01T00:01:00Z',
  );
  const key = { kind: 'static', store: 'embedded', path: 'apis/x', version: '3', scope: '', exp: 60 };
  expect(facts(key, { static_fetched: true })).toMatch(/version 3; handed out; .*; A KEY THAT DOES NOT EXPIRE/);
});
