/** A TCP proxy in front of a server that is started later; it keeps every byte that went through, either way. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Transform } from 'node:stream';

export interface WireTap {
  readonly url: string;
  /** Where connections go from now on. */
  leadTo(port: number): void;
  /** Ends the connections of now. */
  cut(): void;
  /** What is asked still arrives; answers wait until the returned function is called. */
  holdAnswers(): () => void;
  /** As latin1 text. */
  sent(): string;
  received(): string;
  stop(): Promise<void>;
}

export async function startWireTap(): Promise<WireTap> {
  const sent: Buffer[] = [];
  const received: Buffer[] = [];
  const sockets = new Set<Socket>();
  let target = 0;
  let gate = Promise.resolve();
  const server = createServer((client) => {
    const behind = connect(target, '127.0.0.1');
    for (const socket of [client, behind]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        behind.destroy();
      });
    }
    client.on('data', (piece) => sent.push(piece));
    behind.on('data', (piece) => received.push(piece));
    const answers = new Transform({
      transform: (piece, _, done) => {
        void gate.then(() => {
          done(null, piece);
        });
      },
    });
    client.pipe(behind).pipe(answers).pipe(client);
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo: (port) => {
      target = port;
    },
    cut,
    holdAnswers: () => {
      let letGo = () => {};
      gate = new Promise((resolve) => (letGo = resolve));
      return letGo;
    },
    sent: () => Buffer.concat(sent).toString('latin1'),
    received: () => Buffer.concat(received).toString('latin1'),
    stop: () => {
      cut();
      return new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    },
  };
}
