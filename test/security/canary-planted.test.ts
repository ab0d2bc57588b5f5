/**
 * The search of canary.test.ts is no decoration: a secret that is planted in any sink, by the way in which that sink is
 * really written, is found in every spelling.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCli } from '../../src/cli/program.ts';
import type { CliParts } from '../../src/cli/program.ts';
import { planExport, startExport } from '../../src/config/opentelemetry.ts';
import type { ExportPlan } from '../../src/config/opentelemetry.ts';
import { createLogger } from '../../src/core/log.ts';
import { crashLine } from '../../src/core/log/crash.ts';
import { createTelemetry } from '../../src/core/telemetry.ts';
import { createCanaries } from '../support/canary/canaries.ts';
import { ENCODINGS, HARDER_ENCODINGS } from '../support/canary/encodings.ts';
import { createSinks } from '../support/canary/sinks.ts';
import { startEgress } from '../support/egress.ts';
import type { EgressBench } from '../support/egress.ts';
import { startOtlpCollector } from '../support/otlp-collector.ts';

/** A longer label of a metric is told as `other`. */
const LABEL_MAX_CHARS = 128;
const ALL: Readonly<Record<string, (secret: string) => string>> = { ...ENCODINGS, ...HARDER_ENCODINGS };
const canaries = createCanaries();
const sinks = createSinks(canaries);
const folder = mkdtempSync(join(tmpdir(), 'cambist-planted-'));
const cells: { readonly place: string; readonly name: string }[] = [];
let bench: EgressBench;
let leaks: string[] = [];

/** A secret of its own in every spelling; each has to be found in that place. */
function spellings(place: string, how = '', charsMax = Infinity): string[] {
  return Object.entries(ALL).flatMap(([spelling, spell]) => {
    const name = `${place}${how}, ${spelling}`;
    const spelled = spell(canaries.make(name));
    if (spelled.length > charsMax) return [];
    cells.push({ place, name });
    return [spelled];
  });
}

/** Without a database and without a server; what it says is all that it does. */
function cliParts(place: string): CliParts {
  const take = (text: string) => {
    sinks.take(place, text);
  };
  return { version: '1', env: {}, cwd: folder, out: take, err: take } as unknown as CliParts;
}

async function plantInLog(): Promise<void> {
  const logger = createLogger('trace', {
    write: (line) => {
      sinks.take('log', line);
    },
  });
  for (const text of spellings('log', ' as a field'))
    logger.child({ one: 1 }).trace({ deep: { note: text } }, 'a line');
  for (const text of spellings('log', ' as a message')) logger.info(text);
  for (const text of spellings('log', ' as a cause'))
    logger.error({ err: new Error('it failed', { cause: new Error(text) }) }, 'answered 500');
  for (const text of spellings('crash')) sinks.take('crash', crashLine(new Error(text), new Date()));
  for (const text of spellings('output')) await runCli([text], cliParts('output'));
  for (const text of spellings('output', ' for programs')) await runCli(['--json', text], cliParts('output'));
}

async function plantInTelemetry(): Promise<void> {
  const collector = await startOtlpCollector();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url;
  const started = await startExport(
    planExport(process.env) as ExportPlan,
    { version: '1', nodeName: 'node' },
    createLogger('silent'),
  );
  const { tracing, metrics } = createTelemetry(started);
  for (const note of spellings('exported /v1/traces'))
    await tracing.request({ name: 'request', incoming: undefined, attributes: { note } }, () => Promise.resolve());
  for (const source of spellings('exported /v1/metrics', '', LABEL_MAX_CHARS))
    metrics.add('keyFetches', { source, outcome: 'done' });
  const scraped = createTelemetry().metrics;
  for (const source of spellings('scrape', '', LABEL_MAX_CHARS)) scraped.add('keyFetches', { source, outcome: 'done' });
  sinks.take('scrape', scraped.render());
  await started.shutdown();
  Reflect.deleteProperty(process.env, 'OTEL_EXPORTER_OTLP_ENDPOINT');
  sinks.takeExports(collector);
  await collector.stop();
}

