/**
 * Vault as a node would meet it: whether it is there, open and let us in, as what; whether what the upstreams name is
 * there and may be read; whether leases can be had and ended. Values are looked at for their fields, and never shown.
 */
import { Unavailable } from '../../core/refusal.ts';
import type { StoredObject } from '../../objects/kinds.ts';
import { fillPath, placeholdersOf } from '../../objects/upstream-templates.ts';
import type { VaultExamination } from '../../secrets/vault/examination.ts';
import { VaultUnavailable } from '../../secrets/vault/fault.ts';
import type { VaultFaultCode } from '../../secrets/vault/fault.ts';
import type { VaultLogin, VaultSettings } from '../../secrets/vault/settings.ts';
import { isLoopbackUrl } from '../../core/uri.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';
import { secretFaults } from './secret-faults.ts';

type Upstream = StoredObject<'upstream'>;

export interface VaultCheckParts {
  readonly settings: VaultSettings | undefined;
  readonly examination: VaultExamination | undefined;
  readonly upstreams: readonly Upstream[];
}

const SKEW_WARN_SECONDS = 5;
const SKEW_MAX_SECONDS = 30;
/** The longest life of a token of ours: a lease may have to live as long. */
const LEASE_SECONDS = 900;
/** Stands for a person, a client or a resource where a path is only asked about. */
const SOMEBODY = 'somebody';
const PAGE = 'docs/vault.md';

/** Every check of Vault; nothing to say where there is none and no upstream wants one. */
export function vaultChecks({ settings, examination, upstreams }: VaultCheckParts): Check[] {
  const using = upstreams.filter(({ disabled, spec }) => !disabled && spec.credential.store === 'vault');
  if (settings === undefined || examination === undefined)
    return using.map(({ name }) => ({
      noun: 'upstream',
      name,
      run: () => [
        failed(
          'its credential is in Vault, and the settings have none: every request to it is answered 503',
          'set vault.address and vault.login, or put the secret into the embedded store (cambist secret set)',
        ),
      ],
    }));
  // Once for all that need it.
  let letIn: Promise<boolean> | undefined;
  const isLetIn = () =>
    (letIn ??= examination.mayLogIn
      ? examination.logIn().then(
          () => true,
          () => false,
        )
      : Promise.resolve(false));
  return [
    { noun: 'vault', name: 'server', run: () => checkServer(settings, examination) },
    { noun: 'vault', name: 'login', run: () => checkLogin(settings, examination) },
    ...leaseCheck(settings, examination, using, isLetIn),
    ...using
      .filter(({ spec }) => spec.credential.kind !== 'dynamic')
      .map((upstream): Check => ({
        noun: 'upstream',
        name: upstream.name,
        run: async () => ((await isLetIn()) ? checkSecret(settings, examination, upstream) : []),
      })),
    ...using
      .filter(({ spec }) => spec.credential.login === 'subject' && settings.subjectLogin === undefined)
      .map(({ name }): Check => ({
        noun: 'upstream',
        name,
        run: () => [
          failed('is read as the subject, and the settings have no login for that', 'set vault.subject_login.role'),
        ],
      })),
  ];
}

async function checkServer(settings: VaultSettings, examination: VaultExamination): Promise<Found[]> {
  const { address } = settings;
  const found: Found[] = [];
  if (address.startsWith('http:') && !isLoopbackUrl(address))
    found.push(warning(`what is read crosses the network in clear: ${address}`, 'give vault.address an https URL'));
  try {
    const { version, initialized, sealed, standby, latencyMs, skewSeconds } = await examination.health();
    if (!initialized) return [...found, failed('it is not initialized', FIXES.uninitialized)];
    if (sealed) return [...found, failed('it is sealed: what needs it is answered 503', FIXES.sealed)];
    const state = standby ? 'a standby, which passes questions on' : 'unsealed';
    found.push(ok(`${address}: version ${version}, ${state}, answers in ${latencyMs.toFixed(0)} ms`));
    return skewSeconds === undefined ? found : [...found, ...skewOf(skewSeconds)];
  } catch (error) {
    return [...found, faultOf(error)];
  }
}

