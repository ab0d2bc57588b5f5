/**
 * The SDK of OpenTelemetry, loaded when the environment asks for it and not otherwise. The variables are those of its
 * specification; what we cannot do is refused at start, so that nobody waits for spans that never come. Nothing is
 * registered globally: the providers are handed to the facade (`core/telemetry.ts`).
 */
import { diag, DiagLogLevel } from '@opentelemetry/api';
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import type { ConfigFault } from '../admin/fault.ts';
import type { Logger } from '../core/log.ts';
import type { Environment } from './interpolate.ts';

/** What the environment asks for. */
export interface ExportPlan {
  readonly traces: Protocol | undefined;
  readonly metrics: Protocol | undefined;
  readonly sampler: { readonly name: SamplerName; readonly ratio: number };
  readonly metricIntervalMs: number;
  readonly metricTimeoutMs: number;
  readonly spans: {
    readonly delayMs: number;
    readonly timeoutMs: number;
    readonly queueMax: number;
    readonly batchMax: number;
  };
}

export interface StartedExport {
  readonly tracerProvider?: TracerProvider;
  readonly meterProvider?: MeterProvider;
  /** Sends what is left, for so long at most. */
  shutdown(): Promise<void>;
}

const PROTOCOLS = ['http/protobuf', 'http/json'] as const;
type Protocol = (typeof PROTOCOLS)[number];
const SAMPLERS = [
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
  'always_on',
  'always_off',
  'traceidratio',
] as const;
type SamplerName = (typeof SAMPLERS)[number];

const SHUTDOWN_MS = 5000;
const TROUBLE_EVERY_MS = 60_000;

/** Reads the variables: what to export, nothing, or every fault. */
export function planExport(environment: Environment): ExportPlan | undefined | ConfigFault[] {
  // The specification: an empty variable counts as not set, and only "true" disables.
  const read = (name: string) => (environment[name] === '' ? undefined : environment[name]);
  if (read('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return undefined;
  const faults: ConfigFault[] = [];
  const refuse = (path: string, message: string, fix: string) => {
    // Both signals may ask for one variable.
    if (faults.some((fault) => fault.path === path)) return;
    faults.push({ file: 'environment', path, message, got: JSON.stringify(environment[path]), fix });
  };
  const oneOf = <T extends string>(name: string, allowed: readonly T[], preset: T): T => {
    const value = read(name) ?? preset;
    const found = allowed.find((one) => one === value);
    if (found === undefined) refuse(name, 'is not supported', `set it to one of: ${allowed.join(', ')}`);
    return found ?? preset;
  };
  const whole = (name: string, preset: number): number => {
    const text = read(name);
    if (text === undefined) return preset;
    if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
    refuse(name, 'must be a whole number above zero', 'correct it, or leave it out');
    return preset;
  };
  const signal = (name: 'TRACES' | 'METRICS'): Protocol | undefined => {
    const endpoint = read(`OTEL_EXPORTER_OTLP_${name}_ENDPOINT`) ?? read('OTEL_EXPORTER_OTLP_ENDPOINT');
    const exporter = oneOf(`OTEL_${name}_EXPORTER`, ['otlp', 'none'], endpoint === undefined ? 'none' : 'otlp');
    if (exporter === 'none') return undefined;
    const own = `OTEL_EXPORTER_OTLP_${name}_PROTOCOL`;
    return oneOf(read(own) === undefined ? 'OTEL_EXPORTER_OTLP_PROTOCOL' : own, PROTOCOLS, 'http/protobuf');
  };
  for (const name of ['', 'TRACES_', 'METRICS_'].map((part) => `OTEL_EXPORTER_OTLP_${part}ENDPOINT`)) {
    const url = read(name);
    if (url !== undefined && !/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : ''))
      // Not shown: a URL may hold a password.
      faults.push({
        file: 'environment',
        path: name,
        message: 'is no http or https URL',
        fix: 'write http://host:4318',
      });
  }

  const plan: ExportPlan = {
    traces: signal('TRACES'),
    metrics: signal('METRICS'),
    sampler: {
      name: oneOf('OTEL_TRACES_SAMPLER', SAMPLERS, 'parentbased_always_on'),
      ratio: ratioOf(read('OTEL_TRACES_SAMPLER_ARG'), refuse),
    },
    metricIntervalMs: whole('OTEL_METRIC_EXPORT_INTERVAL', 60_000),
    metricTimeoutMs: whole('OTEL_METRIC_EXPORT_TIMEOUT', 30_000),
    spans: {
      delayMs: whole('OTEL_BSP_SCHEDULE_DELAY', 5000),
      timeoutMs: whole('OTEL_BSP_EXPORT_TIMEOUT', 30_000),
      queueMax: whole('OTEL_BSP_MAX_QUEUE_SIZE', 2048),
      batchMax: whole('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512),
    },
  };
  if (faults.length > 0) return faults;
  return plan.traces === undefined && plan.metrics === undefined ? undefined : plan;
}

function ratioOf(text: string | undefined, refuse: (path: string, message: string, fix: string) => void): number {
  const ratio = Number(text ?? '1');
  if (ratio >= 0 && ratio <= 1) return ratio;
  refuse('OTEL_TRACES_SAMPLER_ARG', 'must be a number from 0 to 1', 'correct it, or leave it out');
  return 1;
}

/** What the SDK complains of (a collector that does not answer, mostly), once a minute at most. */
function sayTrouble(logger: Logger): void {
  let saidMs = -Infinity;
  const say = (message: string) => {
    if (performance.now() - saidMs < TROUBLE_EVERY_MS) return;
    saidMs = performance.now();
    logger.warn({ said: message }, 'OpenTelemetry: what is exported may be incomplete');
  };
  const silent = () => undefined;
  const listener = { error: say, warn: say, info: silent, debug: silent, verbose: silent };
  diag.setLogger(listener, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
}

/** Loads the SDK and begins. Endpoint, headers, certificates and time-outs are read by the exporters themselves. */
export async function startExport(
  plan: ExportPlan,
  node: { readonly version: string; readonly nodeName: string },
  logger: Logger,
): Promise<StartedExport> {
  sayTrouble(logger);
  const { defaultResource, detectResources, envDetector, resourceFromAttributes } =
    await import('@opentelemetry/resources');
  const ours = resourceFromAttributes({
    'service.name': 'cambist',
    'service.version': node.version,
    'service.instance.id': node.nodeName,
  });
  // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
  const resource = defaultResource()
    .merge(ours)
    .merge(detectResources({ detectors: [envDetector] }));
  const [tracerProvider, meterProvider] = await Promise.all([
    plan.traces === undefined ? undefined : tracerProviderOf(plan, plan.traces, resource),
    plan.metrics === undefined ? undefined : meterProviderOf(plan, plan.metrics, resource),
  ]);
  return {
    ...(tracerProvider === undefined ? {} : { tracerProvider }),
    ...(meterProvider === undefined ? {} : { meterProvider }),
    shutdown: async () => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, SHUTDOWN_MS);
      });
      // A collector that is down must not hold up the end of this process.
      await Promise.race([Promise.allSettled([tracerProvider?.shutdown(), meterProvider?.shutdown()]), late]);
      clearTimeout(timer);
    },
  };
}

