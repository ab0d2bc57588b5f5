import { beforeEach, describe, expect, test } from 'vitest';
import { applyPlan, planApply } from '../../../src/admin/apply.ts';
import type { PreparedPlan } from '../../../src/admin/apply.ts';
import { formatFault } from '../../../src/admin/fault.ts';
import type { Mutation } from '../../../src/store/objects.ts';
import { COMPANY, createMemoryStore } from './memory-store.ts';
import type { MemoryStore } from './memory-store.ts';

const OPTIONS = { prune: false, ownIssuer: 'https://sts.example.com', demoRefusedBecause: undefined };

let store: MemoryStore;
beforeEach(() => {
  store = createMemoryStore();
});

async function plan(text: string | readonly string[], options: Partial<typeof OPTIONS> = {}): Promise<PreparedPlan> {
  const texts = [text].flat().map((each, index) => ({ file: `f${index}.yaml`, text: each }));
  const prepared = await planApply(texts, store, { ...OPTIONS, ...options });
  if (Array.isArray(prepared)) throw new Error(prepared.map(formatFault).join('\n'));
  return prepared;
}

async function faults(
  text: string | readonly string[],
  options: Partial<Record<keyof typeof OPTIONS, unknown>> = {},
): Promise<string[]> {
  const texts = [text].flat().map((each, index) => ({ file: `f${index}.yaml`, text: each }));
  const prepared = await planApply(texts, store, { ...OPTIONS, ...options } as typeof OPTIONS);
  return Array.isArray(prepared) ? prepared.map(formatFault) : [];
}

async function apply(text: string, options: Partial<typeof OPTIONS> = {}) {
  const prepared = await plan(text, options);
  await applyPlan(prepared, store, 'test');
  return prepared.plan;
}

function registerRole(name: string, groups: string[]) {
  const put: Mutation = { type: 'put', kind: 'role', name, spec: { name, groups, demo: false }, keys: [] };
  return store.change([put], { author: 't', origin: 'command' });
}

const names = (refs: readonly { kind: string; name: string }[]) => refs.map(({ kind, name }) => `${kind} ${name}`);

describe('apply', () => {
  test('creates what is new; the same again changes nothing', async () => {
    const first = await apply(COMPANY);
    expect(first.create).toHaveLength(9);
    const again = await plan(COMPANY);
    expect(again.plan).toMatchObject({ create: [], update: [], remove: [], stateVersion: 1 });
    expect(again.plan.unchanged).toHaveLength(9);
    expect(again.mutations).toEqual([]);
    expect(await applyPlan(again, store, 'test')).toEqual({ version: 1 });
  });

  test('shows an update field by field, before and after', async () => {
    await apply(COMPANY);
    const changed = COMPANY.replace('Write notes', 'Change notes').replace(
      'served_by: [files-server]',
      'served_by: []\n    lifetime_seconds: 60',
    );
    const { plan: next } = await plan(changed);
    expect(next.update).toEqual([
      {
        kind: 'resource',
        name: 'notes',
        changes: [{ path: 'scopes."notes:write"', before: 'Write notes', after: 'Change notes' }],
      },
      {
        kind: 'resource',
        name: 'files',
        changes: [
          { path: 'served_by', before: ['files-server'], after: [] },
          { path: 'lifetime_seconds', before: 300, after: 60 },
        ],
      },
    ]);
    expect(next.unchanged).toHaveLength(7);
  });

  test('touches only what it names', async () => {
    await apply(COMPANY);
    const next = await apply('clients: [{id: other, auth: [client_secret_post]}]');
    expect(names(next.create)).toEqual(['client other']);
    expect(store.objects.size).toBe(10);
  });

  test('leaves disabled as it is unless the file says', async () => {
    await apply(COMPANY);
    await store.change([{ type: 'disable', kind: 'client', name: 'planner' }], { author: 't', origin: 'command' });
    expect((await plan(COMPANY)).plan.update).toEqual([]);
    await apply(COMPANY.replace('id: planner', 'id: planner\n    name: P'));
    expect(store.objects.get('client planner')?.disabled).toBe(true);
    const enabled = await apply(COMPANY.replace('id: planner', 'id: planner\n    name: P\n    disabled: false'));
    expect(enabled.update).toEqual([
      { kind: 'client', name: 'planner', changes: [{ path: 'disabled', before: true, after: false }] },
    ]);
    expect(store.objects.get('client planner')?.disabled).toBe(false);
  });

  test('is bound to the state that it was planned on', async () => {
    const prepared = await plan(COMPANY);
    await store.change([], { author: 't', origin: 'command' });
    await expect(applyPlan(prepared, store, 'test')).rejects.toThrow('planned on version 0');
    expect(store.objects.size).toBe(0);
  });

  test('files are judged together: one may refer to the other', async () => {
    const [head, tail] = [
      COMPANY.slice(0, COMPANY.indexOf('resources:')),
      COMPANY.slice(COMPANY.indexOf('resources:')),
    ];
    expect((await plan([tail, head])).plan.create).toHaveLength(9);
    expect((await faults(tail)).join('\n')).toContain('names a client that is not registered (got "notes-server")');
  });

  test('references count what is registered already', async () => {
    await apply(COMPANY);
    const { plan: next } = await plan('subjects: [{issuer: corp, sub: bob, roles: [staff]}]');
    expect(names(next.create)).toEqual(['subject corp:bob']);
  });
});

