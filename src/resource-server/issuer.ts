/**
 * What the issuer publishes for servers: its metadata (RFC 8414), the keys of its access tokens, and, apart from them,
 * the keys of its revocation document. Owns where documents may come from: URLs that the issuer's own metadata name, and
 * nothing in a token. The two key sets never mix, so a key of one purpose is worthless for the other.
 */
import type { Clock } from '../core/clock.ts';
import { PATHS } from '../core/protocol.ts';
import { isLoopbackUrl } from '../core/uri.ts';
import { isFault } from '../tokens/fault.ts';
import { admitJwks } from '../tokens/jwk.ts';
import type { AdmittedKey } from '../tokens/jwk.ts';
import { isJsonObject, parseStrictJson } from '../tokens/strict-json.ts';
import { createKept } from './kept.ts';
import type { Kept } from './kept.ts';
import { RemoteFailure, getDocument } from './remote.ts';

/** Where the issuer says that its documents are (RFC 8414 §2, and two members of Cambist's own). */
interface Metadata {
  readonly jwks_uri: string;
  readonly cambist_revocations_endpoint: string;
  readonly cambist_revocations_jwks_uri: string;
}
const MEMBERS = ['jwks_uri', 'cambist_revocations_endpoint', 'cambist_revocations_jwks_uri'] as const;

export interface PublishedByIssuer {
  /** Keys that sign access tokens; one with this `kid` if there is one. Throws `RemoteFailure`. */
  accessTokenKeys(kid: string): Promise<readonly AdmittedKey[]>;
  /** Keys that sign the revocation document. Throws `RemoteFailure`. */
  revocationKeys(kid: string): Promise<readonly AdmittedKey[]>;
  /** Throws `RemoteFailure`. */
  revocationsEndpoint(): Promise<string>;
  /** What of it cannot be had at present, in words. */
  problems(): readonly string[];
}

const MAX_BYTES = 262_144;
const TIMEOUT_MS = 5000;
/**
 * Anybody can send tokens with an unknown `kid`, and until a new key is had every token that it signed has to wait: the
 * issuer's key set is asked for once in this time at most. A key signs 5 s after it was published (a taint excepted).
 */
const KEY_COOLDOWN_SECONDS = 3;

/** Builds the view of one issuer; `issuer` passed `isSafeUrl`. */
export function createPublishedByIssuer(settings: {
  readonly issuer: string;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): PublishedByIssuer {
  const { issuer, clock } = settings;

  async function getJson(what: string, url: string, mediaTypes: readonly string[]) {
    const options = { what, mediaTypes, maxBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS, signal: settings.signal };
    const got = await getDocument(settings.fetch, url, options);
    if (got === 'not_modified') throw new RemoteFailure('status', what, 304);
    return { json: parseStrictJson(got.bytes), maxAgeSeconds: got.maxAgeSeconds };
  }

  const metadata = createKept<Metadata>({
    clock,
    cooldownSeconds: KEY_COOLDOWN_SECONDS,
    load: async () => {
      const { json, maxAgeSeconds } = await getJson('metadata', metadataUrl(issuer), ['application/json']);
      return { value: readMetadata(json, issuer), maxAgeSeconds };
    },
  });

  function keySet(what: string, member: (typeof MEMBERS)[number]): Kept<readonly AdmittedKey[]> {
    return createKept({
      clock,
      cooldownSeconds: KEY_COOLDOWN_SECONDS,
      load: async () => {
        const url = (await metadata.get())[member];
        const { json, maxAgeSeconds } = await getJson(what, url, ['application/jwk-set+json', 'application/json']);
        const keys = admitJwks(json);
        if (isFault(keys)) throw new RemoteFailure('invalid', what, keys.code);
        return { value: keys, maxAgeSeconds };
      },
    });
  }
  const tokenKeys = keySet('keys', 'jwks_uri');
  const documentKeys = keySet('keys of the revocation document', 'cambist_revocations_jwks_uri');
  const withKid = (kid: string) => (keys: readonly AdmittedKey[]) => keys.some((key) => key.kid === kid);

  return {
    accessTokenKeys: (kid) => tokenKeys.get(withKid(kid)),
    revocationKeys: (kid) => documentKeys.get(withKid(kid)),
    revocationsEndpoint: async () => (await metadata.get()).cambist_revocations_endpoint,
    problems: () => [...new Set([metadata, tokenKeys, documentKeys].flatMap((document) => document.problem() ?? []))],
  };
}

/** https, or http to this machine; without user name, query or fragment. */
export function isSafeUrl(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, username, password } = new URL(url);
  if (username !== '' || password !== '' || /[?#]/.test(url)) return false;
  return protocol === 'https:' || (protocol === 'http:' && isLoopbackUrl(url));
}

/** Between host and path of the issuer (RFC 8414 §3.1). */
function metadataUrl(issuer: string): string {
  const { origin, pathname } = new URL(issuer);
  return origin + PATHS.oauthMetadata + pathname.replace(/\/$/, '');
}

function readMetadata(json: unknown, issuer: string): Metadata {
  const invalid = (detail: string) => new RemoteFailure('invalid', 'metadata', detail);
  if (!isJsonObject(json)) throw invalid('not a JSON object');
  // RFC 8414 §3.3: identical, or one issuer could vouch for another's keys.
  if (json.issuer !== issuer) throw invalid('another issuer');
  const plain = new URL(issuer).protocol === 'http:';
  const [tokenKeys, endpoint, documentKeys] = MEMBERS.map((name) => {
    const url = json[name];
    if (typeof url !== 'string') throw invalid(`no ${name}`);
    // An https issuer does not send us to plain HTTP.
    if (!isSafeUrl(url) || (!plain && new URL(url).protocol !== 'https:')) throw invalid(name);
    return url;
  }) as [string, string, string];
  if (tokenKeys === documentKeys) throw invalid('one key set for two purposes');
  return {
    jwks_uri: tokenKeys,
    cambist_revocations_endpoint: endpoint,
    cambist_revocations_jwks_uri: documentKeys,
  };
}
