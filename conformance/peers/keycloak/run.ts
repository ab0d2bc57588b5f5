/**
 * Sets up a Keycloak (standard token exchange, its default features only) and runs the suite against it. Needs its
 * distribution, unpacked, and a Java that it runs on:
 *
 *   mvn dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:26.7.2:zip -DoutputDirectory=.   # then unzip
 *   KEYCLOAK_HOME=…/keycloak-26.7.2 JAVA_HOME=… node dist/conformance/peers/keycloak/run.js --out FOLDER
 *
 * A copy of the distribution is started, in production mode on its file database, and thrown away afterwards.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { commandLine } from '../../command-line.ts';
import { keyInFile } from '../../issuer/keys.ts';
import { checkout, freePort, startLogged, stop, untilAnswers } from '../../targets/process.ts';

const HERE = join(checkout(import.meta.url), 'conformance', 'peers', 'keycloak');
const REALM = 'conformance';
const ALICE = '6f4f1a52-7a5b-4a1e-9d67-1c5f0e6a7b10';
const CLIENTS = ['agent', 'tickets', 'crm', 'other', 'idle', 'keyed'] as const;
const SCOPES = ['tickets-read', 'tickets-write', 'tickets-delete'] as const;
const START_TIMEOUT_MS = 240_000;

type Body = Record<string, unknown>;

interface Admin {
  create(path: string, body: Body): Promise<void>;
  list(path: string): Promise<Body[]>;
  put(path: string): Promise<void>;
}

async function openAdmin(base: string, password: string): Promise<Admin> {
  const signIn = await fetch(`${base}/realms/master/protocol/openid-connect/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', username: 'admin', password }),
  });
  const { access_token: token } = (await signIn.json()) as { access_token: string };
  const call = async (method: string, path: string, body?: Body) => {
    const answer = await fetch(`${base}/admin/realms${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  return {
    create: async (path, body) => {
      await call('POST', path, body);
    },
    list: async (path) => (await (await call('GET', path)).json()) as Body[],
    put: async (path) => {
      await call('PUT', path);
    },
  };
}

const audienceMapper = (client: string) => ({
  name: `audience ${client}`,
  protocol: 'openid-connect',
  protocolMapper: 'oidc-audience-mapper',
  config: { 'included.client.audience': client, 'access.token.claim': 'true', 'introspection.token.claim': 'true' },
});

/** One realm, one user, and clients that may exchange: what an administrator would click together. */
async function setUp(
  base: string,
  password: string,
  secrets: ReadonlyMap<string, string>,
  jwks: string,
): Promise<void> {
  const admin = await openAdmin(base, password);
  await admin.create('', { realm: REALM, enabled: true });
  for (const name of SCOPES)
    await admin.create(`/${REALM}/client-scopes`, {
      name,
      protocol: 'openid-connect',
      attributes: { 'include.in.token.scope': 'true' },
    });
  for (const clientId of CLIENTS) {
    const keyed = clientId === 'keyed';
    await admin.create(`/${REALM}/clients`, {
      clientId,
      enabled: true,
      publicClient: false,
      serviceAccountsEnabled: true,
      directAccessGrantsEnabled: clientId === 'agent',
      standardFlowEnabled: false,
      clientAuthenticatorType: keyed ? 'client-jwt' : 'client-secret',
      ...(keyed ? {} : { secret: secrets.get(clientId) }),
      attributes: {
        'standard.token.exchange.enabled': String(clientId !== 'idle'),
        // RFC 9068 is a switch per client in Keycloak; it is on, so that it can be judged.
        'access.token.header.type.rfc9068': 'true',
        ...(keyed
          ? { 'use.jwks.string': 'true', 'jwks.string': jwks, 'token.endpoint.auth.signing.alg': 'ES256' }
          : {}),
      },
      protocolMappers: CLIENTS.map(audienceMapper),
    });
  }
  await allowScopes(admin);
  await admin.create(`/${REALM}/users`, {
    id: ALICE,
    username: 'alice',
    enabled: true,
    email: 'alice@corp.example',
    emailVerified: true,
    firstName: 'Alice',
    lastName: 'Example',
    credentials: [{ type: 'password', value: secrets.get('alice'), temporary: false }],
  });
}

