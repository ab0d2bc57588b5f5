/**
 * What an issuer says about itself (RFC 8414, OpenID Connect Discovery), and its keys, as a command reads them. The
 * document must name exactly the issuer that was asked, and may point only to https, or to loopback: a secret goes where
 * it points.
 */
import { isLoopbackUrl } from '../core/uri.ts';
import { FetchFailed } from '../net/fetcher.ts';
import type { Fetcher } from '../net/fetcher.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { isJsonObject } from '../tokens/strict-json.ts';
import type { JsonObject } from '../tokens/strict-json.ts';
import { CliFailure, EXIT } from './failure.ts';

/** Is this a URL that a command may send something to: https, or http on loopback? */
export function isSafeUrl(url: unknown): url is string {
  return typeof url === 'string' && URL.canParse(url) && (url.startsWith('https://') || isLoopbackUrl(url));
}

/** The metadata of an issuer. `internal` = whoever typed the command named it, so it may be on a private address. */
export async function fetchMetadata(issuer: string, fetcher: Fetcher, internal: boolean): Promise<JsonObject> {
  if (!isSafeUrl(issuer))
    throw new CliFailure(EXIT.usage, 'issuer_invalid', `the issuer must be an https URL, or http on loopback`);
  const reach = { internal: internal || isLoopbackUrl(issuer) };
  let failure: unknown;
  for (const url of metadataUrls(issuer))
    try {
      const { body } = await fetcher.getJson(url, reach);
      if (isJsonObject(body) && body.issuer === issuer) return body;
      // RFC 8414 §3.3: or one issuer could speak for another.
      failure = new CliFailure(EXIT.failed, 'metadata_invalid', `the metadata at ${url} are of another issuer`);
    } catch (error) {
      failure ??= error;
      // Without an answer at one path there is none at the other.
      if (!(error instanceof FetchFailed) || !['status', 'not_json', 'redirect'].includes(error.code)) break;
    }
  throw failure;
}

/** RFC 8414 §3.1: between host and path; OpenID Connect Discovery §4: after the path. */
function metadataUrls(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  return [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
}

/** The keys that an issuer publishes, those that may verify signatures. */
export async function fetchKeys(
  metadata: JsonObject,
  fetcher: Fetcher,
  internal: boolean,
): Promise<readonly AdmittedKey[]> {
  const { jwks_uri: url } = metadata;
  if (!isSafeUrl(url)) throw new CliFailure(EXIT.failed, 'metadata_invalid', 'the metadata have no usable jwks_uri');
  const { body } = await fetcher.getJson(url, { internal: internal || isLoopbackUrl(url) });
  const keys = admitJwks(body);
  if (isFault(keys))
    throw new CliFailure(EXIT.failed, 'jwks_invalid', `the keys at ${url} cannot be used (${keys.code})`);
  return keys;
}
