/**
 * An upstream that does with a key what it should not: repeats it in every spelling, in bodies and headers and redirects,
 * hangs up, stalls, answers nonsense. The last segment of the path says what.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { bodyOf, startUpstream } from '../egress.ts';
import type { TestUpstream } from '../egress.ts';
import { ENCODINGS } from './encodings.ts';

/** What it does at a path; each answers what it heard of keys where it answers at all. */
export const BEHAVIOURS = [
  ...['fine', 'echo', 'refuse', 'forbid', 'fail', 'fail-without-length', 'redirect', 'redirect-away'],
  ...['hang-up', 'half', 'nonsense', 'bad-header', 'slow', 'stall'],
] as const;

/** @param keyOf what it repeats, by the first segment of the path, as it is when it answers */
export async function startEchoingUpstream(keyOf: (name: string) => string): Promise<TestUpstream> {
  const upstream = await startUpstream();
  upstream.answer((request, response) => {
    void bodyOf(request).then(
      () => {
        const [, name = ''] = (request.url ?? '').split('/');
        behave(
          request,
          response,
          Object.values(ENCODINGS).map((spell) => spell(keyOf(name))),
        );
      },
      () => undefined,
    );
  });
  return upstream;
}

const STATUS: Readonly<Record<string, number>> = { fine: 200, echo: 200, refuse: 401, forbid: 403, fail: 500 };

function behave(request: IncomingMessage, response: ServerResponse, echo: readonly string[]): void {
  const { pathname, search } = new URL(request.url ?? '', 'http://upstream');
  const { socket } = request;
  const behaviour = pathname.split('/').pop() ?? '';
  const all = [...echo, search, ...Object.values(request.headers).flat()].join('\n');
  const status = STATUS[behaviour];
  if (status !== undefined) {
    if (behaviour === 'fine') {
      response.end('fine');
      return;
    }
    echo.forEach((spelled, index) => response.setHeader(`x-echo-${index}`, spelled));
    response.setHeader('www-authenticate', `Bearer error_description="${echo[0] ?? ''}"`);
    response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(all) }).end(all);
    return;
  }
  switch (behaviour) {
    case 'fail-without-length':
      response.writeHead(503, { 'content-type': 'application/problem+json' });
      response.write(all.slice(0, 700));
      setTimeout(() => response.end(all.slice(700)), 20);
      return;
    case 'redirect':
    case 'redirect-away': {
      const place = behaviour === 'redirect' ? pathname.replace('redirect', 'fine') : 'https://elsewhere.example/';
      response.writeHead(302, { location: `${place}${search}&again=${encodeURIComponent(echo[0] ?? '')}` }).end();
      return;
    }
    case 'hang-up':
      socket.destroy();
      return;
    case 'half':
      response.writeHead(200, { 'content-type': 'text/plain', 'content-length': '100000' }).write('half of it');
      setTimeout(() => socket.destroy(), 20);
      return;
    case 'nonsense':
      socket.end(`HTTP/9 ${all}\r\n\r\n`);
      return;
    case 'bad-header':
      socket.end(`HTTP/1.1 200 OK\r\n${all.replaceAll('\n', '')}\0\r\n\r\n`);
      return;
    case 'stall':
      response.writeHead(200, { 'content-type': 'text/plain' }).write('begun');
      return;
    default:
    // slow: not at all
  }
}
