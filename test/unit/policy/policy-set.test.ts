import { describe, expect, test } from 'vitest';
import { compilePolicies, isPolicySet } from '../../../src/policy/policy-set.ts';
import type { PolicyFault, PolicySet, PolicySource } from '../../../src/policy/policy-set.ts';
import { LINKS_MAX, NESTING_MAX } from '../../../src/policy/statements.ts';
import { ACCESS, ACT, decide, permittedScopes, sourcesOf } from './parties.ts';

function faultsOf(...sources: PolicySource[]): readonly PolicyFault[] {
  const result = compilePolicies(sources);
  return isPolicySet(result) ? [] : result;
}

function faultOf(cedar: string): PolicyFault | undefined {
  const faults = faultsOf({ id: 'p', cedar });
  expect(faults.length, JSON.stringify(faults)).toBeLessThanOrEqual(1);
  return faults[0];
}

function setOf(policies: Readonly<Record<string, string>>): PolicySet {
  const result = compilePolicies(sourcesOf(policies));
  if (!isPolicySet(result)) throw new Error(JSON.stringify(result));
  return result;
}

const when = (condition: string) => `forbid (principal, action, resource) when { ${condition} };`;

describe('faults', () => {
  test('are given all at once, in the order of the sources, with line, column and help', () => {
    const faults = faultsOf(
      {
        id: 'second',
        cedar: `${ACCESS}\n// é is two bytes\n\n${when('context.clock')}\n${when('\n  principal.email == "a"')}`,
      },
      {
        id: 'first',
        cedar: `forbid (principal, action, resource)\n  when { 1 + };\n${ACT.replace('action ==', 'action =')}`,
      },
    );
    expect(faults.map(({ policy, line, column }) => [policy, line, column])).toEqual([
      ['second', 4, 45],
      ['second', 6, 3],
      ['first', 2, 14],
      ['first', 3, 46],
    ]);
    expect(faults[0]?.message).toBe('attribute `clock` in context not found');
    expect(faults[1]?.message).toMatch(/email/);
    expect(faults[2]).toMatchObject({ message: 'unexpected token `}`', help: expect.stringMatching(/^expected /) });
  });

  test.each([
    ['an unknown attribute of the context', when('context.requestId == "r"')],
    ['an unknown attribute of a party', when('principal.department == "x"')],
    ['an optional attribute that is not tested first', when('context.via == Resource::"https://n"')],
    ['an unknown action', ACCESS.replace('"access"', '"acess"')],
    ['an unknown entity type', when('context.subject in Team::"x"')],
    ['an unknown grant', when('context.grant == Grant::"password"')],
    ['a wrong type', when('context.depth == "1"')],
    ['a template', `permit (principal == ?principal, action == Action::"access", resource);`],
    ['a statement that can never apply', `forbid (principal is User, action == Action::"impersonate", resource);`],
    [
      'an action that does not go with the resource',
      `forbid (principal, action == Action::"actAs", resource is Scope);`,
    ],
    ['hidden text direction', `forbid (principal == Client::"a\u202eb", action, resource);`],
    ['a missing semicolon', ACCESS.slice(0, -1)],
    ['a string without an end', when('resource.name == "notes:read')],
    ['an @id that is no name', `@id("a b") ${ACCESS}`],
    ['an @id without a name', `@id ${ACCESS}`],
  ])('%s', (_, cedar) => {
    expect(faultOf(cedar)).toMatchObject({ policy: 'p', line: 1 });
  });

  test.each(['action', 'action in []'])('a permit whose head says `%s` permits nothing by name', (action) => {
    const faults = faultsOf({ id: 'p', cedar: `permit (principal, ${action}, resource);` });
    expect(faults.length).toBeGreaterThan(0);
  });

  test('a permit must name its actions; a forbid need not', () => {
    expect(faultOf('\n permit (principal, action, resource);')).toEqual({
      policy: 'p',
      line: 2,
      column: 2,
      message: 'a permit must name its actions',
      help: expect.stringContaining('action in ['),
    });
    expect(faultOf(`permit (principal, action, resource) when { action == Action::"access" };`)?.message).toBe(
      'a permit must name its actions',
    );
    expect(faultOf('forbid (principal, action, resource);')).toBeUndefined();
    expect(
      faultOf(`permit (principal, action in [Action::"access", Action::"impersonate"], resource);`),
    ).toBeUndefined();
  });

  test.each([
    ['context.subject == User::"corp:ada"', /write `context.subject in User::"…"`/],
    ['Client::"a" != context.subject', /write `context.subject in Client::"…"`/],
    ['principal == context.subject', /write `context.subject in principal`/],
    ['principal == Group::"g"', /write `principal in Group::"…"`/],
    ['resource == Resource::"https://n"', /write `resource in Resource::"…"`/],
    ['[User::"corp:ada"].contains(context.subject)', /not compatible/],
    ['principal in [Scope::"n#a", Scope::"n#b"]', /can never hold/],
    ['context.client in User::"corp:ada"', /can never hold/],
    ['context.subject is User', /can never hold/],
    ['resource in context.subject', /can never hold/],
  ])('a comparison that can never hold is a fault also where it is only one of several: %s', (condition, message) => {
    expect(faultOf(when(`context.depth > 3 || ${condition}`))?.message).toMatch(message);
  });

  test.each([
    'context.subject in principal',
    'principal == context.client',
    'resource in Group::"g"',
    'context.subject in [Group::"g", Group::"h"]',
    '[Client::"a", Client::"b"].contains(context.client)',
    'principal is User && principal in Role::"r"',
    'context has via && resource in context.via',
  ])('a comparison that can hold is none: %s', (condition) => {
    expect(faultOf(when(`context.depth > 3 || ${condition}`))).toBeUndefined();
  });

  test('two sources of one id; a source without a statement; two statements of one name', () => {
    expect(faultsOf({ id: 'a', cedar: ACCESS }, { id: 'a', cedar: ACT })).toEqual([
      { policy: 'a', message: 'two policies have this id' },
    ]);
    expect(faultOf(' // nothing; really\n')).toEqual({ policy: 'p', message: 'there is no statement in it' });
    const twice = faultsOf({ id: 'a.1', cedar: ACCESS }, { id: 'a', cedar: `${ACCESS}${ACT}` });
    expect(twice).toMatchObject([{ policy: 'a', message: 'two statements are called `a.1`' }]);
  });

  test('too much in one statement would end Cedar for good, so it never gets there', () => {
    const deep = (n: number) => when(`${'('.repeat(n)}true${')'.repeat(n)}`);
    const long = (n: number) => when(Array.from({ length: n }, () => 'true').join(' && '));
    expect(faultOf(deep(5000))?.message).toBe(`more than ${NESTING_MAX} brackets in one another`);
    expect(faultOf(deep(NESTING_MAX))?.message).toBe(`more than ${NESTING_MAX} brackets in one another`);
    expect(faultOf(deep(NESTING_MAX - 1))).toBeUndefined();
    expect(faultOf(long(5000))?.message).toBe(`more than ${LINKS_MAX} operators in one statement`);
    expect(faultOf(long(LINKS_MAX + 1))?.message).toBe(`more than ${LINKS_MAX} operators in one statement`);
    expect(faultOf(long(LINKS_MAX))).toBeUndefined();
    expect(faultOf(`)${deep(5000)}`)?.message).toBe(`more than ${NESTING_MAX} brackets in one another`);
  });

  test.each([
    ['conditionals', `${'if true then '.repeat(98)}true${' else false'.repeat(98)}`],
    ['conditions', `${'if '.repeat(98)}true${' then true else false'.repeat(98)}`],
    ['sums', `${Array.from({ length: 98 }, () => '1').join(' + ')} > 1`],
    ['members', `context${'.client'.repeat(98)} == 1 || true`],
    ['calls', `[true]${'.contains(true)'.repeat(98)} || true`],
    ['brackets', `${'(if true then ('.repeat(7)}true${') else false)'.repeat(7)}`],
    ['records', `${'{a: '.repeat(14)}1${'}'.repeat(14)} == ${'{a: '.repeat(14)}1${'}'.repeat(14)}`],
  ])('what is within the bounds does not overflow Cedar, compiling or deciding: %s', (_, condition) => {
    const cedar = `permit (principal, action in [Action::"access", Action::"act"], resource) when { ${condition} };`;
    const bounded = compilePolicies([{ id: 'p', cedar }]);
    if (isPolicySet(bounded)) decide({ p: cedar });
    expect(permittedScopes(decide({ people: ACCESS, agents: ACT }))).toEqual(['notes:read']);
  });
});

