import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createOperations } from '../../../src/admin/operations.ts';
import type { ChangeSummary } from '../../../src/admin/change-record.ts';
import type { OperationsParts } from '../../../src/admin/operations.ts';
import { runCli } from '../../../src/cli/program.ts';
import type { CliParts } from '../../../src/cli/program.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { Unavailable } from '../../../src/core/refusal.ts';
import { createDecider } from '../../../src/exchange/decision.ts';
import { createRehearsal } from '../../../src/exchange/rehearse.ts';
import { createPolicyEngine } from '../../../src/policy/engine.ts';
import { ObjectMissing } from '../../../src/store/objects.ts';
import { record } from '../../store/fixtures.ts';
import { COMPANY, createMemoryStore } from '../admin/memory-store.ts';
import type { MemoryStore } from '../admin/memory-store.ts';

const SECRET = 'cbs_the-secret-itself';

let cwd: string;
let store: MemoryStore;
let recorded: ChangeSummary[];
let records: { id: string; kind: string; canonical: Uint8Array }[];
let secretsMade: number;
let secretsOfPlanner: { id: string; createdAtMs: number; retiredAtMs: number | null }[];
let recordFailure: Error | undefined;
let stdin: string;
let served: unknown;

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'cambist-cli-'));
  store = createMemoryStore();
  recorded = [];
  records = [];
  secretsMade = 0;
  secretsOfPlanner = [];
  recordFailure = undefined;
  stdin = '';
  served = undefined;
  writeFileSync(join(cwd, 'company.yaml'), COMPANY);
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(args: string, over: Partial<CliParts> = {}): Promise<Ran> {
  let out = '';
  let err = '';
  const operations = createOperations({
    objects: store as unknown as OperationsParts['objects'],
    clientSecrets: {
      add: (clientId, options) => {
        if (!store.objects.has(`client ${clientId}`)) return Promise.reject(new ObjectMissing('client', clientId));
        secretsMade++;
        const retired = secretsMade > 2 ? ['old'] : [];
        options?.record?.({ version: 7, added: 's', retired });
        return Promise.resolve({ secret: SECRET, id: 's', retired });
      },
      retire: (clientId, secretId, options) => {
        const valid = secretsOfPlanner.filter(
          ({ id, retiredAtMs }) => retiredAtMs === null && (secretId === undefined || id === secretId),
        );
        const retired = valid.map(({ id }) => id);
        for (const secret of valid) secret.retiredAtMs = 86_400_000;
        if (retired.length > 0) options?.record?.({ version: 8, retired });
        return Promise.resolve(retired);
      },
      list: () => Promise.resolve(secretsOfPlanner),
    },
    records: {
      byRequestId: (id) => Promise.resolve(id === 'req-1' ? records : []),
      byJti: (jti) => Promise.resolve(jti === 'jti-1' ? records : []),
    },
    openPersons: () => Promise.resolve([{ ref: 'p1', sub: 'alice' }]),
    prepareChange: () =>
      Promise.resolve((summary) => {
        if (recordFailure !== undefined) throw recordFailure;
        recorded.push(summary);
        return record('changed');
      }),
    keys: {} as OperationsParts['keys'],
    revocation: {} as OperationsParts['revocation'],
    secrets: {} as OperationsParts['secrets'],
    upkeep: {} as OperationsParts['upkeep'],
    ownIssuer: 'http://127.0.0.1:8080',
    demoRefusedBecause: undefined,
    author: 'local:test',
  });
  const parts: CliParts = {
    version: '1.2.3',
    env: {},
    cwd,
    out: (text) => (out += text),
    err: (text) => (err += text),
    readStdin: () => Promise.resolve(stdin),
    serve: (settings) => Promise.resolve(void (served = settings)),
    openOperations: () => Promise.resolve({ operations, close: () => Promise.resolve() }),
    examine: () => Promise.resolve([]),
    restore: () => Promise.reject(new Error('nothing is restored here')),
    migrations: {
      plan: () => Promise.resolve({ current: 0, target: 2, pending: [{ version: 1, name: 'state' }] }),
      up: () => Promise.resolve({ current: 2, target: 2, pending: [] }),
    },
    rehearse: (issuer) =>
      Promise.resolve(createRehearsal({ issuer, clock: systemClock, decide: createDecider(createPolicyEngine()) })),
    ...over,
  };
  const code = await runCli(args.match(/"[^"]*"|\S+/g)?.map((word) => word.replaceAll('"', '')) ?? [], parts);
  return { code, out, err };
}

describe('the program', () => {
  test('--help teaches with examples and exit codes; every command has examples of its own', async () => {
    const { code, out } = await run('--help');
    expect(code).toBe(0);
    expect(out).toContain('cambist apply -f objects.yaml --dry-run');
    expect(out).toContain('Exit codes:');
    const commands = [
      'init',
      'serve',
      'check',
      'apply',
      'diff',
      'export',
      'exchange',
      'decode',
      'completion',
      'client add',
      'resource rm',
      'upstream add',
      'upstream disable',
      'role list',
      'policy show',
      'client list',
      'client secret',
      'client secret make',
      'client secret list',
      'client secret retire',
      'issuer show',
      'resource disable',
      'subject enable',
      'explain',
      'policy check',
      'migrate plan',
      'migrate up',
      'schema',
    ];
    for (const command of commands) {
      const help = await run(`${command} --help`);
      expect(help.code, command).toBe(0);
      expect(help.out, command).toMatch(/Examples?:\n {2}cambist /);
    }
  });

  test('--version prints it', async () => {
    expect(await run('--version')).toEqual({ code: 0, out: '1.2.3\n', err: '' });
  });

  test.each([
    '',
    'nonsense',
    'apply',
    'client',
    'client secret',
    'client secret planner',
    'client secret retire',
    'client secret list --out x',
    'schema nothing',
    'client list --limit none',
  ])('wrong usage (%s) exits with 2', async (args) => {
    const { code, err } = await run(args);
    expect(code).toBe(2);
    expect(err).not.toContain('    at ');
  });

  test('wrong settings exit with 2, one line for each, before anything is opened', async () => {
    writeFileSync(join(cwd, 'cambist.yaml'), 'issuer: http://sts.example.com\nlog_level: loud\n');
    const { code, err } = await run('client list', { openOperations: () => Promise.reject(new Error('opened')) });
    expect(code).toBe(2);
    expect(err.split('\n')).toEqual([
      expect.stringMatching(/^cambist\.yaml:1:9 issuer: must be https/),
      expect.stringMatching(/^cambist\.yaml:2:12 log_level: must be one of/),
      'cambist: settings: 2 faults',
      '',
    ]);
    const json = await run('client list --json');
    expect(JSON.parse(json.err)).toMatchObject({
      error: { code: 'settings_invalid', faults: [{ path: 'issuer' }, { path: 'log_level' }] },
    });
  });

  test('a database that is down is one line and exit code 1; a bug shows its stack only when asked', async () => {
    const down = {
      openOperations: () =>
        Promise.reject(new Unavailable('database', 'could not be reached', { cause: new Error('ECONNREFUSED') })),
    };
    expect(await run('client list', down)).toEqual({
      code: 1,
      out: '',
      err: 'cambist: database: could not be reached (ECONNREFUSED); cambist doctor says what to do\n',
    });
    const bug = { openOperations: () => Promise.reject(new TypeError('x is not y')) };
    expect((await run('client list', bug)).err).toBe('cambist: this is a bug of ours: TypeError: x is not y\n');
    expect((await run('client list', { ...bug, env: { CAMBIST_LOG_LEVEL: 'debug' } })).err).toContain('    at ');
  });

  test('serve gets the settings, from --config wherever it stands', async () => {
    mkdirSync(join(cwd, 'etc'));
    writeFileSync(join(cwd, 'etc/c.yaml'), 'node_name: seven');
    expect((await run('serve --config etc/c.yaml')).code).toBe(0);
    expect(served).toMatchObject({ nodeName: 'seven' });
    expect((await run('--config etc/missing.yaml serve')).err).toContain('etc/missing.yaml: cannot be read: ENOENT');
  });
});

describe('apply', () => {
  test('shows the plan, then applies it; again, nothing is to do', async () => {
    const first = await run('apply -f company.yaml');
    expect(first).toMatchObject({ code: 0, out: 'Applied 9 changes. In force with the next request.\n' });
    expect(first.err).toContain('Plan: 9 to create, 0 to update, 0 to remove, 0 unchanged.\n  + issuer corp\n');
    expect(await run('apply -f company.yaml')).toMatchObject({ code: 0, out: 'Nothing to change.\n' });
    expect(recorded).toHaveLength(1);
  });

  test('--dry-run changes nothing', async () => {
    expect((await run('apply -f company.yaml --dry-run')).out).toContain('Nothing was changed');
    expect(store.objects.size).toBe(0);
    expect(recorded).toEqual([]);
  });

  test('--json prints plan and version and nothing else', async () => {
    const { out, err } = await run('apply -f company.yaml --json');
    expect(JSON.parse(out)).toMatchObject({ applied: true, version: 1, plan: { unchanged: [] } });
    expect(err).toBe('');
  });

  test('reads standard input, and several files as one', async () => {
    stdin = COMPANY.slice(COMPANY.indexOf('resources:'));
    writeFileSync(join(cwd, 'head.yaml'), COMPANY.slice(0, COMPANY.indexOf('resources:')));
    expect((await run('apply -f head.yaml -f -')).out).toContain('Applied 9 changes');
    expect((await run('apply -f - -f -')).code).toBe(2);
  });

  test('faults are shown with file and line, exit code 1, and nothing is changed', async () => {
    writeFileSync(
      join(cwd, 'bad.yaml'),
      COMPANY.replace('roles: [staff]', 'roles: [stuff]').replace('auth: [client_secret_basic]', 'auth: []'),
    );
    const { code, err } = await run('apply -f bad.yaml');
    expect(code).toBe(1);
    expect(err.split('\n')).toEqual([
      expect.stringMatching(/^bad\.yaml:10:11 clients\[0\]\.auth: must have at least 1 entry/),
      expect.stringMatching(
        /^bad\.yaml:36:13 subjects\[0\]\.roles\[0\]: names a role that is not registered \(got "stuff"\)/,
      ),
      'cambist: nothing was changed: 2 faults',
      '',
    ]);
    expect(store.objects.size).toBe(0);
  });

  test('plans again when somebody changes something between plan and apply', async () => {
    let changes = 0;
    const { change } = store;
    store.change = async (mutations, options) => {
      if (changes++ === 0) await change([], { author: 'other', origin: 'command' });
      return change(mutations, options);
    };
    const { code, err } = await run('apply -f company.yaml');
    expect(code).toBe(0);
    expect(err.match(/Plan: 9 to create/g)).toHaveLength(2);
    expect(err).toContain('planning again');
  });

  test('--check needs no database; --issuer not even settings', async () => {
    const offline = {
      openOperations: () => Promise.reject(new Error('opened')),
      env: { DATABASE_URL: 'postgres://x/y' },
    };
    expect((await run('apply -f company.yaml --check', offline)).code).toBe(2);
    const checked = await run('apply -f company.yaml --check --issuer https://sts.example.com', offline);
    expect(checked).toMatchObject({ code: 0, out: '9 objects, no fault.\n' });
    const own = await run('apply -f company.yaml --check --issuer https://login.example.com', offline);
    expect(own).toMatchObject({ code: 1 });
    expect(own.err).toContain('is our own issuer');
  });

  test('Cedar files are read beside the file that names them', async () => {
    mkdirSync(join(cwd, 'rules'));
    writeFileSync(join(cwd, 'rules/p.yaml'), 'policies: [{id: a, cedar_file: a.cedar}]');
    expect((await run('apply -f rules/p.yaml')).err).toContain(
      'rules/p.yaml:1:32 policies[0].cedar_file: cannot be read',
    );
    writeFileSync(join(cwd, 'rules/a.cedar'), 'forbid (principal, action, resource);');
    expect((await run('apply -f rules/p.yaml')).code).toBe(0);
    expect(store.objects.get('policy a')?.spec).toMatchObject({ cedar: 'forbid (principal, action, resource);' });
  });
});

describe('nouns', () => {
  beforeEach(() => run('apply -f company.yaml'));

  test('list is a table, or JSON', async () => {
    expect((await run('client list')).out).toBe(
      [
        'NAME          STATE    ORIGIN  AUTH                 GRANTS',
        'files-server  enabled  apply   client_secret_basic  client_credentials,token_exchange',
        'notes-server  enabled  apply   client_secret_basic  client_credentials,token_exchange',
        'planner       enabled  apply   client_secret_basic  client_credentials,token_exchange',
        '',
      ].join('\n'),
    );
    expect(JSON.parse((await run('resource list --json --limit 1')).out)).toMatchObject([{ name: 'files' }]);
  });

  test('show prints what could stand in a file', async () => {
    const { out } = await run('resource show notes');
    writeFileSync(join(cwd, 'again.yaml'), out);
    expect((await run('apply -f again.yaml')).out).toBe('Nothing to change.\n');
  });

  test('A4: disable and enable, also a subject that nobody registered', async () => {
    expect((await run('client disable planner')).out).toBe('client planner is disabled.\n');
    expect((await run('client disable planner')).out).toBe('client planner is disabled already.\n');
    expect(store.objects.get('client planner')?.disabled).toBe(true);
    expect((await run('client enable planner')).code).toBe(0);
    expect((await run('subject disable corp:mallory')).code).toBe(0);
    expect(store.objects.get('subject corp:mallory')).toMatchObject({ disabled: true });
    expect(await run('subject disable corpp:mallory')).toMatchObject({
      code: 1,
      err: 'cambist: there is no issuer corpp\n',
    });
    expect((await run('resource disable nothing')).err).toBe('cambist: there is no resource nothing\n');
  });

  test('R23: names from outside cannot write to the terminal', async () => {
    // Of an older version: subjects that are registered today have no such name.
    const name = 'corp:\u001b[2Jx\u202e';
    const spec = { issuer: 'corp', sub: name.slice(5), roles: [], demo: false };
    store.objects.set(`subject ${name}`, {
      kind: 'subject',
      name,
      spec,
      disabled: true,
      version: 1,
      origin: 'command',
    });
    const { out } = await run('subject list');
    expect(out).toContain('corp:\\u001b[2Jx\\u202e');
    expect(out).not.toContain('\u001b');
  });
});

describe('client secret', () => {
  beforeEach(() => run('apply -f company.yaml'));
  const path = () => join(cwd, 'planner.secret');

  test('goes into a file of its own (0600) and nowhere else', async () => {
    const { code, out, err } = await run('client secret planner --out planner.secret');
    expect(code).toBe(0);
    expect(readFileSync(path(), 'utf8')).toBe(SECRET);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    const json = await run('client secret planner --out other.secret --json');
    expect(`${out}${err}${json.out}${json.err}`).not.toContain(SECRET);
  });

  test('never overwrites, not even through a link, and makes no secret that it could not write down', async () => {
    writeFileSync(path(), 'precious');
    const refused = await run('client secret planner --out planner.secret');
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.err).toContain('exists: choose another --out, or replace it with --force');
    symlinkSync(join(cwd, 'elsewhere'), join(cwd, 'link'));
    expect((await run('client secret planner --out link')).code).toBe(1);
    expect((await run('client secret planner --out no/such/folder')).err).toContain('cannot be written: ENOENT');
    expect(secretsMade).toBe(0);
    expect(existsSync(join(cwd, 'elsewhere'))).toBe(false);
    expect(readFileSync(path(), 'utf8')).toBe('precious');
  });

  test('--force replaces the file, also its mode; a third secret retires the oldest', async () => {
    writeFileSync(path(), 'old', { mode: 0o644 });
    await run('client secret planner --out planner.secret --force');
    expect(readFileSync(path(), 'utf8')).toBe(SECRET);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    await run('client secret planner --out planner.secret --force');
    expect((await run('client secret planner --out planner.secret --force')).out).toContain(
      '; 1 older secret stopped working.',
    );
  });

  test('is listed by id with its state, never itself', async () => {
    expect((await run('client secret list planner')).out).toContain('has no secret. Make one with');
    secretsOfPlanner = [
      { id: 'aaa', createdAtMs: 0, retiredAtMs: 1000 },
      { id: 'bbb', createdAtMs: 2000, retiredAtMs: null },
    ];
    expect((await run('client secret list planner')).out.split('\n')).toEqual([
      'SECRET  CREATED                   STATE',
      'aaa     1970-01-01T00:00:00.000Z  retired 1970-01-01T00:00:01.000Z',
      'bbb     1970-01-01T00:00:02.000Z  valid',
      '',
    ]);
    expect(JSON.parse((await run('client secret list planner --json')).out)).toEqual([
      { id: 'aaa', created_at: '1970-01-01T00:00:00.000Z', retired_at: '1970-01-01T00:00:01.000Z' },
      { id: 'bbb', created_at: '1970-01-01T00:00:02.000Z', retired_at: null },
    ]);
    expect(await run('client secret list nobody')).toMatchObject({
      code: 1,
      err: 'cambist: there is no client nobody\n',
    });
  });

  test('is retired by its id, or all of them; what was retired already is said and not recorded', async () => {
    secretsOfPlanner = ['aaa', 'bbb', 'ccc'].map((id) => ({ id, createdAtMs: 0, retiredAtMs: null }));
    recorded = [];
    expect((await run('client secret retire planner --secret bbb')).out).toBe('Retired 1 secret of planner: bbb.\n');
    expect((await run('client secret retire planner --secret bbb')).out).toContain('is retired already');
    expect(await run('client secret retire planner --secret zzz')).toMatchObject({
      code: 1,
      err: 'cambist: client planner has no secret zzz\n',
    });
    expect((await run('client secret retire planner')).out).toBe('Retired 2 secrets of planner: aaa, ccc.\n');
    expect(await run('client secret retire planner')).toMatchObject({ code: 0, out: 'planner has no valid secret.\n' });
    expect(
      recorded.map(({ changes, secrets_retired, state_version }) => [changes, secrets_retired, state_version]),
    ).toEqual(
      [['bbb'], ['aaa', 'ccc']].map((ids) => [[{ action: 'retire_secret', kind: 'client', name: 'planner' }], ids, 8]),
    );
  });

  test('of a client whose id is the name of a command can be made with "make"', async () => {
    writeFileSync(join(cwd, 'list.yaml'), 'clients: [{ id: list, auth: [client_secret_basic] }]');
    await run('apply -f list.yaml');
    expect(await run('client secret make list --out list.secret')).toMatchObject({ code: 0 });
    expect(readFileSync(join(cwd, 'list.secret'), 'utf8')).toBe(SECRET);
  });

  test('whose record cannot be written is not made, and leaves no file behind', async () => {
    recordFailure = new Unavailable('database', 'the record could not be written');
    expect(await run('client secret planner --out planner.secret')).toMatchObject({ code: 1 });
    expect(existsSync(path())).toBe(false);
  });

  test('of an unknown client leaves no file behind', async () => {
    expect(await run('client secret nobody --out planner.secret')).toMatchObject({
      code: 1,
      err: 'cambist: there is no client nobody\n',
    });
    expect(existsSync(path())).toBe(false);
  });
});

