/**
 * A10: broken configuration fails closed. What is stored and cannot be read as what it should be serves nobody it
 * concerns; what the process is told to run with and cannot be right lets it not start. Neither falls back to a default
 * that permits more.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings } from '../../src/config/settings.ts';
import type { Settings } from '../../src/config/settings.ts';
import { createLogger } from '../../src/core/log.ts';
import { RUNTIME_ROLE } from '../../src/store/database.ts';
import type { EmbeddedDatabase } from '../../src/store/pglite.ts';
import { openService } from '../../src/service.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { openMemoryDatabase } from '../support/memory-database.ts';

const NOTES = 'https://notes.example/mcp';
const objects = (corp: string) => `
issuers:
  - { name: corp, issuer: '${corp}', internal: true, algorithms: [ES256], audiences: [{ value: portal, clients: [agent] }] }
clients:
  - { id: agent, auth: [client_secret_basic] }
resources:
  - { name: notes, uri: '${NOTES}', scopes: { read: Read }, default_scopes: [read] }
policies:
  - id: all
    cedar: |
      permit (principal, action == Action::"access", resource);
      permit (principal, action == Action::"act", resource);
  - id: never-mallory
    cedar: forbid (principal == User::"corp:mallory", action, resource);
`;

describe('A10 a stored object that can no longer be read', () => {
  let corp: JwksIssuer;
  let database: EmbeddedDatabase;
  let first: TestCambist;
  const nodes: TestCambist[] = [];
  beforeAll(async () => {
    corp = await startJwksIssuer();
    database = await openMemoryDatabase();
    first = await startCambist({ objects: objects(corp.issuer), database });
  });
  afterAll(async () => {
    await Promise.all([first, ...nodes].map((node) => node.stop()));
    await database.close();
    await corp.stop();
  });

  async function exchange(node: TestCambist, sub: string): Promise<string> {
    const answer = await node.token(
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await corp.mint({ aud: 'portal', sub }),
        subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
        resource: NOTES,
      },
      { basic: ['agent', node.secretOf('agent')] },
    );
    expect(answer.body.access_token === undefined).toBe(answer.status !== 200);
    return answer.status === 200 ? '200' : `${answer.status} ${answer.body.error}`;
  }

  /** Overwrites a stored spec behind the back of every check, and asks a node that starts on it. */
  async function withStored(kind: string, name: string, broken: object, ask: (node: TestCambist) => Promise<void>) {
    const asOwner = async (spec: unknown) => {
      await database.assumeRole(undefined);
      await database.query('UPDATE object SET spec = $3 WHERE kind = $1 AND name = $2', [
        kind,
        name,
        JSON.stringify(spec),
      ]);
      await database.assumeRole(RUNTIME_ROLE);
    };
    const [row] = await database.query<{ spec: object }>('SELECT spec FROM object WHERE kind = $1 AND name = $2', [
      kind,
      name,
    ]);
    await asOwner({ ...row?.spec, ...broken });
    const node = await startCambist({ objects: '', database, joins: first });
    nodes.push(node);
    try {
      await ask(node);
    } finally {
      await asOwner(row?.spec);
    }
  }

  it('is the only reason: as they were applied, the objects serve whom they should', async () => {
    await withStored('policy', 'all', {}, async (node) => {
      expect(await exchange(node, 'ada')).toBe('200');
      expect(await exchange(node, 'mallory')).toMatch(/^400 /);
    });
  });

  it('a policy that forbids, unreadable: nothing is issued to anybody, least of all to whom it forbade', async () => {
    await withStored('policy', 'never-mallory', { cedar: 'forbid (principal ==' }, async (node) => {
      for (const sub of ['mallory', 'ada']) expect(await exchange(node, sub)).toBe('500 server_error');
    });
  });

  const gone = null;
  it.each<[string, string, object]>([
    ['policy', 'all', { cedar: 'permit (principal, action' }],
    ['policy', 'all', { cedar: gone }],
    ['policy', 'never-mallory', { cedar: gone }],
    ['issuer', 'corp', { jwks: { keys: 'none' } }],
    ['issuer', 'corp', { algorithms: gone }],
    ['issuer', 'corp', { audiences: gone }],
    ['issuer', 'corp', { token_types: gone }],
    ['issuer', 'corp', { required_claims: gone }],
    ['issuer', 'corp', { subject: gone }],
    ['issuer', 'corp', { clients: {} }],
    ['issuer', 'corp', { max_lifetime_seconds: 'a day' }],
    ['client', 'agent', { auth: gone }],
    ['client', 'agent', { auth: { includes: true } }],
    ['client', 'agent', { grants: gone }],
    ['resource', 'notes', { scopes: gone }],
    ['resource', 'notes', { default_scopes: gone }],
    ['resource', 'notes', { lifetime_seconds: 'long' }],
    ['resource', 'notes', { uri: gone }],
  ])('%s "%s" with %j: nothing is issued', async (kind, name, broken) => {
    await withStored(kind, name, broken, async (node) => {
      for (const sub of ['mallory', 'ada']) expect(await exchange(node, sub)).toMatch(/^(400|401|500|503) \w+$/);
    });
  });
});

