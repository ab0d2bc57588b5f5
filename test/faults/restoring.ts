/** A restore as `cambist restore --in FILE --replace` does it, on a real PostgreSQL. */
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { createBareRecords } from '../../src/exchange/bare-records.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { openOwner } from '../../src/store/open.ts';
import { restoreBackup } from '../../src/store/restore.ts';
import type { RestoreSummary } from '../../src/store/restore.ts';
import { TEST_KEY } from '../support/cambist.ts';

/** Puts the backup in the place of what the database at `url` holds. */
export async function restoreInPlace(url: string, file: string): Promise<RestoreSummary> {
  const owner = await openOwner({ source: { engine: 'postgresql', url }, logger: createLogger('silent') });
  try {
    return await restoreBackup(owner, {
      file,
      envelope: createEnvelope(TEST_KEY),
      replace: true,
      author: 'local:test',
      recordOf: (change) => createBareRecords('restorer', systemClock).changed(change, () => []),
    });
  } finally {
    await owner.close();
  }
}