describe('explain', () => {
  test('shows outcome, reason and which policies decided', async () => {
    const body = {
      v: 1,
      id: 'e',
      time: '2026-01-02T03:04:05.678Z',
      kind: 'refused',
      request_id: 'req-1',
      node: 'n',
      client: { id: 'planner', method: 'client_secret_basic' },
      refusal: { reason: 'all_scopes_denied', detail: { scopes: ['notes:write'] } },
      decision: {
        answers: [
          {
            verdicts: [
              {
                scope: 'notes:write',
                permitted: false,
                subject: { permitted: true, policies: ['staff-write'], errors: [] },
                actor: { permitted: false, policies: [], errors: ['broken'] },
              },
            ],
          },
        ],
      },
      persons: [{ ref: 'p1', sealed: 'xyz' }],
    };
    records = [{ id: 'e', kind: 'refused', canonical: new TextEncoder().encode(JSON.stringify(body)) }];
    const { code, out } = await run('explain req-1');
    expect(code).toBe(0);
    expect(out).toContain('2026-01-02T03:04:05.678Z  REFUSED  all_scopes_denied  request req-1');
    expect(out).toContain('\n  person      alice\n');
    expect(out).toContain('\n  because     scopes: notes:write\n');
    expect((await run('explain --jti jti-1')).out).toBe(out);
    expect((await run('explain --jti req-1')).err).toContain('it was not issued here');
    for (const wrong of ['explain', 'explain req-1 --jti jti-1']) expect((await run(wrong)).code).toBe(2);
    const decision = [
      '  scope notes:write: denied',
      '    may the subject have it? yes, by staff-write',
      '    may the actor use it for them? no, no policy permits it; failed to evaluate: broken',
    ];
    expect(out).toContain(decision.join('\n'));
    expect(JSON.parse((await run('explain req-1 --json')).out)).toMatchObject([
      { kind: 'refused', body: { node: 'n' } },
    ]);
  });

  test('says where else to look for an id that has no record', async () => {
    expect(await run('explain req-2')).toMatchObject({ code: 1, out: '' });
    expect((await run('explain req-2')).err).toContain('look for it in the log of the service');
  });
});

