/**
 * What a JWKS of ours says when it is asked: the newest keys that the database knows, so that a token of a replacement
 * key verifies wherever its key is looked up; and the last known ones where the database cannot say in time, since a JWKS
 * is served while it is down (F4).
 */
import type { JWK } from 'jose';
import type { KeyPurpose } from './purposes.ts';
import type { KeyRing } from './ring.ts';

/** Longest wait for the database; readers give up after some seconds. */
const WAIT_MS = 500;

export type PublishedJwks = (purpose: KeyPurpose) => Promise<{ readonly keys: readonly JWK[] }>;

/** `refresh` resolves once the ring is as new as the database; what it fails with is not told: the old keys serve. */
export function createPublishedJwks(parts: {
  readonly ring: Pick<KeyRing, 'jwks'>;
  readonly refresh: () => Promise<unknown>;
  readonly waitMs?: number;
}): PublishedJwks {
  const { ring, refresh, waitMs = WAIT_MS } = parts;
  return async (purpose) => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await Promise.race([refresh().catch(() => undefined), late]);
    clearTimeout(timer);
    return ring.jwks(purpose);
  };
}
