/**
 * An embedded database in memory, migrated and under the runtime role, for tests. Making one from nothing costs seconds
 * of processor time, so the migrated state is kept under `node_modules/.cache`, named by all that it depends on.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { createLogger } from '../../src/core/log.ts';
import { DEFAULT_SCHEMA, RUNTIME_ROLE } from '../../src/store/database.ts';
import { ensureAuditPartitions, runMigrations } from '../../src/store/migrate.ts';
import { openPglite } from '../../src/store/pglite.ts';
import type { EmbeddedDatabase } from '../../src/store/pglite.ts';

const CACHE = 'node_modules/.cache/cambist';
const SOURCES = ['src/store/migrations', 'src/store'];
const silent = createLogger('silent');

/** Empty; closed by the caller. */
export async function openMemoryDatabase(): Promise<EmbeddedDatabase> {
  const file = `${CACHE}/${stateName()}.dump`;
  const initialDump = readDump(file) ?? (await makeDump(file));
  const database = await open({ initialDump });
  await ensureAuditPartitions(database);
  await database.assumeRole(RUNTIME_ROLE);
  return database;
}

function open(more: { initialDump?: Blob }): Promise<EmbeddedDatabase> {
  return openPglite({ dataDir: 'memory', schema: DEFAULT_SCHEMA, role: undefined, logger: silent, ...more });
}

function stateName(): string {
  const hash = createHash('sha256').update(readFileSync('node_modules/@electric-sql/pglite/package.json'));
  for (const folder of SOURCES)
    for (const name of readdirSync(folder).filter((entry) => /\.sql$|^migrate\.ts$/.test(entry)))
      hash.update(`\0${name}\0`).update(readFileSync(`${folder}/${name}`));
  return hash.digest('hex').slice(0, 32);
}

function readDump(file: string): Blob | undefined {
  try {
    return new Blob([readFileSync(file)]);
  } catch {
    return undefined;
  }
}

async function makeDump(file: string): Promise<Blob> {
  const owner = await open({});
  await runMigrations(owner);
  const dump = await owner.dump();
  await owner.close();
  mkdirSync(CACHE, { recursive: true });
  // Several workers may make it at once: each writes its own and the last one stays.
  writeFileSync(`${file}.${process.pid}`, new Uint8Array(await dump.arrayBuffer()));
  renameSync(`${file}.${process.pid}`, file);
  return dump;
}
