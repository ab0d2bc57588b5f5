/**
 * Long and large calls through the egress: events without delay, bodies beyond memory, bounds of time and size, and the
 * ends that a call can come to before its answer does.
 */
import { request as send } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startCambist } from '../support/cambist.ts';
import { bodyOf, closedRecord, issue, objectsOf, startEgress, testCredentials } from '../support/egress.ts';
import type { EgressBench } from '../support/egress.ts';
import { openMemoryDatabase } from '../support/memory-database.ts';

let bench: EgressBench;
beforeAll(async () => {
  bench = await startEgress({
    upstreamSpec: {
      timeout_ms: 2000,
      idle_timeout_ms: 1500,
      request_bytes_max: 150_000_000,
      response_bytes_max: 150_000_000,
    },
    settings: { limits: { egressCallsPerClientMax: 3 } },
  });
});
afterAll(() => bench.stop());
afterEach(() => {
  bench.upstream.answer(undefined);
  bench.upstream.arrived.length = 0;
});

interface Stream {
  readonly response: IncomingMessage;
  readonly requestId: string;
  next(): Promise<string>;
  /** Resolves when it was cut; rejects where it ended as it should. */
  readonly cut: Promise<void>;
  hangUp(): void;
}

/** Opens a stream of events through a node, and has its first event. */
async function openStream(url: string, token: string): Promise<Stream> {
  const request = send(`${url}/egress/api/v1/events`, { agent: false, headers: { authorization: `Bearer ${token}` } });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject).end();
  });
  expect(response.statusCode).toBe(200);
  const cut = new Promise<void>((resolve, reject) => {
    response.on('error', () => {
      resolve();
    });
    response.on('end', () => {
      reject(new Error('the stream ended as if it were whole'));
    });
  });
  cut.catch(() => undefined);
  const next = () =>
    new Promise<string>((resolve) => response.once('data', (piece: Buffer) => resolve(piece.toString())));
  await next();
  return {
    response,
    requestId: String(response.headers['cambist-request-id']),
    next,
    cut,
    hangUp: () => request.destroy(),
  };
}

/** Events without end; `onClose` is told when the connection to the upstream is gone. */
function answerWithEvents(
  target: EgressBench,
  everyMs = 100,
  onClose: () => unknown = () => undefined,
): { send(text: string): void } {
  let write = (_: string): void => undefined;
  target.upstream.answer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
    write = (text) => void response.write(text);
    const timer = everyMs === 0 ? undefined : setInterval(() => response.write('data: more\n\n'), everyMs);
    response.on('close', () => {
      clearInterval(timer);
      onClose();
    });
  });
  return {
    send: (text) => {
      write(text);
    },
  };
}

