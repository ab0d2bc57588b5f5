import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createPolicyEngine } from '../../../src/policy/engine.ts';
import type { Party } from '../../../src/policy/engine.ts';
import { ACCESS, ACT, DELEGATED, client, loadInto, permittedScopes, user } from './parties.ts';
import type { Input } from './parties.ts';

const BOTH = { people: ACCESS, agents: ACT };

// Policies whose answers hang on every fact that a policy can see.
const TELLTALE = {
  access: `
    permit (principal in Group::"g", action == Action::"access", resource);
    permit (principal in Role::"r", action == Action::"access", resource);
    permit (principal, action == Action::"access", resource == Scope::"notes#a");
    permit (principal, action == Action::"access", resource in Resource::"https://two.example");
    permit (principal is User, action == Action::"access", resource) when { principal has email };
    forbid (principal, action, resource) when { context.grant == Grant::"client_credentials" };
    forbid (principal, action, resource) when { context.depth > 1 };
    forbid (principal, action, resource) when { context has via };
    forbid (principal, action, resource) when { context.subject.issuer == "https://two.example" };
    forbid (principal, action, resource) when { context.client has name };`,
  act: `
    permit (principal in Group::"g", action in [Action::"act", Action::"actAs", Action::"impersonate"], resource);
    permit (principal == Client::"c", action in [Action::"act", Action::"impersonate"], resource);
    permit (principal, action == Action::"act", resource) when { context.subject.sub == "s" };`,
};

const few = (values: string[]) => fc.constantFrom([], ...values.map((value) => [value]), values);
const party = (type: 'User' | 'Client'): fc.Arbitrary<Party> =>
  fc
    .record({
      id: type === 'User' ? fc.constantFrom('corp:s', 'corp:t') : fc.constantFrom('c', 'd'),
      issuer: fc.constantFrom('https://one.example', 'https://two.example'),
      sub: fc.constantFrom('s', 't'),
      email: fc.constantFrom(undefined, 'a@b.example'),
      name: fc.constantFrom(undefined, 'A'),
      groups: few(['g', 'h']),
      roles: few(['r', 'q']),
    })
    .map(({ email, name, ...rest }) => ({
      type,
      ...rest,
      ...(email === undefined ? {} : { email }),
      ...(name === undefined ? {} : { name }),
    }));
const anyParty = fc.oneof(party('User'), party('Client'));
const FIELDS = {
  subject: anyParty,
  actor: fc.option(anyParty, { nil: undefined }),
  client: party('Client'),
  resource: fc.record({
    name: fc.constantFrom('notes', 'two'),
    uri: fc.constantFrom('https://notes.example/mcp', 'https://two.example'),
  }),
  scopes: few(['a', 'b']),
  context: fc.record({
    grant: fc.constantFrom('token_exchange', 'client_credentials'),
    depth: fc.constantFrom(0, 1, 2),
    via: fc.constantFrom(undefined, 'https://two.example'),
  }),
  groupRoles: fc.constantFrom({}, { g: ['q'] }, { h: ['r'] }, { g: ['r'], h: ['q'] }),
  mayImpersonate: fc.boolean(),
};
const input: fc.Arbitrary<Input> = fc
  .record(FIELDS)
  .chain((fields) =>
    fields.actor === undefined
      ? fc.constant({ ...fields, actAs: false })
      : fc.boolean().map((actAs) => ({ ...fields, actAs })),
  );

