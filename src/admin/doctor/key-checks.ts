/**
 * Our own signing keys: every purpose has an active one, and the schedule is not behind.
 */
import { dueSteps } from '../../keys/due.ts';
import type { KeyTimes } from '../../keys/due.ts';
import { openPrivateKey, slotsOf } from '../../keys/slots.ts';
import { SealedValueMoved, WrongKeyEncryptionKey } from '../../store/envelope.ts';
import type { Envelope } from '../../store/envelope.ts';
import type { SigningKeyRow } from '../../store/signing-keys.ts';
import { failed, ok, warning } from './findings.ts';
import type { Check, Found } from './findings.ts';

export interface KeyCheckParts {
  readonly listKeys: () => Promise<{ readonly rows: readonly SigningKeyRow[]; readonly nowMs: number }>;
  readonly keyTimes: KeyTimes;
  readonly envelope: Envelope;
}

/** A step is late when it is due for longer than any node needs to see it. */
const LATE_MS = 600_000;

export function keyChecks({ listKeys, keyTimes, envelope }: KeyCheckParts): Check[] {
  return [
    {
      noun: 'keys',
      name: 'signing keys',
      run: async () => {
        const { rows, nowMs } = await listKeys();
        if (rows.length === 0) return [warning('there are no signing keys yet', 'start a node: it makes them')];
        const late = dueSteps(rows, nowMs - LATE_MS, keyTimes).filter(({ type }) => type !== 'make_first');
        return [
          ...slotsOf().map(({ purpose, algorithm }) => judgeSlot(purpose, algorithm, rows, nowMs)),
          ...rows.flatMap((row) => judgeSealed(row, envelope)),
          ...(late.length === 0
            ? []
            : [
                warning(
                  `the rotation of keys is behind: ${[...new Set(late.map(({ type }) => type))].join(', ')}`,
                  'see that a node runs, and look in its log for "key"',
                ),
              ]),
        ];
      },
    },
  ];
}

/** Of a key that was sealed under another key-encryption key the check of the database speaks. */
function judgeSealed({ kid, purpose, sealedPrivate }: SigningKeyRow, envelope: Envelope): Found[] {
  try {
    if (sealedPrivate !== null) openPrivateKey(kid, purpose, sealedPrivate, envelope);
    return [];
  } catch (error) {
    if (error instanceof WrongKeyEncryptionKey) return [];
    if (!(error instanceof SealedValueMoved)) throw error;
    return [
      failed(
        `the private half of ${kid} is not what was sealed for it: moved from another row, or altered. No node can start`,
        'find out who writes to the database; restore a backup (docs/runbooks/restore.md)',
      ),
    ];
  }
}

function judgeSlot(purpose: string, algorithm: string, all: readonly SigningKeyRow[], nowMs: number): Found {
  const rows = all.filter((row) => row.purpose === purpose && row.algorithm === algorithm);
  const active = rows.find(({ state }) => state === 'active');
  const slot = `${purpose} ${algorithm}`;
  if (active === undefined)
    return failed(
      `no active key for ${slot}`,
      `start a node: it makes one; or cambist keys rotate --purpose ${purpose} --now`,
    );
  const days = Math.floor((nowMs - (active.activatedAtMs ?? active.createdAtMs)) / 86_400_000);
  const next = rows.some(({ state }) => state === 'next') ? ', the next one is published' : '';
  return ok(`${slot}: active for ${days} ${days === 1 ? 'day' : 'days'}${next}`);
}
