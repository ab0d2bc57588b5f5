import { describe, expect, test } from 'vitest';
import { QUESTION_REFUSED, createPolicyEngine } from '../../../src/policy/engine.ts';
import { GRANT_NAMES } from '../../../src/objects/client.ts';
import { GRANT_IDS } from '../../../src/policy/schema.ts';
import { ACCESS, ACT, CALENDAR, DELEGATED, NOTES, client, decide, loadInto, permittedScopes, user } from './parties.ts';

const BOTH = { people: ACCESS, agents: ACT };
const OVERFLOWS = 'context.depth + 9223372036854775807 > 0';

describe('two questions', () => {
  test('without policies everything is denied', () => {
    const [verdict] = decide({}).verdicts;
    expect(verdict).toEqual({
      scope: 'notes:read',
      permitted: false,
      subject: { permitted: false, policies: [], errors: [] },
      actor: { permitted: false, policies: [], errors: [] },
    });
  });

  test.each([
    [BOTH, true, true],
    [{ people: ACCESS }, true, false],
    [{ agents: ACT }, false, true],
  ])('a scope is permitted when subject and actor both are: %j', (policies, subject, actor) => {
    const [verdict] = decide(policies).verdicts;
    expect(verdict?.subject.permitted).toBe(subject);
    expect(verdict?.actor?.permitted).toBe(actor);
    expect(verdict?.permitted).toBe(subject && actor);
  });

  test('an actor that may have the scope itself may not therefore use it for somebody else', () => {
    const own = `permit (principal, action == Action::"access", resource);`;
    expect(permittedScopes(decide({ own }))).toEqual([]);
  });

  test('self: only the question of the subject is asked, and `delegated` is false', () => {
    const self = `permit (principal == Client::"travel-agent", action == Action::"access", resource) when { !context.delegated };`;
    const agent = client('travel-agent');
    const decision = decide({ self }, { subject: agent, actor: undefined });
    expect(permittedScopes(decision)).toEqual(['notes:read']);
    expect(decision.verdicts[0]?.actor).toBeUndefined();
    expect(permittedScopes(decide({ self, agents: ACT }, { subject: agent }))).toEqual([]);
  });

  test('each scope has a verdict of its own, with the statements that determined it', () => {
    const read = `permit (principal, action == Action::"access", resource == Scope::"notes#notes:read");`;
    const decision = decide({ read, agents: ACT }, { scopes: ['notes:write', 'notes:read'] });
    expect(permittedScopes(decision)).toEqual(['notes:read']);
    expect(decision.verdicts.map((verdict) => verdict.scope)).toEqual(['notes:write', 'notes:read']);
    expect(decision.verdicts[1]?.subject.policies).toEqual(['read']);
    expect(decision.verdicts[1]?.actor?.policies).toEqual(['agents']);
  });

  test('a forbid wins over a permit and is named', () => {
    const stop = `forbid (principal, action, resource == Scope::"notes#notes:read");`;
    const [verdict] = decide({ ...BOTH, stop }).verdicts;
    expect(verdict?.permitted).toBe(false);
    expect(verdict?.subject).toEqual({ permitted: false, policies: ['stop'], errors: [] });
  });

  test('a permit at one resource says nothing about another (A2)', () => {
    const notes = `permit (principal, action in [Action::"access", Action::"act"], resource in Resource::"${NOTES.uri}");`;
    expect(permittedScopes(decide({ notes }))).toEqual(['notes:read']);
    expect(permittedScopes(decide({ notes }, { resource: CALENDAR }))).toEqual([]);
  });
});

