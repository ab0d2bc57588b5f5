import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CEDAR_SCHEMA } from '../../../src/policy/schema.ts';
import { LINKS_MAX, NESTING_MAX } from '../../../src/policy/statements.ts';
import { CALENDAR, DELEGATED, NOTES, client, decide, permittedScopes, user } from './parties.ts';
import type { Input } from './parties.ts';

const DOCS = readFileSync(new URL('../../../docs/policy.md', import.meta.url), 'utf8');

/** The Cedar block under the heading that begins with this number. */
function worked(number: number): string {
  const section = DOCS.split(`\n### ${number}. `)[1]?.split('\n#')[0] ?? '';
  return /```cedar\n([^]*?)```/.exec(section)?.[1] ?? '';
}

const everybody = `permit (principal, action == Action::"access", resource);`;
const anyAgent = `permit (principal, action == Action::"act", resource);`;

function given(policies: Readonly<Record<string, string>>, changes: Partial<Input>): string[] {
  return permittedScopes(decide(policies, changes));
}

test('the printed schema is the schema', () => {
  expect(/```cedarschema\n([^]*?)```/.exec(DOCS)?.[1]).toBe(CEDAR_SCHEMA);
});

test('the printed limits are the limits', () => {
  expect(DOCS.replaceAll('\n', ' ')).toContain(`at most ${LINKS_MAX} operators and ${NESTING_MAX} brackets`);
});

test('worked policy 1: engineers, at that resource, and by itself no agent', () => {
  const policies = { engineers: worked(1) };
  const self = { actor: undefined };
  expect(given(policies, self)).toEqual(['notes:read']);
  expect(given(policies, { ...self, subject: user('bob', ['corp:staff']) })).toEqual([]);
  expect(given(policies, { ...self, resource: CALENDAR })).toEqual([]);
  expect(given(policies, {})).toEqual([]);
});

test('worked policy 2: the travel agent reads for staff', () => {
  const policies = { everybody, agents: worked(2) };
  const scopes = ['notes:read', 'notes:write'];
  expect(given(policies, { scopes })).toEqual(['notes:read']);
  expect(given(policies, { scopes, subject: user('eve', ['corp:guests']) })).toEqual([]);
  expect(given(policies, { scopes, actor: client('other'), client: client('other') })).toEqual([]);
  expect(decide(policies).verdicts[0]?.actor?.policies).toEqual(['agents.travel-reads']);
});

test('worked policy 3: suspended users and agents are stopped, whatever permits', () => {
  const policies = { everybody, anyAgent, suspended: worked(3) };
  expect(given(policies, {})).toEqual(['notes:read']);
  expect(given(policies, { subject: user('ada', [], ['suspended']) })).toEqual([]);
  const suspended = client('travel-agent', [], ['suspended']);
  expect(given(policies, { actor: suspended, client: suspended })).toEqual([]);
});

test('worked policy 4: the hop, only from there, only so far', () => {
  const policies = { everybody, hops: worked(4) };
  const server = client('notes-server');
  const hop = {
    actor: server,
    client: server,
    resource: CALENDAR,
    scopes: ['calendar:read', 'calendar:write'],
    context: { ...DELEGATED.context, depth: 2, via: NOTES.uri },
  };
  expect(given(policies, hop)).toEqual(['calendar:read']);
  expect(given(policies, { ...hop, context: { ...hop.context, depth: 3 } })).toEqual([]);
  expect(given(policies, { ...hop, context: { ...hop.context, via: undefined } })).toEqual([]);
  expect(given(policies, { ...hop, context: { ...hop.context, via: CALENDAR.uri } })).toEqual([]);
});

test('worked policy 5: impersonation and actAs by name', () => {
  const policies = { everybody, special: worked(5) };
  const gateway = client('legacy-gateway');
  const erp = { name: 'erp', uri: 'https://erp.example' };
  const orders = { actor: gateway, client: gateway, resource: erp, scopes: ['orders:read'], mayImpersonate: true };
  expect(decide(policies, orders)).toMatchObject({
    impersonation: true,
    impersonationPolicies: ['special.gateway'],
  });
  expect(decide(policies, { ...orders, scopes: ['orders:write'] }).impersonation).toBe(false);
  expect(decide(policies, { ...orders, actor: client('x'), client: client('x') }).impersonation).toBe(false);
  const runner = { client: client('job-runner'), actor: client('job-7', ['jobs']), actAs: true };
  expect(decide(policies, runner).actAs).toMatchObject({ permitted: true, policies: ['special.jobs'] });
  expect(decide(policies, { ...runner, actor: client('travel-agent') }).actAs?.permitted).toBe(false);
});
