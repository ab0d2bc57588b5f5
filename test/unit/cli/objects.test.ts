import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { exportYaml } from '../../../src/admin/export.ts';
import type { ExportedObject } from '../../../src/admin/export.ts';
import { parseObjects } from '../../../src/admin/objects-file.ts';
import { COMPANY } from '../admin/memory-store.ts';
import { createBench } from './bench.ts';
import type { Bench } from './bench.ts';

let bench: Bench;
const specOf = (label: string) => bench.store.objects.get(label)?.spec as Record<string, unknown> | undefined;

beforeEach(async () => {
  bench = createBench();
  expect((await bench.run('apply -f company.yaml')).code).toBe(0);
});

describe('add', () => {
  test('enters a client from flags, records it, and says what comes next', async () => {
    const { code, out, err } = await bench.run(
      'client add indexer --auth client_secret_basic --auth client_secret_post --grant token_exchange --group nightly --description "Builds the index"',
    );
    expect({ code, out }).toEqual({ code: 0, out: 'Added client indexer. In force with the next request.\n' });
    expect(err).toBe('Make its secret: cambist client secret indexer --out indexer.secret\n');
    expect(specOf('client indexer')).toMatchObject({
      auth: ['client_secret_basic', 'client_secret_post'],
      grants: ['token_exchange'],
      groups: ['nightly'],
      description: 'Builds the index',
    });
    expect(bench.store.objects.get('client indexer')).toMatchObject({ origin: 'command', disabled: false });
    expect(bench.recorded.at(-1)).toMatchObject({
      origin: 'command',
      author: 'local:test',
      changes: [{ action: 'create', kind: 'client', name: 'indexer' }],
    });
  });

  test('of every kind takes the fields that people type', async () => {
    bench.file(
      'jwks.json',
      '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"1"}',
    );
    bench.file('p.cedar', 'forbid (principal, action, resource);');
    const commands = [
      'issuer add ci --issuer https://ci.example.com --token-type jwt --audience "a=b=planner,notes-server" --groups-claim g --email-claim m --require repository=x/y --subject-claim tid --subject-claim oid --single-use --max-lifetime-seconds 600 --client planner',
      'client add keyed --auth private_key_jwt --jwks-file jwks.json',
      'client add pod --auth workload_identity --identity corp:system:serviceaccount:ci:pod',
      'resource add mail --uri https://mail.example.com/mcp --scope "mail:read=Read = look at mail" --scope mail:send=Send --default-scope mail:read --served-by files-server --calls "files needs=mail:read gives=files:read" --lifetime-seconds 60 --requests-per-minute 90 --signing-algorithm RS256 --alias https://mail.example.com',
      'role add auditor --group corp:audit',
      'subject add corp:urn:bob --role staff --disabled',
      'policy add nothing --cedar-file p.cedar --description "Stop"',
    ];
    for (const command of commands) expect(await bench.run(command), command).toMatchObject({ code: 0 });
    expect(specOf('issuer ci')).toMatchObject({
      audiences: [{ value: 'a=b', clients: ['planner', 'notes-server'] }],
      token_types: { jwt: {} },
      claims: { groups: 'g', email: 'm' },
      required_claims: { repository: 'x/y' },
      subject: { claims: ['tid', 'oid'] },
      max_lifetime_seconds: 600,
      single_use: true,
    });
    expect(specOf('client keyed')).toMatchObject({ jwks: { keys: [{ kid: '1' }] } });
    expect(specOf('client pod')).toMatchObject({
      identities: [{ issuer: 'corp', sub: 'system:serviceaccount:ci:pod' }],
    });
    expect(specOf('resource mail')).toMatchObject({
      scopes: { 'mail:read': 'Read = look at mail', 'mail:send': 'Send' },
      calls: [{ resource: 'files', needs: ['mail:read'], gives: ['files:read'] }],
      lifetime_seconds: 60,
      requests_per_minute: 90,
      signing_algorithm: 'RS256',
    });
    expect(bench.store.objects.get('subject corp:urn:bob')).toMatchObject({
      disabled: true,
      spec: { roles: ['staff'] },
    });
    expect(specOf('policy nothing')).toMatchObject({ cedar: 'forbid (principal, action, resource);' });
  });

  test('holds flags against the rules of files, and says faults by flag, with nothing changed', async () => {
    const before = bench.store.objects.size;
    const { code, err } = await bench.run(
      'resource add mail --uri https://notes.example.com/mcp --served-by notes-sever --lifetime-seconds 9000 --scope mail:read=Read --default-scope mail:reed',
    );
    expect(code).toBe(1);
    expect(err).toContain('cambist resource add --lifetime-seconds: must be at most 900 (got 9000)');
    expect(err).toContain('cambist resource add --default-scope: "mail:reed" is not among scopes');
    const references = await bench.run(
      'resource add mail --uri https://notes.example.com/mcp --served-by notes-sever --scope mail:read=Read',
    );
    expect(references.err).toContain('cambist resource add --uri: is taken by resource notes');
    expect(references.err).toContain(
      'cambist resource add --served-by: names a client that is not registered (got "notes-sever")',
    );
    const missing = await bench.run('client add "no good"');
    expect(missing.err).toContain('cambist client add --auth: is required');
    expect(missing.err).toContain('cambist client add <ID>: must be 1 to 63 letters');
    expect(bench.store.objects.size).toBe(before);
  });

  test('refuses a name that exists unless --replace, which replaces the whole object', async () => {
    const again = await bench.run('client add planner --auth client_secret_post');
    expect(again).toMatchObject({
      code: 1,
      err: 'cambist: nothing was changed: client planner exists; change it with --replace\n',
    });
    const replaced = await bench.run('client add planner --auth client_secret_post --replace --json');
    expect(JSON.parse(replaced.out)).toMatchObject({
      kind: 'client',
      name: 'planner',
      action: 'replaced',
      warnings: ['client planner came from a file: applying that file again puts back what it says'],
    });
    // It still belongs to the file, so that pruning finds it.
    expect(bench.store.objects.get('client planner')).toMatchObject({
      origin: 'apply',
      spec: { auth: ['client_secret_post'] },
    });
    expect((await bench.run('client add planner --auth client_secret_post --replace')).out).toContain(
      'as given already',
    );
  });

  test('keeps what it does not say about being disabled', async () => {
    await bench.run('client disable planner');
    await bench.run('client add planner --auth client_secret_post --replace');
    expect(bench.store.objects.get('client planner')?.disabled).toBe(true);
  });

  test('takes one object from a file or standard input, by itself or as show prints it; faults have its lines', async () => {
    const shown = (await bench.run('resource show notes')).out;
    bench.file('one.yaml', shown.replace('Read notes', 'See notes'));
    expect((await bench.run('resource add -f one.yaml --replace')).out).toContain('Replaced resource notes');
    const readStdin = () => Promise.resolve('id: bare\nauth: [client_secret_basic]\n');
    expect((await bench.run('client add -f -', { readStdin })).code).toBe(0);
    bench.file('bad.yaml', '# bare\nid: bad\nauth: [client_secret]\n');
    expect((await bench.run('client add -f bad.yaml')).err).toContain('bad.yaml:3:8 auth[0]: must be one of');
    bench.file('p.cedar', 'permit (principal, action == Action::"access", resource);');
    bench.file('p.yaml', 'id: p\ncedar_file: p.cedar\n');
    expect((await bench.run('policy add -f p.yaml')).code).toBe(0);
  });

  test('a file of several objects, or of another kind, is not one object', async () => {
    for (const command of ['client add -f company.yaml', 'role add -f one.yaml']) {
      bench.file('one.yaml', 'roles: [{name: a}, {name: b}]');
      expect(await bench.run(command)).toMatchObject({ code: 1, err: expect.stringContaining('give exactly one') });
    }
  });

  test.each([
    ['client add', 'name the client (ID), or give a file'],
    ['client add x -f company.yaml', '"x" stands beside -f'],
    ['client add -f company.yaml --auth client_secret_basic', '--auth stands beside -f'],
    ['client add x --auth carrier_pigeon', 'Allowed choices are client_secret_basic'],
    ['subject add alice --role staff', 'name a subject as ISSUER:SUB'],
    ['issuer add x --issuer https://x.example --audience planner', '--audience must be VALUE=CLIENT,CLIENT'],
    ['resource add x --uri https://x.example --scope read', 'must be NAME=DESCRIPTION'],
    ['resource add x --calls files', '--calls must be "NAME needs='],
    ['client add x --identity pod', '--identity must be ISSUER:SUB'],
    ['client add x --auth private_key_jwt --jwks-file missing.json', 'missing.json cannot be read'],
  ])('%s is wrong usage', async (command, message) => {
    const { code, err } = await bench.run(command);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test('R23: a private key is refused and none of it is repeated', async () => {
    bench.file(
      'key.json',
      '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}',
    );
    const { code, err } = await bench.run('client add x --auth private_key_jwt --jwks-file key.json');
    expect(code).toBe(1);
    expect(err).toContain('--jwks-file: holds a private or secret key');
    expect(err).not.toContain('jpsQ');
  });
});

describe('rm', () => {
  test('refuses where others need it, and names every place', async () => {
    const { code, err } = await bench.run('client rm planner --yes');
    expect(code).toBe(1);
    expect(err.split('\n')).toEqual([
      'issuer corp audiences[0].clients[0]: needs client planner; fix: change or remove issuer corp first',
      'cambist: nothing was changed: client planner is in use',
      '',
    ]);
    expect((await bench.run('resource rm files --yes')).err).toContain(
      'resource notes calls[0].resource: needs resource files',
    );
    expect((await bench.run('role rm staff --yes')).err).toContain('subject corp:alice roles[0]: needs role staff');
    const issuer = (await bench.run('issuer rm corp --yes')).err;
    expect(issuer).toContain('role staff groups[0]: needs issuer corp');
    expect(issuer).toContain('subject corp:alice issuer: needs issuer corp');
    expect(bench.recorded).toHaveLength(1);
  });

  test('removes what nothing needs, recorded, once it was confirmed', async () => {
    const questions: string[] = [];
    const answering = (answer: string) => ({
      ask: (question: string) => {
        questions.push(question);
        return Promise.resolve(answer);
      },
    });
    for (const answer of ['', 'n', 'yess'])
      expect(await bench.run('subject rm corp:alice', answering(answer))).toMatchObject({ code: 1, out: '' });
    expect(bench.store.objects.has('subject corp:alice')).toBe(true);
    expect(await bench.run('subject rm corp:alice', answering('y'))).toMatchObject({
      code: 0,
      out: 'Removed subject corp:alice.\n',
    });
    expect(questions[0]).toBe('Remove subject corp:alice? [y/N] ');
    expect(bench.store.objects.has('subject corp:alice')).toBe(false);
    expect(bench.recorded.at(-1)).toMatchObject({
      origin: 'command',
      changes: [{ action: 'remove', kind: 'subject' }],
    });
  });

  test('without a terminal it needs --yes', async () => {
    expect(await bench.run('subject rm corp:alice')).toMatchObject({ code: 2 });
    const { out } = await bench.run('subject rm corp:alice --yes --json');
    expect(JSON.parse(out)).toMatchObject({ kind: 'subject', name: 'corp:alice', removed: true });
    expect(await bench.run('subject rm corp:alice --yes')).toMatchObject({
      code: 1,
      err: 'cambist: there is no subject corp:alice\n',
    });
  });

  test('A4: a disabled subject is not let in again by removing it', async () => {
    await bench.run('subject disable corp:alice');
    const { code, err } = await bench.run('subject rm corp:alice --yes');
    expect(code).toBe(1);
    expect(err).toContain('would let them in again');
    expect(bench.store.objects.get('subject corp:alice')?.disabled).toBe(true);
  });

  test('warns of policies that go on naming it, of a forbid that ends, and of a file that has it', async () => {
    await bench.run('client add idle --auth client_secret_basic');
    bench.file('p.cedar', 'forbid (principal == Client::"idle", action, resource);');
    await bench.run('policy add no-idle --cedar-file p.cedar');
    expect((await bench.run('client rm idle --yes')).err).toContain('policy no-idle names it');
    expect((await bench.run('policy rm no-idle --yes')).err).toContain('what it alone forbade is permitted without it');
    expect((await bench.run('policy rm staff-read --yes')).err).toContain('applying that file again brings it back');
  });
});

describe('diff', () => {
  test('ends like diff: 0 without, 1 with differences, 2 in trouble', async () => {
    expect(await bench.run('diff -f company.yaml')).toEqual({ code: 0, out: 'No difference.\n', err: '' });
    bench.file(
      'new.yaml',
      COMPANY.replace('Read notes', 'See notes')
        .replace('id: planner', 'id: planer')
        .replace('clients: [planner]', 'clients: [planer]')
        .replace('action in [Action::"access", Action::"act"],', 'action == Action::"access",'),
    );
    const { code, out, err } = await bench.run('diff -f new.yaml --prune');
    expect(code).toBe(1);
    expect(err).toBe('cambist: 5 objects differ\n');
    expect(out).toContain('- client planner\n');
    expect(out).toContain('+ client planer\n');
    expect(out).toContain('-   scopes."notes:read": "Read notes"\n+   scopes."notes:read": "See notes"\n');
    expect(out).toContain(
      [
        '    cedar:',
        '      permit (',
        '        principal in Role::"staff",',
        '-       action in [Action::"access", Action::"act"],',
        '+       action == Action::"access",',
        '        resource',
        '      );',
      ].join('\n'),
    );
    expect(bench.recorded).toHaveLength(1);
    expect((await bench.run('diff -f missing.yaml')).code).toBe(2);
    bench.file('bad.yaml', 'clients: [{id: x}]');
    expect(await bench.run('diff -f bad.yaml')).toMatchObject({
      code: 2,
      err: expect.stringContaining('bad.yaml:1:11'),
    });
  });
});

describe('export', () => {
  test('is taken back by apply without a change, also into an empty state, with what is disabled', async () => {
    await bench.run('client disable planner');
    await bench.run('subject disable corp:mallory');
    const { out } = await bench.run('export');
    bench.file('export.yaml', out);
    expect((await bench.run('apply -f export.yaml')).out).toBe('Nothing to change.\n');
    const other = createBench();
    other.file('export.yaml', out);
    expect((await other.run('apply -f export.yaml')).code).toBe(0);
    expect((await other.run('export')).out).toBe(out);
    const plain = ({ store }: Bench) =>
      Object.fromEntries([...store.objects].map(([label, { spec, disabled }]) => [label, { spec, disabled }]));
    expect(plain(other)).toEqual(plain(bench));
    expect(out).not.toContain('demo');
  });

  test('goes into a file of its own (0600), which it never overwrites', async () => {
    expect((await bench.run('export --out all.yaml')).code).toBe(0);
    const path = join(bench.cwd, 'all.yaml');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(Object.keys(parse(readFileSync(path, 'utf8')))).toEqual([
      'issuers',
      'clients',
      'resources',
      'roles',
      'subjects',
      'policies',
    ]);
    expect((await bench.run('export --out all.yaml')).err).toContain('exists: choose another --out');
    expect((await bench.run('export --out all.yaml --force')).code).toBe(0);
    const failing = { openOperations: () => Promise.reject(new Error('down')) };
    expect((await bench.run('export --out none.yaml', failing)).code).toBe(1);
    expect(existsSync(join(bench.cwd, 'none.yaml'))).toBe(false);
  });

  test('of any text, in any order, reads back as what it was (property)', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !/[\p{Cc}\p{Surrogate}]/u.test(text));
    const block = fc
      .array(
        fc.oneof(line, fc.constantFrom('', ' ', '\t', '# x', '- y', 'a: b', '---', "it's", '"q"', '\u202e', '\u2028')),
        { maxLength: 6 },
      )
      .map((lines) => lines.join('\n'));
    const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,8}$/);
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.record({ name, text: block, disabled: fc.boolean(), group: line.filter((t) => t.length > 0) }),
          { selector: ({ name: key }) => key, minLength: 1, maxLength: 5 },
        ),
        (wanted) => {
          const objects = wanted.flatMap(({ name: id, text, disabled, group }): ExportedObject[] => [
            {
              kind: 'role',
              name: id,
              disabled,
              spec: {
                name: id,
                description: text,
                groups: [group.replaceAll(':', '')].filter((t) => t !== ''),
                demo: false,
              },
            },
          ]);
          const yaml = exportYaml(objects);
          expect(exportYaml(objects.toReversed())).toBe(yaml);
          expect(yaml).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u2028\u2029]/);
          const read = parseObjects({ file: 'e', text: yaml });
          expect(read.faults).toEqual([]);
          const back = read.objects.map(({ kind, name: id, spec, disabled }) => ({
            kind,
            name: id,
            spec,
            disabled: disabled ?? false,
          }));
          expect(back).toEqual(objects.toSorted((a, b) => (a.name < b.name ? -1 : 1)));
        },
      ),
      { numRuns: 500 },
    );
  });
});
