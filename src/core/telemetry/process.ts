/**
 * How the process itself is doing: processor, memory, pauses. Cheap enough to run always: one timer twice a second and
 * what Node counts anyway.
 */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import type { Metrics } from './metrics.ts';

const LAG_EVERY_MS = 500;
const COLLECTIONS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
};

/** Begins to measure; what it returns ends that. */
export function measureProcess(metrics: Metrics, version: string): () => void {
  const one = (value: number) => [{ labels: {}, value }];
  metrics.read('cpu', () => {
    const { user, system } = process.cpuUsage();
    return one((user + system) / 1e6);
  });
  metrics.read('residentMemory', () => one(process.memoryUsage.rss()));
  metrics.read('heapUsed', () => one(process.memoryUsage().heapUsed));
  const startedSeconds = (Date.now() - process.uptime() * 1000) / 1000;
  metrics.read('startTime', () => one(startedSeconds));
  metrics.read('build', () => [{ labels: { version, node: process.version }, value: 1 }]);

  let dueMs = performance.now() + LAG_EVERY_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    metrics.observe('eventLoopLag', {}, Math.max(0, nowMs - dueMs) / 1000);
    dueMs = nowMs + LAG_EVERY_MS;
  }, LAG_EVERY_MS);
  timer.unref();
  const collections = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { detail } = entry as { readonly detail?: { readonly kind?: number } };
      const kind = COLLECTIONS[detail?.kind ?? -1] ?? 'other';
      metrics.observe('garbageCollection', { kind }, entry.duration / 1000);
    }
  });
  collections.observe({ entryTypes: ['gc'] });
  return () => {
    clearInterval(timer);
    collections.disconnect();
  };
}