describe('streams', () => {
  it('hands on each event as it comes', async () => {
    const events = answerWithEvents(bench, 0);
    const stream = await openStream(bench.cambist.url, await bench.token());
    for (let count = 0; count < 5; count += 1) {
      const next = stream.next();
      events.send(`data: ${count}\n\n`);
      // The upstream says no more until this one is here.
      expect(await next).toBe(`data: ${count}\n\n`);
    }
    stream.hangUp();
    await closedRecord(bench.cambist, stream.requestId);
  });

  it('hands on the head of an answer before there is any body', async () => {
    let finish: () => unknown = () => undefined;
    bench.upstream.answer((_, response) => {
      response.flushHeaders();
      finish = () => response.end('late');
    });
    const token = await bench.token();
    const response = await new Promise<IncomingMessage>((resolve) => {
      send(`${bench.cambist.url}/egress/api/v1/x`, { headers: { authorization: `Bearer ${token}` } }, resolve).end();
    });
    expect(response.statusCode).toBe(200);
    finish();
    expect((await bodyOf(response)).toString()).toBe('late');
  });

  it('100 MB go through both ways, whole and without being kept in memory', async () => {
    const piece = randomBytes(1_000_000);
    const [sent, received, returned] = [createHash('sha256'), createHash('sha256'), createHash('sha256')];
    bench.upstream.answer((request, response) => {
      request.on('data', (part: Buffer) => received.update(part));
      request.pipe(response.writeHead(200, { 'content-type': 'application/octet-stream' }));
    });
    const token = await bench.token();
    let peak = 0;
    const before = process.memoryUsage().rss;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20);
    let bytes = 0;
    await new Promise<void>((resolve, reject) => {
      const request = send(
        `${bench.cambist.url}/egress/api/v1/x`,
        { method: 'POST', headers: { authorization: `Bearer ${token}` } },
        (response) => {
          response.on('data', (part: Buffer) => {
            bytes += part.length;
            returned.update(part);
          });
          response.on('end', resolve).on('error', reject);
        },
      );
      request.on('error', reject);
      void (async () => {
        for (let count = 0; count < 100; count += 1) {
          sent.update(piece);
          if (!request.write(piece)) await new Promise((drained) => request.once('drain', drained));
        }
        request.end();
      })();
    });
    clearInterval(watch);
    const digest = sent.digest('hex');
    expect(bytes).toBe(100_000_000);
    expect(received.digest('hex')).toBe(digest);
    expect(returned.digest('hex')).toBe(digest);
    // Client, node and upstream are one process here.
    expect((peak - before) / 1e6).toBeLessThan(120);
  });

  it('an upload that takes longer than a request may elsewhere is not cut while it goes on', async () => {
    const token = await bench.token();
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const request = send(
        `${bench.cambist.url}/egress/api/v1/x`,
        { method: 'POST', headers: { authorization: `Bearer ${token}` } },
        (response) => {
          resolve(response.statusCode);
          response.resume();
        },
      );
      request.on('error', reject);
      let left = 18;
      const timer = setInterval(() => {
        left -= 1;
        if (left > 0) request.write('x');
        else {
          clearInterval(timer);
          request.end();
        }
      }, 1000);
    });
    expect(status).toBe(200);
    expect(bench.upstream.arrived[0]?.body.toString()).toBe('x'.repeat(17));
  });
});

describe('bounds', () => {
  it('an upstream that does not begin to answer: 504', async () => {
    bench.upstream.answer(() => undefined);
    const answer = await bench.call('/egress/api/v1/x', { method: 'POST', body: 'x' });
    expect(answer.status).toBe(504);
    expect(await closedRecord(bench.cambist, answer.requestId)).toMatchObject({ ended: 'upstream_timeout' });
  });

  it('an upstream that stops in the middle: cut, and not taken for whole', async () => {
    bench.upstream.answer((_, response) => void response.write('begun'));
    const answer = await bench.call('/egress/api/v1/x');
    expect(answer).toMatchObject({ status: 200, cut: true });
    expect(await closedRecord(bench.cambist, answer.requestId)).toMatchObject({
      ended: 'upstream_timeout',
      status: 200,
    });
  });

  it('an upstream that hangs up, and one that is not there: cut, and 502', async () => {
    bench.upstream.answer((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('begun');
      setTimeout(() => response.destroy(), 50);
    });
    const answer = await bench.call('/egress/api/v1/x');
    expect(answer.cut).toBe(true);
    expect(await closedRecord(bench.cambist, answer.requestId)).toMatchObject({ ended: 'upstream_failed' });
    bench.upstream.answer((request) => request.socket.destroy());
    expect((await bench.call('/egress/api/v1/x')).status).toBe(502);
  });

  it('a body that stops coming: 408', async () => {
    const token = await bench.token();
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, 'content-length': 10 };
      const request = send(`${bench.cambist.url}/egress/api/v1/x`, { method: 'POST', headers }, (response) => {
        resolve(response.statusCode);
        response.on('error', () => undefined);
        request.destroy();
      });
      request.on('error', reject);
      request.write('x');
    });
    expect(status).toBe(408);
  });

  it('a body, or an answer, that is too large: refused where it was announced, else cut at the bound', async () => {
    const small = await startEgress({ upstreamSpec: { request_bytes_max: 10, response_bytes_max: 10 } });
    try {
      const announced = await small.call('/egress/api/v1/x', { method: 'POST', body: 'x'.repeat(11) });
      expect(announced.status).toBe(413);
      expect(small.upstream.arrived).toEqual([]);
      const chunked = await small.call('/egress/api/v1/x', {
        method: 'POST',
        body: 'x'.repeat(11),
        headers: { 'transfer-encoding': 'chunked' },
      });
      expect(chunked.status).toBe(413);
      expect(await closedRecord(small.cambist, chunked.requestId)).toMatchObject({ ended: 'request_too_large' });
      small.upstream.answer((_, response) => response.writeHead(200, { 'content-length': 11 }).end('x'.repeat(11)));
      expect((await small.call('/egress/api/v1/x')).status).toBe(502);
      small.upstream.answer((_, response) => {
        response.write('x'.repeat(5));
        setTimeout(() => response.end('x'.repeat(6)), 50);
      });
      const cut = await small.call('/egress/api/v1/x');
      expect(cut).toMatchObject({ status: 200, cut: true });
      expect(await closedRecord(small.cambist, cut.requestId)).toMatchObject({ ended: 'answer_too_large' });
    } finally {
      await small.stop();
    }
  });

  it('a client that has as many calls open as it may: 429, until one has ended', async () => {
    answerWithEvents(bench);
    const token = await bench.token();
    const streams = [];
    for (let count = 0; count < 3; count += 1) streams.push(await openStream(bench.cambist.url, token));
    const refused = await bench.call('/egress/api/v1/x', { token });
    expect(refused.status).toBe(429);
    expect(refused.headers['retry-after']).toBe('1');
    for (const stream of streams) {
      stream.hangUp();
      await closedRecord(bench.cambist, stream.requestId);
    }
    bench.upstream.answer(undefined);
    expect((await bench.call('/egress/api/v1/x', { token })).status).toBe(200);
  });
});