describe('what policies can see', () => {
  const actWhen = (condition: string) => ({
    people: `permit (principal, action == Action::"access", resource);`,
    agents: `permit (principal, action == Action::"act", resource) when { ${condition} };`,
  });
  test.each([
    'context.subject in Group::"corp:staff"',
    'context.subject in User::"corp:ada"',
    'context.subject == Subject::"corp:ada"',
    'context.subject.issuer == "https://idp.corp.example" && context.subject.sub == "ada"',
    '!context.subject.isClient',
    'context.client == principal',
    'context.grant == Grant::"token_exchange"',
    'context.delegated && context.depth == 1',
    '!(context has via)',
    'resource.resource == "notes" && resource.name == "notes:read"',
  ])('%s', (condition) => {
    expect(permittedScopes(decide(actWhen(condition)))).toEqual(['notes:read']);
    expect(permittedScopes(decide(actWhen(`!(${condition})`)))).toEqual([]);
  });

  test('roles, direct and brought by a group, of the subject and of a client', () => {
    const policies = actWhen('context.subject in Role::"employee" && principal in Role::"trusted"');
    const trusted = client('travel-agent', [], ['trusted']);
    const direct = { subject: user('ada', [], ['employee']), actor: trusted, client: trusted };
    expect(permittedScopes(decide(policies, direct))).toEqual(['notes:read']);
    const brought = { actor: trusted, client: trusted, groupRoles: { 'corp:staff': ['employee'] } };
    expect(permittedScopes(decide(policies, brought))).toEqual(['notes:read']);
    expect(permittedScopes(decide(policies, { actor: trusted, client: trusted }))).toEqual([]);
  });

  test('a client as subject is the same in the context: its groups count', () => {
    const policies = actWhen('context.subject.isClient && context.subject in Group::"batch"');
    expect(permittedScopes(decide(policies, { subject: client('nightly', ['batch']) }))).toEqual(['notes:read']);
  });

  test('an e-mail is there only where one is known', () => {
    const policies = actWhen('context.subject has email && context.subject.email like "*@corp.example"');
    const subject = { ...user('ada'), email: 'ada@corp.example' };
    expect(permittedScopes(decide(policies, { subject }))).toEqual(['notes:read']);
    expect(permittedScopes(decide(policies))).toEqual([]);
  });

  test('a hop shows the resource that the presented token was for', () => {
    const policies = actWhen(`context has via && context.via == Resource::"${CALENDAR.uri}"`);
    const via = { context: { ...DELEGATED.context, via: CALENDAR.uri } };
    expect(permittedScopes(decide(policies, via))).toEqual(['notes:read']);
  });

  test('a user never passes for a client of the same name, nor the reverse (R13)', () => {
    const agent = { ...user('x'), id: 'travel-agent' };
    expect(permittedScopes(decide(BOTH, { actor: agent }))).toEqual([]);
  });

  test('the grants are those that clients can be given, on the wire and by name', () => {
    expect([...GRANT_IDS].sort()).toEqual(Object.keys(GRANT_NAMES).sort());
    const policies = actWhen('context.grant == Grant::"client_credentials"');
    for (const grant of ['client_credentials', GRANT_NAMES.client_credentials])
      expect(permittedScopes(decide(policies, { context: { ...DELEGATED.context, grant } }))).toEqual(['notes:read']);
    expect(() => decide(policies, { context: { ...DELEGATED.context, grant: 'password' } })).toThrow(TypeError);
  });

  test('quotes, backslashes, control and other characters in ids are just characters', () => {
    const odd = 'corp:a"b\\c\u0000\n";permit(principal,action,resource);//ß𝒳';
    const stranger = { ...user('x'), id: odd, sub: odd, groups: ['corp:"engineering"', 'corp:engineering\u0000'] };
    expect(permittedScopes(decide(BOTH, { subject: stranger }))).toEqual([]);
    const subject = { ...stranger, groups: [...stranger.groups, 'corp:engineering'] };
    expect(permittedScopes(decide(BOTH, { subject }))).toEqual(['notes:read']);
  });

  test('a party that was described twice is one party with both descriptions', () => {
    const self = `permit (principal in Group::"a", action == Action::"access", resource) when { context.client in Group::"b" };`;
    const twice = { subject: client('c', ['a']), client: client('c', ['b']), actor: undefined };
    expect(permittedScopes(decide({ self }, twice))).toEqual(['notes:read']);
  });

  test('a group named like a property of objects has no roles by accident', () => {
    const policies = actWhen('context.subject in Role::"employee"');
    const subject = user('ada', ['__proto__', 'constructor', 'toString']);
    expect(permittedScopes(decide(policies, { subject }))).toEqual([]);
  });
});

describe('A5: what cannot be evaluated denies', () => {
  test('an erroring condition in a permit denies, although another policy permits', () => {
    const broken = `permit (principal, action == Action::"access", resource) when { ${OVERFLOWS} };`;
    const [verdict] = decide({ ...BOTH, broken }).verdicts;
    expect(verdict?.permitted).toBe(false);
    expect(verdict?.subject).toEqual({ permitted: false, policies: [], errors: ['broken'] });
    expect(verdict?.actor?.permitted).toBe(true);
  });

  test('an erroring forbid is not skipped', () => {
    const broken = `forbid (principal, action == Action::"act", resource) when { ${OVERFLOWS} };`;
    const [verdict] = decide({ ...BOTH, broken }).verdicts;
    expect(verdict?.permitted).toBe(false);
    expect(verdict?.actor).toEqual({ permitted: false, policies: [], errors: ['broken'] });
  });

  test('an erroring policy that does not apply to the question changes nothing', () => {
    const broken = `forbid (principal, action == Action::"actAs", resource) when { ${OVERFLOWS} };`;
    expect(permittedScopes(decide({ ...BOTH, broken }))).toEqual(['notes:read']);
  });

  test('attributes of somebody who is no party of the question are an error, not an absence', () => {
    const nosy = `forbid (principal, action, resource) when { User::"corp:eve".sub == "eve" };`;
    expect(decide({ ...BOTH, nosy }).verdicts[0]?.subject.errors).toEqual(['nosy']);
  });

  test('text that is not well-formed could name somebody else inside Cedar, so it denies', () => {
    const replaced = `permit (principal in Group::"corp:\u{fffd}", action == Action::"access", resource);`;
    const honest = user('ada', ['corp:\u{fffd}']);
    expect(permittedScopes(decide({ replaced, agents: ACT }, { subject: honest }))).toEqual(['notes:read']);
    const [verdict] = decide({ replaced, agents: ACT }, { subject: user('ada', ['corp:\ud800']) }).verdicts;
    expect(verdict?.subject).toEqual({ permitted: false, policies: [], errors: [QUESTION_REFUSED] });
  });

  test.each([-1, 1.5, Number.NaN, 2 ** 60])('a depth of %d is a bug of the caller and thrown', (depth) => {
    expect(() => decide(BOTH, { context: { ...DELEGATED.context, depth } })).toThrow(RangeError);
  });
});

