/**
 * The small third-party API of the demo: a calendar as a service that answers nobody without its API key. Cambist has the
 * key; the MCP server in front of it does not.
 */
import { createServer } from 'node:http';

export interface CalendarApi {
  readonly url: string;
  /** Requests that came with the right key, and those that did not. */
  readonly seen: { readonly withKey: number; readonly without: number };
  stop(): Promise<void>;
}

const EVENTS = [
  { at: '09:30', what: 'Notes on the Analytical Engine, with Charles' },
  { at: '14:00', what: 'Flight to Turin' },
];

/** Listens on loopback. The key is compared as it stands in `X-Api-Key`. */
export async function startCalendarApi(port: number, key: string): Promise<CalendarApi> {
  const seen = { withKey: 0, without: 0 };
  const server = createServer((request, response) => {
    const known = request.headers['x-api-key'] === key;
    seen[known ? 'withKey' : 'without'] += 1;
    const found = request.method === 'GET' && request.url === '/v1/events';
    response.writeHead(known ? (found ? 200 : 404) : 401, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(known ? (found ? EVENTS : { error: 'not found' }) : { error: 'an API key is needed' }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
