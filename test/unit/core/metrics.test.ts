import { describe, expect, it } from 'vitest';
import { metrics as meters } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { CATALOGUE } from '../../../src/core/telemetry/catalogue.ts';
import { createMetrics } from '../../../src/core/telemetry/metrics.ts';
import { parseExposition } from '../../support/exposition.ts';

const create = () => createMetrics(meters.getMeter('test'));
const scrape = (metrics: ReturnType<typeof create>) => parseExposition(metrics.render());

describe('the numbers of a process', () => {
  it('are announced all, each once, before anything has happened', () => {
    const { families } = scrape(create());
    expect([...families.keys()].sort()).toEqual(
      Object.values(CATALOGUE)
        .map(({ name }) => name)
        .sort(),
    );
    for (const { name, type, help } of Object.values(CATALOGUE))
      expect(families.get(name)).toMatchObject({ type, help });
  });

  it('have names of Prometheus: one prefix, base unit last, _total for counters alone', () => {
    for (const { name, type } of Object.values(CATALOGUE)) {
      expect(name).toMatch(/^cambist_[a-z0-9_]+$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      expect(name).not.toMatch(/_(ms|milliseconds|kb|mb|percent)(_|$)/);
    }
  });

  it('add up, by label', () => {
    const metrics = create();
    metrics.add('cacheLookups', { cache: 'by_name', result: 'hit' });
    metrics.add('cacheLookups', { cache: 'by_name', result: 'hit' }, 2);
    metrics.add('cacheLookups', { cache: 'by_name', result: 'miss' });
    metrics.add('cacheLookups', { cache: 'by_name', result: 'miss' }, -5);
    const { value } = scrape(metrics);
    expect(value('cambist_cache_lookups_total', { cache: 'by_name', result: 'hit' })).toBe(3);
    expect(value('cambist_cache_lookups_total', { cache: 'by_name', result: 'miss' })).toBe(1);
  });

  it('fall into buckets whose bounds are inclusive, and are summed', () => {
    const metrics = create();
    for (const size of [1, 2, 3, 200, 201, NaN]) metrics.observe('commitBatch', {}, size);
    const { value } = scrape(metrics);
    const bucket = (le: string) => value('cambist_commit_batch_size_bucket', { le });
    expect([bucket('1'), bucket('2'), bucket('4'), bucket('128'), bucket('200'), bucket('+Inf')]).toEqual([
      1, 2, 3, 3, 4, 5,
    ]);
    expect(value('cambist_commit_batch_size_sum', {})).toBe(407);
    expect(value('cambist_commit_batch_size_count', {})).toBe(5);
  });

  it('are read when they are asked for; a reader that throws leaves the others alone', () => {
    const metrics = create();
    let queued = 1;
    metrics.read('commitQueue', () => [{ labels: {}, value: queued }]);
    metrics.read('ready', () => {
      throw new Error('broken');
    });
    queued = 7;
    const { value, families } = scrape(metrics);
    expect(value('cambist_commit_queue_length', {})).toBe(7);
    expect(families.get('cambist_ready')?.samples).toEqual([]);
  });

  it('never have a label value that somebody made up', () => {
    const metrics = create();
    for (let index = 0; index < 1000; index++) {
      const odd = `x${index}"}\n# HELP evil\nevil{a="\\`;
      metrics.add('tokenRequests', { grant: odd, outcome: odd, reason: odd });
      metrics.add('keyFetches', { source: `issuer-${index}`, outcome: odd });
      metrics.add('keyFetches', { source: odd.repeat(100), outcome: 'done' });
      metrics.observe('tokenPhaseDuration', { phase: odd }, 1);
      metrics.add('tokenRequests', {} as never);
    }
    const text = metrics.render();
    const { families, value } = parseExposition(text);
    expect(text).not.toContain('evil');
    expect(value('cambist_token_requests_total', { grant: 'other', outcome: 'other', reason: 'other' })).toBe(2000);
    // 200 sources and `other`, each `done` or `other`.
    expect(families.get('cambist_key_fetches_total')!.samples.length).toBeLessThanOrEqual(2 * 201);
    expect(text.length).toBeLessThan(100_000);
  });

  it('are the same for OpenTelemetry, with its units, without _total', async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const provider = new MeterProvider({ readers: [reader] });
    const metrics = createMetrics(provider.getMeter('test'));
    metrics.add('cacheLookups', { cache: 'by_key', result: 'hit' }, 4);
    metrics.observe('commitDuration', { outcome: 'done' }, 0.003);
    metrics.read('residentMemory', () => [{ labels: {}, value: 12_345 }]);
    await provider.forceFlush();
    const found = new Map(
      exporter
        .getMetrics()
        .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
        .map((metric) => [metric.descriptor.name, metric]),
    );
    await provider.shutdown();
    expect(found.get('cambist.cache_lookups')?.dataPoints).toMatchObject([
      { attributes: { cache: 'by_key', result: 'hit' }, value: 4 },
    ]);
    expect(found.get('cambist.process_resident_memory')).toMatchObject({
      descriptor: { unit: 'By' },
      dataPoints: [{ value: 12_345 }],
    });
    expect(found.get('cambist.commit_duration')).toMatchObject({
      descriptor: { unit: 's' },
      dataPoints: [{ attributes: { outcome: 'done' }, value: { count: 1, sum: 0.003 } }],
    });
  });
});
