/** A field of a secret, as it is. */
import { isRefusal, refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Credential, CredentialUse } from './credential.ts';
import { injectionFault } from './inject.ts';
import { fieldOf, whereOf } from './secret-reader.ts';
import type { SecretReader, SourceOf } from './secret-reader.ts';

export async function obtainStatic(
  reader: SecretReader,
  use: CredentialUse,
  source: SourceOf<'static'>,
): Promise<Credential | Refusal> {
  if (use.purpose === 'fetch' && !source.allow_fetch)
    return refuse('credential_not_fetchable', { upstream: use.upstream.name, fix: 'allow_fetch of its credential' });
  const found = await reader.read(use);
  if (isRefusal(found)) return found;
  const secret = fieldOf(use, found.fields, source.field);
  if (isRefusal(secret)) return secret;
  const { username_field: usernameField } = source;
  const username = usernameField === undefined ? undefined : fieldOf(use, found.fields, usernameField);
  if (isRefusal(username)) return username;
  const unfit = checkInjectable(use, { secret, username });
  if (unfit !== undefined) return unfit;
  return {
    // Never more than what is named: a secret may hold other things beside it.
    fields: {
      [source.field]: secret,
      ...(usernameField === undefined || username === undefined ? {} : { [usernameField]: username }),
    },
    secret,
    username,
    expiresAtSeconds: undefined,
    mark: { kind: 'static', store: source.store, path: source.path, version: String(found.version) },
    discard: () => Promise.resolve(),
  };
}

/** Refuses with `credential_refused` what would break the request that it is injected into. */
export function checkInjectable(
  use: CredentialUse,
  values: Pick<Credential, 'secret' | 'username'>,
): Refusal | undefined {
  if (use.purpose === 'fetch') return undefined;
  const fault = injectionFault(use.upstream.spec.inject, values);
  return fault === undefined ? undefined : refuse('credential_refused', { ...whereOf(use), fault });
}