test('a remembered decision never answers for other facts: any one field changed, both orders', () => {
  const remembering = createPolicyEngine();
  const fresh = createPolicyEngine({ memoMax: 0 });
  const sets = [TELLTALE, { ...TELLTALE, more: `permit (principal, action == Action::"access", resource);` }];
  const known = sets.map((policies) => loadInto(remembering, policies));
  const plain = sets.map((policies) => loadInto(fresh, policies));
  let told = 0;
  fc.assert(
    fc.property(input, input, fc.constantFrom(...Object.keys(FIELDS)), fc.nat(1), (one, other, field, at) => {
      const changed = { ...one, [field]: other[field as keyof Input] };
      if (changed.actor === undefined) changed.actAs = false;
      const answers = [one, changed, one].map((facts, index) => {
        const which = index === 1 ? at : 0;
        const answer = remembering.decide(known[which]!, facts);
        expect(answer).toEqual(fresh.decide(plain[which]!, facts));
        return JSON.stringify(answer);
      });
      if (answers[0] !== answers[1]) told += 1;
    }),
    { numRuns: 120 },
  );
  // The property says nothing if the answers never differ.
  expect(told).toBeGreaterThan(20);
  expect(remembering.stats().hits).toBeGreaterThan(120);
});

test('each single fact of a party changes what is remembered', () => {
  const engine = createPolicyEngine();
  const set = loadInto(engine, BOTH);
  const base = { ...DELEGATED, subject: { ...user('ada', ['corp:engineering']), email: 'a@b.example', name: 'Ada' } };
  engine.decide(set, base);
  const changes: Partial<Party>[] = [
    { type: 'Client' },
    { id: 'corp:bob' },
    { issuer: 'https://other.example' },
    { sub: 'bob' },
    { email: 'b@b.example' },
    { name: 'Bob' },
    { groups: [] },
    { roles: ['admin'] },
  ];
  for (const change of changes) {
    const { misses } = engine.stats();
    engine.decide(set, { ...base, subject: { ...base.subject, ...change } });
    expect(engine.stats().misses, JSON.stringify(change)).toBe(misses + 1);
  }
  engine.decide(set, structuredClone(base));
  expect(engine.stats().hits).toBe(1);
});

test('a user who leaves the group is denied on the next question', () => {
  const engine = createPolicyEngine();
  const set = loadInto(engine, BOTH);
  expect(permittedScopes(engine.decide(set, DELEGATED))).toEqual(['notes:read']);
  expect(permittedScopes(engine.decide(set, { ...DELEGATED, subject: user('ada') }))).toEqual([]);
});

test('roles of groups that nobody here is in do not tell decisions apart; those of groups that somebody is in do', () => {
  const engine = createPolicyEngine();
  const set = loadInto(engine, BOTH);
  engine.decide(set, DELEGATED);
  engine.decide(set, { ...DELEGATED, groupRoles: { 'corp:sales': ['seller'] } });
  expect(engine.stats()).toEqual({ hits: 1, misses: 1 });
  engine.decide(set, { ...DELEGATED, groupRoles: { 'corp:staff': ['employee'] } });
  expect(engine.stats()).toEqual({ hits: 1, misses: 2 });
});

test('new policies decide at once: what the old ones remembered does not count', () => {
  const engine = createPolicyEngine();
  const before = loadInto(engine, BOTH);
  expect(permittedScopes(engine.decide(before, DELEGATED))).toEqual(['notes:read']);
  const after = loadInto(engine, { people: ACCESS });
  expect(permittedScopes(engine.decide(after, DELEGATED))).toEqual([]);
  expect(after.digest).not.toBe(before.digest);
});

test('the memo is bounded', () => {
  const engine = createPolicyEngine({ memoMax: 2 });
  const set = loadInto(engine, BOTH);
  const asking = (id: string) => engine.decide(set, { ...DELEGATED, client: client(id) });
  for (const id of ['a', 'b', 'c', 'a']) asking(id);
  expect(engine.stats()).toEqual({ hits: 0, misses: 4 });
});

test('a remembered decision cannot be changed by whoever received it', () => {
  const engine = createPolicyEngine();
  const decision = engine.decide(loadInto(engine, {}), DELEGATED);
  expect(() => {
    (decision.verdicts[0] as { permitted: boolean }).permitted = true;
  }).toThrow(TypeError);
  expect(() => (decision.verdicts[0]?.subject.policies as string[]).push('x')).toThrow(TypeError);
});