describe('prune', () => {
  const without = (name: string) => COMPANY.replace(`  - id: ${name}\n    auth: [client_secret_basic]\n`, '');

  test('removes what earlier applies made and the files no longer name, and nothing else', async () => {
    await apply(COMPANY);
    await apply('clients: [{id: extra, auth: [client_secret_post]}]');
    await registerRole('by-hand', []);
    const next = await apply(COMPANY, { prune: true });
    expect(names(next.remove)).toEqual(['client extra']);
    expect([...store.objects.keys()]).toContain('role by-hand');
    expect((await plan(COMPANY, { prune: true })).plan.remove).toEqual([]);
  });

  test('is refused where what stays would refer to what goes', async () => {
    await apply(COMPANY);
    const file = without('files-server').replace('served_by: [files-server]', '');
    expect(await faults(file)).toEqual([]);
    expect(names((await plan(file, { prune: true })).plan.remove)).toEqual(['client files-server']);
    expect(await faults(without('files-server'), { prune: true })).toEqual([
      'f0.yaml:27:17 resources[1].served_by[0]: names a client that is not registered (got "files-server"); fix: register it under clients, or correct the name',
    ]);
    await registerRole('r', ['corp:x']);
    const onlyRole = 'roles: [{name: staff}]';
    expect((await faults(onlyRole, { prune: true })).join('\n')).toContain(
      'role r (registered) groups.0: after this apply, names a trusted issuer "corp" that is not registered',
    );
  });

  test('with a file that names nothing is refused', async () => {
    await apply(COMPANY);
    expect(await faults('', { prune: true })).toEqual([
      'f0.yaml: names no object, and pruning would remove every object that was ever applied; fix: name the right file, or remove objects one by one',
    ]);
  });

  test('A4: a disabled subject stays, because removing it would let it in again', async () => {
    await apply(COMPANY);
    await store.change([{ type: 'disable', kind: 'subject', name: 'corp:alice' }], { author: 't', origin: 'command' });
    const file = COMPANY.replace(/subjects:[^]*?policies:/, 'policies:');
    const next = await apply(file, { prune: true });
    expect(next.remove).toEqual([]);
    expect(next.warnings).toEqual(['subject corp:alice stays: it is disabled, and removing it would let it in again']);
    await store.change([{ type: 'enable', kind: 'subject', name: 'corp:alice' }], { author: 't', origin: 'command' });
    expect(names((await plan(file, { prune: true })).plan.remove)).toEqual(['subject corp:alice']);
  });

  test('an entry with a fault is not taken for one that is gone', async () => {
    await apply(COMPANY);
    const shown = await faults(
      COMPANY.replace('id: planner\n    auth: [client_secret_basic]', 'id: planner\n    auth: []'),
      { prune: true },
    );
    expect(shown).toHaveLength(1);
    expect(shown[0]).toContain('clients[0].auth: must have at least 1 entry');
  });
});

describe('an update that takes something away', () => {
  test('is refused where a registered object still needs it', async () => {
    await apply(COMPANY);
    const files = `resources:
  - name: files
    uri: https://files.example.com/mcp
    scopes: {"files:list": List files}
    served_by: [files-server]
`;
    expect(await faults(files)).toEqual([
      'f0.yaml resource notes (registered) calls.0.gives.0: after this apply, is not a scope of files; fix: change it in the same apply: use one of files:list, or add it there',
    ]);
  });
});

