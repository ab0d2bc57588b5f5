/**
 * Each trusted issuer as the road would meet it: fetched through the same guarded fetcher, its metadata held to its exact
 * name, its keys to admission, and what it offers to what is configured. Its clock is compared with ours on the way.
 */
import type { Clock } from '../../core/clock.ts';
import type { SignatureAlgorithm } from '../../core/protocol.ts';
import { FetchFailed } from '../../net/fetcher.ts';
import type { FetchFailure, Fetcher } from '../../net/fetcher.ts';
import { issValues } from '../../objects/issuer.ts';
import type { TrustedIssuer } from '../../objects/issuer.ts';
import type { StoredObject } from '../../objects/kinds.ts';
import { isFault } from '../../tokens/fault.ts';
import { admitJwks } from '../../tokens/jwk.ts';
import type { AdmittedKey } from '../../tokens/jwk.ts';
import { isJsonObject } from '../../tokens/strict-json.ts';
import { DocumentInvalid, fetchKeyDocument } from '../../trust/key-documents.ts';
import type { RemoteKeySource } from '../../trust/key-documents.ts';
import { keySourceOf } from '../../trust/key-sets.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';

export interface RemoteCheckParts {
  readonly fetcher: Fetcher;
  readonly clock: Clock;
}

/** Of an issuer with many tenants only the first ones are asked: they are one service. */
const TENANTS_ASKED_MAX = 3;
/** `Date` has whole seconds, and travels. */
const SERVER_CLOCK_TOLERANCE_MS = 5_000;

/** One check per trusted issuer that is not disabled. */
export function issuerChecks(issuers: readonly StoredObject<'issuer'>[], parts: RemoteCheckParts): Check[] {
  return issuers
    .filter(({ disabled }) => !disabled)
    .map(({ name, spec }) => ({
      noun: 'issuer',
      name,
      run: async () => {
        const asked = issValues(spec).slice(0, TENANTS_ASKED_MAX);
        return (await Promise.all(asked.map((iss) => checkIssuer(spec, iss, parts)))).flat();
      },
    }));
}

async function checkIssuer(spec: TrustedIssuer, iss: string, parts: RemoteCheckParts): Promise<Found[]> {
  const source = keySourceOf(spec, iss);
  if (source.kind === 'static') {
    const keys = admitJwks(source.keys, source);
    return isFault(keys)
      ? [failed(`its registered keys cannot be used (${keys.code})`, 'correct its jwks and apply it')]
      : judgeKeys(keys, spec.algorithms, `the registered jwks`);
  }
  const found = await fetchKeysOf(source, parts, `of ${iss}`);
  if ('failure' in found) return [found.failure];
  const metadata = source.kind === 'discovery' ? await readMetadata(iss, source, spec.algorithms, parts) : [];
  return [...judgeKeys(found.keys, spec.algorithms, iss), ...metadata];
}

/** The keys behind a URL, or what is wrong there. */
export async function fetchKeysOf(
  source: RemoteKeySource,
  { fetcher }: RemoteCheckParts,
  whose: string,
): Promise<{ readonly keys: readonly AdmittedKey[] } | { readonly failure: Found }> {
  try {
    return await fetchKeyDocument(source, fetcher);
  } catch (error) {
    if (error instanceof DocumentInvalid)
      return {
        failure: failed(
          `what was fetched for the keys ${whose} cannot be used: ${error.message}`,
          'compare the registered issuer or URL with its metadata, character by character',
        ),
      };
    if (!(error instanceof FetchFailed)) throw error;
    return {
      failure: failed(`the keys ${whose} cannot be fetched: ${error.dependency}: ${error.message}`, FIXES[error.code]),
    };
  }
}

const FIXES: { readonly [C in FetchFailure]: string } = {
  address_refused: 'if it is one of your own, set internal: true; else see what its name resolves to here',
  scheme_refused: 'register its https URL',
  redirect: 'register the URL that it redirects to, if that is its own',
  status: 'open the URL with curl from this machine; see that the registered issuer is the right one',
  encoding: 'let that server answer without compression',
  too_large: 'a key set of that size is not one: see what answers there',
  timeout: 'see that this machine may reach it (firewall, proxy, DNS); docs/runbooks/issuer-down.md',
  not_json: 'see what answers there: often a login page or a proxy',
  connect: 'see that it is up and that this machine may reach it; docs/runbooks/issuer-down.md',
  tls: 'renew its certificate, or name the authority that signed it with ca_file',
  local_file: 'see that ca_file and bearer_file are there and that this user may read them',
  closed: 'run the check again',
};

/** Whether any of the keys fits any of the algorithms. */
export function judgeKeys(
  keys: readonly AdmittedKey[],
  algorithms: readonly SignatureAlgorithm[],
  where: string,
): Found[] {
  if (keys.length === 0)
    return [
      failed(`there is no usable key at ${where}`, 'see that it publishes public signature keys that are not weak'),
    ];
  const fitting = keys.filter((key) => key.algorithms.some((algorithm) => algorithms.includes(algorithm)));
  const offered = [...new Set(keys.flatMap((key) => key.algorithms))].join(', ');
  if (fitting.length === 0)
    return [
      failed(
        `its keys are for ${offered}, and only ${algorithms.join(', ')} are allowed here`,
        'set algorithms to one that it signs with',
      ),
    ];
  return [ok(`${where}: ${fitting.length} usable ${fitting.length === 1 ? 'key' : 'keys'}`)];
}

/** What its metadata say beyond where the keys are: algorithms, and what time it is. */
async function readMetadata(
  iss: string,
  source: RemoteKeySource,
  algorithms: readonly SignatureAlgorithm[],
  { fetcher, clock }: RemoteCheckParts,
): Promise<Found[]> {
  const url = `${iss.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const { body, serverTimeMs } = await fetcher.getJson(url, {
    internal: source.internal,
    ...(source.caFile !== undefined && { caFile: source.caFile }),
    ...(source.bearerFile !== undefined && { bearerFile: source.bearerFile }),
  });
  return [...judgeOffered(body, algorithms), ...judgeServerTime(serverTimeMs, clock.nowMs())];
}

/** Of ID tokens; for other tokens an issuer says nothing. */
function judgeOffered(metadata: unknown, algorithms: readonly SignatureAlgorithm[]): Found[] {
  const offered = isJsonObject(metadata) ? metadata.id_token_signing_alg_values_supported : undefined;
  if (!Array.isArray(offered) || algorithms.some((algorithm) => offered.includes(algorithm))) return [];
  return [
    warning(
      `its metadata offer ID tokens signed with none of ${algorithms.join(', ')}`,
      'set algorithms to one that it offers',
    ),
  ];
}

function judgeServerTime(serverTimeMs: number | undefined, nowMs: number): Found[] {
  const offMs = serverTimeMs === undefined ? 0 : serverTimeMs - nowMs;
  if (Math.abs(offMs) <= SERVER_CLOCK_TOLERANCE_MS) return [];
  const off = `${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? 'ahead of' : 'behind'} ours`;
  return [
    warning(
      `its clock is ${off}: its tokens may be refused as not valid yet, or be valid for less than they say`,
      'see which of the two is right; docs/runbooks/clock-skew.md',
    ),
  ];
}