describe('the end of a stream', () => {
  it('comes when the token expires', async () => {
    answerWithEvents(bench);
    const stream = await openStream(bench.cambist.url, await bench.token({ lifetimeSeconds: 3 }));
    await stream.cut;
    expect(await closedRecord(bench.cambist, stream.requestId)).toMatchObject({ ended: 'expired', status: 200 });
  });

  it('of a caller that hangs up is the end of it at the upstream, and recorded', async () => {
    let gone: () => unknown = () => undefined;
    const upstreamGone = new Promise<void>((resolve) => (gone = resolve));
    answerWithEvents(bench, 100, () => {
      gone();
    });
    const stream = await openStream(bench.cambist.url, await bench.token());
    stream.hangUp();
    await upstreamGone;
    expect(await closedRecord(bench.cambist, stream.requestId)).toMatchObject({ ended: 'caller_gone', status: 200 });
  });
});

describe('two nodes on one database', () => {
  it.each<[string, (first: EgressBench, token: string) => Promise<unknown>]>([
    ['the token is revoked', (first, token) => revoke(first, token)],
    ['the caller is disabled', (first) => first.cambist.disable('client', 'notes-server')],
    ['the upstream is disabled', (first) => first.cambist.disable('upstream', 'api')],
    [
      'the caller is listed no more',
      (first) => first.cambist.apply(JSON.stringify({ upstreams: [withoutCallers(first)] })),
    ],
  ])('a stream at either ends when %s at one', async (_, change) => {
    const database = await openMemoryDatabase();
    const first = await startEgress({ database });
    const second = await startCambist({
      objects: '',
      database,
      joins: first.cambist,
      settings: { credentials: testCredentials() },
    });
    try {
      answerWithEvents(first);
      const token = await issue(first.cambist);
      const streams = [await openStream(first.cambist.url, token), await openStream(second.url, token)];
      const other = await issue(first.cambist, { upstream: 'second' });
      expect(other).not.toBe(token);
      await change(first, token);
      for (const stream of streams) {
        // Its token would let it live for minutes.
        await stream.cut;
        expect(await closedRecord(first.cambist, stream.requestId)).toMatchObject({ ended: 'revoked' });
      }
    } finally {
      await first.stop();
      await second.stop();
      await database.close();
    }
  });
});

function withoutCallers(bench: EgressBench): unknown {
  const { upstreams } = objectsOf(bench.upstream.url) as { upstreams: { name: string }[] };
  return { ...upstreams.find(({ name }) => name === 'api'), callers: ['other-server'] };
}

async function revoke({ cambist }: EgressBench, token: string): Promise<void> {
  const basic = ['notes-server', cambist.secretOf('notes-server')] as const;
  const { status } = await fetch(`${cambist.url}/oauth2/revoke`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(basic.join(':')).toString('base64')}` },
    body: new URLSearchParams({ token }),
  });
  expect(status).toBe(200);
}