function skewOf(skewSeconds: number): Found[] {
  const off = `its clock is ${Math.abs(skewSeconds)} s ${skewSeconds > 0 ? 'ahead of' : 'behind'} ours`;
  const fix = 'synchronise both clocks (NTP): logins with tokens of ours, and leases, go by them';
  if (Math.abs(skewSeconds) > SKEW_MAX_SECONDS) return [failed(off, fix, 'clock')];
  return Math.abs(skewSeconds) > SKEW_WARN_SECONDS ? [warning(off, fix, 'clock')] : [];
}

async function checkLogin(settings: VaultSettings, examination: VaultExamination): Promise<Found[]> {
  const { login } = settings;
  if (!examination.mayLogIn) return [ok('not tried: the wrapped secret id can be opened once, and a node needs it')];
  try {
    const { policies, lifetimeSeconds, renewable } = await examination.logIn();
    const life = lifetimeSeconds === Infinity ? 'does not end' : `lives ${Math.round(lifetimeSeconds)} s`;
    const found = [ok(`by ${login.method}; its token ${life} and has the policies ${policies.join(', ')}`)];
    if (policies.includes('root'))
      found.push(warning('it is a root token: whoever has this node has all of Vault', `make a policy: ${PAGE}`));
    if (login.method === 'token' && lifetimeSeconds !== Infinity && !renewable)
      found.push(
        warning(
          `the token cannot be renewed: in ${Math.round(lifetimeSeconds)} s nothing works any more`,
          'give a token that can be (vault token create -period=24h), or another method of login',
        ),
      );
    return found;
  } catch (error) {
    // What is wrong with the server was said there.
    if (error instanceof VaultUnavailable && error.code !== 'login_refused') return [];
    return [failed(messageOf(error), loginFix(login))];
  }
}

function loginFix(login: VaultLogin): string {
  switch (login.method) {
    case 'token':
      return 'give a token that is alive in vault.login.token (VAULT_TOKEN)';
    case 'token_file':
      return 'see that the agent runs and writes its sink, without wrap_ttl, where this user may read it';
    case 'approle':
      return `compare role_id, and make a new secret id: vault write -f auth/${login.mount}/role/NAME/secret-id`;
    case 'kubernetes':
      return `compare bound_service_account_names, _namespaces and audience: vault read auth/${login.mount}/role/${login.role}`;
    case 'jwt':
      return `compare jwks_url and bound_issuer (vault read auth/${login.mount}/config), and that bound_audiences of role ${login.role} has ${login.audience}, its bound_claims cambist_login=service`;
  }
}

function leaseCheck(
  settings: VaultSettings,
  examination: VaultExamination,
  using: readonly Upstream[],
  isLetIn: () => Promise<boolean>,
): Check[] {
  const leasing = using.filter(({ spec }) => spec.credential.kind === 'dynamic' && spec.credential.login === 'service');
  if (leasing.length === 0) return [];
  const run = async (): Promise<Found[]> => {
    if (!(await isLetIn())) return [];
    const paths = new Map(leasing.map(({ name, spec }) => [name, somePath(spec.credential.path)]));
    const role = settings.leaseTokenRole;
    let denied: readonly string[];
    try {
      denied = await examination.tryHolder([...new Set(paths.values())]);
    } catch (error) {
      const create = `auth/token/create${role === undefined ? '' : `/${role}`}`;
      return [
        failed(
          messageOf(error),
          `let its policy update ${create} and auth/token/revoke-accessor${role === undefined ? '' : `, and see vault read auth/token/roles/${role}`}: ${PAGE}`,
        ),
      ];
    }
    const { lifetimeSeconds } = await examination.logIn();
    return [
      ...(denied.length === 0 ? [ok('a token for a lease was made, and ended')] : []),
      ...denied.map((path) =>
        failed(
          `no lease can be had: ${path} may not be read (upstream ${leasing.find(({ name }) => paths.get(name) === path)?.name ?? ''})`,
          `add to the policy${role === undefined ? '' : ` in allowed_policies of the token role ${role}`}: path "${path}" { capabilities = ["read"] }`,
        ),
      ),
      ...(role === undefined && lifetimeSeconds < LEASE_SECONDS
        ? [
            warning(
              `leases end with the login that they hang on, which lives ${Math.round(lifetimeSeconds)} s`,
              'set vault.lease_token_role, or raise token_ttl of the role to 20 minutes',
            ),
          ]
        : []),
    ];
  };
  return [{ noun: 'vault', name: 'leases', run }];
}