describe('policy check', () => {
  const check =
    'policy check --objects company.yaml --issuer https://sts.example.com --resource https://notes.example.com/mcp';

  test('permits with the claims that the token would have, and the policies that decided', async () => {
    const everybody = COMPANY.replace('principal in Role::"staff"', 'principal').replace(
      'id: staff-read',
      'id: everybody',
    );
    writeFileSync(join(cwd, 'company.yaml'), everybody);
    const { code, out } = await run(`${check} --client planner --subject corp:alice --scope notes:read`);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^PERMITTED\n {2}scope notes:read: permitted\n {4}may the subject have it\? yes, by everybody\n/,
    );
    const json = JSON.parse((await run(`${check} --client planner --subject corp:alice --json`)).out);
    expect(json).toMatchObject({
      permitted: true,
      claims: { sub: 'corp:alice', aud: 'https://notes.example.com/mcp', scope: 'notes:read', act: { sub: 'planner' } },
    });
  });

  test('A1, A5: refuses with the reason and exit code 1, and what denied is named', async () => {
    const { code, out, err } = await run(`${check} --client planner --subject corp:alice --scope notes:read`);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED {2}all_scopes_denied\n/);
    expect(out).toContain('may the subject have it? yes, by staff-read');
    expect(out).toContain('may the actor use it for them? no, no policy permits it');
    expect(err).toBe('cambist: refused: all_scopes_denied\n');
  });

  test('groups of the subject count as its issuer’s', async () => {
    const bob = `${check} --client planner --subject corp:bob --scope notes:read`;
    expect((await run(bob)).out).toContain('may the subject have it? no, no policy permits it');
    expect((await run(`${bob} --group staff`)).out).toContain('may the subject have it? yes, by staff-read');
  });

  test('a hop needs what the edge needs', async () => {
    const hop =
      'policy check --objects company.yaml --issuer https://sts.example.com --client notes-server --subject corp:alice --actor planner --resource https://files.example.com/mcp --scope files:read';
    expect((await run(`${hop} --via notes=notes:write`)).out).toMatch(/^REFUSED/);
    expect((await run(`${hop} --via notes=notes:read`)).out).toContain('scope files:read: denied');
    expect((await run(`${hop.replace('--actor planner', '--actor nobody')} --via notes=notes:read`)).out).toContain(
      'chain_member_disabled',
    );
  });

  test.each([
    ['--client planner --subject alice', '--subject must be ISSUER:SUB'],
    ['--client planner --group staff', 'name one'],
    ['--client planner --subject corp:alice --via notes', '--via must be RESOURCE=SCOPE'],
  ])('%s is wrong usage', async (args, message) => {
    const { code, err } = await run(`${check} ${args}`);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});

test('migrate says what is missing and what was done', async () => {
  expect((await run('migrate plan')).out).toBe('Version 0 to 2:\n  1 state (missing)\n');
  expect((await run('migrate up')).out).toBe('The database is at version 2, which is what this program needs.\n');
});
