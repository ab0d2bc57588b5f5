/**
 * A node that makes a lease and stands still at one point of it, to be killed there. It runs what was built, with a
 * database and a Vault of the test: `node lease-node.mjs`, told by LEASE_NODE (JSON) in its environment.
 */
const { databaseUrl, vault, use, stopAt } = JSON.parse(process.env['LEASE_NODE'] ?? '{}');
const from = (path) => import(new URL(`../../dist/src/${path}`, import.meta.url).href);

const [
  { createLogger },
  { systemClock },
  { openPostgres },
  { createLeaseRows },
  { createVault },
  { createCredentials },
] = await Promise.all(
  [
    'core/log.js',
    'core/clock.js',
    'store/pg.js',
    'store/leases.js',
    'secrets/vault/vault.js',
    'upstream/credentials.js',
  ].map(from),
);

/** Lets `work` happen and goes no further. */
const standingAfter =
  (point, work) =>
  async (...args) => {
    const result = await work(...args);
    if (point !== stopAt) return result;
    process.stdout.write(`at ${point}\n`);
    return new Promise(() => undefined);
  };

const logger = createLogger('silent');
const db = await openPostgres({ url: databaseUrl, schema: 'cambist', role: 'cambist_runtime', logger });
const real = createVault({ settings: vault, logger, mint: () => Promise.reject(new Error('not asked for')) });
const rows = createLeaseRows(db);
const credentials = createCredentials({
  stores: {
    embedded: undefined,
    vault: {
      read: real.read,
      revokeHolder: real.revokeHolder,
      openHolder: standingAfter('opened', async (...args) => {
        const holder = await real.openHolder(...args);
        return { accessor: holder.accessor, lease: standingAfter('leased', holder.lease) };
      }),
    },
  },
  clock: systemClock,
  logger,
  cacheSeconds: 5,
  fetcher: undefined,
  rows: {
    ...rows,
    intend: standingAfter('intended', rows.intend),
    noteAccessor: standingAfter('noted', rows.noteAccessor),
    hold: standingAfter('held', rows.hold),
  },
  registeredNameOf: () => Promise.resolve(undefined),
});
await credentials.obtain(use);
process.stdout.write('done\n');
