import { expect, test } from 'vitest';
import { explainDecision } from '../../../src/policy/explain.ts';
import { ACCESS, ACT, client, decide, user } from './parties.ts';

test('one line per scope says which statements permitted, forbade or failed', () => {
  const policies = {
    people: ACCESS,
    staff: `permit (principal in Group::"corp:staff", action == Action::"access", resource);`,
    agents: ACT.replace('resource)', 'resource == Scope::"notes#read")'),
    stop: `forbid (principal, action == Action::"access", resource == Scope::"notes#delete");`,
    broken: `permit (principal is Client, action == Action::"act", resource == Scope::"notes#share")
      when { context.depth + 9223372036854775807 > 0 };`,
  };
  expect(explainDecision(decide(policies, { scopes: ['read', 'write', 'delete', 'share'] }))).toEqual([
    'scope read: subject permitted by people, staff; actor permitted by agents',
    'scope write: subject permitted by people, staff; actor denied: no policy permits',
    'scope delete: subject denied: forbidden by stop; actor denied: no policy permits',
    'scope share: subject permitted by people, staff; actor denied: evaluation failed in broken',
  ]);
});

test('self has no actor; actAs and impersonation have lines of their own', () => {
  const self = `permit (principal, action == Action::"access", resource);`;
  const anyone = `permit (principal, action in [Action::"act", Action::"impersonate"], resource);`;
  expect(explainDecision(decide({ self }, { subject: client('c'), actor: undefined }))).toEqual([
    'scope notes:read: subject permitted by self',
  ]);
  expect(explainDecision(decide({ self, anyone }, { actor: client('job') }))).toEqual([
    'scope notes:read: subject permitted by self; actor permitted by anyone',
    'acting as another party: denied: no policy permits',
  ]);
  expect(explainDecision(decide({ self, anyone }, { mayImpersonate: true }))).toEqual([
    'scope notes:read: subject permitted by self; actor permitted by anyone',
    'impersonation: permitted by anyone',
  ]);
});

test('a question that Cedar refused says so, and no line names a person', () => {
  const lines = explainDecision(decide({ people: ACCESS }, { subject: user('ada\ud800', ['corp:secret-project']) }));
  expect(lines).toEqual([
    'scope notes:read: subject denied: the question does not fit the policy schema; actor denied: the question does not fit the policy schema',
  ]);
});
