/** A secret store in memory that counts its reads and can be held up, and uses of upstreams to ask with. */
import type { Clock } from '../../../src/core/clock.ts';
import { createLogger } from '../../../src/core/log.ts';
import { upstreamSpec } from '../../../src/objects/upstream.ts';
import type { Secret, SecretLookup, SecretStore } from '../../../src/secrets/secret-store.ts';
import type { Credential, CredentialUse } from '../../../src/upstream/credential.ts';

export const START_SECONDS = 1_800_000_000;

/** A clock that stands until it is moved. */
export function standingClock(): Clock & { forward(seconds: number): void } {
  let nowMs = START_SECONDS * 1000;
  return {
    nowMs: () => nowMs,
    forward(seconds) {
      nowMs += seconds * 1000;
    },
  };
}

export interface MemoryStore extends SecretStore {
  readonly reads: { readonly path: string; readonly mount: string | undefined; readonly as: string | undefined }[];
  put(path: string, fields: Secret['fields'], tags?: Secret['tags']): void;
  remove(path: string): void;
  forbid(path: string): void;
  /** Until it is released, reads do not answer. */
  hold(): () => void;
  fail(error: Error | undefined): void;
}

export function memoryStore(): MemoryStore {
  const secrets = new Map<string, SecretLookup>();
  const reads: MemoryStore['reads'] = [];
  let gate = Promise.resolve();
  let failure: Error | undefined;
  return {
    reads,
    async read({ path, mount }, as) {
      reads.push({ path, mount, as: as?.key });
      // As it is now, whenever the answer arrives.
      const lookup = secrets.get(path) ?? { missing: 'absent' };
      await gate;
      if (failure !== undefined) throw failure;
      return lookup;
    },
    put(path, fields, tags = {}) {
      const before = secrets.get(path);
      const version = before !== undefined && 'found' in before ? before.found.version + 1 : 1;
      secrets.set(path, { found: { version, fields, tags } });
    },
    remove: (path) => void secrets.delete(path),
    forbid: (path) => void secrets.set(path, { missing: 'forbidden' }),
    hold() {
      let release = () => {};
      gate = new Promise((resolve) => {
        release = resolve;
      });
      return release;
    },
    fail(error) {
      failure = error;
    },
  };
}

/** An upstream named github, as it would be registered. */
export function upstream(credential: object, more: object = {}, version = 1): CredentialUse['upstream'] {
  const spec = upstreamSpec.parse({
    name: 'github',
    base_url: 'https://api.github.example',
    scopes: { read: 'Read' },
    requests: [{ methods: ['*'], path: '/**', scopes: ['read'] }],
    credential,
    ...more,
  });
  return { kind: 'upstream', name: spec.name, spec, disabled: false, version };
}

export function useOf(of: CredentialUse['upstream'], more: Partial<CredentialUse> = {}): CredentialUse {
  return {
    upstream: of,
    purpose: 'inject',
    subject: { issuer: 'https://corp.example', sub: 'ada' },
    subjectName: 'corp:ada',
    clientId: 'crm-server',
    resource: 'crm',
    token: { identity: 'token-1', ancestors: ['token-0'], expiresAtSeconds: START_SECONDS + 300 },
    ...more,
  };
}

/** The credential, or an error that shows the refusal. */
export async function granted(obtaining: Promise<Credential | object>): Promise<Credential> {
  const got = await obtaining;
  if (!('fields' in got)) throw new Error(`refused: ${JSON.stringify(got)}`);
  return got;
}

const notAsked = () => Promise.reject(new Error('not asked for'));

/** Of a room in which nothing has a lease. */
export const unleased = {
  logger: createLogger('silent'),
  registeredNameOf: notAsked,
  rows: {
    intend: notAsked,
    noteAccessor: notAsked,
    hold: notAsked,
    beginEnd: notAsked,
    remove: notAsked,
    markDue: notAsked,
    claimEnding: notAsked,
    numbers: notAsked,
  },
};
