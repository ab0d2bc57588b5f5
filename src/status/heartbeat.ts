/**
 * The heartbeat of a node: every second it learns the state of the database, also without traffic, and now and then
 * compares its clock with the database's. What it found is what `/readyz` answers from. One beat at a time: a database
 * that hangs delays the next beat, and the silence is what the check sees.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from '../core/log.ts';
import type { ClockSkew } from '../store/clock-skew.ts';
import { createReadiness, heardWithin, nothingMissing, skewWithin } from './readiness.ts';
import type { Readiness } from './readiness.ts';

const BEAT_MS = 1_000;
const CLOCK_EVERY_MS = 10_000;
const VAULT_EVERY_MS = 10_000;
const TROUBLED_VAULT_EVERY_MS = 2_000;
/** Longer than a beat that waited behind a slow statement, shorter than the time-out of one that hangs. */
const SILENCE_LIMIT_MS = 4_000;

export interface HeartbeatParts {
  /** Asks the database for the state; must end by itself. */
  readState(): Promise<unknown>;
  measureSkew(): Promise<ClockSkew>;
  /** How many kinds of signing key have none that signs now. */
  countMissingKeys(): Promise<number>;
  readonly clockSkewLimitMs: number;
  /** `undefined` = there is no Vault. Without it a node is ready, or a Vault that is down would take every node along. */
  readonly vault?: { probe(): Promise<void>; state(): { readonly trouble: string | undefined } } | undefined;
  readonly logger: Logger;
}

export interface Heartbeat {
  readonly readiness: Readiness;
  /** Clock of the database minus our own, as it was last compared; for metrics. */
  clockSkewMs(): number | undefined;
  /** Resolves after the first beat, whatever it found. Again: does nothing. */
  start(): Promise<void>;
  stop(): void;
}

export function createHeartbeat(parts: HeartbeatParts): Heartbeat {
  let heardMs: number | undefined;
  let comparedMs: number | undefined;
  let skew: ClockSkew | undefined;
  let missingKeys: number | undefined;
  let started: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let beating = false;
  let said = '';
  let saidDegraded = '';
  let probedMs: number | undefined;

  // Not the wall clock: a step of it must neither hide a silence nor make one up.
  const nowMs = () => performance.now();
  const readiness = createReadiness(
    {
      database: heardWithin(SILENCE_LIMIT_MS, () => heardMs, nowMs),
      clock: skewWithin(parts.clockSkewLimitMs, () => skew),
      keys: nothingMissing(() => missingKeys),
    },
    { vault: () => parts.vault?.state().trouble },
  );

  async function beat(): Promise<void> {
    if (beating) return;
    beating = true;
    try {
      await parts.readState();
      heardMs = nowMs();
      missingKeys = await parts.countMissingKeys();
      if (comparedMs === undefined || nowMs() - comparedMs >= CLOCK_EVERY_MS) {
        skew = await parts.measureSkew();
        comparedMs = nowMs();
      }
    } catch (error) {
      parts.logger.debug({ err: error }, 'a heartbeat failed');
    } finally {
      beating = false;
    }
  }

  /** Apart from the beat: a Vault that hangs must not look like a database that does. */
  async function probeVault(): Promise<void> {
    if (parts.vault === undefined) return;
    const everyMs = parts.vault.state().trouble === undefined ? VAULT_EVERY_MS : TROUBLED_VAULT_EVERY_MS;
    if (probedMs !== undefined && nowMs() - probedMs < everyMs) return;
    probedMs = nowMs();
    await parts.vault.probe();
  }

  /** A line when the answer of the checks changes, not one per second. */
  function sayChange(): void {
    const degraded = readiness.degraded();
    const degradedNames = degraded.map(({ name, reason }) => `${name} ${reason}`).join(' ');
    if (degradedNames !== saidDegraded) {
      saidDegraded = degradedNames;
      if (degraded.length === 0) parts.logger.info('nothing is degraded any more');
      else parts.logger.warn({ degraded }, 'ready, but degraded');
    }
    const checks = readiness.failing();
    const names = checks.map(({ name }) => name).join(' ');
    if (names === said) return;
    said = names;
    if (checks.length === 0) parts.logger.info('ready again');
    else parts.logger.warn({ checks }, 'not ready');
  }

  return {
    readiness,
    clockSkewMs: () => skew?.skewMs,
    start: () => {
      void probeVault();
      started ??= beat().then(() => {
        sayChange();
        timer = setInterval(() => {
          // Before, because a beat may hang; after, because it may end the silence.
          sayChange();
          void beat().then(sayChange);
          void probeVault();
        }, BEAT_MS);
        timer.unref();
      });
      return started;
    },
    stop: () => {
      clearInterval(timer);
    },
  };
}
