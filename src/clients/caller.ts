/**
 * Step 2 as every endpoint takes it: who is calling. A source that failed too often is turned away before its credentials
 * are looked at, and a failure is counted where it came from. What it returns was read for this request and no other.
 */
import type { Arrival } from '../core/arrival.ts';
import { isRefusal } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Registry } from '../objects/registry.ts';
import type { Authenticate, AuthenticatedClient } from './authenticate.ts';
import { claimedClient, readCredentials } from './credentials.ts';

export interface CallerParts {
  /** The registered objects, at least as new as this call. */
  registry(): Promise<Registry>;
  readonly authenticate: Authenticate;
  /** Failed authentications per source and claimed client. */
  readonly failures: {
    check(source: string, claimed: string): Refusal | undefined;
    note(source: string, claimed: string): void;
  };
}

export interface Caller {
  readonly client: AuthenticatedClient;
  readonly registry: Registry;
}

/** The caller, or why it is none; `step` runs the two steps that cost something. */
export async function admitCaller(
  parts: CallerParts,
  arrival: Arrival,
  step: <T>(name: 'registry' | 'authenticate', work: () => Promise<T>) => Promise<T>,
): Promise<Caller | Refusal> {
  const presented = readCredentials(arrival.authorization, arrival.form);
  const claimed = claimedBy(arrival);
  const throttled = parts.failures.check(arrival.source, claimed);
  if (throttled !== undefined) return throttled;

  const registry = await step('registry', () => parts.registry());
  const client = isRefusal(presented)
    ? presented
    : await step('authenticate', () => parts.authenticate(presented, registry));
  if (!isRefusal(client)) return { client, registry };
  parts.failures.note(arrival.source, claimed);
  return client;
}

/** Under which name failures of such a caller are counted; nothing of it is proved. */
export function claimedBy({ authorization, form }: Arrival): string {
  return claimedClient(readCredentials(authorization, form));
}
