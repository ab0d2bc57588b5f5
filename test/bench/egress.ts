/**
 * What a call through the egress costs, beside the same call straight to the upstream and through nginx that adds a fixed
 * header: small and large bodies both ways, one at a time and 32 at a time, and 500 open streams with an event per second.
 * The ways take turns, round by round, so that the ratios mean something on a machine that does other things as well; the
 * absolute figures are this machine's. CPU and memory are those of the process in between, without the database's.
 * Client, upstream, nginx and Cambist are processes of their own; PostgreSQL with `fsync` on where its binaries are found,
 * else PGlite. Fails when a call failed, or when a call has no record. Run: `npm run bench -- egress [ROUNDS]`.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { Pool } from 'undici';
import { startWays } from './egress/ways.ts';
import type { Way } from './egress/ways.ts';
import { watchUsage } from './egress/usage.ts';
import type { Usage } from './egress/usage.ts';

const ROUNDS = Number(process.argv[2] ?? 3);
const CONCURRENT = 32;
const STREAMS = 500;
const STREAMS_FOR_MS = 15_000;
const KB = 1024;
const MB = 1024 * KB;

interface Shape {
  readonly name: string;
  readonly upBytes: number;
  readonly downBytes: number;
  /** Calls in a round, one at a time and CONCURRENT at a time. */
  readonly calls: readonly [single: number, many: number];
}

const SHAPES: readonly Shape[] = [
  { name: '1 KB down', upBytes: 0, downBytes: KB, calls: [200, 960] },
  { name: '1 KB up', upBytes: KB, downBytes: 2, calls: [200, 960] },
  { name: '10 MB down', upBytes: 0, downBytes: 10 * MB, calls: [10, 32] },
  { name: '10 MB up', upBytes: 10 * MB, downBytes: 2, calls: [10, 32] },
];

/** What was measured of one way, over all rounds. */
class Tally {
  readonly latenciesMs: number[] = [];
  ms = 0;
  cpuMs = 0;
  peakBytes = 0;
  watched = false;

  add(ms: number, usage: Usage | undefined): void {
    this.ms += ms;
    if (usage === undefined) return;
    this.watched = true;
    this.cpuMs += usage.cpuMs;
    this.peakBytes = Math.max(this.peakBytes, usage.peakBytes);
  }

  at(share: number): number {
    const sorted = [...this.latenciesMs].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  }

  get perSecond(): number {
    return (this.latenciesMs.length / this.ms) * 1000;
  }
}

/** Calls through Cambist, each of which must have been recorded. */
let calls = 0;

const measured = await startWays();
try {
  const { ways, database } = measured;
  console.log(`Node ${process.version}, ${database}, ${ROUNDS} rounds; ms, and x times the direct call`);
  if (!ways.some(({ name }) => name === 'nginx'))
    console.log('no nginx found, so it is left out (Debian: apt-get install nginx-light)');
  for (const way of ways) await round(way, { ...SHAPES[0]!, calls: [100, 100] }, CONCURRENT, new Tally());
  // First, before large bodies leave their traces in memory.
  await compareStreams(ways);
  for (const concurrent of [1, CONCURRENT]) {
    console.log(`\n${concurrent === 1 ? 'one' : concurrent} at a time`);
    print(['', '', 'p50', 'x', 'p99', 'x', 'calls/s', 'x', 'CPU ms/call', 'peak MB']);
    for (const shape of SHAPES) await compare(ways, shape, concurrent);
  }
  const records = await measured.finish();
  const right = records['opened'] === calls && records['closed'] === calls;
  console.log(
    `\ncalls through Cambist ${calls}, records opened ${records['opened'] ?? 0}, closed ${records['closed'] ?? 0}` +
      (right ? '' : '  MISMATCH: this run is void'),
  );
  process.exitCode = right ? 0 : 1;
} finally {
  await measured.stop();
}

async function compare(ways: readonly Way[], shape: Shape, concurrent: number): Promise<void> {
  const tallies = ways.map((way) => ({ way, tally: new Tally() }));
  for (let turn = 0; turn < ROUNDS; turn += 1)
    for (const { way, tally } of tallies) await round(way, shape, concurrent, tally);
  const base = tallies[0]!.tally;
  for (const { way, tally } of tallies) {
    const times = (value: number, of: number) => (way.name === 'direct' ? '' : (value / of).toFixed(2));
    print([
      way.name === 'direct' ? shape.name : '',
      way.name,
      ...[0.5, 0.99].flatMap((share) => [tally.at(share).toFixed(2), times(tally.at(share), base.at(share))]),
      tally.perSecond.toFixed(0),
      times(tally.perSecond, base.perSecond),
      tally.watched ? (tally.cpuMs / tally.latenciesMs.length).toFixed(2) : '',
      tally.watched ? (tally.peakBytes / MB).toFixed(0) : '',
    ]);
  }
}

