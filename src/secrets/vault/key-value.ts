/** Reading one version of a KV v2 secret from what Vault answers. */
import { isJsonObject } from '../../tokens/strict-json.ts';
import type { JsonObject } from '../../tokens/strict-json.ts';
import type { SecretLookup } from '../secret-store.ts';
import { VaultUnavailable, saidBy } from './fault.ts';
import type { VaultAnswer } from './transport.ts';

/** A deleted or destroyed version is a 404 with metadata: absent, like one that never was. */
export function readLookup(answer: VaultAnswer): SecretLookup {
  if (answer.status === 403) return { missing: 'forbidden' };
  if (answer.status === 404) return { missing: 'absent' };
  if (answer.status !== 200) throw new VaultUnavailable('odd_answer', saidBy(answer.body) ?? `status ${answer.status}`);
  const outer = answer.body?.['data'];
  const data = isJsonObject(outer) ? outer['data'] : undefined;
  const metadata = isJsonObject(outer) ? outer['metadata'] : undefined;
  const version = isJsonObject(metadata) ? metadata['version'] : undefined;
  // `data` is null for a version that was deleted, where something in between turned the 404 into a 200.
  if (data === null && typeof version === 'number') return { missing: 'absent' };
  if (!isJsonObject(data) || !isJsonObject(metadata) || typeof version !== 'number')
    throw new VaultUnavailable('odd_answer', 'not a KV v2 secret: see that the mount is of version 2');
  return { found: { version, fields: textFields(data), tags: textFields(metadata['custom_metadata']) } };
}

/** Fields that are text, or become the same text whoever writes them; others cannot be put into a request. */
export function textFields(from: unknown): Readonly<Record<string, string>> {
  if (!isJsonObject(from)) return {};
  const fields: JsonObject = from;
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]): [string, string][] => {
      if (typeof value === 'string') return [[name, value]];
      return typeof value === 'boolean' || Number.isSafeInteger(value) ? [[name, String(value)]] : [];
    }),
  );
}
