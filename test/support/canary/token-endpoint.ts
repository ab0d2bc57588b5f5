/** The token endpoint of an upstream, which repeats the client secret when it refuses; the last segment says what it does. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ENCODINGS } from './encodings.ts';

export interface EchoingTokenEndpoint {
  readonly url: string;
  stop(): Promise<void>;
}

/** @param tokenOf the next access token */
export async function startEchoingTokenEndpoint(tokenOf: () => string, secret: string): Promise<EchoingTokenEndpoint> {
  const echo = Object.values(ENCODINGS).map((spell) => spell(secret));
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const answer = (status: number, body: object) => {
        const header = { 'content-type': 'application/json', 'x-echo': echo[0] ?? '' };
        response.writeHead(status, header).end(JSON.stringify(body));
      };
      const token = { token_type: 'Bearer', expires_in: 3600 };
      if (request.url === '/good') answer(200, { ...token, access_token: tokenOf() });
      else if (request.url === '/odd') answer(200, { ...token, access_token: `${tokenOf()}\r\nx-injected: ${secret}` });
      else answer(401, { error: secret, error_description: echo.join(' ') });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
