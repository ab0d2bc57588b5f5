/**
 * Looks at Vault for `cambist doctor`, with a login of its own: how Vault is, whether and as what it lets us in, what our
 * policies let us read, whether a token for a lease can be made and ended. It reads secrets as a node does; it keeps none.
 */
import { createLogger } from '../../core/log.ts';
import type { KeyPlace } from '../../store/root-keys.ts';
import { isJsonObject } from '../../tokens/strict-json.ts';
import type { SecretLookup, SecretPlace } from '../secret-store.ts';
import { createVaultCalls } from './calls.ts';
import { VaultUnavailable } from './fault.ts';
import { readLookup } from './key-value.ts';
import { createLeaseBroker, mayRead } from './leases.ts';
import { createLogin } from './login.ts';
import type { MintForVault } from './login.ts';
import { createQuestions } from './questions.ts';
import { createSession } from './session.ts';
import type { VaultSettings } from './settings.ts';
import { createTransitKey } from './transit.ts';
import type { TransitKey } from './transit.ts';

/** What Vault says of itself to anybody (`sys/health`). */
export interface VaultHealth {
  readonly version: string;
  readonly initialized: boolean;
  readonly sealed: boolean;
  readonly standby: boolean;
  readonly latencyMs: number;
  /** Clock of Vault minus ours, to the second; `undefined` where it tells no time. */
  readonly skewSeconds: number | undefined;
}

/** What our login is worth. */
export interface VaultLoginFacts {
  readonly policies: readonly string[];
  /** `Infinity` = it never ends. */
  readonly lifetimeSeconds: number;
  readonly renewable: boolean;
}

/** All throw VaultUnavailable where Vault does not do its part. */
export interface VaultExamination {
  /** `false`: what logs in is good once, and a node needs it. */
  readonly mayLogIn: boolean;
  health(): Promise<VaultHealth>;
  logIn(): Promise<VaultLoginFacts>;
  read(place: SecretPlace): Promise<SecretLookup>;
  /** Whether our own policies let us read a path. */
  may(path: string): Promise<boolean>;
  /** Makes a token as leases have one, looks which of the paths it may read, and ends it: those that it may not. */
  tryHolder(paths: readonly string[]): Promise<readonly string[]>;
  /** A key of the Transit engine. */
  transit(place: KeyPlace): TransitKey;
  /** Ends the login that was made. */
  close(): Promise<void>;
}

const HOLDER_SECONDS = 30;

/** Where what signs our tokens lies under a key of this very Vault; the settings let no such login through. */
const noMint: MintForVault = () => Promise.reject(new Error('a login that is signed by what Vault has to unwrap'));

/** Asks nothing yet. `mint`: absent where our own keys are not open. */
export function openVaultExamination(parts: {
  readonly settings: VaultSettings;
  readonly mint?: MintForVault;
}): VaultExamination {
  const { settings, mint = noMint } = parts;
  const calls = createVaultCalls(settings);
  const questions = createQuestions({ calls, timeoutMs: settings.timeoutMs, onAnswer: () => undefined });
  const session = createSession({
    questions,
    login: createLogin(settings.login, { questions, mint }),
    watchedFile: undefined,
    logger: createLogger('silent'),
  });
  const broker = createLeaseBroker({
    questions,
    session,
    subjects: undefined,
    tokenRole: settings.leaseTokenRole,
    timeoutMs: settings.timeoutMs,
  });

  return {
    mayLogIn: !(settings.login.method === 'approle' && settings.login.secretIdWrapped),
    async health() {
      const startedMs = performance.now();
      const call = { method: 'GET', path: 'sys/health', token: undefined, rootNamespace: true } as const;
      const { status, body } = await calls.call({ ...call, timeoutMs: settings.timeoutMs });
      const latencyMs = performance.now() - startedMs;
      const { version, initialized, sealed, standby, server_time_utc: serverSeconds } = body ?? {};
      // A proxy in front may answer as well.
      if (typeof version !== 'string' || typeof sealed !== 'boolean')
        throw new VaultUnavailable('odd_answer', `sys/health: status ${status}`);
      return {
        version,
        sealed,
        initialized: initialized !== false,
        standby: standby === true,
        latencyMs,
        skewSeconds:
          typeof serverSeconds === 'number' ? Math.round(serverSeconds + 0.5 - Date.now() / 1000) : undefined,
      };
    },
    async logIn() {
      const { lifetimeSeconds, renewable } = await session.ready();
      const answer = await session.ask({ method: 'GET', path: 'auth/token/lookup-self', repeat: 'safe' });
      const data = answer.body?.['data'];
      const policies = isJsonObject(data) && Array.isArray(data['policies']) ? (data['policies'] as unknown[]) : [];
      return { lifetimeSeconds, renewable, policies: policies.filter((name) => typeof name === 'string') };
    },
    async read({ mount = settings.kvMount, path }) {
      return readLookup(await session.ask({ method: 'GET', path: `${mount}/data/${path}`, repeat: 'safe' }));
    },
    may: (path) => mayRead(path, (question) => session.ask(question)),
    transit: (place) => createTransitKey(session, place),
    async tryHolder(paths) {
      const holder = await broker.openHolder(HOLDER_SECONDS);
      try {
        const allowed = await Promise.all(paths.map((path) => holder.may(path)));
        return paths.filter((_, at) => allowed[at] !== true);
      } finally {
        await broker.revokeHolder(holder.accessor);
      }
    },
    async close() {
      const own = session.current();
      session.close();
      // What was made for this look is not left behind; a token that was given is not ours to end.
      if (own !== undefined && !['token', 'token_file'].includes(settings.login.method))
        await questions
          .ask({ method: 'POST', path: 'auth/token/revoke-self', body: {}, token: own.token, repeat: 'safe' })
          .catch(() => undefined);
      await calls.close();
    },
  };
}
