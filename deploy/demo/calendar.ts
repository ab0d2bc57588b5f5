/**
 * The calendar of the demo: the API that demands a key, the key in Cambist's secret store, and the MCP server in between,
 * which never has it.
 */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { CambistProcess } from './cambist-process.ts';
import { startCalendarApi } from './calendar-api.ts';
import type { CalendarApi } from './calendar-api.ts';
import { writePrivately } from './identities.ts';

const SERVER = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/') ? 'calendar-server.js' : '../../dist/deploy/demo/calendar-server.js',
    import.meta.url,
  ),
);
const START_TIMEOUT_MS = 30_000;

/** The key of the API, made once per clone. */
export function loadApiKey(file: string): string {
  if (!existsSync(file)) writePrivately(file, `${randomBytes(24).toString('base64url')}\n`);
  return readFileSync(file, 'utf8').trim();
}

export interface Calendar {
  readonly api: CalendarApi;
  /** Calls the tool `events` as an MCP client does. */
  callTool(token: string): Promise<ToolAnswer>;
  /** Is the key, in any usual encoding, in the environment of the MCP server's process or in anything it was sent? */
  serverHasKey(): { readonly environment: boolean; readonly received: boolean };
  stop(): Promise<void>;
}

export interface ToolAnswer {
  readonly events: readonly string[];
  /** Request ids. */
  readonly exchange: string;
  readonly call: string;
}

export interface CalendarOptions {
  readonly cambist: CambistProcess;
  readonly resource: string;
  readonly apiPort: number;
  readonly serverPort: number;
  readonly key: string;
  readonly secretFile: string;
  /** Gets all that the MCP server is sent; written anew. */
  readonly receivedFile: string;
}

/** Starts the API, then the MCP server. */
export async function startCalendar(options: CalendarOptions): Promise<Calendar> {
  const { cambist, serverPort, key, receivedFile } = options;
  const api = await startCalendarApi(options.apiPort, key);
  writePrivately(receivedFile, '');
  const environment = {
    CAMBIST: cambist.issuer,
    RESOURCE: options.resource,
    PORT: String(serverPort),
    CLIENT_ID: 'calendar-server',
    CLIENT_SECRET_FILE: options.secretFile,
    RECEIVED_FILE: receivedFile,
  };
  const server = fork(SERVER, [], { env: environment, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], detached: true });
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(reject, START_TIMEOUT_MS, new Error('the calendar MCP server did not start in time'));
      server.once('message', () => {
        clearTimeout(timer);
        resolve();
      });
      server.once('exit', () => {
        clearTimeout(timer);
        reject(new Error('the calendar MCP server ended'));
      });
    });
  } catch (error) {
    server.kill();
    await api.stop();
    throw error;
  }
  return {
    api,
    callTool: (token) => callTool(serverPort, token),
    serverHasKey: () => ({
      environment: holdsKey(environmentOf(server.pid, environment), key),
      received: holdsKey(readFileSync(receivedFile, 'utf8'), key),
    }),
    stop: async () => {
      server.kill();
      await api.stop();
      rmSync(receivedFile, { force: true });
    },
  };
}

async function callTool(port: number, token: string): Promise<ToolAnswer> {
  const client = new Client({ name: 'travel-agent', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}/mcp`), {
    requestInit: { headers: { authorization: `Bearer ${token}` } },
  });
  await client.connect(transport);
  try {
    const { content, isError } = await client.callTool({ name: 'events' });
    const text = (content as readonly { readonly text: string }[])[0]?.text ?? '';
    if (isError === true) throw new Error(`the calendar's tool failed: ${text}`);
    return JSON.parse(text) as ToolAnswer;
  } finally {
    await client.close();
  }
}

/** As the system has it, where it tells; else as it was given. */
function environmentOf(pid: number | undefined, given: Readonly<Record<string, string>>): string {
  const file = `/proc/${String(pid)}/environ`;
  return existsSync(file) ? readFileSync(file, 'latin1') : JSON.stringify(given);
}

function holdsKey(text: string, key: string): boolean {
  const bytes = Buffer.from(key);
  const forms = [key, bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url'), bytes.toString('hex')];
  return forms.some((form) => text.includes(form));
}
