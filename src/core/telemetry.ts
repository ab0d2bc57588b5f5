/**
 * The one facade of what Cambist tells about itself while it runs: numbers and spans. Built by the composition root and
 * passed in; there is no global of ours. Without an SDK it feeds the Prometheus text of the admin listener alone.
 */
import { metrics as meters, trace } from '@opentelemetry/api';
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import { createMetrics } from './telemetry/metrics.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { createTracing } from './telemetry/tracing.ts';
import type { Tracing } from './telemetry/tracing.ts';

export type { Metrics } from './telemetry/metrics.ts';
export type { RequestTrace, SpanAttributes, Tracing } from './telemetry/tracing.ts';

export interface Telemetry {
  readonly metrics: Metrics;
  readonly tracing: Tracing;
}

/** The name of our tracer and meter. */
const SCOPE = 'cambist';

/** Where spans and numbers go. Default: what was registered with the API before this process began its work, or nowhere. */
export function createTelemetry(
  providers: { readonly tracerProvider?: TracerProvider; readonly meterProvider?: MeterProvider } = {},
): Telemetry {
  const tracerProvider = providers.tracerProvider ?? trace.getTracerProvider();
  const meterProvider = providers.meterProvider ?? meters.getMeterProvider();
  return {
    metrics: createMetrics(meterProvider.getMeter(SCOPE)),
    tracing: createTracing(tracerProvider.getTracer(SCOPE)),
  };
}
