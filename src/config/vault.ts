/**
 * From a well-formed `vault` section to settings that the adapter can use: https where others listen, exactly what the
 * method of login needs, paths made absolute. Variables of Vault's own tools that stand in a shell for somebody's command
 * line do not turn Vault on by themselves: without a login there is no Vault.
 */
import { isAbsolute, resolve } from 'node:path';
import { isLoopbackUrl } from '../core/uri.ts';
import type { VaultLogin, VaultSettings } from '../secrets/vault/settings.ts';
import type { Override } from './environment.ts';
import type { Environment } from './interpolate.ts';
import type { SettingsFile } from './schema.ts';

type Fault = (path: string, message: string, fix: string, got?: string) => void;
type Section = NonNullable<SettingsFile['vault']>;
type Login = Section['login'];
type Method = VaultLogin['method'];

/** Where Kubernetes puts the token of a service account. */
const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export interface VaultSurroundings {
  readonly fileFolder: string;
  readonly cwd: string;
  readonly overrides: readonly Override[];
  readonly environment: Environment;
}

/** `undefined` = there is no Vault, or what is wrong with it was told to `fault`. */
export function settleVault(
  section: SettingsFile['vault'],
  around: VaultSurroundings,
  fault: Fault,
): VaultSettings | undefined {
  if (section === undefined || isOnlyAmbient(section, around.overrides)) return undefined;
  const { VAULT_SKIP_VERIFY: skip = '' } = around.environment;
  if (!['', '0', 'f', 'false', 'F', 'FALSE', 'False'].includes(skip))
    fault(
      'vault.address',
      'VAULT_SKIP_VERIFY is set, and Cambist never talks to a Vault whose certificate nobody checked',
      'unset it, and name the authority of the certificate in vault.ca_file (VAULT_CACERT)',
    );
  const address = addressOf(section, fault);
  const login = loginOf(section, address ?? '', around, fault);
  const { subject_login: subject } = section;
  if (login?.method === 'jwt' && subject?.mount === login.mount && subject.role === login.role)
    fault(
      'vault.subject_login.role',
      'is the role of vault.login: every subject would be let in as Cambist itself',
      'make a role of its own for subjects, with bound_claims cambist_login=subject',
    );
  if (address === undefined || login === undefined) return undefined;
  return {
    address,
    login,
    namespace: section.namespace?.replace(/\/$/, ''),
    caFile: section.ca_file === undefined ? undefined : pathOf(section.ca_file, 'vault.ca_file', around),
    kvMount: section.kv_mount,
    subjectLogin: subject === undefined ? undefined : { ...subject, audience: subject.audience ?? address },
    leaseTokenRole: section.lease_token_role,
    timeoutMs: section.timeout_ms,
  };
}

/** Is what there is of it only an address and the like, from the environment? */
function isOnlyAmbient(section: Section, overrides: readonly Override[]): boolean {
  const ambient = new Set(
    overrides.filter(({ path }) => path[0] === 'vault' && path.length === 2).map(({ path }) => path[1]),
  );
  const { login, subject_login: subject, lease_token_role: role, address, namespace, ca_file: caFile } = section;
  const written = Object.entries({ address, namespace, ca_file: caFile, subject, role }).filter(
    ([name, value]) => value !== undefined && !ambient.has(name),
  );
  const { secret_id_wrapped: _, ...given } = login;
  return ambient.size > 0 && written.length === 0 && Object.values(given).every((value) => value === undefined);
}

function addressOf({ address, plain_http: plainHttp }: Section, fault: Fault): string | undefined {
  if (address === undefined) {
    fault('vault.address', 'is required', 'set it to the URL of Vault, or set VAULT_ADDR');
    return undefined;
  }
  const url = new URL(address);
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '')
    fault('vault.address', 'must be an origin alone', 'leave out what follows host and port, such as /v1');
  if (url.protocol === 'http:' && plainHttp === 'loopback' && !isLoopbackUrl(address))
    fault(
      'vault.address',
      'would send our token to Vault in clear',
      'use https; or set vault.plain_http: allowed where the network itself protects what is sent (a service mesh)',
      `"${address}"`,
    );
  return url.origin;
}

/** What each method needs and may have; `file` of kubernetes has a default. */
const FIELDS: Readonly<
  Record<Method, { readonly needs: readonly (keyof Login)[]; readonly may: readonly (keyof Login)[] }>
> = {
  token: { needs: ['token'], may: [] },
  token_file: { needs: ['file'], may: [] },
  approle: { needs: ['role_id'], may: ['mount', 'secret_id', 'secret_id_file', 'secret_id_wrapped'] },
  kubernetes: { needs: ['role'], may: ['mount', 'file'] },
  jwt: { needs: ['role'], may: ['mount', 'audience'] },
};

function loginOf(section: Section, address: string, around: VaultSurroundings, fault: Fault): VaultLogin | undefined {
  const { login } = section;
  const method = login.method ?? (login.token === undefined ? undefined : 'token');
  if (method === undefined) {
    fault('vault.login.method', 'is required', 'set it to token, token_file, approle, kubernetes or jwt');
    return undefined;
  }
  const { needs, may } = FIELDS[method];
  for (const name of needs)
    if (login[name] === undefined) fault(`vault.login.${name}`, `is required for method ${method}`, 'set it');
  for (const [name, value] of Object.entries(login) as [keyof Login, unknown][])
    if (name !== 'method' && value !== undefined && value !== false && !needs.includes(name) && !may.includes(name))
      fault(
        `vault.login.${name}`,
        `is not for method ${method}`,
        'remove it, or set vault.login.method to what it is for',
      );
  return loginAs(method, login, address, around, fault);
}

function loginAs(
  method: Method,
  login: Login,
  address: string,
  around: VaultSurroundings,
  fault: Fault,
): VaultLogin | undefined {
  const { role = '', mount = method } = login;
  const file = pathOf(login.file ?? SERVICE_ACCOUNT_TOKEN, 'vault.login.file', around);
  switch (method) {
    case 'token':
      return { method, token: login.token ?? '' };
    case 'token_file':
      return { method, file };
    case 'kubernetes':
      return { method, mount, role, file };
    case 'jwt':
      return { method, mount, role, audience: login.audience ?? address };
    case 'approle': {
      const { secret_id: value, secret_id_file: secretFile } = login;
      if ((value === undefined) === (secretFile === undefined)) {
        fault('vault.login.secret_id', 'or secret_id_file is required for approle, and only one of them', 'give one');
        return undefined;
      }
      const secretId =
        value === undefined ? { file: pathOf(secretFile ?? '', 'vault.login.secret_id_file', around) } : { value };
      return { method, mount, roleId: login.role_id ?? '', secretId, secretIdWrapped: login.secret_id_wrapped };
    }
  }
}

function pathOf(text: string, setting: string, around: VaultSurroundings): string {
  const fromEnvironment = around.overrides.some(({ path }) => path.join('.') === setting);
  return isAbsolute(text) ? text : resolve(fromEnvironment ? around.cwd : around.fileFolder, text);
}