describe('faults across objects', () => {
  const cases: readonly (readonly [title: string, from: string, to: string, fault: string])[] = [
    [
      'an unknown client in audiences',
      'clients: [planner]',
      'clients: [plannner]',
      'f0.yaml:6:19 issuers[0].audiences[0].clients[0]: names a client that is not registered (got "plannner")',
    ],
    [
      'an unknown client in served_by',
      'served_by: [files-server]',
      'served_by: [nobody]',
      'resources[1].served_by[0]: names a client that is not registered (got "nobody")',
    ],
    [
      'a call edge to an unknown resource',
      'resource: files',
      'resource: filez',
      'resources[0].calls[0].resource: names a resource that is not registered (got "filez")',
    ],
    [
      'R7: a call edge that gives a scope which is not there',
      'gives: ["files:read"]',
      'gives: ["files:write"]',
      'resources[0].calls[0].gives[0]: is not a scope of files (got "files:write")',
    ],
    [
      'an unknown issuer of a subject',
      '- issuer: corp',
      '- issuer: crop',
      'subjects[0].issuer: names a trusted issuer that is not registered (got "crop")',
    ],
    [
      'an unknown role',
      'roles: [staff]',
      'roles: [boss]',
      'subjects[0].roles[0]: names a role that is not registered (got "boss")',
    ],
    [
      'a group of an unknown issuer',
      'groups: ["corp:staff"]',
      'groups: ["cop:staff"]',
      'roles[0].groups[0]: names a trusted issuer "cop" that is not registered',
    ],
    [
      'the same name twice',
      '- id: notes-server',
      '- id: planner',
      'f0.yaml:11:5 clients[1]: client planner is named twice, first in f0.yaml:9',
    ],
    [
      'a URI that is another one’s alias',
      'uri: https://notes.example.com/mcp',
      'uri: https://files.example.com/',
      'resources[0].uri: is taken by resource files (got "https://files.example.com")',
    ],
    [
      'R13: our own issuer as a trusted one',
      'issuer: https://login.example.com',
      'issuer: https://sts.example.com',
      'issuers[0].issuer: is our own issuer',
    ],
    [
      'ourselves as a resource',
      'uri: https://notes.example.com/mcp',
      'uri: https://STS.example.com/',
      'resources[0].uri: is an address of Cambist itself',
    ],
    [
      'our token endpoint as a resource',
      'uri: https://notes.example.com/mcp',
      'uri: https://sts.example.com/oauth2/token/',
      'resources[0].uri: is an address of Cambist itself',
    ],
    [
      'what is below our endpoints as an alias',
      'aliases: [https://files.example.com]',
      'aliases: [https://sts.example.com/egress/github]',
      'resources[1].aliases[0]: is an address of Cambist itself',
    ],
    [
      'a client’s group that reads like an issuer’s',
      '- id: planner',
      '- id: planner\n    groups: ["corp:staff"]',
      'clients[0].groups[0]: has a colon',
    ],
    [
      'our issuer among audiences',
      'value: company-app',
      'value: https://sts.example.com',
      'issuers[0].audiences[0].value: is Cambist itself',
    ],
    [
      'a scope mapping to an unknown resource',
      'claims: {groups: groups}',
      'claims: {scope: {values: {x: [{resource: https://no.example, scopes: [a]}]}}}',
      'issuers[0].claims.scope.values.x[0].resource: is not a registered resource (got "https://no.example")',
    ],
    [
      'a scope mapping to an unknown scope',
      'claims: {groups: groups}',
      'claims: {scope: {values: {x: [{resource: https://files.example.com, scopes: [a]}]}}}',
      'issuers[0].claims.scope.values.x[0].scopes[0]: is not a scope of files (got "a")',
    ],
  ];
  test.each(cases)('%s', async (_, from, to, fault) => {
    expect(COMPANY).toContain(from);
    expect((await faults(COMPANY.replace(from, to))).join('\n')).toContain(fault);
  });

  test('R13: a verbatim subject may be read neither as a client nor as a subject of another issuer', async () => {
    const verbatim = COMPANY.replace('claims: {groups: groups}', 'subject: {verbatim: true}');
    expect(await faults(verbatim)).toEqual([]);
    expect((await faults(verbatim.replace('sub: alice', 'sub: planner'))).join()).toContain(
      'subjects[0].sub: is the id of a client',
    );
    expect((await faults(verbatim.replace('sub: alice', 'sub: "corp:bob"'))).join()).toContain(
      'reads like a subject of another',
    );
    await apply(verbatim);
    expect((await faults('clients: [{id: alice, auth: [client_secret_post]}]')).join()).toContain(
      'clients[0].id: is also a subject of corp',
    );
  });

  test('R13: only one issuer is verbatim, and turning it on looks at the subjects that are there', async () => {
    await apply(COMPANY.replace('sub: alice', 'sub: planner'));
    const issuers = COMPANY.slice(0, COMPANY.indexOf('clients:\n  - id')).replace(
      'claims: {groups: groups}',
      'subject: {verbatim: true}',
    );
    expect((await faults(issuers)).join()).toContain(
      'subject corp:planner (registered) sub: after this apply, is the id of a client',
    );
    store = createMemoryStore();
    await apply(COMPANY.replace('claims: {groups: groups}', 'subject: {verbatim: true}'));
    expect(
      (await faults('issuers: [{name: b, issuer: https://b.example, subject: {verbatim: true}}]')).join(),
    ).toContain('issuers[0].subject: is taken by issuer corp');
  });

  test('two objects that want one key are both told, and keys may change hands in one apply', async () => {
    const identity = (id: string) =>
      `  - {id: ${id}, auth: [workload_identity], identities: [{issuer: corp, sub: pod}]}\n`;
    const issuer = 'issuers: [{name: corp, issuer: https://login.example.com}]\n';
    expect(await faults(`${issuer}clients:\n${identity('a')}${identity('b')}`)).toHaveLength(2);
    await apply(`${issuer}clients:\n${identity('a')}`);
    expect((await faults(`clients:\n${identity('b')}`)).join()).toContain('is taken by client a');
    const { plan: next } = await plan(`clients:\n${identity('b')}  - {id: a, auth: [client_secret_post]}\n`);
    expect(names(next.create)).toEqual(['client b']);
  });

  test('R7: resources of one audience_group share no scope name and one algorithm', async () => {
    const grouped = COMPANY.replaceAll('    served_by:', '    audience_group: g\n    served_by:');
    expect(await faults(grouped)).toEqual([]);
    const clash = grouped.replace('{"files:read": Read files}', '{"files:read": Read files, "notes:read": x}');
    expect(await faults(clash)).toHaveLength(2);
    expect((await faults(clash))[0]).toContain('resources[0].scopes."notes:read": is also a scope of files');
    await apply(
      COMPANY.replace('    served_by: [notes-server]', '    audience_group: g\n    served_by: [notes-server]'),
    );
    const other =
      'resources: [{name: x, uri: https://x.example, scopes: {"notes:read": x}, audience_group: g, signing_algorithm: RS256}]';
    const shown = (await faults(other)).join('\n');
    expect(shown).toContain('resources[0].scopes."notes:read": is also a scope of notes');
    expect(shown).toContain('resources[0].signing_algorithm: differs from that of notes');
  });

  test('a broken entry is one fault, and references to it are none', async () => {
    const broken = COMPANY.replace(
      '- id: notes-server\n    auth: [client_secret_basic]',
      '- id: notes-server\n    auth: [x]',
    );
    expect(await faults(broken)).toHaveLength(1);
  });

  test('demo objects are refused where others can reach them, each with its line', async () => {
    const file = 'roles:\n  - name: a\n    demo: true\n  - name: b\n';
    expect(await faults(file)).toEqual([]);
    expect(await faults(file, { demoRefusedBecause: 'listen.host is 0.0.0.0' })).toEqual([
      'f0.yaml:3:11 roles[0].demo: demo objects are refused here: listen.host is 0.0.0.0 (got true); fix: leave this object out',
    ]);
  });
});

