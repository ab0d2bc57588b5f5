/**
 * The demo company, running: its identity provider, Cambist with the objects of `company.yaml` entered through the
 * command line, and a client secret for each agent and server. Everything listens on loopback and lives in `.cambist/`.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { loadApiKey, startCalendar } from './calendar.ts';
import type { Calendar } from './calendar.ts';
import { cleanEnvironment, startCambist } from './cambist-process.ts';
import type { CambistProcess } from './cambist-process.ts';
import { startIdentityProvider } from './identity-provider.ts';
import type { IdentityProvider } from './identity-provider.ts';
import { loadIdentities, makePrivateFolder, writePrivately } from './identities.ts';
import type { DemoIdentities } from './identities.ts';
import { signIn } from './sign-in.ts';

/** Where things are, relative to the working folder: the printed commands use the same paths. */
export const PLACES = {
  data: '.cambist',
  folder: '.cambist/demo',
  identities: '.cambist/demo/identities.json',
  config: '.cambist/demo/cambist.yaml',
  objects: '.cambist/demo/company.yaml',
  log: '.cambist/demo/cambist.log',
  idToken: '.cambist/demo/ada.id_token',
  apiKey: '.cambist/demo/calendar-api.key',
  received: '.cambist/demo/calendar-server.received',
} as const;

/** In the clone; this file runs from `dist/deploy/demo/`. */
const OBJECTS_FILE = new URL('../../../deploy/demo/company.yaml', import.meta.url);
const PROVIDER_PORT = 9400;
const CAMBIST_PORT = 8080;
const API_PORT = 9501;
const SERVER_PORT = 9521;
/** The `aud` of tokens for the calendar. */
export const CALENDAR = 'https://calendar.demo.example/mcp';
const PORTS_TRIED = 20;
const CLIENTS = ['travel-agent', 'notes-agent', 'notes-server', 'calendar-server'];
const RELYING_PARTY = { id: 'travel-portal', redirectUri: 'https://portal.demo.example/callback' };
export const ID_TOKEN_LIFETIME_SECONDS = 600;

export interface Company {
  readonly provider: IdentityProvider;
  readonly cambist: CambistProcess;
  readonly calendar: Calendar;
  /** True when this start made the data folder. */
  readonly first: boolean;
  /** Signs Ada in at the identity provider: a fresh ID token for the travel portal, also written to its file. */
  signAdaIn(): Promise<string>;
  secretOf(clientId: string): string;
  stop(): Promise<void>;
}

/** Where the secret of a client lies. */
export function secretFile(clientId: string): string {
  return `${PLACES.folder}/${clientId}.secret`;
}

/** Starts everything. What was started is stopped again when a later part fails. */
export async function startCompany(): Promise<Company> {
  if (await answersAt(`${PLACES.data}/cambist.sock`))
    throw new Error(
      `A Cambist already runs on ${PLACES.data}/ in this folder: stop it first, or paste lines against it.`,
    );
  const first = !existsSync(`${PLACES.data}/data`);
  makePrivateFolder(PLACES.data);
  // Secrets of an earlier database open nothing in a new one.
  if (first) for (const id of CLIENTS) rmSync(secretFile(id), { force: true });
  const identities = loadIdentities(PLACES.identities);
  const provider = await startProvider(identities);
  try {
    const cambist = await startService();
    let calendar: Calendar;
    try {
      calendar = await openCalendar(cambist, provider.issuer);
    } catch (error) {
      await cambist.stop();
      throw error;
    }
    return {
      provider,
      cambist,
      calendar,
      first,
      signAdaIn: async () => {
        const { idToken } = await signIn({
          issuer: provider.issuer,
          clientId: RELYING_PARTY.id,
          clientSecret: identities.portalSecret,
          redirectUri: RELYING_PARTY.redirectUri,
          username: 'ada',
          password: identities.adaPassword,
        });
        writePrivately(PLACES.idToken, idToken);
        return idToken;
      },
      secretOf: (clientId) => readFileSync(secretFile(clientId), 'utf8').trim(),
      stop: async () => {
        await calendar.stop();
        await cambist.stop();
        await provider.stop();
        rmSync(PLACES.idToken, { force: true });
      },
    };
  } catch (error) {
    await provider.stop();
    throw error;
  }
}

