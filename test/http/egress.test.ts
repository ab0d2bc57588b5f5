/**
 * A call through the egress, from end to end over real sockets: what reaches the upstream, what comes back, and what is
 * recorded of it.
 */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Unavailable } from '../../src/core/refusal.ts';
import { closedRecord, KEY, SECRET_MISSING, startEgress } from '../support/egress.ts';
import type { EgressBench } from '../support/egress.ts';

let bench: EgressBench;
beforeAll(async () => {
  bench = await startEgress();
});
afterAll(() => bench.stop());
afterEach(() => {
  bench.upstream.answer(undefined);
  bench.upstream.arrived.length = 0;
  bench.credentials.failing = undefined;
  bench.credentials.rotated = undefined;
  bench.credentials.kept = { secret: KEY, version: 1 };
});

it('forwards a call with the key in place of the token, and hands back the answer', async () => {
  const answer = await bench.call('/egress/api/v1/things?page=2', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"name":"x"}',
  });
  expect(answer.status, answer.body.toString()).toBe(200);
  expect(answer.body.toString()).toBe('{"ok":true}');
  expect(answer.headers['cambist-egress']).toBe('upstream');
  const [arrived] = bench.upstream.arrived;
  expect(arrived).toMatchObject({ method: 'POST', url: '/base/v1/things?page=2' });
  expect(arrived?.headers).toMatchObject({
    authorization: [`Bearer ${KEY}`],
    host: [`127.0.0.1:${bench.upstream.port}`],
    'content-length': ['12'],
    'content-type': ['application/json'],
  });
  expect(arrived?.body.toString()).toBe('{"name":"x"}');
});

it('records that it was opened and closed: who, for whom, where, with which version, and how it ended', async () => {
  const answer = await bench.call('/egress/api/v1/people/ada@corp.example?q=secret', { method: 'POST', body: 'hello' });
  const closed = await closedRecord(bench.cambist, answer.requestId);
  const [opened] = (await bench.cambist.records(answer.requestId)).filter(({ body }) => body.kind === 'opened');
  expect(opened?.body).toMatchObject({
    client: { id: 'notes-server' },
    act: ['client:notes-server', 'client:agent'],
    upstream: 'api',
    method: 'POST',
    rule: { path: '/v1/**', scopes: ['api:use'] },
    credential: { kind: 'static', store: 'embedded', path: 'apis/{client}', version: '1' },
  });
  expect(opened?.persons).toMatchObject([{ sub: 'ada', path: '/v1/people/ada@corp.example' }]);
  expect(closed).toMatchObject({
    opened: opened?.body.id,
    ended: 'done',
    status: 200,
    request_bytes: 5,
    response_bytes: 11,
    repeated: false,
  });
  for (const { canonical } of await bench.cambist.records(answer.requestId)) {
    expect(canonical).not.toContain('ada@corp');
    expect(canonical).not.toContain('q=secret');
    expect(canonical).not.toContain(KEY);
  }
});

it('reaches another base URL by its label', async () => {
  expect((await bench.call('/egress/api:uploads/v1/x')).status).toBe(200);
  expect(bench.upstream.arrived[0]?.url).toBe('/uploads/v1/x');
  expect((await bench.call('/egress/api:constructor/v1/x')).status).toBe(403);
});

it('tells the caller that a credential cannot be had, and nothing of why; the record tells the operator', async () => {
  bench.credentials.failing = SECRET_MISSING;
  const answer = await bench.call('/egress/api/v1/x');
  expect(answer.status).toBe(502);
  expect(JSON.parse(answer.body.toString())).toEqual({
    error: 'bad_gateway',
    error_description: 'The upstream could not be asked, or did not answer properly.',
  });
  expect(answer.headers['cambist-egress']).toBe('refused');
  expect((await bench.cambist.records(answer.requestId))[0]?.body).toMatchObject({
    kind: 'refused',
    refusal: { reason: 'credential_missing', detail: { path: 'apis/{client}' } },
  });
  bench.credentials.failing = new Unavailable('vault', 'sealed');
  expect((await bench.call('/egress/api/v1/x')).status).toBe(503);
  expect(bench.upstream.arrived).toEqual([]);
});

it('sends a small body once more with a fresh key after a 401, and only once', async () => {
  bench.credentials.rotated = { secret: 'sk-rotated-0123456789', version: 2 };
  bench.upstream.answer((request, response, seen) => {
    request.on('data', (piece: Buffer) => (seen.body = Buffer.concat([seen.body, piece])));
    request.on('end', () => {
      const fresh = request.headers.authorization === 'Bearer sk-rotated-0123456789';
      response.writeHead(fresh ? 201 : 401).end();
    });
  });
  const answer = await bench.call('/egress/api/v1/x', { method: 'PUT', body: 'again' });
  expect(answer.status).toBe(201);
  expect(bench.upstream.arrived.map(({ body }) => body.toString())).toEqual(['again', 'again']);
  expect(await closedRecord(bench.cambist, answer.requestId)).toMatchObject({
    repeated: true,
    status: 201,
    credential: { version: '2' },
  });

  bench.upstream.arrived.length = 0;
  bench.upstream.answer((request, response) => void request.resume().on('end', () => response.writeHead(401).end()));
  bench.credentials.rotated = { secret: 'sk-rotated-again-01234', version: 3 };
  expect((await bench.call('/egress/api/v1/x', { method: 'PUT', body: 'again' })).status).toBe(401);
  expect(bench.upstream.arrived).toHaveLength(2);
  // No fresher key is to be had: once is enough.
  bench.upstream.arrived.length = 0;
  expect((await bench.call('/egress/api/v1/x')).status).toBe(401);
  expect(bench.upstream.arrived).toHaveLength(1);
});

it('does not keep a large body, so does not send it again; the next call has the fresh key', async () => {
  bench.credentials.rotated = { secret: 'sk-rotated-0123456789', version: 2 };
  bench.upstream.answer((request, response) => void request.resume().on('end', () => response.writeHead(401).end()));
  const answer = await bench.call('/egress/api/v1/x', { method: 'PUT', body: Buffer.alloc(70_000) });
  expect(answer.status).toBe(401);
  expect(bench.upstream.arrived).toHaveLength(1);
  bench.upstream.answer(undefined);
  await bench.call('/egress/api/v1/x');
  expect(bench.upstream.arrived[1]?.headers['authorization']).toEqual(['Bearer sk-rotated-0123456789']);
});

it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('forwards %s', async (method) => {
  const answer = await bench.call('/egress/api/v1/x', { method });
  expect(answer.status).toBe(200);
  expect(answer.body.toString()).toBe(method === 'HEAD' ? '' : '{"ok":true}');
  expect(answer.headers['access-control-allow-origin']).toBeUndefined();
  expect(bench.upstream.arrived[0]?.method).toBe(method);
});

it.each([204, 304])('passes on %i, which has no body', async (status) => {
  bench.upstream.answer((_, response) => void response.writeHead(status, { etag: '"v"' }).end());
  const answer = await bench.call('/egress/api/v1/x');
  expect(answer.status).toBe(status);
  expect(answer.headers['etag']).toBe('"v"');
});
