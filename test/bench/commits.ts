/**
 * What committing costs: requests per second with 64 at a time on a PostgreSQL of its own with `fsync` on, each request
 * in a statement of its own against requests that share statements. One run, so that the ratio means something; the
 * absolute figures are this machine's. Run: `npm run build && node dist/test/bench/commits.js`.
 */
import { v7 as newUuid } from 'uuid';
import { canonicalBytes } from '../../src/audit/record.ts';
import type { RecordRow } from '../../src/audit/record.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { runCommitStatement } from '../../src/store/commit-statement.ts';
import type { Commitment } from '../../src/store/commitment.ts';
import { createCommitter } from '../../src/store/commits.ts';
import { openDatabase } from '../../src/store/open.ts';
import { startPostgres } from '../support/postgres-cluster.ts';

const CONCURRENT = 64;
const SECONDS = Number(process.argv[2] ?? 4);
const RECORD_BYTES = 1500;

function request(): Commitment {
  const [id, jti, nowSeconds] = [newUuid(), newUuid(), Math.floor(Date.now() / 1000)];
  const record: RecordRow = {
    id,
    recordedAtMs: Date.now(),
    kind: 'issued',
    reason: null,
    requestId: newUuid(),
    clientId: 'agent-1',
    resources: ['https://crm.example/mcp'],
    jti,
    persons: [newUuid()],
    canonical: canonicalBytes({
      v: 1,
      id,
      time: new Date().toISOString(),
      kind: 'issued',
      request_id: id,
      node: 'n',
      filler: 'x'.repeat(RECORD_BYTES),
    }),
  };
  return {
    marks: [
      { purpose: 'client_assertion', issuer: 'agent-1', id: jti, expiresAtSeconds: nowSeconds + 300, lost: record },
    ],
    issued: {
      jti,
      ancestors: [newUuid()],
      vouchedBy: [],
      subjectRef: newUuid(),
      clientId: 'agent-1',
      actors: ['agent-1'],
      resources: ['https://crm.example/mcp'],
      kid: 'key_1',
      issuedAtSeconds: nowSeconds,
      expiresAtSeconds: nowSeconds + 300,
      subjectClaims: null,
    },
    record,
  };
}

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicrosPerRequest: number;
}

async function measure(commit: (commitment: Commitment) => Promise<unknown>): Promise<Measured> {
  const latenciesMs: number[] = [];
  const until = performance.now() + SECONDS * 1000;
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  await Promise.all(
    Array.from({ length: CONCURRENT }, async () => {
      while (performance.now() < until) {
        const sent = performance.now();
        await commit(request());
        latenciesMs.push(performance.now() - sent);
      }
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  latenciesMs.sort((a, b) => a - b);
  const at = (quantile: number) => latenciesMs[Math.floor(latenciesMs.length * quantile)] ?? NaN;
  return {
    perSecond: Math.round(latenciesMs.length / seconds),
    p50Ms: Number(at(0.5).toFixed(1)),
    p99Ms: Number(at(0.99).toFixed(1)),
    cpuMicrosPerRequest: Math.round((cpu.user + cpu.system) / latenciesMs.length),
  };
}

const logger = createLogger('silent');
const cluster = await startPostgres();
try {
  const db = await openDatabase({
    source: { engine: 'postgresql', url: cluster.url, poolMax: CONCURRENT },
    migrate: true,
    logger,
  });
  const unused = (): never => {
    throw new Error('nothing is settled here');
  };
  const committer = createCommitter({
    db,
    clock: systemClock,
    logger,
    settle: { failed: unused, undelivered: unused },
  });
  const [settings] = await db.query(
    `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
      current_setting('server_version') AS version`,
  );
  console.log('PostgreSQL', settings);
  // Two connections carry the grouped batches: give the single ones two as well as one each.
  const few = await openDatabase({
    source: { engine: 'postgresql', url: cluster.url, poolMax: 2 },
    migrate: false,
    logger,
  });
  await measure((commitment) => committer.commit(commitment));
  const results = {
    [`single, ${CONCURRENT} connections`]: await measure((commitment) => runCommitStatement(db, [commitment])),
    'single, 2 connections': await measure((commitment) => runCommitStatement(few, [commitment])),
    'grouped, 2 connections': await measure((commitment) => committer.commit(commitment)),
  };
  console.table(results);
  const [many, two, grouped] = Object.values(results);
  if (many !== undefined && two !== undefined && grouped !== undefined)
    console.log(
      `grouped / single: ${(grouped.perSecond / many.perSecond).toFixed(1)} with ${CONCURRENT} connections, ` +
        `${(grouped.perSecond / two.perSecond).toFixed(1)} with 2`,
    );
  await few.close();
  await db.close();
} finally {
  await cluster.stop();
}
