import { expect, test } from 'vitest';
import * as cedar from '../../../src/policy/cedar.ts';

// Without the fence this does not fail: it ends the worker with "Fatal error: unreachable code".
test('a call into Cedar survives the deoptimisation of its caller (V8 in Node 20 and 22)', () => {
  cedar.preparsePolicySet('fence', { staticPolicies: { all: 'permit (principal, action, resource);' } });
  const assumed = { constant: 1 };
  let breakAssumption = false;
  const question = {
    principal: { type: 'User', id: 'u' },
    action: { type: 'Action', id: 'a' },
    resource: { type: 'Scope', id: 's' },
    context: {},
    get entities() {
      if (breakAssumption) assumed.constant += 1;
      return [];
    },
    preparsedPolicySetId: 'fence',
  };
  const hot = () => `${cedar.statefulIsAuthorized(question).type} ${assumed.constant}`;
  for (let i = 0; i < 12_000; i += 1) hot();
  breakAssumption = true;
  expect(hot()).toBe('success 2');
});
