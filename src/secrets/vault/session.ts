/**
 * Cambist's own login at Vault: one at a time for everybody who waits for it, renewed at two thirds of its life, replaced
 * where it cannot be renewed enough. A login that is replaced is not revoked, and nothing is at the end of the process:
 * what was leased under it lives on, and the next node of a rolling restart inherits nothing.
 */
import { stat } from 'node:fs/promises';
import type { Logger } from '../../core/log.ts';
import { VaultUnavailable } from './fault.ts';
import type { VaultFaultCode } from './fault.ts';
import { isAlive, renewToken } from './login.ts';
import type { LoggedIn } from './login.ts';
import type { Questions, VaultQuestion } from './questions.ts';
import type { VaultAnswer } from './transport.ts';

/** `setTimeout` takes anything longer for zero; a day is often enough to look. */
const TIMER_MAX_MS = 86_400_000;
const TIMER_MIN_MS = 500;
const RETRY_MS = 5_000;
/** A 403 is not answered by more logins than this. */
const RELOGIN_EVERY_MS = 5_000;
const FILE_LOOK_MS = 1_000;
/** A refused login is not tried again for so long: Vault locks out who guesses, and load must not look like guessing. */
const REFUSED_MS = 1_000;

/** When to renew a token with so many seconds left: two thirds of it, a tenth earlier or later, never beyond a day. */
export function renewalDelayMs(leftSeconds: number, random: number = Math.random()): number {
  const delayMs = leftSeconds * 1000 * (2 / 3) * (0.9 + random * 0.2);
  return Math.min(TIMER_MAX_MS, Math.max(TIMER_MIN_MS, delayMs));
}

export interface VaultSession {
  /** Asks as ourselves; a 403 comes back only where Vault knows our token and says no. */
  ask(question: Omit<VaultQuestion, 'token'>): Promise<VaultAnswer>;
  /** Our token, with a life of so many seconds if one can be had. */
  lasting(seconds: number): Promise<LoggedIn>;
  /** Logs in now where nobody is logged in, and says why that fails. */
  ready(): Promise<LoggedIn>;
  /** `undefined` = not logged in. */
  current(): LoggedIn | undefined;
  /** Why the last login failed; `undefined` where it did not. */
  lastFault(): VaultFaultCode | undefined;
  close(): void;
}

