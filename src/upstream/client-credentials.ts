/**
 * Tokens from an upstream's own token endpoint by the client credentials grant (RFC 6749 §4.4). The client secret lies in
 * a secret store; a token is kept to shortly before its expiry, asked for once for all who need it at the same time, and
 * never outlives the secret that it was had with.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { FormPoster, PostedForm } from '../net/fetcher.ts';
import { isJsonObject } from '../tokens/strict-json.ts';
import type { Credential, CredentialUse } from './credential.ts';
import { createKept } from './kept.ts';
import { fieldOf, spotOf, whereOf } from './secret-reader.ts';
import type { SecretReader, SecretReaderParts, SourceOf } from './secret-reader.ts';
import { checkInjectable } from './static-credential.ts';

type Source = SourceOf<'oauth_client_credentials'>;

const KEPT_MAX = 2000;
const REJECT_EVERY_MS = 1000;
/** Of a token whose answer does not say how long it lives (RFC 6749 §5.1: `expires_in` is only recommended). */
const LIFETIME_DEFAULT_SECONDS = 60;
const LIFETIME_MAX_SECONDS = 86_400;
/** A token is not used in its last part: a tenth of its life, 30 s at most. */
const MARGIN_PART = 0.1;
const MARGIN_MAX_SECONDS = 30;

/** RFC 6749 §5.2, and RFC 8707 §2. What else an upstream may say is its own text, and is kept out. */
const ERROR_CODES: ReadonlySet<string> = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
]);
/** Asked again later, it may say yes. */
const STATUS_NOT_NOW: ReadonlySet<number> = new Set([408, 425, 429]);

interface FreshToken {
  readonly accessToken: string;
  readonly lifetimeSeconds: number;
}

interface Token {
  readonly accessToken: string;
  readonly expiresAtMs: number;
}

export interface ClientCredentialsParts extends Pick<SecretReaderParts, 'vaultUserOf'> {
  readonly reader: SecretReader;
  readonly fetcher: FormPoster;
  readonly clock: Clock;
}

export interface ClientCredentials {
  obtain(use: CredentialUse, source: Source): Promise<Credential | Refusal>;
  /** The upstream did not take it: neither the token nor the secret is used again without being asked for. */
  reject(use: CredentialUse, credential: Credential): void;
  close(): void;
}

export function createClientCredentials(parts: ClientCredentialsParts): ClientCredentials {
  const { reader, clock } = parts;
  const kept = createKept<Token | Refused>({ clock, entriesMax: KEPT_MAX, rejectEveryMs: REJECT_EVERY_MS });
  const keyOfCredential = new WeakMap<Credential, string>();

  async function readSecret(use: CredentialUse, source: Source): Promise<ClientSecret | Refusal> {
    const spot = spotOf(use, parts.vaultUserOf);
    if (isRefusal(spot)) return spot;
    const found = await reader.read(use);
    if (isRefusal(found)) return found;
    const value = fieldOf(use, found.fields, source.field);
    if (isRefusal(value)) return value;
    // By the secret itself, and not by its version alone: one that is removed and made again counts from 1 again.
    const digest = createHash('sha256').update(value).digest('base64url');
    return { value, version: String(found.version), key: JSON.stringify([spot.key, found.version, digest]) };
  }

  function askOnce(use: CredentialUse, source: Source, secret: ClientSecret): Promise<Token | Refused> {
    return kept.get(secret.key, async () => {
      const beganMs = clock.nowMs();
      const answer = await askToken(parts.fetcher, use, source, secret.value);
      if ('code' in answer) return { value: answer, untilMs: undefined };
      const { accessToken, lifetimeSeconds } = answer;
      const expiresAtMs = beganMs + lifetimeSeconds * 1000;
      const marginSeconds = Math.min(MARGIN_MAX_SECONDS, lifetimeSeconds * MARGIN_PART);
      return { value: { accessToken, expiresAtMs }, untilMs: expiresAtMs - marginSeconds * 1000 };
    });
  }

  function credentialOf(use: CredentialUse, source: Source, secret: ClientSecret, token: Token): Credential | Refusal {
    const { accessToken, expiresAtMs } = token;
    const unfit = checkInjectable(use, { secret: accessToken, username: undefined });
    if (unfit !== undefined) return unfit;
    const { store, path } = source;
    const credential: Credential = {
      fields: { access_token: accessToken },
      secret: accessToken,
      username: undefined,
      expiresAtSeconds: Math.floor(expiresAtMs / 1000),
      mark: { kind: 'oauth_client_credentials', store, path, version: secret.version },
      // Shared with others, and of no use to whoever did not get it.
      discard: () => Promise.resolve(),
    };
    keyOfCredential.set(credential, secret.key);
    return credential;
  }

  async function obtain(use: CredentialUse, source: Source, repeated = false): Promise<Credential | Refusal> {
    const secret = await readSecret(use, source);
    if (isRefusal(secret)) return secret;
    const answer = await askOnce(use, source, secret);
    if (!('code' in answer)) return credentialOf(use, source, secret, answer);
    if (answer.code === 'invalid_client' && !repeated) {
      // The secret may have been rotated since it was read.
      reader.forget(use, secret.version);
      const now = await readSecret(use, source);
      if (isRefusal(now)) return now;
      if (now.key !== secret.key) return obtain(use, source, true);
    }
    return refuse('credential_refused', { ...whereOf(use), status: answer.status, error: answer.code });
  }

  return {
    obtain: (use, source) => obtain(use, source),
    reject(use, credential) {
      const key = keyOfCredential.get(credential);
      if (key !== undefined)
        kept.reject(key, (token) => 'accessToken' in token && token.accessToken === credential.secret);
      reader.forget(use, credential.mark.version);
    },
    close() {
      kept.close();
    },
  };
}

