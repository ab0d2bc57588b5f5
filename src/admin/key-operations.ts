/**
 * Operations on the keys themselves: signing keys listed, rotated, tainted; and everything sealed in the database sealed
 * anew under another key-encryption key. What takes time is done in short steps that the caller repeats, so that each can
 * go over the local socket, be shown, and be broken off.
 */
import type { RecordRow } from '../audit/record.ts';
import { signsAtMs } from '../keys/due.ts';
import type { KeyRotation, SlotRotation } from '../keys/rotation.ts';
import type { KeyPurpose } from '../keys/purposes.ts';
import { slotsOf } from '../keys/slots.ts';
import type { RewrapPosition, Rewrapper, SealedCount } from '../store/rewrap.ts';
import { TooManyKeys } from '../store/signing-keys.ts';
import type { SigningKeyRow } from '../store/signing-keys.ts';
import { refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';

/** A signing key, without anything secret. Times are RFC 3339, of the database's clock. */
export interface ListedKey {
  readonly kid: string;
  readonly purpose: string;
  readonly algorithm: string;
  readonly state: SigningKeyRow['state'];
  readonly created_at: string;
  readonly activated_at: string | null;
  /** When a next key will sign, where that was asked for by a command; else the schedule decides. */
  readonly signs_at: string | null;
  /** When a retired or tainted key is deleted. */
  readonly deleted_after: string | null;
}

/** A slot on its way to its next key. */
export interface RotatingKey {
  readonly kid: string;
  readonly purpose: string;
  readonly algorithm: string;
  readonly state: SigningKeyRow['state'];
  readonly signs_at: string | null;
  /** 0 = it may sign now. */
  readonly wait_seconds: number;
}

export interface RewrapStep {
  readonly rewrapped: number;
  readonly unreadable: number;
  /** `null`: everything was looked at. */
  readonly next: RewrapPosition | null;
}

export interface KeyOperations {
  listKeys(args: object): Promise<Outcome<{ readonly keys: readonly ListedKey[] }>>;
  /** Makes the next keys and asks for their activation: after the usual time, or with `now` as soon as every node knows them. */
  rotateKeys(args: {
    readonly purpose: KeyPurpose;
    readonly algorithm?: string | undefined;
    readonly now: boolean;
  }): Promise<Outcome<{ readonly keys: readonly RotatingKey[] }>>;
  /** Activates those of them whose time has come. */
  activateKeys(args: { readonly kids: readonly string[] }): Promise<Outcome<{ readonly keys: readonly RotatingKey[] }>>;
  taintKey(args: {
    readonly kid: string;
  }): Promise<Outcome<{ readonly changed: boolean; readonly replaced_by: string | null }>>;
  /** One batch of the walk over everything sealed; without a position, the first. */
  rewrapKeys(args: { readonly position?: RewrapPosition | undefined }): Promise<Outcome<RewrapStep>>;
  countSealed(args: object): Promise<Outcome<{ readonly columns: readonly SealedCount[] }>>;
}

export interface KeyOperationsParts {
  readonly rotation: KeyRotation;
  readonly rewrapper: Rewrapper;
  /** The record of a change that concerns no person. */
  readonly changeRecord: (change: Readonly<Record<string, unknown>>) => RecordRow;
  readonly author: string;
}

export function createKeyOperations({ rotation, rewrapper, changeRecord, author }: KeyOperationsParts): KeyOperations {
  return {
    async listKeys() {
      const { rows } = await rotation.list();
      return { ok: true, value: { keys: rows.map(listedKey) } };
    },
    async rotateKeys({ purpose, algorithm, now }) {
      const slots = slotsOf([purpose]).filter((slot) => algorithm === undefined || slot.algorithm === algorithm);
      if (slots.length === 0)
        return refused(
          'argument_invalid',
          `${purpose} keys have no algorithm ${algorithm ?? ''}: choose one of ${slotsOf([purpose])
            .map((slot) => slot.algorithm)
            .join(', ')}`,
        );
      try {
        const keys = await rotation.rotate(slots, { now, author });
        return { ok: true, value: { keys: keys.map(rotatingKey) } };
      } catch (error) {
        if (error instanceof TooManyKeys) return refused('keys_too_many', error.message);
        throw error;
      }
    },
    async activateKeys({ kids }) {
      return { ok: true, value: { keys: (await rotation.finish(kids, author)).map(rotatingKey) } };
    },
    async taintKey({ kid }) {
      const tainted = await rotation.taint(kid, author);
      if (tainted === undefined) return refused('object_unknown', `there is no signing key ${kid}`);
      return { ok: true, value: { changed: tainted.changed, replaced_by: tainted.replacedBy ?? null } };
    },
    async rewrapKeys({ position }) {
      const record = (done: { readonly table: string; readonly column: string; readonly rewrapped: number }) =>
        changeRecord({ author, origin: 'command', changes: [{ action: 'rewrap', kind: 'sealed_column', ...done }] });
      return { ok: true, value: await rewrapper.step(position, record) };
    },
    async countSealed() {
      return { ok: true, value: { columns: await rewrapper.count() } };
    },
  };
}

function listedKey(row: SigningKeyRow): ListedKey {
  const { kid, purpose, algorithm, state, aheadSeconds } = row;
  return {
    kid,
    purpose,
    algorithm,
    state,
    created_at: timeOf(row.createdAtMs),
    activated_at: timeOrNull(row.activatedAtMs),
    signs_at: timeOrNull(state === 'next' && aheadSeconds !== null ? signsAtMs(row, aheadSeconds) : null),
    deleted_after: timeOrNull(row.retireAtMs),
  };
}

function rotatingKey({ kid, purpose, algorithm, state, signsAtMs: atMs, nowMs }: SlotRotation): RotatingKey {
  const waitSeconds = atMs === null ? 0 : Math.max(0, Math.ceil((atMs - nowMs) / 1000));
  return { kid, purpose, algorithm, state, signs_at: timeOrNull(atMs), wait_seconds: waitSeconds };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : timeOf(ms);
}