async function startProvider(identities: DemoIdentities): Promise<IdentityProvider> {
  return startIdentityProvider({
    port: await freePort(PROVIDER_PORT),
    algorithm: 'RS256',
    signingKey: identities.providerKey,
    cookieKey: identities.cookieKey,
    people: [
      {
        sub: 'ada',
        password: identities.adaPassword,
        claims: { name: 'Ada Lovelace', email: 'ada@corp.example', groups: ['staff', 'engineering'] },
      },
    ],
    relyingParties: [{ ...RELYING_PARTY, secret: identities.portalSecret }],
    idTokenLifetimeSeconds: ID_TOKEN_LIFETIME_SECONDS,
  });
}

async function startService(): Promise<CambistProcess> {
  const port = await freePort(CAMBIST_PORT);
  const config = [
    '# Written by the demo at each start.',
    `listen: { host: 127.0.0.1, port: ${port} }`,
    'admin_listen: { port: 0 }',
    'data_dir: ..',
    'node_name: demo',
    '',
  ];
  writePrivately(PLACES.config, config.join('\n'));
  const url = `http://127.0.0.1:${port}`;
  const env = { ...cleanEnvironment(), CAMBIST_CONFIG: PLACES.config };
  return startCambist({ issuer: url, url, env, logFile: PLACES.log });
}

/** Enters the objects and the key of the calendar's API, then starts the API and the MCP server in front of it. */
async function openCalendar(cambist: CambistProcess, providerIssuer: string): Promise<Calendar> {
  const [apiPort, serverPort] = [await freePort(API_PORT), await freePort(SERVER_PORT)];
  await enterObjects(cambist, providerIssuer, apiPort);
  const key = loadApiKey(PLACES.apiKey);
  await cambist.command('secret', 'set', 'demo/calendar-api', '--field', 'key', '--file', PLACES.apiKey);
  return startCalendar({
    cambist,
    resource: CALENDAR,
    apiPort,
    serverPort,
    key,
    secretFile: secretFile('calendar-server'),
    receivedFile: PLACES.received,
  });
}

/** What an operator does by hand: apply the file, then make a secret for each client that has none yet. */
async function enterObjects(cambist: CambistProcess, providerIssuer: string, apiPort: number): Promise<void> {
  const objects = readFileSync(OBJECTS_FILE, 'utf8')
    .replace(`http://127.0.0.1:${PROVIDER_PORT}`, providerIssuer)
    .replace(`http://127.0.0.1:${API_PORT}`, `http://127.0.0.1:${apiPort}`);
  writePrivately(PLACES.objects, objects);
  await cambist.command('apply', '-f', PLACES.objects);
  const without = CLIENTS.filter((id) => !existsSync(secretFile(id)));
  await Promise.all(without.map((id) => cambist.command('client', 'secret', id, '--out', secretFile(id))));
}

/** The wanted port of loopback, or the next one that nobody uses. */
async function freePort(wanted: number): Promise<number> {
  for (let port = wanted; port < wanted + PORTS_TRIED; port++) if (await isFree(port)) return port;
  throw new Error(`ports ${wanted} to ${wanted + PORTS_TRIED - 1} of 127.0.0.1 are all in use`);
}

function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => {
      resolve(false);
    });
    probe.listen(port, '127.0.0.1', () => {
      probe.close(() => {
        resolve(true);
      });
    });
  });
}

/** A socket file outlives a process that was killed: only one that takes a connection counts. */
function answersAt(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath);
  return new Promise((resolve) => {
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
