/**
 * Logins as the subject: Vault's own policy and audit then know who it was. Each is kept for seconds only, a bounded
 * number of them, one login for all who wait for the same subject.
 */
import { LRUCache } from 'lru-cache';
import type { Logger } from '../../core/log.ts';
import type { VaultUser } from '../secret-store.ts';
import { VaultUnavailable } from './fault.ts';
import { logInAt } from './login.ts';
import type { LoggedIn } from './login.ts';
import type { Questions } from './questions.ts';
import type { SubjectLogin } from './settings.ts';

const KEPT_MS = 30_000;
const KEPT_MAX = 1_000;

export interface SubjectLogins {
  /** `undefined` = Vault does not let this subject in. `seconds`: how long the login must live, if one can be had. */
  logIn(user: VaultUser, seconds?: number): Promise<LoggedIn | undefined>;
  /** Vault said no to this token: the next login is a new one. */
  forget(user: VaultUser, token: string): void;
}

export function createSubjectLogins(parts: {
  readonly questions: Questions;
  readonly settings: SubjectLogin;
  readonly logger: Logger;
}): SubjectLogins {
  const { questions, settings, logger } = parts;
  const kept = new LRUCache<string, LoggedIn>({ max: KEPT_MAX, ttl: KEPT_MS });
  const underWay = new Map<string, Promise<LoggedIn | undefined>>();

  async function logInAnew(user: VaultUser): Promise<LoggedIn | undefined> {
    try {
      const jwt = await user.assertion();
      const made = await logInAt(questions, settings.mount, { role: settings.role, jwt });
      kept.set(user.key, made);
      return made;
    } catch (error) {
      if (!(error instanceof VaultUnavailable) || error.code !== 'login_refused') throw error;
      logger.warn({ err: error }, 'vault refused to let a subject in');
      return undefined;
    }
  }

  return {
    async logIn(user, seconds = 0) {
      const known = kept.get(user.key);
      // A login that is about to end is none; one that cannot live so long is better than a login for each request.
      if (
        known !== undefined &&
        known.endsAtMs - performance.now() > Math.min(seconds, known.lifetimeSeconds * 0.9) * 1000
      )
        return known;
      let login = underWay.get(user.key);
      if (login === undefined) {
        login = logInAnew(user).finally(() => underWay.delete(user.key));
        underWay.set(user.key, login);
      }
      return login;
    },
    forget(user, token) {
      if (kept.peek(user.key)?.token === token) kept.delete(user.key);
    },
  };
}