async function plantInAnswers(): Promise<void> {
  const authorization = `Bearer ${await bench.token()}`;
  const ask = () => sinks.ask('answers', `${bench.cambist.url}/egress/api/v1/things`, { headers: { authorization } });
  for (const text of spellings('answers', ' in a header')) {
    bench.upstream.answer((_, response) => response.writeHead(200, { 'x-note': text }).end());
    await ask();
  }
  for (const text of spellings('answers', ' in a body')) {
    bench.upstream.answer((_, response) => response.writeHead(500, { 'content-type': 'text/plain' }).end(text));
    await ask();
  }
}

async function plantInDatabase(): Promise<void> {
  const { service, database } = bench.cambist;
  let type: 'disable' | 'enable' = 'disable';
  const recordOf = await service.prepareChange([]);
  for (const author of spellings('database: audit_record.canonical')) {
    await service.objects.change([{ type, kind: 'client', name: 'other-server' }], {
      author,
      origin: 'test',
      record: (version) => recordOf({ author, origin: 'test', state_version: version, changes: [] }),
    });
    type = type === 'disable' ? 'enable' : 'disable';
  }
  for (const [index, text] of spellings('database: secret.sealed').entries())
    await database.query('INSERT INTO secret (path, version, fields, sealed) VALUES ($1, 1, $2, $3)', [
      `planted/${index}`,
      ['key'],
      Buffer.from(text),
    ]);
  for (const [index, text] of spellings('database: object.spec').entries())
    await database.query('UPDATE object SET spec = spec || jsonb_build_object($1::text, $2::text)', [
      `planted-${index}`,
      text,
    ]);
  await sinks.takeDatabase(database, database.schema);
}

async function plantInSystem(): Promise<void> {
  for (const [index, text] of spellings('file note').entries())
    writeFileSync(join(folder, 'note'), `${text}\n`, { flag: index === 0 ? 'w' : 'a' });
  writeFileSync(join(folder, 'backup.gz'), gzipSync(spellings('file backup.gz').join('\n')));
  writeFileSync(join(folder, 'own'), canaries.make('of the user'));
  sinks.takeFiles(folder, ['own']);
  const env = Object.fromEntries(spellings('processes', ' as environment').map((text, at) => [`NOTE_${at}`, text]));
  const args = ['-c', 'read -r line', 'sh', ...spellings('processes', ' as argument')];
  const child = spawn('/bin/sh', args, { env, stdio: ['pipe', 'ignore', 'ignore'] });
  await new Promise((resolve) => child.once('spawn', resolve));
  sinks.takeProcesses(process.pid);
  child.stdin.end();
}

beforeAll(async () => {
  bench = await startEgress();
  await plantInLog();
  await plantInTelemetry();
  await plantInAnswers();
  await plantInDatabase();
  if (process.platform === 'linux') await plantInSystem();
  leaks = sinks.leaks();
}, 120_000);
afterAll(async () => {
  await bench.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('a secret is found in every sink in every spelling', () => {
  expect(cells.length).toBeGreaterThan(300);
  const missed = cells.filter(
    ({ place, name }) =>
      !leaks.some((leak) => leak.startsWith(`${place}: ${name} (`) || leak.startsWith(`${place}: ${name}:`)),
  );
  expect(missed).toEqual([]);
});

it('and is found nowhere else, nor in what the user has put there', () => {
  // The author of a change stands beside its record too.
  const others = leaks.filter(
    (leak) =>
      !leak.startsWith('database: object_change.') &&
      !cells.some(({ place, name }) => leak.startsWith(`${place}: ${name}`)),
  );
  expect(others).toEqual([]);
  expect(sinks.places()).toContain('database: object_change.author');
});

it('half of a secret counts, a few characters of it do not', () => {
  const secret = canaries.make('halved');
  expect(canaries.found(`…${secret.slice(-30)}`)).toContain('halved: second half (plain)');
  expect(canaries.found(secret.slice(0, 8))).toEqual([]);
});