describe('policies', () => {
  test('are compiled, and a fault has its line in the file', async () => {
    const broken = COMPANY.replace('Action::"access"', 'Action::"acess"');
    const [fault, ...more] = await faults(broken);
    expect(more).toEqual([]);
    expect(fault).toMatch(/^f0\.yaml:42:20 policies\[0\]\.cedar: /);
  });

  test('in a file of their own have their line there', async () => {
    const text = 'policies: [{id: a, cedar_file: a.cedar}]';
    const prepared = await planApply(
      [{ file: 'conf/o.yaml', text, includes: { 'a.cedar': 'permit (principal,\n  action,\n resource' } }],
      store,
      OPTIONS,
    );
    expect(Array.isArray(prepared) && prepared.map(formatFault)[0]).toMatch(/^conf\/a\.cedar:\d+:\d+: /);
  });

  test('that are registered and broken do not stop another file', async () => {
    const put = { kind: 'policy', name: 'old', spec: { id: 'old', cedar: 'nonsense', demo: false }, keys: [] } as const;
    await store.change([{ type: 'put', ...put }], { author: 't', origin: 'command' });
    expect((await plan(COMPANY)).plan.warnings.join()).toContain('policy old (registered): ');
  });
});

test('what is weaker than it could be is said at every apply', async () => {
  const file = COMPANY.replace('clients: [planner]', 'clients: ["*"]')
    .replace('claims: {groups: groups}', 'subject: {verbatim: true}')
    .replace(
      '- id: planner',
      '- id: planner\n    token_endpoint_audience: true\n    allow_default_service_account: true',
    );
  await apply(file);
  const { warnings } = (await plan(file)).plan;
  expect(warnings.map((warning) => warning.replace(/(:| accepts| may).*/, ''))).toEqual([
    'issuer corp',
    'issuer corp',
    'client planner',
    'client planner',
  ]);
  expect(warnings.join()).toMatch(/company-app.*verbatim.*token_endpoint_audience.*allow_default_service_account/s);
});
