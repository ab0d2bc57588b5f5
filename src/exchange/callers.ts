/**
 * Who may use an upstream: the clients that it lists. The one who counts is the current actor, so that an agent cannot
 * take the token that it sent to a server and use the server's upstream itself. The egress asks the same again.
 */
import { refuse } from '../core/refusal.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Target } from '../objects/target.ts';
import type { Party } from '../standing/party.ts';
import type { Delegation } from './delegation.ts';

/** The client that acts now: outermost in the chain of what is issued, else who asks. `undefined`: a person acts. */
export function currentClient(
  client: Party,
  { actor }: Pick<Delegation, 'actor'>,
  impersonation: boolean,
): string | undefined {
  const current = impersonation || actor === undefined ? client : actor.party;
  return current.client?.spec.id;
}

/** Refuses with `caller_not_listed`. */
export function checkCallers(targets: readonly Target[], clientId: string | undefined): Refusal | undefined {
  for (const { name, upstream } of targets) {
    if (upstream === undefined) continue;
    if (clientId === undefined || !upstream.spec.callers.includes(clientId))
      return refuse('caller_not_listed', { upstream: name, ...(clientId === undefined ? {} : { caller: clientId }) });
  }
  return undefined;
}
