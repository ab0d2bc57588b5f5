/**
 * Operations on the whole: a backup while the service runs, and what the doctor finds with the database at hand. Asked
 * over the local socket too, because the embedded database has one process.
 */
import { BackupRefused } from '../store/backup.ts';
import type { BackupSummary } from '../store/backup.ts';
import type { Finding } from './doctor/findings.ts';
import { refused } from './outcome.ts';
import type { Outcome } from './outcome.ts';

export interface UpkeepOperations {
  /** `file`: absolute, and not there yet; written by the process that has the database. */
  backup(args: { readonly file: string }): Promise<Outcome<BackupSummary>>;
  examine(args: object): Promise<Outcome<{ readonly findings: readonly Finding[] }>>;
}

export interface UpkeepParts {
  readonly takeBackup: (file: string) => Promise<BackupSummary>;
  readonly examine: () => Promise<readonly Finding[]>;
}

export function createUpkeepOperations({ takeBackup, examine }: UpkeepParts): UpkeepOperations {
  return {
    async backup({ file }) {
      try {
        return { ok: true, value: await takeBackup(file) };
      } catch (error) {
        if (error instanceof BackupRefused) return refused('backup_refused', error.message);
        throw error;
      }
    },
    examine: async () => ({ ok: true, value: { findings: await examine() } }),
  };
}
