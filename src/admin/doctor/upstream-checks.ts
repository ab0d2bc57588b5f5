/**
 * Upstreams that are registered and cannot be used: nobody is a caller, no way leads there, the ways that do lead there
 * end at servers that are no callers, or its API cannot be reached from here.
 */
import { FetchFailed } from '../../net/fetcher.ts';
import type { FetchFailure, Fetcher } from '../../net/fetcher.ts';
import type { StoredObject } from '../../objects/kinds.ts';
import { egressUri } from '../../objects/target.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';

type Upstream = StoredObject<'upstream'>;

export interface Surroundings {
  readonly clients: readonly StoredObject<'client'>[];
  readonly resources: readonly StoredObject<'resource'>[];
  readonly policies: readonly StoredObject<'policy'>[];
  /** Our own issuer URL. */
  readonly ownIssuer: string;
}

/** Whatever makes an upstream be of no use to anybody. */
export function checkUse(upstream: Upstream, around: Surroundings): Found[] {
  const { name, spec } = upstream;
  if (spec.callers.length === 0) return [warning('nobody may use it', 'name the clients that may in callers', name)];
  return [...checkCallers(upstream, around), ...checkWays(upstream, around)];
}

function checkCallers({ name, spec }: Upstream, { clients }: Surroundings): Found[] {
  const callers = clients.filter((client) => spec.callers.includes(client.name));
  const disabled = callers.filter((client) => client.disabled);
  const alone = callers.filter((client) => !client.spec.grants.includes('token_exchange'));
  return [
    ...disabled.map((client) =>
      warning(`its caller ${client.name} is disabled`, `cambist client enable ${client.name}, or leave it out`, name),
    ),
    ...alone.map((client) =>
      warning(
        `its caller ${client.name} may not exchange tokens: it can use it for itself only`,
        `add token_exchange to grants of client ${client.name}`,
        name,
      ),
    ),
  ];
}

/** Call edges are how a server gets there with the token that it received. */
function checkWays({ name, spec }: Upstream, { resources, policies, ownIssuer }: Surroundings): Found[] {
  const calling = resources.filter(
    (resource) => !resource.disabled && resource.spec.calls.some((edge) => edge.upstream === name),
  );
  if (calling.length === 0) {
    const fix = `add it to calls of the resource that uses it: { upstream: ${name}, needs: […], gives: […] }`;
    return [
      policies.some(({ disabled, spec: { cedar } }) => !disabled && names(cedar, name, egressUri(ownIssuer, name)))
        ? warning('no call edge leads to it: no server can use it with a token that it received', fix, name)
        : warning('no call edge leads to it and no policy names it: nobody is likely to use it', fix, name),
    ];
  }
  return calling
    .filter((resource) => !resource.spec.served_by.some((client) => spec.callers.includes(client)))
    .map((resource) =>
      warning(
        `resource ${resource.name} may call it, and none of its servers is among its callers`,
        `add one of served_by of ${resource.name} to callers`,
        name,
      ),
    );
}

function names(cedar: string, name: string, uri: string): boolean {
  return [`"${name}#`, `"${name}"`, `"${uri}"`].some((term) => cedar.includes(term));
}

/** One check per upstream that is not disabled: does anything answer at its URLs, with a certificate that is good? */
export function reachChecks(upstreams: readonly Upstream[], fetcher: Pick<Fetcher, 'getJson'>): Check[] {
  return upstreams
    .filter(({ disabled }) => !disabled)
    .map(({ name, spec }) => ({
      noun: 'upstream',
      name,
      run: async () => {
        const urls = [...new Set([spec.base_url, ...Object.values(spec.more_urls)])];
        const options = { internal: spec.internal, ...(spec.ca_file === undefined ? {} : { caFile: spec.ca_file }) };
        return (await Promise.all(urls.map((url) => checkReach(url, () => fetcher.getJson(url, options))))).flat();
      },
    }));
}

/** Whatever it answers without a key is an answer. */
async function checkReach(url: string, ask: () => Promise<unknown>): Promise<Found[]> {
  try {
    await ask();
  } catch (error) {
    if (!(error instanceof FetchFailed)) throw error;
    const fix = FIXES[error.code];
    if (fix !== undefined) return [failed(`${url}: ${error.message}`, fix)];
  }
  return [ok(`${url} answers`)];
}

const FIXES: { readonly [C in FetchFailure]?: string } = {
  address_refused: 'if it is one of your own, set internal: true; else see what its name resolves to here',
  scheme_refused: 'register its https URL',
  timeout: 'see that this machine may reach it (firewall, proxy, DNS)',
  connect: 'see that it is up and that this machine may reach it',
  tls: 'renew its certificate, or name the authority that signed it with ca_file',
  local_file: 'see that ca_file is there and that this user may read it',
};
