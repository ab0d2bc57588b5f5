import { createServer } from 'node:net';

/**
 * A loopback port that nobody listens on, for what must be known before its listener is there. It is below the range from
 * which the system gives ports to every connection: nothing takes it between this look and its use.
 */
export async function freePort(): Promise<number> {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const probe = createServer();
  const free = await new Promise<boolean>((resolve) => {
    probe.once('error', () => {
      resolve(false);
    });
    probe.listen(port, '127.0.0.1', () => {
      resolve(true);
    });
  });
  if (!free) return freePort();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