export function createSession(parts: {
  readonly questions: Questions;
  readonly login: () => Promise<LoggedIn>;
  /** Looked at now and then: when it changes, so does the login. */
  readonly watchedFile: string | undefined;
  readonly logger: Logger;
}): VaultSession {
  const { questions, login, watchedFile, logger } = parts;
  let current: LoggedIn | undefined;
  let loggingIn: Promise<LoggedIn> | undefined;
  let renewing: Promise<boolean> | undefined;
  let looking: { readonly token: string; readonly alive: Promise<boolean> } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let lastForcedMs = -Infinity;
  let watched: { atMs: number; mark: string | undefined } = { atMs: -Infinity, mark: undefined };
  let closed = false;
  let lastFault: VaultFaultCode | undefined;
  let refused: { readonly error: VaultUnavailable; readonly untilMs: number } | undefined;

  const leftMs = ({ endsAtMs }: LoggedIn) => endsAtMs - performance.now();

  function logIn(): Promise<LoggedIn> {
    if (closed) return Promise.reject(new VaultUnavailable('closed', undefined, { notSent: true }));
    if (refused !== undefined && performance.now() < refused.untilMs) return Promise.reject(refused.error);
    loggingIn ??= (async () => {
      try {
        const mark = await markOf(watchedFile);
        const next = await login();
        lastFault = undefined;
        watched = { atMs: performance.now(), mark };
        adopt(next);
        logger.info({ lifetimeSeconds: secondsOf(next), renewable: next.renewable }, 'logged in to vault');
        return next;
      } catch (error) {
        if (error instanceof VaultUnavailable) {
          lastFault = error.code;
          if (error.code === 'login_refused') refused = { error, untilMs: performance.now() + REFUSED_MS };
        }
        throw error;
      } finally {
        loggingIn = undefined;
      }
    })();
    return loggingIn;
  }

  function adopt(next: LoggedIn): void {
    current = next;
    if (next.endsAtMs !== Infinity) schedule(renewalDelayMs(leftMs(next) / 1000));
  }

  function schedule(delayMs: number): void {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => {
      void keepAlive();
    }, delayMs);
    timer.unref();
  }

  /** Renews, or logs in where that would not last; tries again soon where Vault does not answer. */
  async function keepAlive(): Promise<void> {
    const before = current;
    try {
      if (before === undefined || !(await renewed(before))) await logIn();
    } catch (error) {
      logger.warn({ err: error }, 'the login at vault could not be renewed: it is tried again');
      schedule(RETRY_MS * (0.5 + Math.random()));
    }
  }

  /** Once for all who want it. False where it lives less than half of what a login lives: its maximum is near. */
  function renewed(before: LoggedIn): Promise<boolean> {
    if (!before.renewable) return Promise.resolve(false);
    renewing ??= (async () => {
      const after = await renewToken(questions, before);
      if (after === undefined || leftMs(after) < before.lifetimeSeconds * 500) return false;
      if (current === before) adopt(after);
      return true;
    })().finally(() => {
      renewing = undefined;
    });
    return renewing;
  }

  async function ready(): Promise<LoggedIn> {
    if (watchedFile !== undefined && performance.now() - watched.atMs > FILE_LOOK_MS) {
      watched = { ...watched, atMs: performance.now() };
      if (current !== undefined && (await markOf(watchedFile)) !== watched.mark) return logIn();
    }
    return current !== undefined && leftMs(current) > 0 ? current : logIn();
  }

  /** Does Vault still know this token? Asked once for all who doubt it. */
  function doubt(token: string): Promise<boolean> {
    if (looking?.token !== token) {
      const alive = isAlive(questions, token);
      const forget = () => {
        if (looking?.alive === alive) looking = undefined;
      };
      alive.then(forget, forget);
      looking = { token, alive };
    }
    return looking.alive;
  }

  /** A new login in place of a dead one, once for all who found it dead; not in a loop where new ones are dead too. */
  async function replaceDead(token: string): Promise<void> {
    if (current?.token !== token) return;
    if (loggingIn === undefined) {
      if (performance.now() - lastForcedMs < RELOGIN_EVERY_MS)
        throw new VaultUnavailable('login_refused', 'tokens that it gave a moment ago are dead');
      lastForcedMs = performance.now();
      logger.warn('vault does not know our token any more: logging in again');
    }
    await logIn();
  }

  return {
    ready,
    lastFault: () => lastFault,
    current: () => (current !== undefined && leftMs(current) > 0 ? current : undefined),
    async ask(question) {
      const { token } = await ready();
      const answer = await questions.ask({ ...question, token });
      if (answer.status !== 403 || (await doubt(token))) return answer;
      await replaceDead(token);
      return questions.ask({ ...question, token: (await ready()).token });
    },
    async lasting(seconds) {
      const before = await ready();
      // Where no login ever lives so long, half of one does: it is neither renewed nor made anew for each that asks.
      const lasts = (login: LoggedIn | undefined): login is LoggedIn =>
        login !== undefined &&
        leftMs(login) >= (login.lifetimeSeconds >= seconds ? seconds * 1000 : login.lifetimeSeconds * 500);
      if (lasts(before)) return before;
      return (await renewed(before)) && lasts(current) ? current : logIn();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

function secondsOf({ lifetimeSeconds }: LoggedIn): number | 'unlimited' {
  return lifetimeSeconds === Infinity ? 'unlimited' : Math.round(lifetimeSeconds);
}

/** What changes when a file is replaced. */
async function markOf(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    const { mtimeMs, ino, size } = await stat(file);
    return `${mtimeMs} ${ino} ${size}`;
  } catch {
    return undefined;
  }
}
