/**
 * Vault (or OpenBao) as a secret store and a broker of leases: the one adapter around node-vault, built here of its parts.
 * It opens nothing before it is first asked; what it cannot tell for certain it does not tell.
 */
import type { Logger } from '../../core/log.ts';
import type { KeyPlace } from '../../store/root-keys.ts';
import type { LeaseBroker, SecretLookup, SecretStore, VaultUser } from '../secret-store.ts';
import type { BreakerState } from './breaker.ts';
import { createVaultCalls, isPlainPath } from './calls.ts';
import { VAULT_FAULTS, VaultUnavailable } from './fault.ts';
import { readLookup } from './key-value.ts';
import { createLeaseBroker } from './leases.ts';
import { createLogin } from './login.ts';
import type { MintForVault } from './login.ts';
import { createQuestions } from './questions.ts';
import { createSession } from './session.ts';
import type { VaultSettings } from './settings.ts';
import { createSubjectLogins } from './subject-logins.ts';
import { createTransitKey } from './transit.ts';
import type { TransitKey } from './transit.ts';

/** What this node knows of its Vault without asking. */
export interface VaultState {
  /** What went wrong last, in words; `undefined` while all is well. */
  readonly trouble: string | undefined;
  readonly breaker: BreakerState;
  /** Of the login, on the clock that only goes forward; `undefined` = not logged in. */
  readonly loggedInSinceMs: number | undefined;
}

export interface Vault extends SecretStore, LeaseBroker {
  /** Logs in if nobody is; throws VaultUnavailable, with what an operator can do about it. */
  logIn(): Promise<void>;
  state(): VaultState;
  /** A key of its Transit engine; asks nothing yet. */
  transit(place: KeyPlace): TransitKey;
  /** Finds out whether Vault is there and lets us in, for `state`. Never throws. */
  probe(): Promise<void>;
  /** Ends connections and timers; revokes nothing. */
  close(): Promise<void>;
}

export interface VaultParts {
  readonly settings: VaultSettings;
  readonly logger: Logger;
  /** Makes the token of the jwt login. */
  readonly mint: MintForVault;
  /** Told of every answer, and of every fault by its code. */
  readonly onAnswer?: (outcome: string, durationMs: number) => void;
}

/** Asks nothing yet. */
export function createVault({ settings, logger, mint, onAnswer = () => undefined }: VaultParts): Vault {
  const calls = createVaultCalls(settings);
  const questions = createQuestions({ calls, timeoutMs: settings.timeoutMs, onAnswer });
  const login = createLogin(settings.login, { questions, mint });
  const watchedFile = settings.login.method === 'token_file' ? settings.login.file : undefined;
  const session = createSession({ questions, login, watchedFile, logger });
  const subjects =
    settings.subjectLogin === undefined
      ? undefined
      : createSubjectLogins({ questions, settings: settings.subjectLogin, logger });

  async function readAs(user: VaultUser, path: string): Promise<SecretLookup> {
    for (let tries = 1; ; tries += 1) {
      const login = await subjects?.logIn(user);
      if (login === undefined) return { missing: 'forbidden' };
      const fresh = performance.now() - login.sinceMs < 1_000;
      const answer = await questions.ask({ method: 'GET', path, token: login.token, repeat: 'safe' });
      // A login that was kept may have been ended underneath.
      if (answer.status !== 403 || fresh || tries > 1) return readLookup(answer);
      subjects?.forget(user, login.token);
    }
  }

  return {
    async read({ mount = settings.kvMount, path: place }, as) {
      const path = `${mount}/data/${place}`;
      // Nothing lies where no path leads; it is not asked, since who answers might read the path otherwise.
      if (!isPlainPath(path)) return { missing: 'absent' };
      if (as !== undefined) return readAs(as, path);
      return readLookup(await session.ask({ method: 'GET', path, repeat: 'safe' }));
    },
    ...createLeaseBroker({
      questions,
      session,
      subjects,
      tokenRole: settings.leaseTokenRole,
      timeoutMs: settings.timeoutMs,
    }),
    async logIn() {
      await session.ready();
    },
    transit: (place) => createTransitKey(session, place),
    state() {
      const fault = questions.lastFault() ?? session.lastFault();
      return {
        trouble: fault === undefined ? undefined : VAULT_FAULTS[fault],
        breaker: questions.breaker(),
        loggedInSinceMs: session.current()?.sinceMs,
      };
    },
    async probe() {
      try {
        // Asked of the root namespace: it is answered whoever asks, also while it is sealed.
        await questions.ask({
          method: 'GET',
          path: 'sys/seal-status',
          token: undefined,
          rootNamespace: true,
          repeat: 'safe',
        });
        await session.ready();
      } catch (error) {
        if (!(error instanceof VaultUnavailable)) logger.error({ err: error }, 'vault could not be looked at');
      }
    },
    async close() {
      session.close();
      await calls.close();
    },
  };
}