describe('names', () => {
  test('a sole statement has the id of its source; several are numbered or named', () => {
    expect(setOf({ sole: ACCESS }).ids).toEqual(['sole']);
    expect(setOf({ two: `${ACCESS}\n@id("agents") ${ACT}\n${ACCESS}` }).ids).toEqual(['two.1', 'two.3', 'two.agents']);
  });

  test('statements keep their order and number beyond nine', () => {
    const cedar = Array.from({ length: 12 }, (_, index) => ACCESS.replace('engineering', `g${index}`)).join('\n');
    const { statements } = setOf({ many: cedar });
    expect(statements[11]).toMatchObject({ id: 'many.12', source: 'many', effect: 'permit' });
    expect(statements[11]?.cedar).toContain('corp:g11');
  });

  test('semicolons in strings and comments end nothing', () => {
    const set = setOf({
      p: `// a; comment "with a quote\n${when('principal in Group::"a;\\";//"')} // another;\r${ACCESS}`,
    });
    expect(set.ids).toEqual(['p.1', 'p.2']);
    expect(set.statements.map((statement) => statement.effect)).toEqual(['forbid', 'permit']);
  });

  test('names that mix scripts are warned of and allowed', () => {
    const set = setOf({ p: `forbid (principal in Group::"corp:аdmin", action, resource);` });
    expect(set.warnings).toMatchObject([{ policy: 'p', line: 1, message: expect.stringContaining('mixed scripts') }]);
    expect(setOf({ p: `forbid (principal in Group::"corp:Ingénierie", action, resource);` }).warnings).toEqual([]);
  });
});

describe('digest', () => {
  test('does not depend on the order of the sources and changes with every byte of them', () => {
    const { digest } = setOf({ a: ACCESS, b: ACT });
    expect(setOf({ b: ACT, a: ACCESS }).digest).toBe(digest);
    expect(setOf({ a: ACCESS, b: `${ACT} ` }).digest).not.toBe(digest);
    expect(setOf({ a: ACT, b: ACCESS }).digest).not.toBe(digest);
    expect(setOf({ a: ACCESS }).digest).not.toBe(digest);
  });

  test('is SHA-256 in base64url (pinned: records cite it)', () => {
    // printf '[]' | openssl dgst -sha256 -binary | basenc --base64url
    expect(setOf({}).digest).toBe('T1PNoYwrqgwDVLtfmj7L5e0Sq02OEbqHPC8RFhICuUU');
  });
});
