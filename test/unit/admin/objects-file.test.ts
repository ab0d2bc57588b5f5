import { describe, expect, test } from 'vitest';
import { formatFault } from '../../../src/admin/fault.ts';
import { cedarFilesOf, parseObjects } from '../../../src/admin/objects-file.ts';
import { COMPANY } from './memory-store.ts';

const faultsOf = (text: string, includes = {}) =>
  parseObjects({ file: 'objects.yaml', text, includes }).faults.map(formatFault);

test('a file of every noun is read, with names, defaults and whether each says that it is disabled', () => {
  const { objects, faults } = parseObjects({ file: 'objects.yaml', text: COMPANY });
  expect(faults).toEqual([]);
  expect(objects.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'issuer corp',
    'client planner',
    'client notes-server',
    'client files-server',
    'resource notes',
    'resource files',
    'role staff',
    'subject corp:alice',
    'policy staff-read',
  ]);
  expect(objects[1]).toMatchObject({ disabled: undefined, spec: { grants: ['client_credentials', 'token_exchange'] } });
  const [off] = parseObjects({ file: 'f', text: 'roles: [{name: a, disabled: true}]' }).objects;
  expect(off).toMatchObject({ disabled: true, spec: { name: 'a' } });
  expect(off?.spec).not.toHaveProperty('disabled');
});

test('every fault of every entry at once, with line, column, path, value and fix', () => {
  const text = `clients:
  - id: planner
    auth: [client_secret_basik]
    disabled: maybe
  - id: "not a name"
    auth: []
    gruops: [a]
resource: []
roles: staff
`;
  expect(faultsOf(text)).toEqual([
    'objects.yaml:8:11 resource: is not known here; fix: did you mean "resources"?',
    'objects.yaml:4:15 clients[0].disabled: must be true or false (got "maybe"); fix: write true or false, or leave it out',
    'objects.yaml:3:12 clients[0].auth[0]: must be one of client_secret_basic, client_secret_post, private_key_jwt, workload_identity (got "client_secret_basik"); fix: did you mean "client_secret_basic"?',
    'objects.yaml:5:9 clients[1].id: must be 1 to 63 letters, digits, ".", "_" or "-", and start with a letter or digit (got "not a name"); fix: give client_id',
    'objects.yaml:6:11 clients[1].auth: must have at least 1 entry (got an empty list); fix: give the authentication methods that it may use, exactly one per request',
    'objects.yaml:7:5 clients[1].gruops: is not known here; fix: did you mean "groups"?',
    'objects.yaml:9:8 roles: must be a list (got "staff"); fix: start each entry with "- "',
  ]);
});

test('an unknown key does not hide what the rules over several fields find', () => {
  const text = `resources:
  - name: a
    uri: https://a.example
    scopes: {r: read}
    default_scopes: [w]
    lifetime: 5
`;
  expect(faultsOf(text)).toEqual([
    'objects.yaml:6:5 resources[0].lifetime: is not known here; fix: remove it; known here: name, uri, aliases, description, scopes, default_scopes, served_by, calls, audience_group, lifetime_seconds, signing_algorithm, requests_per_minute, demo, disabled',
    'objects.yaml:5:22 resources[0].default_scopes[0]: "w" is not among scopes (got "w")',
  ]);
});

describe('Cedar text', () => {
  const policy = 'policies:\n  - id: a\n    cedar_file: rules/a.cedar\n';

  test('may stand in a file, whose name can be asked for beforehand', () => {
    expect(cedarFilesOf(policy)).toEqual(['rules/a.cedar']);
    const { objects, faults } = parseObjects({ file: 'f', text: policy, includes: { 'rules/a.cedar': 'permit(…)' } });
    expect(faults).toEqual([]);
    expect(objects[0]?.spec).toMatchObject({ id: 'a', cedar: 'permit(…)' });
    expect(objects[0]?.spec).not.toHaveProperty('cedar_file');
  });

  test('is refused from a file that is not there, and beside a file', () => {
    expect(faultsOf(policy)).toEqual([
      'objects.yaml:3:17 policies[0].cedar_file: cannot be read (got "rules/a.cedar"); fix: give a path relative to this file',
    ]);
    expect(faultsOf(`${policy}    cedar: x\n`, { 'rules/a.cedar': 'x' })[0]).toContain('stands beside cedar');
    expect(faultsOf('policies: [{id: a}]')).toEqual([
      'objects.yaml:1:12 policies[0].cedar: is required; fix: add it as a string (One or more Cedar policies; see docs/policy.md for entities, actions and context)',
    ]);
  });
});

describe('keys', () => {
  const EC =
    '{kty: EC, crv: P-256, x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", kid: a}';
  const client = (jwk: string) => `clients: [{id: a, auth: [private_key_jwt], jwks: {keys: [${jwk}]}}]`;

  test('public keys are taken', () => {
    expect(faultsOf(client(EC))).toEqual([]);
  });

  test('R16: a private key in the file is refused and not repeated', () => {
    const [fault] = faultsOf(client(EC.replace('kid: a', 'kid: a, d: c2VjcmV0')));
    expect(fault).toContain('clients[0].jwks: holds a private or secret key; fix: leave only the public members here');
    expect(fault).not.toContain('c2VjcmV0');
  });

  test('R16: keys that could never verify anything are refused', () => {
    expect(faultsOf(client('{kty: RSA, n: "AQAB", e: "AQAB"}'))[0]).toContain(
      'holds no key that may verify signatures',
    );
  });
});

test.each([
  ['a NUL character', 'roles: [{name: a, description: "x\\0y"}]', 'roles[0].description: holds a NUL character'],
  ['half of a surrogate pair', 'roles: [{name: a, groups: ["corp:\\ud800"]}]', 'roles[0].groups[0]: holds a NUL'],
  ['something else than lists', '- roles', 'must be a mapping of lists'],
  ['an entry that is not a mapping', 'roles: [staff]', 'roles[0]: must be a mapping'],
])('%s is refused', (_, text, message) => {
  expect(faultsOf(text)[0]).toContain(message);
});

test('nesting without end is a fault and not a crash', () => {
  expect(faultsOf(`roles: ${'['.repeat(20_000)}${']'.repeat(20_000)}`).join()).toMatch(
    /is nested too deeply; fix: flatten it$/,
  );
  expect(faultsOf(`roles: ${'['.repeat(2000)}`).length).toBeLessThanOrEqual(10);
});
