/**
 * Actor chains: who acts for the subject, outermost (current) first (RFC 8693 §4.1). Read into a flat list, written
 * back nested. Only identity survives the reading: RFC 8693 §4.1 forbids claims such as `exp` inside `act`, and what
 * else is there means nothing here. A chain that cannot be read is a fault, never an empty chain (R8).
 */
import type { Principal } from '../core/principal.ts';
import { fault } from './fault.ts';
import type { Fault } from './fault.ts';
import { isJsonObject } from './strict-json.ts';

/** Most actors in a chain. */
export const MAX_CHAIN_DEPTH = 8;
/** Largest `act` claim, as JSON in UTF-8. */
export const MAX_ACT_BYTES = 8192;

const MAX_NAME_LENGTH = 2048;

/** One who acts or acted for the subject; `clientId` where it is a client of the token's issuer. */
export interface Actor extends Principal {
  readonly clientId?: string;
}

/** The actors of an `act` claim, outermost first; one without `iss` belongs to `defaultIssuer`. */
export function readChain(act: unknown, defaultIssuer: string): readonly Actor[] | Fault {
  const chain: Actor[] = [];
  for (let level = act; level !== undefined;) {
    if (chain.length === MAX_CHAIN_DEPTH || !isJsonObject(level)) return fault('claim_invalid', 'act');
    const { sub, iss = defaultIssuer, client_id: clientId } = level;
    if (!isName(sub) || !isName(iss) || (clientId !== undefined && !isName(clientId)))
      return fault('claim_invalid', 'act');
    chain.push({ issuer: iss, sub, ...(clientId !== undefined && { clientId }) });
    level = level.act;
  }
  if (act !== undefined && Buffer.byteLength(JSON.stringify(act)) > MAX_ACT_BYTES) return fault('claim_invalid', 'act');
  return chain;
}

/** The `act` claim of a chain, outermost first; `undefined` for an empty one. */
export function writeChain(chain: readonly Actor[]): Record<string, unknown> | undefined {
  return chain.reduceRight<Record<string, unknown> | undefined>(
    (inner, { sub, issuer, clientId }) => ({
      sub,
      iss: issuer,
      ...(clientId !== undefined && { client_id: clientId }),
      ...(inner !== undefined && { act: inner }),
    }),
    undefined,
  );
}

/** A non-empty string without control characters. */
function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_NAME_LENGTH && !/\p{Cc}/u.test(value);
}