describe('actAs', () => {
  const other = { actor: client('job-7'), actAs: true };
  const policies = { people: ACCESS, agents: `permit (principal, action == Action::"act", resource);` };

  test('is not asked of the client about itself', () => {
    expect(decide(policies).actAs).toBeUndefined();
  });

  test('is denied unless permitted by name, and denies every scope', () => {
    const decision = decide(policies, other);
    expect(decision.actAs).toEqual({ permitted: false, policies: [], errors: [] });
    expect(decision.verdicts[0]?.actor?.permitted).toBe(true);
    expect(permittedScopes(decision)).toEqual([]);
  });

  test('is permitted by name, for that actor only', () => {
    const jobs = `permit (principal == Client::"travel-agent", action == Action::"actAs", resource == Client::"job-7");`;
    const decision = decide({ ...policies, jobs }, other);
    expect(decision.actAs?.policies).toEqual(['jobs']);
    expect(permittedScopes(decision)).toEqual(['notes:read']);
    expect(decide({ ...policies, jobs }, { ...other, actor: client('job-8') }).actAs?.permitted).toBe(false);
  });

  test('is asked whenever the actor is not the client, even if the caller forgot to say so', () => {
    expect(permittedScopes(decide(policies, { ...other, actAs: false }))).toEqual([]);
  });

  test('the actor may be a user', () => {
    const helpers = `permit (principal, action == Action::"actAs", resource in Group::"corp:helpdesk");`;
    const decision = decide({ ...policies, helpers }, { ...other, actor: user('bob', ['corp:helpdesk']) });
    expect(permittedScopes(decision)).toEqual(['notes:read']);
  });

  test('without an actor it is a bug of the caller', () => {
    expect(() => decide(policies, { actor: undefined, actAs: true })).toThrow(TypeError);
  });
});

describe('impersonation', () => {
  const asked = { mayImpersonate: true, scopes: ['notes:read', 'notes:write'] };
  const named = `permit (principal == Client::"travel-agent", action == Action::"impersonate", resource);`;

  test('needs a permit by name', () => {
    expect(decide(BOTH, asked).impersonation).toBe(false);
    const decision = decide({ ...BOTH, named }, asked);
    expect(decision.impersonation).toBe(true);
    expect(decision.impersonationPolicies).toEqual(['named']);
  });

  test('needs it for every scope that is permitted', () => {
    const one = `permit (principal, action == Action::"impersonate", resource == Scope::"notes#notes:read");`;
    const decision = decide({ ...BOTH, one }, asked);
    expect(decision.impersonation).toBe(false);
    expect(decision.impersonationPolicies).toEqual([]);
    const readOnly = { ...BOTH, one, people: ACCESS.replace('resource)', 'resource == Scope::"notes#notes:read")') };
    expect(decide(readOnly, asked).impersonation).toBe(true);
  });

  test('needs something to be permitted at all', () => {
    expect(decide({ named }, asked).impersonation).toBe(false);
  });

  test('an error in one of its policies denies it (A5)', () => {
    const broken = `forbid (principal, action == Action::"impersonate", resource) when { ${OVERFLOWS} };`;
    const decision = decide({ ...BOTH, named, broken }, asked);
    expect(decision.impersonation).toBe(false);
    expect(permittedScopes(decision)).toEqual(asked.scopes);
  });

  test.each([
    ['the caller does not ask', { mayImpersonate: false }],
    ['the client is the subject', { subject: client('travel-agent', ['corp:engineering']) }],
    ['nobody acts', { actor: undefined }],
    ['another party acts', { actor: client('job-7'), actAs: true }],
  ])('is out of the question when %s', (_, changes) => {
    const all = `permit (principal, action in [Action::"act", Action::"actAs"], resource);`;
    const decision = decide({ ...BOTH, named, all }, { ...asked, ...changes });
    expect(permittedScopes(decision)).toEqual(asked.scopes);
    expect(decision.impersonation).toBe(false);
  });
});

test('more sets than names inside Cedar: each still decides by its own policies', () => {
  const engine = createPolicyEngine({ memoMax: 0 });
  const scopes = ['s0', 's1', 's2', 's3', 's4', 's5', 's6'];
  const sets = scopes.map((scope) =>
    loadInto(engine, { p: `permit (principal, action == Action::"access", resource == Scope::"notes#${scope}");` }),
  );
  const self = { ...DELEGATED, actor: undefined, scopes };
  for (const round of [sets, [...sets].reverse(), sets])
    for (const set of round) expect(permittedScopes(engine.decide(set, self))).toEqual([scopes[sets.indexOf(set)]]);
});
