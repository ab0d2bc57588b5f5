/**
 * Asking Vault with patience: what is a passing fault is tried again, with jitter and within the time of the question;
 * a Vault that keeps failing is left alone for a while. Answers that say something about the question (200, 204, 202,
 * 400, 403, 404, and the 500 of a token that cannot be renewed) come back; every other one throws VaultUnavailable with
 * the reason.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createBreaker } from './breaker.ts';
import type { BreakerState } from './breaker.ts';
import type { VaultCall, VaultCalls } from './calls.ts';
import { VaultUnavailable, saidBy } from './fault.ts';
import type { VaultFaultCode } from './fault.ts';
import type { VaultAnswer } from './transport.ts';

export interface VaultQuestion extends Omit<VaultCall, 'timeoutMs'> {
  /**
   * What a second try does: nothing new (`safe`), or something that is worse than failing (`once`: a lease, a wrapping
   * token), so that it is tried again only where the first certainly did not arrive.
   */
  readonly repeat: 'safe' | 'once';
}

export interface Questions {
  /** Everything within `timeoutMs`, waits included. */
  ask(question: VaultQuestion, timeoutMs?: number): Promise<VaultAnswer>;
  breaker(): BreakerState;
  /** What the last question found, for readiness; `undefined` = it was answered. */
  lastFault(): VaultFaultCode | undefined;
}

const TRIES_MAX = 3;
const PAUSE_MS = 100;
/** Vault counts by the second, and says when to come again only where it was told to. */
const PAUSE_LIMITED_MS = 500;
/** The share of the time that one try may take, so that there is time for another. */
const TRY_SHARE = 0.6;

export function createQuestions(parts: {
  readonly calls: VaultCalls;
  readonly timeoutMs: number;
  readonly onAnswer: (outcome: string, durationMs: number) => void;
}): Questions {
  const { calls, onAnswer } = parts;
  const breaker = createBreaker();
  let lastFault: VaultFaultCode | undefined;

  /** One try: an answer about the question, or why there is none. */
  async function attempt(question: VaultQuestion, timeoutMs: number): Promise<VaultAnswer | VaultUnavailable> {
    if (!breaker.admit()) return new VaultUnavailable('resting', lastFault, { notSent: true });
    const startedMs = performance.now();
    let outcome: VaultAnswer | VaultUnavailable;
    try {
      const { repeat: _, ...call } = question;
      const answer = await calls.call({ ...call, timeoutMs });
      outcome = faultOf(answer) ?? answer;
    } catch (error) {
      if (!(error instanceof VaultUnavailable)) {
        breaker.abandoned();
        throw error;
      }
      outcome = error;
    }
    const fault = outcome instanceof VaultUnavailable ? outcome.code : undefined;
    onAnswer(fault ?? outcomeOf(outcome as VaultAnswer), performance.now() - startedMs);
    if (fault === 'closed') breaker.abandoned();
    // Whoever limits our rate, or upgrades one mount, is well; asking less is up to us.
    else if (fault === undefined || fault === 'rate_limited' || fault === 'upgrading') breaker.succeeded();
    else breaker.failed();
    lastFault = fault;
    return outcome;
  }

  return {
    async ask(question, timeoutMs = parts.timeoutMs) {
      const endsAtMs = performance.now() + timeoutMs;
      for (let tries = 1; ; tries += 1) {
        const leftMs = endsAtMs - performance.now();
        const outcome = await attempt(question, Math.max(1, tries === TRIES_MAX ? leftMs : leftMs * TRY_SHARE));
        if (!(outcome instanceof VaultUnavailable)) return outcome;
        const pauseMs = pauseBefore(outcome, tries);
        const mayRepeat = outcome.notSent || question.repeat === 'safe';
        const inTime = performance.now() + pauseMs < endsAtMs - 10;
        if (tries === TRIES_MAX || !mayRepeat || !inTime || !passes(outcome.code)) throw outcome;
        await sleep(pauseMs);
      }
    },
    breaker: () => breaker.state(),
    lastFault: () => lastFault,
  };
}

/** With jitter in every case: who was sent away together must not come back together. */
function pauseBefore({ code, retryAfterMs }: VaultUnavailable, tries: number): number {
  const pauseMs = code === 'rate_limited' ? PAUSE_LIMITED_MS : PAUSE_MS;
  return retryAfterMs > 0 ? retryAfterMs + Math.random() * pauseMs : pauseMs * 2 ** (tries - 1) * (0.5 + Math.random());
}

/** Faults that may be over in a moment. */
function passes(code: VaultFaultCode): boolean {
  return !['tls', 'redirect', 'too_large', 'resting', 'closed', 'sealed', 'uninitialized', 'odd_answer'].includes(code);
}

const CANNOT_RENEW = /cannot renew/i;

/** Why an answer says nothing about the question; `undefined` where it does. */
function faultOf({ status, body, retryAfterSeconds }: VaultAnswer): VaultUnavailable | undefined {
  // Of sys/seal-status, which is answered all the same.
  if (status === 200 && body?.['sealed'] === true) return new VaultUnavailable('sealed');
  if (status === 200 || status === 202 || status === 204 || status === 403 || status === 404) return undefined;
  const said = saidBy(body);
  // A mount on its way from KV v1 to v2, after a restart or a failover: never "missing" (its 400 is not about the path).
  if (status === 400)
    return /upgrading from non-versioned/i.test(said ?? '') ? new VaultUnavailable('upgrading') : undefined;
  if (status === 429)
    return new VaultUnavailable('rate_limited', undefined, { retryAfterMs: (retryAfterSeconds ?? 0) * 1000 });
  // About that token, not about Vault: its maximum is over.
  if (status === 500 && CANNOT_RENEW.test(said ?? '')) return undefined;
  if (status === 501) return new VaultUnavailable('uninitialized');
  if (status === 503 && /sealed/i.test(said ?? '')) return new VaultUnavailable('sealed');
  if (status >= 500 && /active (cluster )?node not found/i.test(said ?? ''))
    return new VaultUnavailable('no_active_node');
  if (status >= 500 || status === 412 || status === 472 || status === 473)
    return new VaultUnavailable('failing', `status ${status}`);
  return new VaultUnavailable('odd_answer', `status ${status}`);
}

function outcomeOf({ status }: VaultAnswer): string {
  if (status === 403) return 'forbidden';
  if (status === 404) return 'absent';
  return status === 400 || status === 500 ? 'refused' : 'done';
}
