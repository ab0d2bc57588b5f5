import { describe, expect, test } from 'vitest';
import { clientSpec } from '../../../src/objects/client.ts';
import { issuerSpec } from '../../../src/objects/issuer.ts';
import { policySpec, roleSpec, subjectSpec } from '../../../src/objects/policy.ts';
import { resourceSpec } from '../../../src/objects/resource.ts';

const resource = { name: 'notes', uri: 'https://notes.example/mcp', scopes: { read: 'Read' } };
const issuer = { name: 'corp', issuer: 'https://idp.example' };
const client = { id: 'agent', auth: ['client_secret_basic'] };

/** The path of each fault. */
function faultsOf(schema: {
  safeParse(value: unknown): { error?: { issues: { path: PropertyKey[] }[] } | undefined };
}) {
  return (value: unknown) => schema.safeParse(value).error?.issues.map(({ path }) => path.join('.')) ?? [];
}
const faults = {
  client: faultsOf(clientSpec),
  issuer: faultsOf(issuerSpec),
  policy: faultsOf(policySpec),
  role: faultsOf(roleSpec),
  subject: faultsOf(subjectSpec),
  resource: faultsOf(resourceSpec),
};

describe('scopes that a resource names must be its own', () => {
  test.each(['constructor', 'toString', 'hasOwnProperty'])('and "%s", which every object has, is not', (inherited) => {
    expect(faults.resource({ ...resource, default_scopes: [inherited] })).toEqual(['default_scopes.0']);
    const calls = [{ resource: 'other', needs: [inherited], gives: ['x'] }];
    expect(faults.resource({ ...resource, calls })).toEqual(['calls.0.needs.0']);
  });

  test('but a scope may be called that', () => {
    const scopes = Object.fromEntries([['constructor', 'Build']]);
    expect(faults.resource({ ...resource, scopes, default_scopes: ['constructor'] })).toEqual([]);
  });
});

describe('no free string holds what a database cannot store or a terminal would obey', () => {
  const places: [string, (text: string) => string[]][] = [
    ['name', (text) => faults.client({ ...client, name: text })],
    ['description', (text) => faults.client({ ...client, description: text })],
    ['groups.0', (text) => faults.client({ ...client, groups: [text] })],
    ['identities.0.sub', (text) => faults.client({ ...client, identities: [{ issuer: 'corp', sub: text }] })],
    ['description', (text) => faults.resource({ ...resource, description: text })],
    ['scopes.read', (text) => faults.resource({ ...resource, scopes: { read: text } })],
    ['uri', (text) => faults.resource({ ...resource, uri: `urn:example:${text}` })],
    ['jwks_uri', (text) => faults.issuer({ ...issuer, jwks_uri: `https://idp.example/${text}` })],
    ['issuer', (text) => faults.issuer({ ...issuer, issuer: `https://idp.example/${text}` })],
    ['audiences.0.value', (text) => faults.issuer({ ...issuer, audiences: [{ value: text, clients: ['*'] }] })],
    ['subject.claims.0', (text) => faults.issuer({ ...issuer, subject: { claims: [text] } })],
    ['required_claims.a', (text) => faults.issuer({ ...issuer, required_claims: { a: text } })],
    ['ca_file', (text) => faults.issuer({ ...issuer, ca_file: text })],
    ['groups.0', (text) => faults.role({ name: 'lead', groups: [text] })],
    ['sub', (text) => faults.subject({ issuer: 'corp', sub: text })],
    ['cedar', (text) => faults.policy({ id: 'all', cedar: text })],
  ];
  test.each(places)('%s', (path, check) => {
    expect(check('plain-é-😀')).toEqual([]);
    for (const odd of ['a\0b', 'a\u001b[2Jb', 'a\u009bb', 'a\ud800b', 'a\udc00'])
      expect(check(odd), JSON.stringify(odd)).toContain(path);
  });

  test('descriptions and policies may have several lines; names and subjects may not', () => {
    expect(faults.policy({ id: 'all', cedar: 'permit (\n\tprincipal\r\n)' })).toEqual([]);
    expect(faults.client({ ...client, description: 'one\ntwo' })).toEqual([]);
    expect(faults.client({ ...client, name: 'one\ntwo' })).toEqual(['name']);
    expect(faults.subject({ issuer: 'corp', sub: 'ada\n' })).toEqual(['sub']);
  });
});