async function round(way: Way, shape: Shape, concurrent: number, tally: Tally): Promise<void> {
  const authorization = await way.authorize();
  const pool = new Pool(way.origin, { connections: concurrent, pipelining: 1, bodyTimeout: 0, headersTimeout: 0 });
  const total = shape.calls[concurrent === 1 ? 0 : 1];
  const body = shape.upBytes === 0 ? null : Buffer.alloc(shape.upBytes, 'x');
  let next = 0;
  const one = async (): Promise<void> => {
    const sentMs = performance.now();
    const answer = await pool.request({
      method: body === null ? 'GET' : 'POST',
      path: `${way.prefix}/v1/bytes/${shape.downBytes}`,
      headers: { authorization },
      body,
    });
    let bytes = 0;
    for await (const piece of answer.body as AsyncIterable<Buffer>) bytes += piece.length;
    if (answer.statusCode !== 200 || bytes !== shape.downBytes)
      throw new Error(`${way.name}: ${answer.statusCode}, ${bytes} bytes`);
    tally.latenciesMs.push(performance.now() - sentMs);
  };
  try {
    const beganMs = performance.now();
    const { usage } = await watchUsage(way.pid, () =>
      Promise.all(
        Array.from({ length: concurrent }, async () => {
          while (next++ < total) await one();
        }),
      ),
    );
    tally.add(performance.now() - beganMs, usage);
    if (way.name === 'Cambist') calls += total;
  } finally {
    await pool.close();
  }
}

async function compareStreams(ways: readonly Way[]): Promise<void> {
  console.log(`\n${STREAMS} streams with an event per second, ${STREAMS_FOR_MS / 1000} s; delay of an event in ms`);
  print(['', '', 'p50', 'x', 'p99', 'x', 'events/s', '', 'CPU %', 'KB/stream']);
  let base: Tally | undefined;
  for (const way of ways) {
    const { tally, beforeBytes, openBytes } = await holdStreams(way);
    base ??= tally;
    const of = base;
    const times = (share: number) => (way.name === 'direct' ? '' : (tally.at(share) / of.at(share)).toFixed(2));
    print([
      '',
      way.name,
      ...[0.5, 0.99].flatMap((share) => [tally.at(share).toFixed(2), times(share)]),
      tally.perSecond.toFixed(0),
      '',
      tally.watched ? ((tally.cpuMs / tally.ms) * 100).toFixed(1) : '',
      tally.watched ? ((openBytes - beforeBytes) / KB / STREAMS).toFixed(0) : '',
    ]);
  }
}

async function holdStreams(way: Way): Promise<{ tally: Tally; beforeBytes: number; openBytes: number }> {
  const tally = new Tally();
  const authorization = await way.authorize();
  const pool = new Pool(way.origin, { connections: STREAMS, pipelining: 1, bodyTimeout: 0, headersTimeout: 0 });
  const hangUp = new AbortController();
  setMaxListeners(STREAMS, hangUp.signal);
  let counting = false;
  const open = async (): Promise<void> => {
    const answer = await pool.request({
      method: 'GET',
      path: `${way.prefix}/v1/events`,
      headers: { authorization },
      signal: hangUp.signal,
    });
    if (answer.statusCode !== 200) throw new Error(`${way.name}: a stream was answered ${answer.statusCode}`);
    answer.body.on('data', (piece: Buffer) => {
      const nowMs = performance.timeOrigin + performance.now();
      if (counting)
        for (const [, sentMs] of piece.toString().matchAll(/^data: (\S+)$/gm))
          tally.latenciesMs.push(nowMs - Number(sentMs));
    });
    answer.body.on('error', (error) => {
      if (!hangUp.signal.aborted) throw error;
    });
  };
  try {
    const before = await watchUsage(way.pid, () => Promise.resolve());
    for (let opened = 0; opened < STREAMS; opened += CONCURRENT)
      await Promise.all(Array.from({ length: Math.min(CONCURRENT, STREAMS - opened) }, open));
    if (way.name === 'Cambist') calls += STREAMS;
    await pause(1500);
    counting = true;
    const beganMs = performance.now();
    const { usage } = await watchUsage(way.pid, () => pause(STREAMS_FOR_MS));
    counting = false;
    tally.add(performance.now() - beganMs, usage);
    return { tally, beforeBytes: before.usage?.bytes ?? 0, openBytes: usage?.bytes ?? 0 };
  } finally {
    hangUp.abort();
    await pool.destroy();
  }
}

/** A row: two names, then numbers. */
function print(cells: readonly string[]): void {
  const [shape = '', way = '', ...numbers] = cells;
  console.log(`${shape.padEnd(12)}${way.padEnd(9)}${numbers.map((cell) => cell.padStart(12)).join('')}`);
}
