/**
 * Traces and W3C trace context over real sockets: a caller's trace id goes into the record, the log and the fetches that
 * the request causes; with an SDK a real OTLP receiver gets a span per step, and nothing that is secret or personal.
 */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { planExport, startExport } from '../../src/config/opentelemetry.ts';
import type { StartedExport } from '../../src/config/opentelemetry.ts';
import { createLogger } from '../../src/core/log.ts';
import { createTelemetry } from '../../src/core/telemetry.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { startOtlpCollector } from '../support/otlp-collector.ts';
import type { OtlpCollector, ReceivedSpan } from '../support/otlp-collector.ts';
import { basicHeader } from '../support/token-client.ts';
import type { TokenAnswer } from '../support/token-client.ts';
import { EXCHANGE, ID_TOKEN, recordOf } from './asking.ts';

const NOTES = 'https://notes.example/mcp';
const PARENT = '00f067aa0ba902b7';
const PHASES = ['registry', 'authenticate', 'dispatch', 'verify', 'resolve', 'decide', 'mint', 'record', 'commit'];

/** Publishes the keys of an issuer and remembers the headers with which they were asked for. */
interface KeyServer {
  readonly url: string;
  readonly seen: IncomingHttpHeaders[];
  stop(): void;
}

interface Set {
  readonly corp: JwksIssuer;
  readonly keys: KeyServer;
  readonly cambist: TestCambist;
  readonly log: string[];
}

let next = 0;
/** A trace id that no other test has. */
const traceId = () => (++next).toString(16).padStart(32, 'a');

