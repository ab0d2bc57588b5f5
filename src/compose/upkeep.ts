/**
 * What is removed, made or dropped from time to time, and by which part of the store.
 */
import { createHousekeepingRunner } from '../status/housekeeping-jobs.ts';
import type { HousekeepingJob, HousekeepingRunner } from '../status/housekeeping-jobs.ts';
import { batchRows, createHousekeeping } from '../store/housekeeping.ts';
import { ensureAuditPartitions } from '../store/migrate.ts';
import { createRates } from '../store/rates.ts';
import type { Foundation } from './foundation.ts';
import type { ServiceParts } from './parts.ts';

const DEFAULT_HOUSEKEEPING = { intervalSeconds: 60, auditRetentionDays: undefined } as const;

/** Not begun yet: commands that open a service for one change leave it so. */
export function createUpkeep(parts: ServiceParts, foundation: Foundation): HousekeepingRunner {
  const { intervalSeconds, auditRetentionDays } = parts.housekeeping ?? DEFAULT_HOUSEKEEPING;
  return createHousekeepingRunner({
    jobs: jobsOf(foundation, auditRetentionDays),
    clock: foundation.clock,
    logger: parts.logger,
    intervalSeconds,
  });
}

/** A further job is an entry here. */
function jobsOf({ database, changeRecord }: Foundation, retentionDays: number | undefined): HousekeepingJob[] {
  const store = createHousekeeping(database);
  const rates = createRates(database);
  const fullBatch = batchRows(database);
  const dropMonth = async (days: number) => {
    const dropped = await store.dropAuditMonth(days, (partition) =>
      changeRecord({ author: 'housekeeping', removed_records: partition, audit_retention_days: days }),
    );
    return dropped === undefined ? 0 : 1;
  };
  return [
    { name: 'replay_marks', runBatch: () => store.removeExpiredMarks(), fullBatch },
    { name: 'issued_tokens', runBatch: () => store.removeExpiredTokens(), fullBatch },
    { name: 'revocations', runBatch: () => store.removeExpiredRevocations(), fullBatch },
    { name: 'rate_windows', runBatch: () => rates.deleteExpired(fullBatch), fullBatch },
    { name: 'audit_months_ahead', runBatch: () => ensureAuditPartitions(database).then(() => 0) },
    ...(retentionDays === undefined
      ? []
      : [{ name: 'audit_retention', runBatch: () => dropMonth(retentionDays), fullBatch: 1 }]),
  ];
}
