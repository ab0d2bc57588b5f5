import { describe, expect, it } from 'vitest';
import { planExport } from '../../../src/config/opentelemetry.ts';
import { parseSettings } from '../../../src/config/settings.ts';

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };

describe('the variables of OpenTelemetry', () => {
  it.each([
    ['nothing is set', {}],
    ['they are empty', { OTEL_EXPORTER_OTLP_ENDPOINT: '', OTEL_TRACES_EXPORTER: '' }],
    ['they only name the service', { OTEL_SERVICE_NAME: 'sts' }],
    ['they say none', { ...ENDPOINT, OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: 'none' }],
    ['they disable the SDK', { ...ENDPOINT, OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'nonsense' }],
    ['they disable it loudly', { ...ENDPOINT, OTEL_SDK_DISABLED: 'TRUE' }],
  ])('ask for nothing when %s', (_, environment) => {
    expect(planExport(environment)).toBeUndefined();
  });

  it.each([
    ['the endpoint', ENDPOINT, ['http/protobuf', 'http/protobuf']],
    ['an exporter', { OTEL_TRACES_EXPORTER: 'otlp' }, ['http/protobuf', undefined]],
    [
      'the endpoint of one signal',
      { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://c/v1/metrics' },
      [undefined, 'http/protobuf'],
    ],
    ['the endpoint, less one signal', { ...ENDPOINT, OTEL_METRICS_EXPORTER: 'none' }, ['http/protobuf', undefined]],
    ['a protocol', { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, ['http/json', 'http/json']],
    [
      'a protocol of one signal',
      {
        ...ENDPOINT,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
        OTEL_METRICS_EXPORTER: 'none',
      },
      ['http/json', undefined],
    ],
    ['anything but "true" to disable', { ...ENDPOINT, OTEL_SDK_DISABLED: '1' }, ['http/protobuf', 'http/protobuf']],
  ])('ask by %s', (_, environment, [traces, metrics]) => {
    expect(planExport(environment)).toMatchObject({ traces, metrics });
  });

  it('give the sampler, the intervals and the bounds', () => {
    const environment = {
      ...ENDPOINT,
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      OTEL_METRIC_EXPORT_INTERVAL: '1000',
      OTEL_BSP_MAX_QUEUE_SIZE: '10',
    };
    expect(planExport(environment)).toMatchObject({
      sampler: { name: 'parentbased_traceidratio', ratio: 0.25 },
      metricIntervalMs: 1000,
      spans: { delayMs: 5000, timeoutMs: 30_000, queueMax: 10, batchMax: 512 },
    });
  });

  it.each([
    ['OTEL_TRACES_EXPORTER', 'zipkin', 'otlp, none'],
    ['OTEL_METRICS_EXPORTER', 'prometheus', 'otlp, none'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc', 'http/protobuf, http/json'],
    ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'grpc', 'http/protobuf, http/json'],
    ['OTEL_TRACES_SAMPLER', 'jaeger_remote', 'parentbased_always_on'],
    ['OTEL_TRACES_SAMPLER_ARG', '2', 'correct it'],
    ['OTEL_BSP_SCHEDULE_DELAY', '-1', 'correct it'],
    ['OTEL_METRIC_EXPORT_INTERVAL', '1s', 'correct it'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4317', 'http://host:4318'],
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'ftp://user:CANARY@c', 'http://host:4318'],
  ])('%s=%s is refused at start, with the fix', (name, value, fix) => {
    const faults = parseSettings({
      document: undefined,
      environment: { ...ENDPOINT, [name]: value },
      fileFolder: '/',
      cwd: '/',
      hostName: 'n',
      readSecret: () => ({ failure: 'ENOENT' }),
    });
    if (!Array.isArray(faults)) throw new Error('no fault');
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ file: 'environment', path: name });
    expect(faults[0]?.fix).toContain(fix);
    expect(JSON.stringify(faults)).not.toContain('CANARY');
  });
});