describe('A10 what a process is told to run with', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cambist-broken-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function load(yaml: string, env: Readonly<Record<string, string>> = {}) {
    writeFileSync(join(folder, 'cambist.yaml'), yaml);
    return loadSettings({ env, cwd: folder });
  }

  it.each([
    ['a key that nobody knows', 'listen: { port: 8123 }\nlissen: { host: 127.0.0.1 }\n', {}, 'lissen'],
    ['a key that nobody knows, inside', 'database: { ulr: postgres://db/x }\n', {}, 'database.ulr'],
    ['the same key twice', 'data_dir: a\ndata_dir: b\n', {}, ''],
    ['no mapping', '- listen\n', {}, ''],
    ['a variable that is misspelt', 'data_dir: a\n', { CAMBIST_ISUER: 'https://sts.example' }, 'CAMBIST_ISUER'],
    ['a variable that is not set', 'issuer: ${NOT_SET}\n', {}, 'issuer'],
    ['plain HTTP for others', 'issuer: https://sts.example\nlisten: { host: 0.0.0.0 }\n', {}, 'listen.host'],
  ])('%s: refused, with its place', (_what, yaml, env, path) => {
    const settings = load(yaml, env);
    if (!Array.isArray(settings)) expect.fail('these settings were accepted');
    expect(settings.map((fault) => fault.path)).toContain(path);
  });

  it('the key file: another key, none, half of one, or one that others can read, and it does not start', async () => {
    const settings = load('data_dir: state\n') as Settings;
    const start = async () => {
      const opened = await openService(settings, createLogger('silent'));
      await opened.close();
    };
    const refusal = () =>
      start().then(
        () => 'it started',
        (error: unknown) => inspect(error),
      );
    await start();
    const file = join(folder, 'state', 'kek');
    const right = readFileSync(file, 'utf8');
    const flipped = Buffer.from(right.trim(), 'base64');
    flipped[0] = (flipped[0] ?? 0) ^ 1;
    const broken: [string, RegExp][] = [
      [flipped.toString('base64'), /another key-encryption key/],
      [right.slice(0, 20), /must be 32 bytes/],
      ['', /must be 32 bytes/],
    ];
    for (const [text, message] of broken) {
      writeFileSync(file, text);
      expect(await refusal()).toMatch(message);
      expect(readFileSync(file, 'utf8')).toBe(text);
    }
    writeFileSync(file, right);
    chmodSync(file, 0o644);
    expect(await refusal()).toMatch(/can be read by other users/);
    rmSync(file);
    expect(await refusal()).toMatch(/is gone/);
    writeFileSync(file, right, { mode: 0o600 });
    await start();
  }, 120_000);
});