interface ClientSecret {
  readonly value: string;
  readonly version: string;
  /** What tokens that were had with it are kept under. */
  readonly key: string;
}

/** The token endpoint said no. Nothing of its own text is in here. */
interface Refused {
  readonly status: number;
  readonly code: string;
}

async function askToken(
  fetcher: FormPoster,
  use: CredentialUse,
  source: Source,
  clientSecret: string,
): Promise<FreshToken | Refused> {
  const { name, spec } = use.upstream;
  const { client_id: clientId, scope, audience, resource } = source;
  const basic = source.auth === 'client_secret_basic';
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    ...(scope === undefined ? {} : { scope }),
    ...(audience === undefined ? {} : { audience }),
    ...(resource === undefined ? {} : { resource }),
    ...(basic ? {} : { client_id: clientId, client_secret: clientSecret }),
  });
  const { status, body } = await posted(name, () =>
    fetcher.postForm(source.token_url, form, {
      internal: spec.internal,
      maxBytes: 65_536,
      ...(spec.ca_file === undefined ? {} : { caFile: spec.ca_file }),
      ...(basic ? { authorization: basicOf(clientId, clientSecret) } : {}),
    }),
  );
  if (STATUS_NOT_NOW.has(status)) throw unavailable(name, `its token endpoint answered with ${status}`);
  if (status !== 200) {
    const error = isJsonObject(body) ? body.error : undefined;
    return { status, code: typeof error === 'string' && ERROR_CODES.has(error) ? error : 'other' };
  }
  return readToken(name, body);
}

/** RFC 6749 §5.1. */
function readToken(upstream: string, body: unknown): FreshToken {
  const malformed = (what: string) => unavailable(upstream, `its token endpoint answered without a usable ${what}`);
  if (!isJsonObject(body)) throw malformed('JSON object');
  const { access_token: accessToken, token_type: tokenType, expires_in: expiresIn } = body;
  if (typeof tokenType !== 'string' || tokenType.toLowerCase() !== 'bearer') throw malformed('token_type (bearer)');
  if (typeof accessToken !== 'string' || !/^[!-~]{1,16384}$/.test(accessToken)) throw malformed('access_token');
  const lifetime = typeof expiresIn === 'number' && expiresIn >= 0 ? expiresIn : LIFETIME_DEFAULT_SECONDS;
  return { accessToken, lifetimeSeconds: Math.min(Math.floor(lifetime), LIFETIME_MAX_SECONDS) };
}

async function posted(upstream: string, post: () => Promise<PostedForm>): Promise<PostedForm> {
  try {
    return await post();
  } catch (cause) {
    if (cause instanceof Unavailable) throw unavailable(upstream, `its token endpoint: ${cause.message}`, { cause });
    throw cause;
  }
}

function unavailable(upstream: string, message: string, options?: { cause: unknown }): Unavailable {
  return new Unavailable(`upstream ${upstream}`, message, options);
}

/** RFC 6749 §2.3.1: both are form-encoded before they are put together. */
function basicOf(clientId: string, clientSecret: string): string {
  const encode = (text: string) => new URLSearchParams({ '': text }).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')}`;
}
