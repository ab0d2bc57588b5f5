/** Something that listens where Vault should: it answers what a test says and keeps what it was asked, header for header. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface Asked {
  readonly method: string;
  /** As it came over the wire. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Readonly<Record<string, unknown>>;
}

export interface FakeAnswer {
  readonly status?: number;
  readonly body?: object | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer, or `undefined` where the request is left hanging. */
export type Answering = (asked: Asked) => FakeAnswer | undefined;

export interface FakeVault {
  readonly address: string;
  readonly asked: Asked[];
  answer: Answering;
}

/** Stops after the test that started it. */
export async function startFakeVault(answer: Answering): Promise<FakeVault> {
  const fake: { asked: Asked[]; answer: Answering } = { asked: [], answer };
  const server = createServer((request, response) => void serve(request, response));
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const text = Buffer.concat(pieces).toString();
    const { method = '', url = '', headers } = request;
    const asked = { method, url, headers, body: (text === '' ? {} : JSON.parse(text)) as Asked['body'] };
    fake.asked.push(asked);
    const made = fake.answer(asked);
    if (made === undefined) return;
    const { status = 200, body = {}, headers: more = {} } = made;
    response.writeHead(status, { 'content-type': 'application/json', ...more });
    response.end(status === 204 ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  );
  return Object.assign(fake, { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

/** What Vault answers to a login. */
export function loginAnswer(token: string, more: object = {}): FakeAnswer {
  return {
    body: { auth: { client_token: token, accessor: `acc-${token}`, lease_duration: 3600, renewable: true, ...more } },
  };
}

/** What Vault answers to a read of KV v2. */
export function secretAnswer(data: object, version = 1): FakeAnswer {
  return { body: { data: { data, metadata: { version, custom_metadata: null } } } };
}

/** What Vault answers to `auth/token/lookup-self`. */
export function lookupAnswer(ttl = 3600, renewable = true): FakeAnswer {
  return { body: { data: { ttl, renewable } } };
}
