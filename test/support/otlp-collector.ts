/**
 * A collector that speaks OTLP over HTTP: keeps what it was sent, as JSON where that is what came.
 */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  /** 1 internal, 2 server, 3 client (OTLP `SpanKind`). */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly traceState: string | undefined;
  readonly status: { readonly code?: number; readonly message?: string };
  readonly startNanos: bigint;
}

export interface OtlpCollector {
  readonly url: string;
  /** Everything that came, as text. */
  readonly bodies: string[];
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders; readonly bytes: number }[];
  spans(): ReceivedSpan[];
  /** Attributes of the resource of the last request with spans. */
  resource(): Readonly<Record<string, unknown>>;
  /** Values of the newest points of a metric, each with its attributes. */
  points(name: string): { readonly attributes: Record<string, unknown>; readonly point: any }[];
  stop(): Promise<void>;
}

export async function startOtlpCollector(): Promise<OtlpCollector> {
  const bodies: string[] = [];
  const requests: { path: string; headers: IncomingHttpHeaders; bytes: number }[] = [];
  const traces: any[] = [];
  let metrics: any[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      requests.push({ path: request.url ?? '', headers: request.headers, bytes: body.length });
      bodies.push(body.toString('latin1'));
      if (request.headers['content-type']?.includes('json')) {
        const parsed = JSON.parse(body.toString('utf8'));
        traces.push(...(parsed.resourceSpans ?? []));
        if (parsed.resourceMetrics !== undefined) metrics = parsed.resourceMetrics;
      }
      response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'application/json' });
      response.end(request.headers['content-type']?.includes('json') ? '{}' : '');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    requests,
    spans: () => traces.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }: any) => spans.map(spanOf))),
    resource: () => attributesOf(traces.at(-1)?.resource?.attributes ?? []),
    points: (name) =>
      metrics
        .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope: any) => scope.metrics))
        .filter((metric: any) => metric.name === name)
        .flatMap((metric: any) => (metric.sum ?? metric.gauge ?? metric.histogram).dataPoints)
        .map((point: any) => ({ attributes: attributesOf(point.attributes), point })),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

function spanOf(span: any): ReceivedSpan {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId === '' ? undefined : span.parentSpanId,
    name: span.name,
    kind: span.kind,
    attributes: attributesOf(span.attributes),
    traceState: span.traceState,
    status: span.status,
    startNanos: BigInt(span.startTimeUnixNano),
  };
}

function attributesOf(list: readonly any[]): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
}
