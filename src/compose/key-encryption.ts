/**
 * What seals what lies in the database, as this node has it: from keys that it was given, or from root keys that Vault
 * unwraps for it, once. A Vault that is not there yet is waited for, but not without end: without it there is no start.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../core/log.ts';
import { Unavailable } from '../core/refusal.ts';
import { VaultUnavailable } from '../secrets/vault/fault.ts';
import type { Vault } from '../secrets/vault/vault.ts';
import type { Database } from '../store/database.ts';
import { isPlace, openEnvelope, placeName } from '../store/root-keys.ts';
import type { KeyEncryptionKeys, WrapperAt } from '../store/root-keys.ts';

const PAUSE_MS = 1_000;

export interface KeyEncryptionParts {
  readonly database: Database;
  readonly keys: KeyEncryptionKeys;
  readonly vault: Pick<Vault, 'transit'> | undefined;
  readonly logger: Logger;
  /** How long to wait for a Vault that does not answer; 0 = one question with its tries. */
  readonly patienceMs: number;
}

/** Throws WrongKeyEncryptionKey, TransitRefused, or Unavailable where Vault does not answer in time. */
export async function openKeyEncryption({ database, keys, vault, logger, patienceMs }: KeyEncryptionParts) {
  const wrapperAt: WrapperAt = (place) => {
    if (vault === undefined) throw new Error(`the Transit key ${placeName(place)} was given without a Vault`);
    return vault.transit(place);
  };
  const endsAtMs = performance.now() + patienceMs;
  let why: VaultUnavailable | undefined;
  for (;;)
    try {
      return await openEnvelope(database, keys, wrapperAt);
    } catch (error) {
      if (!(error instanceof VaultUnavailable)) throw error;
      const pauseMs = PAUSE_MS * (0.75 + Math.random() / 2);
      const before = why?.code;
      // That it is left alone for a moment says less than what went before.
      why = error.code === 'resting' ? (why ?? error) : error;
      if (!passes(error) || performance.now() + pauseMs > endsAtMs) throw lackingVault(why, keys);
      if (why.code !== before)
        logger.warn({ reason: why.message }, 'vault does not unwrap the key-encryption key yet: it is asked again');
      await sleep(pauseMs);
    }
}

/** What a Vault that starts, or fails over, gets over; a setting that is wrong stays wrong. */
function passes({ code }: VaultUnavailable): boolean {
  return !['tls', 'redirect', 'too_large', 'not_json', 'odd_answer', 'login_refused', 'closed'].includes(code);
}

function lackingVault(error: VaultUnavailable, keys: KeyEncryptionKeys): Unavailable {
  const names = keys.filter(isPlace).map(placeName).join(', ');
  return new Unavailable(
    'vault',
    `${error.message}: the key-encryption key is its Transit key ${names}, and nothing in the database can be opened ` +
      'without it. See vault.address and vault.login; cambist doctor says what is wrong',
  );
}
