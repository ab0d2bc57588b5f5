/** `vault` in the settings: what is taken, what is refused, and what each refusal says to do. */
import { expect, test } from 'vitest';
import { readDocument } from '../../../src/admin/document.ts';
import { formatFault } from '../../../src/admin/fault.ts';
import { parseSettings } from '../../../src/config/settings.ts';
import type { Settings } from '../../../src/config/settings.ts';

type Given = { readonly yaml?: string; readonly env?: Record<string, string>; readonly files?: Record<string, string> };

function parse({ yaml, env = {}, files = {} }: Given): Settings | string[] {
  const document = yaml === undefined ? undefined : readDocument(yaml, 'cambist.yaml');
  if (Array.isArray(document)) return document.map(formatFault);
  const around = { fileFolder: '/etc/cambist', cwd: '/srv', hostName: 'n' };
  const readSecret = (path: string) => (files[path] === undefined ? { failure: 'ENOENT' } : { text: files[path] });
  const parsed = parseSettings({ document, environment: env, ...around, readSecret });
  return Array.isArray(parsed) ? parsed.map(formatFault) : parsed;
}
const vaultOf = (given: Given) => {
  const parsed = parse(given);
  if (Array.isArray(parsed)) throw new Error(parsed.join('\n'));
  return parsed.vault;
};
const faults = (given: Given) => {
  const parsed = parse(given);
  return Array.isArray(parsed) ? parsed.join('\n') : '(no fault)';
};
const ADDRESS = 'https://vault.example.com:8200';
const vault = (rest: string) => `vault:\n  address: ${ADDRESS}\n  ${rest}`;

test("the variables of Vault's own tools are enough", () => {
  const env = { VAULT_ADDR: `${ADDRESS}/`, VAULT_TOKEN: 's.t', VAULT_NAMESPACE: 'team/a/', VAULT_CACERT: 'ca.pem' };
  expect(vaultOf({ env })).toEqual({
    address: ADDRESS,
    namespace: 'team/a',
    caFile: '/srv/ca.pem',
    kvMount: 'secret',
    login: { method: 'token', token: 's.t' },
    subjectLogin: undefined,
    leaseTokenRole: undefined,
    timeoutMs: 3000,
  });
});

test('an address alone, as it stands in many a shell, turns nothing on', () => {
  expect(vaultOf({ env: { VAULT_ADDR: ADDRESS, VAULT_NAMESPACE: 'a', VAULT_SKIP_VERIFY: 'true' } })).toBeUndefined();
  expect(faults({ yaml: vault('kv_mount: kv') })).toContain('vault.login.method: is required');
});

test('each method has what it needs, paths are relative to the file', () => {
  const login = (yaml: string, more: Given = {}) => vaultOf({ yaml: vault(`login: ${yaml}`), ...more })?.login;
  expect(login('{ method: token_file, file: run/token }')).toEqual({
    method: 'token_file',
    file: '/etc/cambist/run/token',
  });
  expect(login('{ method: kubernetes, role: r }')).toEqual({
    method: 'kubernetes',
    mount: 'kubernetes',
    role: 'r',
    file: '/var/run/secrets/kubernetes.io/serviceaccount/token',
  });
  expect(login('{ method: jwt, role: r }')).toEqual({ method: 'jwt', mount: 'jwt', role: 'r', audience: ADDRESS });
  expect(
    login("{ method: approle, mount: team/approle, role_id: id, secret_id: 'file:sid', secret_id_wrapped: true }", {
      files: { '/etc/cambist/sid': 'the-secret-id\n' },
    }),
  ).toEqual({
    method: 'approle',
    mount: 'team/approle',
    roleId: 'id',
    secretId: { value: 'the-secret-id' },
    secretIdWrapped: true,
  });
  expect(login('{ method: approle, role_id: id, secret_id_file: sid }')).toMatchObject({
    secretId: { file: '/etc/cambist/sid' },
  });
});

test.each([
  ['a token in the file', vault('login: { token: canary-1 }'), {}, 'vault.login.token: must not stand in the file'],
  [
    'a secret id in the file',
    vault('login: { method: approle, role_id: r, secret_id: canary-1 }'),
    {},
    'write ${CAMBIST_VAULT_SECRET_ID}',
  ],
  [
    'no address',
    'vault: { login: { method: jwt, role: r } }',
    {},
    'vault.address: is required; fix: set it to the URL of Vault, or set VAULT_ADDR',
  ],
  ['http', 'vault: { address: "http://vault.example.com", login: { method: jwt, role: r } }', {}, 'in clear'],
  [
    'a path',
    `vault: { address: "${ADDRESS}/v1", login: { method: jwt, role: r } }`,
    {},
    'leave out what follows host and port',
  ],
  [
    'a password',
    'vault: { address: "https://u:p@vault.example.com", login: { method: jwt, role: r } }',
    {},
    'must be an origin alone',
  ],
  [
    'a token for another method',
    vault('login: { method: jwt, role: r }'),
    { VAULT_TOKEN: 'canary-1' },
    'VAULT_TOKEN: is not for method jwt',
  ],
  ['no role', vault('login: { method: jwt }'), {}, 'vault.login.role: is required for method jwt'],
  ['no secret id', vault('login: { method: approle, role_id: r }'), {}, 'secret_id_file is required for approle'],
  [
    'an unchecked certificate',
    vault('login: { method: jwt, role: r }'),
    { VAULT_SKIP_VERIFY: '1' },
    'unset it, and name the authority of the certificate in vault.ca_file (VAULT_CACERT)',
  ],
  [
    'an escape in a mount',
    vault('kv_mount: ../sys\n  login: { method: jwt, role: r }'),
    {},
    'vault.kv_mount: must be segments',
  ],
  [
    'the role of Cambist for subjects',
    vault('login: { method: jwt, role: r }\n  subject_login: { role: r }'),
    {},
    'vault.subject_login.role',
  ],
])('%s is refused, with what to do', (_, yaml, env, words) => {
  const said = faults({ yaml, env });
  expect(said).toContain(words);
  expect(said).not.toContain('canary-1');
});

test('plain http is for loopback, and elsewhere for who says so', () => {
  const of = (address: string, more = '') =>
    vaultOf({ yaml: `vault: { address: "${address}"${more}, login: { method: jwt, role: r } }` })?.address;
  expect(of('http://127.0.0.1:8200')).toBe('http://127.0.0.1:8200');
  expect(of('http://vault.mesh:8200', ', plain_http: allowed')).toBe('http://vault.mesh:8200');
});
