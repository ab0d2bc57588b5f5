/**
 * Fetches the keys of trusted issuers when a node starts: the first request of each does not wait for them, and an issuer
 * that cannot be reached is said in the log then, not when somebody is refused. Nothing waits for it and nothing fails
 * by it: a node without one issuer serves the others.
 */
import type { Logger } from '../core/log.ts';
import { issValues } from '../objects/issuer.ts';
import type { TrustedIssuer } from '../objects/issuer.ts';
import { keySourceOf } from './key-sets.ts';
import type { KeySets } from './key-sets.ts';

const ISSUERS_MAX = 100;
const AT_ONCE = 4;

/** Never throws. */
export async function fetchAhead(
  issuers: readonly TrustedIssuer[],
  keySets: KeySets,
  logger: Pick<Logger, 'warn'>,
): Promise<void> {
  const waiting = issuers.slice(0, ISSUERS_MAX);
  async function work(): Promise<void> {
    for (let spec = waiting.shift(); spec !== undefined; spec = waiting.shift()) {
      const [iss] = issValues(spec);
      if (iss === undefined) continue;
      try {
        await keySets.keysFor(keySourceOf(spec, iss), { kid: undefined });
      } catch (error) {
        logger.warn(
          { issuer: spec.name, err: error },
          'a trusted issuer cannot be used: until its keys can be fetched, its tokens are answered with 503 (cambist doctor says more)',
        );
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}
