/**
 * Back to a backup, with a real Vault: what Vault made after the backup is alive, and the backup knows nothing of it. A
 * restore in the place of the database that knows it must not leave it behind.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../src/core/log.ts';
import { takeBackup } from '../../src/store/backup.ts';
import { createEnvelope } from '../../src/store/envelope.ts';
import { openDatabase } from '../../src/store/open.ts';
import { tokenOf } from '../http/asking.ts';
import { startCambist, TEST_KEY } from '../support/cambist.ts';
import { withPostgres } from '../support/databases.ts';
import { createCaller, startVaultCompany } from '../support/vault-company.ts';
import { withVaultPlugin } from '../support/vault.ts';
import { restoreInPlace } from './restoring.ts';

const logger = createLogger('silent');

withPostgres('a restore in the place of a database', () => {
  withVaultPlugin('postgresql-database-plugin', 'that knows leases of a real Vault', (start) => {
    test('ends those from before and from after the backup, once a node is there', async () => {
      const company = await startVaultCompany(await start());
      const folder = mkdtempSync(join(tmpdir(), 'cambist-restore-leases-'));
      onTestFinished(async () => {
        await company.stop();
        rmSync(folder, { recursive: true, force: true });
      });
      const { cambist, corp, cluster, settings } = company;
      const source = { engine: 'postgresql', url: cluster.url } as const;
      const file = join(folder, 'backup');
      const caller = createCaller(cambist, corp);
      const received = tokenOf(await caller.received());

      expect((await caller.fetch(received, 'orders')).status).toBe(200);
      await takeBackup(company.database, createEnvelope(TEST_KEY), file);
      expect((await caller.fetch(received, 'orders')).status).toBe(200);
      await cambist.stop();
      await company.database.close();
      // A node that goes ends nothing: both tokens are alive.
      expect(await company.roles()).toHaveLength(2);

      await restoreInPlace(cluster.url, file);
      const database = await openDatabase({ source, migrate: false, logger });
      const restored = await startCambist({ objects: '', database, joins: cambist, settings: { vault: settings } });
      restored.service.leaseSweeper.start();
      try {
        await expect.poll(() => company.roles(), { timeout: 30_000, interval: 200 }).toEqual([]);
        await expect.poll(() => database.query('SELECT FROM lease')).toEqual([]);
      } finally {
        await restored.stop();
        await database.close();
      }
    }, 120_000);
  });
});
