/**
 * Why Vault did not do its part, by a stable code. The words are ours: of what Vault said only a short, clean line is
 * kept, and only where it tells an operator which of their settings is meant; never anything of a secret.
 */
import { Unavailable } from '../../core/refusal.ts';
import { isJsonObject } from '../../tokens/strict-json.ts';

export const VAULT_FAULTS = {
  unreachable: 'could not be reached',
  tls: 'its TLS certificate was not accepted',
  timeout: 'did not answer in time',
  redirect: 'answered with a redirect, which is never followed: give vault.address a URL that answers by itself',
  too_large: 'its answer is too large',
  not_json: 'its answer is not JSON',
  sealed: 'is sealed',
  uninitialized: 'is not initialized',
  no_active_node: 'has no active node',
  rate_limited: 'limits our rate',
  upgrading: 'is upgrading the mount to KV v2',
  failing: 'answered with an error of its own',
  odd_answer: 'answered with something unexpected',
  resting: 'failed several times in a row and is left alone for a moment',
  login_refused: 'refused our login',
  closed: 'is not asked any more: this node is stopping',
} as const;
export type VaultFaultCode = keyof typeof VAULT_FAULTS;

/** Vault did not do its part; the request may come again later. */
export class VaultUnavailable extends Unavailable {
  override readonly name = 'VaultUnavailable';
  readonly code: VaultFaultCode;
  /** The request cannot have had an effect. */
  readonly notSent: boolean;
  /** When Vault wants to be asked again; 0 = it did not say. */
  readonly retryAfterMs: number;

  constructor(
    code: VaultFaultCode,
    detail?: string,
    more: { readonly notSent?: boolean; readonly retryAfterMs?: number } = {},
  ) {
    super('vault', VAULT_FAULTS[code] + (detail === undefined ? '' : ` (${detail})`));
    this.code = code;
    this.notSent = more.notSent ?? false;
    this.retryAfterMs = more.retryAfterMs ?? 0;
  }
}

const SAID_MAX = 200;

/** The first line of what Vault gave as its reason; for refused logins and settings, never for what reads secrets. */
export function saidBy(body: unknown): string | undefined {
  const errors = isJsonObject(body) ? body['errors'] : undefined;
  const [first] = Array.isArray(errors) ? (errors as unknown[]) : [];
  if (typeof first !== 'string') return undefined;
  const clean = first.replace(/[^\x20-\x7e]+/g, ' ').trim();
  // Longer runs than any word: a token or a key that somebody's plugin repeated.
  const short = clean.replace(/[\w+/=.-]{40,}/g, '…').slice(0, SAID_MAX);
  return short === '' ? undefined : short;
}