/** A secret of an upstream that is for everybody is read; of one that is somebody's own it is only asked whether it may be. */
async function checkSecret(
  settings: VaultSettings,
  examination: VaultExamination,
  { name, spec }: Upstream,
): Promise<Found[]> {
  const { credential, require_tags: required } = spec;
  if (credential.kind === 'dynamic' || credential.login === 'subject') return [];
  const { mount = settings.kvMount, path } = credential;
  const full = (of: string) => `${mount}/data/${of}`;
  const forbidden = (of: string) =>
    failed(
      `the policy of Vault does not let Cambist read ${full(of)}: every request to it is refused`,
      `add to the policy: path "${full(of)}" { capabilities = ["read"] }`,
    );
  try {
    if (placeholdersOf(path).length > 0) {
      const some = somePath(path);
      return (await examination.may(full(some))) ? [] : [forbidden(path.replaceAll(/\{[a-z_]+\}/g, '+'))];
    }
    const lookup = await examination.read({ mount, path });
    if ('missing' in lookup && lookup.missing === 'forbidden') return [forbidden(path)];
    const found = 'found' in lookup ? lookup.found : undefined;
    return secretFaults(
      { name, credential, required },
      found === undefined ? undefined : { fields: Object.keys(found.fields), tags: found.tags },
      {
        set: (fields) => `vault kv put -mount=${mount} ${path} ${fields.map((field) => `${field}=-`).join(' ')}`,
        add: (field) => `vault kv patch -mount=${mount} ${path} ${field}=-`,
        tag: (tag) => `vault kv metadata patch -mount=${mount} -custom-metadata=${tag}=… ${path}`,
      },
    );
  } catch (error) {
    return [faultOf(error)];
  }
}

function somePath(template: string): string {
  return fillPath(template, { subject: SOMEBODY, subject_hash: SOMEBODY, client: SOMEBODY, resource: SOMEBODY });
}

const FIXES: { readonly [C in VaultFaultCode]: string } = {
  unreachable: 'see that it is up, that vault.address is right, and that this machine may reach it',
  tls: 'name the authority that signed its certificate in vault.ca_file (VAULT_CACERT), or renew it',
  timeout: 'look at its load and at the network in between, or raise vault.timeout_ms',
  redirect: 'set vault.address to the URL of the active node, or of a balancer that knows it',
  too_large: 'see that vault.address leads to Vault itself',
  not_json: 'see that vault.address leads to Vault itself',
  sealed: 'vault operator unseal; docs/runbooks/vault-down.md',
  uninitialized: 'vault operator init',
  no_active_node: 'look at its cluster: vault operator members',
  rate_limited: 'raise the quota that meets this node: vault list sys/quotas/rate-limit',
  upgrading: 'wait until it has done so',
  failing: 'look in its log',
  odd_answer: `compare the settings with ${PAGE}`,
  resting: 'wait for half a minute, and run this again',
  login_refused: `compare vault.login with ${PAGE}`,
  closed: 'run this again',
};

function faultOf(error: unknown): Found {
  if (!(error instanceof VaultUnavailable)) throw error;
  return failed(error.message, FIXES[error.code]);
}

/** Of what Vault, or one of our own dependencies, did not do; anything else is a bug. */
function messageOf(error: unknown): string {
  if (!(error instanceof Unavailable)) throw error;
  return error.message;
}
