/**
 * The API behind all ways, in a process of its own: it demands the key, and gives or takes as many bytes as it is asked
 * for. Started with the key as its argument; writes its port.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const EVENT_EVERY_MS = 1000;
const key = process.argv[2] ?? '';
const bodies = new Map<number, Buffer>();

const server = createServer((request, response) => {
  if (request.headers.authorization !== `Bearer ${key}`) response.writeHead(401).end();
  else if (request.url === '/v1/events') sendEvents(response);
  else takeAndGive(request, response);
});
server.requestTimeout = 0;
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', 4096, () => {
  console.log((server.address() as AddressInfo).port);
});
// The bench is gone, however it ended.
process.stdin.resume().on('end', () => process.exit(0));

/** `/v1/bytes/<n>`: takes what comes, and gives so many bytes. */
function takeAndGive(request: IncomingMessage, response: ServerResponse): void {
  request.resume().on('end', () => {
    const bytes = Number(request.url?.split('/').at(-1));
    let body = bodies.get(bytes);
    if (body === undefined) bodies.set(bytes, (body = Buffer.alloc(bytes, 'x')));
    response.setHeader('content-type', 'application/octet-stream');
    response.end(body);
  });
}

/** Each event says when it was sent. */
function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  const timer = setInterval(() => {
    response.write(`data: ${performance.timeOrigin + performance.now()}\n\n`);
  }, EVENT_EVERY_MS);
  response.on('close', () => {
    clearInterval(timer);
  });
}