async function tracerProviderOf({ sampler, spans }: ExportPlan, protocol: Protocol, resource: Resource) {
  const [sdk, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    protocol === 'http/json'
      ? import('@opentelemetry/exporter-trace-otlp-http')
      : import('@opentelemetry/exporter-trace-otlp-proto'),
  ]);
  const root = sampler.name.endsWith('always_off')
    ? new sdk.AlwaysOffSampler()
    : sampler.name.endsWith('traceidratio')
      ? new sdk.TraceIdRatioBasedSampler(sampler.ratio)
      : new sdk.AlwaysOnSampler();
  return new sdk.TracerProvider({
    resource,
    sampler: sampler.name.startsWith('parentbased_') ? new sdk.ParentBasedSampler({ root }) : root,
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter: new OTLPTraceExporter(),
        scheduledDelayMillis: spans.delayMs,
        exportTimeoutMillis: spans.timeoutMs,
        maxQueueSize: Math.max(spans.queueMax, spans.batchMax),
        maxExportBatchSize: spans.batchMax,
      }),
    ],
  });
}

async function meterProviderOf(plan: ExportPlan, protocol: Protocol, resource: Resource) {
  const [sdk, { OTLPMetricExporter }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    protocol === 'http/json'
      ? import('@opentelemetry/exporter-metrics-otlp-http')
      : import('@opentelemetry/exporter-metrics-otlp-proto'),
  ]);
  return new sdk.MeterProvider({
    resource,
    readers: [
      new sdk.PeriodicExportingMetricReader({
        exporter: new OTLPMetricExporter(),
        exportIntervalMillis: plan.metricIntervalMs,
        exportTimeoutMillis: Math.min(plan.metricTimeoutMs, plan.metricIntervalMs),
      }),
    ],
  });
}
