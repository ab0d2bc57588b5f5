/**
 * Reads the secret of an upstream for one use: where it lies for this subject, client and resource, as whom it is read,
 * and whether it is pinned to somebody or something else. What is injected is kept for a few seconds, what is fetched is
 * read each time; what was read under one login is never given to another.
 */
import type { Clock } from '../core/clock.ts';
import { isRefusal, refuse, Unavailable } from '../core/refusal.ts';
import type { Refusal, RefusalDetail } from '../core/refusal.ts';
import type { CredentialSource } from '../objects/upstream.ts';
import { fillPath, PERSONAL_PLACEHOLDERS, placeholdersOf } from '../objects/upstream-templates.ts';
import type { Placeholder } from '../objects/upstream-templates.ts';
import type { Secret, SecretLookup, SecretStore, SecretStores, VaultUser } from '../secrets/secret-store.ts';
import { principalDigest } from '../tokens/revocation.ts';
import type { CredentialUse } from './credential.ts';
import { createKept } from './kept.ts';

/** How many secrets are kept at most, over all upstreams. */
const KEPT_MAX = 5000;
const REJECT_EVERY_MS = 1000;

/** Tags of a secret that say whose, and for which upstreams, it is. */
const OWNER_TAG = 'cambist_owner';
const AUDIENCE_TAG = 'cambist_audience';

export interface SecretReaderParts {
  readonly stores: SecretStores;
  readonly clock: Clock;
  /** How long an injected secret is used without being read again; 0 = not at all. */
  readonly cacheSeconds: number;
  /** The login of a subject at Vault; `undefined` where the settings have none. */
  readonly vaultUserOf?: ((use: CredentialUse) => VaultUser) | undefined;
}

/** Where the secret of a use lies, and as whom it is asked for. */
export interface SecretSpot {
  readonly path: string;
  /** `undefined` = as Cambist itself. */
  readonly user: VaultUser | undefined;
  /** Equal for those uses that may share what was read. */
  readonly key: string;
}

export interface SecretReader {
  /** Refuses with `credential_missing`, `credential_forbidden`, `credential_not_pinned`. */
  read(use: CredentialUse): Promise<Secret | Refusal>;
  /** The next `read` asks the store, if this secret is the one that is kept. */
  forget(use: CredentialUse, version: string): void;
  close(): void;
}

export function createSecretReader(parts: SecretReaderParts): SecretReader {
  const { stores, clock, cacheSeconds } = parts;
  const kept = createKept<SecretLookup>({ clock, entriesMax: KEPT_MAX, rejectEveryMs: REJECT_EVERY_MS });

  async function look(use: CredentialUse, spot: SecretSpot): Promise<SecretLookup> {
    const store = storeOf(stores, use);
    const place = { mount: mountOf(use), path: spot.path };
    // What leaves is read as it is now; and with nothing to be kept, nothing that began earlier is waited for.
    if (use.purpose === 'fetch' || cacheSeconds === 0) return store.read(place, spot.user);
    // Counted from before the secret was read: a rotation meanwhile must not be hidden for longer.
    const untilMs = clock.nowMs() + cacheSeconds * 1000;
    return kept.get(spot.key, async () => {
      const value = await store.read(place, spot.user);
      // A secret that was missing is used as soon as it is there.
      return { value, untilMs: 'found' in value ? untilMs : undefined };
    });
  }

  return {
    async read(use) {
      const spot = spotOf(use, parts.vaultUserOf);
      if (isRefusal(spot)) return spot;
      const lookup = await look(use, spot);
      if ('missing' in lookup) return notThere(use, lookup.missing);
      return pinFault(use, lookup.found) ?? lookup.found;
    },
    forget(use, version) {
      const spot = spotOf(use, parts.vaultUserOf);
      if (!isRefusal(spot))
        kept.reject(spot.key, (value) => 'found' in value && String(value.found.version) === version);
    },
    close() {
      kept.close();
    },
  };
}

