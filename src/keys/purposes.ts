/**
 * What signing keys are for. A key serves one purpose only: whoever verifies access tokens need not even know the keys of
 * anything else, and what was signed for one purpose is worthless for another.
 */

/** The algorithms of each purpose. Nobody signs checkpoints yet; their key is there before the first one is needed. */
export const KEY_PURPOSES = {
  'access-token': ['ES256', 'RS256'],
  'revocation-document': ['ES256'],
  'audit-checkpoint': ['EdDSA'],
} as const;
export type KeyPurpose = keyof typeof KEY_PURPOSES;
export type AlgorithmOf<P extends KeyPurpose> = (typeof KEY_PURPOSES)[P][number];

export const PURPOSE_NAMES = Object.keys(KEY_PURPOSES) as KeyPurpose[];
