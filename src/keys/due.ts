/**
 * Which steps the keys are due for: pure, over the rows and the time of the database, so that every node comes to the
 * same answer. A step that another node takes first is refused by the store.
 */
import { ACTIVATION_FLOOR_SECONDS } from '../store/signing-keys.ts';
import type { KeySlot, SigningKeyRow } from '../store/signing-keys.ts';
import { slotsOf } from './slots.ts';

export interface KeyTimes {
  /** How long a key signs before its successor does. */
  readonly rotateAfterSeconds: number;
  /** How long a key is published before it signs; less than `rotateAfterSeconds`. */
  readonly publishAheadSeconds: number;
}

export type DueStep =
  | { readonly type: 'make_first' | 'make_next'; readonly slot: KeySlot }
  | { readonly type: 'mark_published' | 'delete_expired' }
  | { readonly type: 'activate'; readonly kid: string; readonly aheadSeconds: number };

/** The steps that are due at `nowMs`, in the order in which they should be taken. */
export function dueSteps(rows: readonly SigningKeyRow[], nowMs: number, times: KeyTimes): readonly DueStep[] {
  const unmarked = rows.some(({ state, publishedAtMs }) => state === 'next' && publishedAtMs === null);
  const expired = rows.some(({ retireAtMs }) => retireAtMs !== null && retireAtMs <= nowMs);
  return [
    ...(unmarked ? [{ type: 'mark_published' } as const] : []),
    ...slotsOf().flatMap((slot) => dueOfSlot(slot, rows, nowMs, times)),
    ...(expired ? [{ type: 'delete_expired' } as const] : []),
  ];
}

function dueOfSlot(slot: KeySlot, all: readonly SigningKeyRow[], nowMs: number, times: KeyTimes): readonly DueStep[] {
  const rows = all.filter(({ purpose, algorithm }) => purpose === slot.purpose && algorithm === slot.algorithm);
  const active = rows.find(({ state }) => state === 'active');
  const next = rows.find(({ state }) => state === 'next');
  if (active === undefined) return [{ type: 'make_first', slot }];
  const ageSeconds = (nowMs - (active.activatedAtMs ?? active.createdAtMs)) / 1000;
  if (next === undefined)
    return ageSeconds >= times.rotateAfterSeconds - times.publishAheadSeconds ? [{ type: 'make_next', slot }] : [];
  const aheads = [
    ...(next.aheadSeconds === null ? [] : [next.aheadSeconds]),
    ...(ageSeconds >= times.rotateAfterSeconds ? [times.publishAheadSeconds] : []),
  ];
  if (aheads.length === 0) return [];
  const aheadSeconds = Math.min(...aheads);
  const atMs = signsAtMs(next, aheadSeconds);
  return atMs !== null && atMs <= nowMs ? [{ type: 'activate', kid: next.kid, aheadSeconds }] : [];
}

/** The earliest that a next key can sign; `null` while it is not known to be published. */
export function signsAtMs({ publishedAtMs }: SigningKeyRow, aheadSeconds: number): number | null {
  return publishedAtMs === null ? null : publishedAtMs + Math.max(aheadSeconds, ACTIVATION_FLOOR_SECONDS) * 1000;
}