/** Everybody may ask for reading and writing; nobody for deleting. */
async function allowScopes(admin: Admin): Promise<void> {
  const scopes = await admin.list(`/${REALM}/client-scopes`);
  const clients = await admin.list(`/${REALM}/clients`);
  for (const client of clients.filter(({ clientId }) => CLIENTS.some((name) => name === clientId)))
    for (const scope of scopes.filter(({ name }) => name === 'tickets-read' || name === 'tickets-write'))
      await admin.put(`/${REALM}/clients/${String(client['id'])}/optional-client-scopes/${String(scope['id'])}`);
}

async function runAll(args: readonly string[]): Promise<number> {
  const home = process.env['KEYCLOAK_HOME'];
  if (home === undefined || !existsSync(join(home, 'bin', 'kc.sh')))
    throw new Error('set KEYCLOAK_HOME to an unpacked Keycloak distribution');
  const folder = mkdtempSync(join(tmpdir(), 'keycloak-conformance-'));
  const copy = join(folder, 'keycloak');
  cpSync(home, copy, { recursive: true, filter: (path) => path !== join(home, 'data') });
  const [port, managementPort, suitePort] = [await freePort(), await freePort(), await freePort()];
  const base = `http://127.0.0.1:${port}`;
  const password = randomBytes(16).toString('hex');
  const secrets = new Map([...CLIENTS, 'alice'].map((name) => [name, randomBytes(16).toString('hex')]));
  const log = join(folder, 'keycloak.log');
  const child = startLogged({
    program: join(copy, 'bin', 'kc.sh'),
    args: [
      'start',
      '--db=dev-file',
      '--http-enabled=true',
      '--http-host=127.0.0.1',
      `--http-port=${port}`,
      `--http-management-port=${managementPort}`,
      `--hostname=${base}`,
      '--cache=local',
    ],
    env: { ...process.env, KC_BOOTSTRAP_ADMIN_USERNAME: 'admin', KC_BOOTSTRAP_ADMIN_PASSWORD: password },
    cwd: folder,
    log,
  });
  try {
    console.log('Starting Keycloak; the first start builds it and takes a minute or two');
    await untilAnswers(`${base}/realms/master`, child, log, START_TIMEOUT_MS);
    const key = await keyInFile(join(folder, 'keyed.jwk.json'), 'ES256');
    await setUp(base, password, secrets, JSON.stringify({ keys: [key.publicJwk] }));
    for (const [name, secret] of secrets) writeFileSync(join(folder, `${name}.secret`), secret, { mode: 0o600 });
    Object.assign(process.env, {
      KEYCLOAK_NAME: versionOf(home),
      KEYCLOAK_ISSUER: `${base}/realms/${REALM}`,
      SUITE: `http://127.0.0.1:${suitePort}`,
      SECRETS: folder,
      ALICE,
    });
    const write = (line: string) => {
      console.log(line);
    };
    const config = ['--config', join(HERE, 'target.yaml')];
    return await commandLine([...config, ...args], { write, coloured: process.stdout.isTTY });
  } finally {
    await stop(child);
    if (process.env['KEEP'] === undefined) rmSync(folder, { recursive: true });
  }
}

/** Product and version, read from the distribution itself. */
function versionOf(home: string): string {
  const jar = readdirSync(join(home, 'lib', 'lib', 'main')).find((name) =>
    name.startsWith('org.keycloak.keycloak-core-'),
  );
  const version = /keycloak-core-(.+)\.jar$/.exec(jar ?? '')?.[1];
  return `Keycloak ${version ?? basename(home)}`;
}

process.exitCode = await runAll(process.argv.slice(2));
