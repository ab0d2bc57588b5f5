/**
 * Moves the keys on: by schedule (`tick`), by command (`rotate`, `finish`), and out of use at once (`taint`). Every step
 * is one transaction of the store, so this may be killed anywhere and run on several nodes at once; whoever comes next
 * goes on from what is in the database.
 */
import type { RecordRow } from '../audit/record.ts';
import type { Logger } from '../core/log.ts';
import type { Envelope } from '../store/envelope.ts';
import { ReplacementNeeded } from '../store/signing-keys.ts';
import type { KeySlot, KeyStep, SigningKeyRow, SigningKeys } from '../store/signing-keys.ts';
import { dueSteps, signsAtMs } from './due.ts';
import type { DueStep, KeyTimes } from './due.ts';
import { makeKey, slotsOf } from './slots.ts';

/** One slot's way to its next key. */
export interface SlotRotation extends KeySlot {
  readonly kid: string;
  readonly state: SigningKeyRow['state'];
  /** When it may begin to sign, by the clock of the database; `null` when it does, or never will. */
  readonly signsAtMs: number | null;
  readonly nowMs: number;
}

export interface KeyRotation {
  /** Makes the first key of every slot that has none. At every start. */
  ensureFirst(): Promise<void>;
  /** Every key as it stands in the database. */
  list(): ReturnType<SigningKeys['list']>;
  /** Sees to it that each slot has a next key and that it will sign: after the usual time, or with `now` at the floor. Throws TooManyKeys. */
  rotate(
    slots: readonly KeySlot[],
    options: { readonly now: boolean; readonly author: string },
  ): Promise<readonly SlotRotation[]>;
  /** Activates those of these keys that are due and were asked for; says how far each has come. */
  finish(kids: readonly string[], author: string): Promise<readonly SlotRotation[]>;
  taint(kid: string, author: string): ReturnType<SigningKeys['taint']>;
  /** Takes the steps that are due; one that fails is logged and due again the next time. */
  tick(): Promise<void>;
}

export interface KeyRotationParts {
  readonly store: SigningKeys;
  readonly envelope: Envelope;
  readonly times: KeyTimes;
  readonly logger: Logger;
  readonly recordOf: (change: Readonly<Record<string, unknown>>) => RecordRow;
  /** Called after this node has changed keys: others learn of it from the database. */
  readonly changed: () => Promise<void>;
}

const SCHEDULE = 'schedule';

export function createKeyRotation(parts: KeyRotationParts): KeyRotation {
  const { store, envelope, times, logger } = parts;
  const recordFor = (author: string) => (steps: readonly KeyStep[]) =>
    parts.recordOf({
      author,
      origin: author === SCHEDULE ? SCHEDULE : 'command',
      changes: steps.map(({ kid, ...step }) => ({ ...step, kind: 'key', name: kid })),
    });
  const scheduled = recordFor(SCHEDULE);

  async function makeNext(slot: KeySlot, author: string): Promise<void> {
    await store.addNext(await makeKey(slot, envelope), recordFor(author));
    await store.markPublished();
  }

  async function makeFirst(slots: readonly KeySlot[]): Promise<void> {
    await store.addFirst(await Promise.all(slots.map((slot) => makeKey(slot, envelope))), scheduled);
  }

  async function take(step: DueStep): Promise<void> {
    switch (step.type) {
      case 'make_first':
        return makeFirst([step.slot]);
      case 'make_next':
        return makeNext(step.slot, SCHEDULE);
      case 'mark_published':
        return store.markPublished();
      case 'activate':
        await store.activate(step.kid, step.aheadSeconds, scheduled);
        return;
      case 'delete_expired':
        return store.deleteExpired(scheduled);
    }
  }

  async function progressOf(kids: readonly string[]): Promise<readonly SlotRotation[]> {
    const { rows, nowMs } = await store.list();
    return kids.flatMap((kid) => {
      const row = rows.find((candidate) => candidate.kid === kid);
      if (row === undefined) return [];
      const { purpose, algorithm, state } = row;
      const atMs = state === 'next' ? signsAtMs(row, row.aheadSeconds ?? times.publishAheadSeconds) : null;
      return [{ kid, purpose, algorithm, state, signsAtMs: atMs, nowMs }];
    });
  }

  return {
    list: () => store.list(),
    async ensureFirst() {
      const { rows } = await store.list();
      const missing = slotsOf().filter((slot) => inState(rows, slot, 'active') === undefined);
      if (missing.length === 0) return;
      await makeFirst(missing);
      logger.info({ slots: missing }, 'made the first signing keys');
    },
    async rotate(slots, { now, author }) {
      const kids: string[] = [];
      for (const slot of slots) {
        if (inState((await store.list()).rows, slot, 'next') === undefined) await makeNext(slot, author);
        await store.markPublished();
        const next = inState((await store.list()).rows, slot, 'next');
        // Another node was faster: what was asked for has happened.
        if (next === undefined) continue;
        await store.requestActivation(next.kid, now ? 0 : times.publishAheadSeconds);
        kids.push(next.kid);
      }
      await parts.changed();
      return progressOf(kids);
    },
    async finish(kids, author) {
      const { rows, nowMs } = await store.list();
      for (const kid of kids) {
        const row = rows.find((candidate) => candidate.kid === kid);
        if (row?.state !== 'next' || row.aheadSeconds === null) continue;
        const atMs = signsAtMs(row, row.aheadSeconds);
        if (atMs === null) await store.markPublished();
        else if (atMs <= nowMs) await store.activate(kid, row.aheadSeconds, recordFor(author));
      }
      await parts.changed();
      return progressOf(kids);
    },
    async taint(kid, author) {
      const { rows } = await store.list();
      const key = rows.find((row) => row.kid === kid);
      const needed = key?.state === 'active' && inState(rows, key, 'next') === undefined;
      const tainted = await taintWith(needed ? key : undefined);
      await parts.changed();
      return tainted;

      async function taintWith(slot: KeySlot | undefined): ReturnType<SigningKeys['taint']> {
        const replacement = slot === undefined ? undefined : await makeKey(slot, envelope);
        try {
          return await store.taint(kid, replacement, recordFor(author));
        } catch (error) {
          // Between the look and the step its next key became the active one, and this one with it.
          if (error instanceof ReplacementNeeded && slot === undefined && key !== undefined) return taintWith(key);
          throw error;
        }
      }
    },
    async tick() {
      const { rows, nowMs } = await store.list();
      const steps = dueSteps(rows, nowMs, times);
      for (const step of steps)
        try {
          await take(step);
          logger.info({ step }, 'took a step of the signing keys');
        } catch (error) {
          logger.error({ err: error, step }, 'a step of the signing keys failed; it is tried again');
        }
      if (steps.length > 0) await parts.changed();
    },
  };
}

function inState(
  rows: readonly SigningKeyRow[],
  { purpose, algorithm }: KeySlot,
  state: SigningKeyRow['state'],
): SigningKeyRow | undefined {
  return rows.find((row) => row.purpose === purpose && row.algorithm === algorithm && row.state === state);
}
