/**
 * Leases, each under a holder: a token of its own whose accessor is known before the lease is asked for. Whoever revokes
 * the holder ends the lease, also one whose answer was lost.
 */
import { isJsonObject } from '../../tokens/strict-json.ts';
import type { LeaseBroker, LeaseHolder, LeasedSecret, VaultUser } from '../secret-store.ts';
import { VaultUnavailable, saidBy } from './fault.ts';
import { textFields } from './key-value.ts';
import type { LoggedIn } from './login.ts';
import type { Questions, VaultQuestion } from './questions.ts';
import type { VaultSession } from './session.ts';
import type { SubjectLogins } from './subject-logins.ts';
import type { VaultAnswer } from './transport.ts';

export interface VaultHolder extends LeaseHolder {
  /** Whether its policies let it read this path; nothing is read. */
  may(path: string): Promise<boolean>;
}

export interface VaultLeaseBroker extends LeaseBroker {
  openHolder(lifetimeSeconds: number, as?: VaultUser): Promise<VaultHolder>;
}

/** A token that is made, and ends, as soon as this is over is not worth a lease. */
const HOLDER_MIN_SECONDS = 5;
/**
 * Cut in the middle, Vault can leave a role at the database that it knows nothing of: what nobody waits for any more may
 * go on, until so long after it was asked. It must be over before the row of a lease is due (`store/leases.ts`).
 */
const LEASE_MAX_MS = 15_000;

export function createLeaseBroker(parts: {
  readonly questions: Questions;
  readonly session: VaultSession;
  readonly subjects: SubjectLogins | undefined;
  readonly tokenRole: string | undefined;
  /** For one question. */
  readonly timeoutMs: number;
}): VaultLeaseBroker {
  const { questions, session, subjects, tokenRole } = parts;
  const leaseTimeoutMs = Math.min(parts.timeoutMs, LEASE_MAX_MS);

  async function openUnder(
    parent: LoggedIn,
    wantedSeconds: number,
    ask: (question: Omit<VaultQuestion, 'token'>) => Promise<VaultAnswer>,
  ) {
    const leftSeconds = Math.floor((parent.endsAtMs - performance.now()) / 1000);
    // An orphan does not end with the login that made it; every other token does, whatever it was promised.
    const seconds = tokenRole === undefined ? Math.min(wantedSeconds, leftSeconds) : wantedSeconds;
    if (seconds < HOLDER_MIN_SECONDS)
      throw new VaultUnavailable(
        'odd_answer',
        'the login lives too short for a lease: raise its token_ttl, or set vault.lease_token_role',
      );
    const ttl = `${seconds}s`;
    const answer = await ask({
      method: 'POST',
      path: tokenRole === undefined ? 'auth/token/create' : `auth/token/create/${tokenRole}`,
      body: { ttl, explicit_max_ttl: ttl, renewable: false, type: 'service', display_name: 'cambist-lease' },
      // A holder that nobody hears of holds nothing, and ends by itself.
      repeat: 'safe',
    });
    if (answer.status !== 200)
      throw new VaultUnavailable(
        'login_refused',
        `no token for a lease (auth/token/create${tokenRole === undefined ? '' : `/${tokenRole}`}): ${saidBy(answer.body) ?? `status ${answer.status}`}`,
      );
    const auth = answer.body?.['auth'];
    const { client_token: token, accessor, lease_duration: duration } = isJsonObject(auth) ? auth : {};
    if (typeof token !== 'string' || typeof accessor !== 'string' || accessor === '' || typeof duration !== 'number')
      throw new VaultUnavailable('odd_answer', 'a token for a lease without an accessor: a batch token, perhaps');
    const lifetimeSeconds = duration > 0 ? Math.min(duration, seconds) : seconds;
    return holderOf({ questions, token, accessor, lifetimeSeconds, leaseTimeoutMs });
  }

  return {
    async openHolder(lifetimeSeconds, as) {
      if (as === undefined) {
        // An orphan does not care how long its maker lives.
        const parent = await (tokenRole === undefined ? session.lasting(lifetimeSeconds) : session.ready());
        return openUnder(parent, lifetimeSeconds, (question) => session.ask(question));
      }
      const parent = await subjects?.logIn(as, lifetimeSeconds);
      if (parent === undefined) throw new VaultUnavailable('login_refused', 'the subject of this request');
      return openUnder(parent, lifetimeSeconds, (question) => questions.ask({ ...question, token: parent.token }));
    },

    async revokeHolder(accessor) {
      const path = 'auth/token/revoke-accessor';
      const answer = await session.ask({ method: 'POST', path, body: { accessor }, repeat: 'safe' });
      if (answer.status === 204 || answer.status === 200 || answer.status === 404) return;
      const said = saidBy(answer.body);
      // Vault says so of an accessor that it does not know: the holder has ended, and its leases with it.
      if (/invalid accessor/i.test(said ?? '')) return;
      throw new VaultUnavailable('login_refused', `${path}: ${said ?? `status ${answer.status}`}`);
    },
  };
}

function holderOf(of: {
  readonly questions: Questions;
  readonly token: string;
  readonly accessor: string;
  readonly lifetimeSeconds: number;
  readonly leaseTimeoutMs: number;
}): VaultHolder {
  const { questions, token, accessor, lifetimeSeconds, leaseTimeoutMs } = of;
  const endsAtMs = performance.now() + lifetimeSeconds * 1000;
  return {
    accessor,
    may: (path) => mayRead(path, (question) => questions.ask({ ...question, token })),
    async lease(path) {
      const startedMs = performance.now();
      const once = { repeat: 'once', lingerMs: LEASE_MAX_MS - leaseTimeoutMs } as const;
      const answer = await questions.ask({ method: 'GET', path, token, ...once }, leaseTimeoutMs);
      if (answer.status === 403) return { missing: 'forbidden' };
      if (answer.status === 404) return { missing: 'absent' };
      if (answer.status !== 200)
        throw new VaultUnavailable('odd_answer', saidBy(answer.body) ?? `status ${answer.status}`);
      return { leased: leaseIn(answer, (endsAtMs - startedMs) / 1000) };
    },
  };
}

/** Whether the policies of who asks let it read a path (`sys/capabilities-self`, which the policy `default` allows). */
export async function mayRead(
  path: string,
  ask: (question: Omit<VaultQuestion, 'token'>) => Promise<VaultAnswer>,
): Promise<boolean> {
  const question = 'sys/capabilities-self';
  const answer = await ask({ method: 'POST', path: question, body: { paths: [path] }, repeat: 'safe' });
  const capabilities = answer.body?.['capabilities'];
  if (answer.status !== 200 || !Array.isArray(capabilities))
    throw new VaultUnavailable('login_refused', `${question}: the policy "default" may be missing`);
  return capabilities.includes('read') || capabilities.includes('root');
}

/** Ends no later than its holder does, whatever the engine says. */
function leaseIn({ body }: VaultAnswer, holderLeftSeconds: number): LeasedSecret {
  const { lease_id: leaseId, lease_duration: duration, data } = body ?? {};
  if (typeof leaseId !== 'string' || leaseId === '' || typeof duration !== 'number' || duration <= 0)
    throw new VaultUnavailable(
      'odd_answer',
      'what was read is no lease: credential.path must name something like database/creds/<role>',
    );
  return { leaseId, fields: textFields(data), durationSeconds: Math.floor(Math.min(duration, holderLeftSeconds)) };
}
