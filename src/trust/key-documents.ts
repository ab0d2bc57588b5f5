/**
 * One fetch of a source's keys: straight from a JWKS URL, or through OpenID Connect discovery (§4). Owns what a metadata
 * document may decide: where the keys are, and nothing else. Keys stay bound to their issuer (R13) because the document
 * must name exactly the issuer that it was asked of.
 */
import type { Fetcher, FetchOptions } from '../net/fetcher.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import { isJsonObject } from '../tokens/strict-json.ts';

interface Reach {
  /** Its URLs may point to private addresses, and to plain http on loopback. */
  readonly internal: boolean;
  readonly caFile?: string;
  readonly bearerFile?: string;
  readonly label?: string;
}

export type RemoteKeySource =
  | (Reach & { readonly kind: 'jwks_uri'; readonly url: string; readonly uses?: readonly string[] })
  | (Reach & { readonly kind: 'discovery'; readonly issuer: string });

/** A document that was fetched but says something that it must not; the set that was there before stays. */
export class DocumentInvalid extends Error {
  override readonly name = 'DocumentInvalid';
}

/** Fetches and admits the keys of a source. Throws `FetchFailed` or `DocumentInvalid`. */
export async function fetchKeyDocument(
  source: RemoteKeySource,
  fetcher: Fetcher,
): Promise<{ readonly keys: readonly AdmittedKey[]; readonly maxAgeSeconds: number | undefined }> {
  const { internal, caFile, bearerFile } = source;
  const options: FetchOptions = {
    internal,
    ...(caFile !== undefined && { caFile }),
    ...(bearerFile !== undefined && { bearerFile }),
  };
  if (source.kind === 'jwks_uri') return fetchKeys(source.url, options, source.uses, fetcher);

  const url = await discover(source.issuer, options, fetcher);
  // The bearer token was given for the issuer; a metadata document cannot have it sent to another origin.
  const { bearerFile: _, ...withoutBearer } = options;
  const sameOrigin = new URL(url).origin === new URL(source.issuer).origin;
  return fetchKeys(url, sameOrigin ? options : withoutBearer, undefined, fetcher);
}

async function fetchKeys(
  url: string,
  options: FetchOptions,
  uses: readonly string[] | undefined,
  fetcher: Fetcher,
): Promise<{ readonly keys: readonly AdmittedKey[]; readonly maxAgeSeconds: number | undefined }> {
  const { body, maxAgeSeconds } = await fetcher.getJson(url, options);
  const keys = admitJwks(body, uses === undefined ? {} : { uses });
  if (isFault(keys)) throw new DocumentInvalid(`the key set is invalid (${keys.code} ${keys.claim ?? ''})`);
  return { keys, maxAgeSeconds };
}

/** `jwks_uri` of an issuer's metadata (OpenID Connect Discovery 1.0 §4). */
async function discover(issuer: string, options: FetchOptions, fetcher: Fetcher): Promise<string> {
  const { body } = await fetcher.getJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, options);
  if (!isJsonObject(body)) throw new DocumentInvalid('the metadata is not an object');
  // §4.3: exactly equal, or one issuer could vouch for another's keys.
  if (body.issuer !== issuer) throw new DocumentInvalid('the metadata names another issuer');
  const url = body.jwks_uri;
  if (typeof url !== 'string' || !URL.canParse(url)) throw new DocumentInvalid('the metadata has no jwks_uri');
  if (new URL(url).protocol !== new URL(issuer).protocol)
    throw new DocumentInvalid('the metadata switches to another scheme');
  return url;
}