/** Where it lies for this use. Refuses where the path asks for what the use has not. */
export function spotOf(
  use: CredentialUse,
  vaultUserOf: ((use: CredentialUse) => VaultUser) | undefined,
): SecretSpot | Refusal {
  const { name, version, spec } = use.upstream;
  const { credential } = spec;
  const values = valuesOf(use);
  const lacking = placeholdersOf(credential.path).find((placeholder) => (values[placeholder] ?? '') === '');
  if (lacking !== undefined) return refuse('credential_missing', { ...whereOf(use), missing: `value of {${lacking}}` });
  const user = credential.login === 'subject' ? vaultUserOf?.(use) : undefined;
  if (credential.login === 'subject' && user === undefined)
    return refuse('credential_missing', {
      ...whereOf(use),
      missing: 'vault.subject_login',
      fix: 'set vault.subject_login',
    });
  const path = fillPath(credential.path, values);
  const login = user === undefined ? 'service' : `subject ${user.key}`;
  return { path, user, key: JSON.stringify([name, version, credential.store, mountOf(use) ?? '', path, login]) };
}

/** What a record may say of where a secret lies; a path that names a person is told as it is configured. */
export function whereOf(use: CredentialUse): RefusalDetail {
  const { credential } = use.upstream.spec;
  const asked = placeholdersOf(credential.path);
  const values = valuesOf(use);
  const asConfigured = asked.some((name) => PERSONAL_PLACEHOLDERS.includes(name) || (values[name] ?? '') === '');
  const mount = mountOf(use);
  return {
    upstream: use.upstream.name,
    store: credential.store,
    ...(mount === undefined ? {} : { mount }),
    path: asConfigured ? credential.path : fillPath(credential.path, values),
  };
}

function valuesOf(use: CredentialUse): Partial<Record<Placeholder, string>> {
  return {
    subject: use.subjectName,
    subject_hash: principalDigest(use.subject),
    client: use.clientId,
    ...(use.resource === undefined ? {} : { resource: use.resource }),
  };
}

/** A field that must be there and hold something. */
export function fieldOf(use: CredentialUse, fields: Readonly<Record<string, string>>, name: string): string | Refusal {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  return value === undefined || value === ''
    ? refuse('credential_missing', { ...whereOf(use), field: name, missing: 'field' })
    : value;
}

/** What a store says instead of a secret, as a refusal. */
export function notThere(use: CredentialUse, missing: 'absent' | 'forbidden'): Refusal {
  return missing === 'forbidden'
    ? refuse('credential_forbidden', whereOf(use))
    : refuse('credential_missing', { ...whereOf(use), missing: 'secret' });
}

/** A tag that is there must name this subject and this upstream; the upstream may demand that it is there. */
function pinFault(use: CredentialUse, { tags }: Secret): Refusal | undefined {
  const { require_tags: required } = use.upstream.spec;
  const owner = tagOf(tags, OWNER_TAG);
  if (owner === undefined ? required.owner : owner !== use.subjectName)
    return notPinned(use, OWNER_TAG, owner === undefined);
  const audience = tagOf(tags, AUDIENCE_TAG);
  const named = audience?.split(',').map((name) => name.trim());
  if (named === undefined ? required.audience : !named.includes(use.upstream.name))
    return notPinned(use, AUDIENCE_TAG, audience === undefined);
  return undefined;
}

function notPinned(use: CredentialUse, tag: string, absent: boolean): Refusal {
  return refuse('credential_not_pinned', { ...whereOf(use), tag, fault: absent ? 'absent' : 'another' });
}

function tagOf(tags: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(tags, name) ? tags[name] : undefined;
}

function mountOf({ upstream }: CredentialUse): string | undefined {
  const { credential } = upstream.spec;
  return 'mount' in credential ? credential.mount : undefined;
}

function storeOf(stores: SecretStores, { upstream }: CredentialUse): SecretStore {
  if (upstream.spec.credential.store === 'embedded') return stores.embedded;
  if (stores.vault === undefined) throw noVault(upstream.name);
  return stores.vault;
}

/** An upstream wants Vault, and the settings have none. */
export function noVault(upstreamName: string): Unavailable {
  return new Unavailable('vault', `upstream ${upstreamName} has its credential in Vault: set vault.address`);
}

/** The spec of one kind of credential. */
export type SourceOf<K extends CredentialSource['kind']> = Extract<CredentialSource, { kind: K }>;