async function startKeyServer(corp: JwksIssuer): Promise<KeyServer> {
  const seen: IncomingHttpHeaders[] = [];
  const server: Server = createServer((request, response) => {
    seen.push(request.headers);
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'max-age=3600' });
    response.end(JSON.stringify({ keys: corp.keys.map(({ publicJwk }) => publicJwk) }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    seen,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function start(started: StartedExport): Promise<Set> {
  const corp = await startJwksIssuer();
  const keys = await startKeyServer(corp);
  const log: string[] = [];
  const cambist = await startCambist({
    objects: `
issuers:
  - { name: corp, issuer: '${corp.issuer}', jwks_uri: '${keys.url}', internal: true, claims: { email: email, name: name } }
clients:
  - { id: agent, auth: [client_secret_basic] }
  - { id: notes-server, auth: [client_secret_basic] }
resources: [{ name: notes, uri: '${NOTES}', scopes: { 'notes:read': Read }, default_scopes: ['notes:read'], served_by: [notes-server] }]
policies: [{ id: all, cedar: 'permit (principal, action in [Action::"access", Action::"act"], resource);' }]
`,
    settings: {
      logger: createLogger('info', { write: (line) => void log.push(line) }),
      telemetry: createTelemetry(started),
    },
  });
  return { corp, keys, cambist, log };
}

async function stop(set: Set): Promise<void> {
  await set.cambist.stop();
  set.keys.stop();
  await set.corp.stop();
}

async function exchange(
  set: Set,
  headers: Record<string, string>,
  form: Record<string, string> = {},
): Promise<TokenAnswer> {
  const { cambist, corp } = set;
  return cambist.token(
    {
      grant_type: EXCHANGE,
      subject_token: await corp.mint({
        aud: cambist.issuer,
        sub: 'canary-ada',
        email: 'canary.ada@corp.example',
        name: 'Canary Lovelace',
      }),
      subject_token_type: ID_TOKEN,
      resource: NOTES,
      ...form,
    },
    { basic: ['agent', cambist.secretOf('agent')], headers },
  );
}

describe('W3C trace context without an SDK', () => {
  let set: Set;
  beforeAll(async () => {
    set = await start({ shutdown: () => Promise.resolve() });
  });
  afterAll(() => stop(set));

  it('a request without one sends none on, and has none in its record', async () => {
    const answer = await exchange(set, {});
    expect(answer.status).toBe(200);
    expect(set.keys.seen).toHaveLength(1);
    expect(set.keys.seen[0]).not.toHaveProperty('traceparent');
    expect((await recordOf(set.cambist, answer)).body).not.toHaveProperty('trace_id');
  });

  it('goes on as it came with the fetch that the request causes, into its record and its log lines', async () => {
    const id = traceId();
    const traceparent = `00-${id}-${PARENT}-01`;
    await set.corp.rotate();
    // The cool-down for unknown kids: the key set is made to be fetched afresh by a new source.
    await set.cambist.apply(
      `issuers: [{ name: corp, issuer: '${set.corp.issuer}', jwks_uri: '${set.keys.url}?2', internal: true, claims: { email: email } }]`,
    );
    const answer = await exchange(set, { traceparent, tracestate: 'rojo=1, congo=2' });
    expect(answer.status, answer.text).toBe(200);
    expect(set.keys.seen.at(-1)).toMatchObject({ traceparent, tracestate: 'rojo=1,congo=2' });
    expect((await recordOf(set.cambist, answer)).body['trace_id']).toBe(id);

    const refused = await exchange(set, { traceparent }, { scope: 'notes:none' });
    expect((await recordOf(set.cambist, refused)).body['trace_id']).toBe(id);
    const line = set.log
      .map((text) => JSON.parse(text))
      .find(({ msg, trace_id }) => msg === 'refused' && trace_id === id);
    expect(line).toMatchObject({ request_id: refused.headers.get('cambist-request-id') });
  });

  it.each(['nonsense', `00-${'0'.repeat(32)}-${PARENT}-01`, `00-${'A'.repeat(32)}-${PARENT}-01`, 'x'.repeat(4000)])(
    'a malformed one (§3.2) is as none: %s',
    async (traceparent) => {
      const answer = await exchange(set, { traceparent, tracestate: 'rojo=1' });
      expect(answer.status).toBe(200);
      const { body, canonical } = await recordOf(set.cambist, answer);
      expect(body).not.toHaveProperty('trace_id');
      expect(canonical).not.toContain('rojo');
    },
  );
});

describe('OpenTelemetry: what a receiver of OTLP over HTTP gets', () => {
  let collector: OtlpCollector;
  let started: StartedExport;
  let set: Set;
  const before = { ...process.env };
  beforeAll(async () => {
    collector = await startOtlpCollector();
    Object.assign(process.env, {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-key=abc',
      OTEL_BSP_SCHEDULE_DELAY: '20',
      OTEL_METRIC_EXPORT_INTERVAL: '100',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    });
    const plan = planExport(process.env);
    if (plan === undefined || Array.isArray(plan)) throw new Error('no plan');
    started = await startExport(plan, { version: '1.2.3', nodeName: 'node-7' }, createLogger('silent'));
    set = await start(started);
  });
  afterAll(async () => {
    await stop(set);
    await started.shutdown();
    await collector.stop();
    process.env = before;
  });

  /** All of a trace: the request's own ends last, and they arrive in the order of their ends. */
  const spansOf = (id: string): Promise<ReceivedSpan[]> =>
    vi.waitFor(() => {
      const spans = collector.spans().filter((span) => span.traceId === id);
      expect(spans.at(-1)).toMatchObject({ kind: 2 });
      return spans;
    }, 10_000);

  it("a span per step under the request's, under the caller's, and one for the fetch, which carries it on", async () => {
    const id = traceId();
    const answer = await exchange(set, { traceparent: `00-${id}-${PARENT}-01`, tracestate: 'rojo=1' });
    expect(answer.status).toBe(200);
    const spans = await spansOf(id);
    const named = (name: string): ReceivedSpan => {
      const found = spans.filter((span) => span.name === name);
      expect(found, name).toHaveLength(1);
      return found[0]!;
    };
    const root = named('cambist.token');
    expect(root).toMatchObject({
      parentSpanId: PARENT,
      kind: 2,
      traceState: 'rojo=1',
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/oauth2/token',
        'http.response.status_code': 200,
        'cambist.request_id': answer.headers.get('cambist-request-id'),
        'cambist.grant': 'token_exchange',
        'cambist.outcome': 'issued',
        'cambist.reason': 'none',
      },
    });
    for (const phase of PHASES) {
      const span = named(`cambist.${phase}`);
      expect(span.parentSpanId, phase).toBe(root.spanId);
      expect(span.startNanos >= root.startNanos, phase).toBe(true);
      // By the order of their ends, which is that of their arrival: the SDK counts each span from its own start, rounded
      // to a millisecond, so that a step's end may read as up to one after the request's.
      expect(spans.indexOf(span), phase).toBeLessThan(spans.indexOf(root));
    }
    expect(named('cambist.commit')).toMatchObject({ kind: 3, attributes: { 'db.system.name': 'postgresql' } });
    const fetched = named('GET');
    expect(fetched).toMatchObject({
      parentSpanId: named('cambist.verify').spanId,
      kind: 3,
      attributes: { 'server.address': '127.0.0.1', 'server.port': Number(new URL(set.keys.url).port) },
    });
    expect(set.keys.seen).toHaveLength(1);
    expect(set.keys.seen[0]).toMatchObject({ traceparent: `00-${id}-${fetched.spanId}-01`, tracestate: 'rojo=1' });
    expect((await recordOf(set.cambist, answer)).body['trace_id']).toBe(id);
  });

  it('a request without a trace begins one, and its record names it', async () => {
    const answer = await exchange(set, { traceparent: 'nonsense' });
    const { trace_id: id } = (await recordOf(set.cambist, answer)).body as unknown as { trace_id: string };
    const spans = await spansOf(id);
    expect(spans.find(({ name }) => name === 'cambist.token')?.parentSpanId).toBeUndefined();
  });

  it('requests at the same time do not take each other for their parents', async () => {
    const ids = Array.from({ length: 20 }, traceId);
    await Promise.all(ids.map((id) => exchange(set, { traceparent: `00-${id}-${PARENT}-01` })));
    for (const id of ids) {
      const spans = await spansOf(id);
      const root = spans.find(({ name }) => name === 'cambist.token');
      expect(
        spans
          .filter(({ parentSpanId }) => parentSpanId === root?.spanId)
          .map(({ name }) => name)
          .sort(),
      ).toEqual(expect.arrayContaining(PHASES.map((phase) => `cambist.${phase}`).sort()));
    }
  });

  it('a refusal has its reason on the request and on the step, and is no error of ours', async () => {
    const id = traceId();
    await exchange(set, { traceparent: `00-${id}-${PARENT}-01` }, { resource: 'https://canary-unknown.example/' });
    const spans = await spansOf(id);
    const root = spans.find(({ name }) => name === 'cambist.token');
    expect(root?.attributes).toMatchObject({
      'cambist.outcome': 'refused',
      'cambist.reason': 'target_unknown',
      'http.response.status_code': 400,
    });
    expect(root?.status.code ?? 0).toBe(0);
    expect(spans.find(({ attributes }) => attributes['cambist.reason'] === 'target_unknown')).toBeDefined();
  });

  it('a failure is marked as an error by its kind, without its message', async () => {
    const dark = await startJwksIssuer();
    await set.cambist.apply(`issuers: [{ name: dark, issuer: '${dark.issuer}', internal: true }]`);
    const subject_token = await dark.mint({ aud: set.cambist.issuer, sub: 'canary-ada' });
    await dark.stop();
    const id = traceId();
    const answer = await exchange(set, { traceparent: `00-${id}-${PARENT}-01` }, { subject_token });
    expect(answer.status).toBe(503);
    const spans = await spansOf(id);
    const failed = (name: string) => spans.find((span) => span.name === name);
    expect(failed('cambist.token')).toMatchObject({
      status: { code: 2 },
      attributes: { 'error.type': 'trusted_issuer' },
    });
    expect(failed('GET')).toMatchObject({ status: { code: 2 }, attributes: { 'error.type': 'connect' } });
    for (const span of spans) expect(span.status.message ?? '').toBe('');
  });

  it('a trace that the caller does not sample is not exported, and still named in the record', async () => {
    const id = traceId();
    const answer = await exchange(set, { traceparent: `00-${id}-${PARENT}-00` });
    expect((await recordOf(set.cambist, answer)).body['trace_id']).toBe(id);
    const marker = traceId();
    await exchange(set, { traceparent: `00-${marker}-${PARENT}-01` });
    await spansOf(marker);
    expect(collector.spans().filter((span) => span.traceId === id)).toEqual([]);
  });

  it('introspection has its span', async () => {
    const { cambist } = set;
    const token = (await exchange(set, {})).body.access_token;
    const id = traceId();
    await fetch(`${cambist.url}/oauth2/introspect`, {
      method: 'POST',
      headers: {
        authorization: basicHeader('notes-server', cambist.secretOf('notes-server')),
        traceparent: `00-${id}-${PARENT}-01`,
      },
      body: new URLSearchParams({ token }),
    });
    const [span] = await spansOf(id);
    expect(span).toMatchObject({ name: 'cambist.introspection', kind: 2, attributes: { 'cambist.outcome': 'active' } });
  });

  it('the numbers of /metrics, the name of the service, and the headers that were asked for', async () => {
    const labels = { grant: 'token_exchange', outcome: 'issued', reason: 'none' };
    await vi.waitFor(() => {
      const [issued] = collector
        .points('cambist.token_requests')
        .filter(({ attributes }) => attributes['outcome'] === 'issued');
      expect(issued?.attributes).toEqual(labels);
      expect(Number(issued?.point.asDouble ?? issued?.point.asInt)).toBeGreaterThan(20);
      expect(collector.points('cambist.token_phase_duration').length).toBeGreaterThan(5);
    }, 10_000);
    expect(collector.resource()).toMatchObject({
      'service.name': 'cambist',
      'service.version': '1.2.3',
      'service.instance.id': 'node-7',
      'deployment.environment.name': 'test',
    });
    for (const { headers } of collector.requests) expect(headers['x-collector-key']).toBe('abc');
    expect(new Set(collector.requests.map(({ path }) => path))).toEqual(new Set(['/v1/traces', '/v1/metrics']));
  });

  it('R23 nothing that was sent names a person, a token, a secret or what a caller chose', async () => {
    const answer = await exchange(set, {}, { scope: 'canary-scope', client_note: 'canary-note' });
    const { trace_id: id } = (await recordOf(set.cambist, answer)).body as unknown as { trace_id: string };
    await spansOf(id);
    const all = collector.bodies.join('\n');
    expect(all.length).toBeGreaterThan(10_000);
    for (const secret of ['canary', 'Canary', 'eyJ', set.cambist.secretOf('agent'), 'corp.example'])
      expect(all.includes(secret), secret).toBe(false);
  });
});
