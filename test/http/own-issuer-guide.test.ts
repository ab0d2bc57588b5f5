/**
 * The guide "Your own issuer and two MCP servers", followed: its YAML through the real validators, its server and its
 * agent as real processes, with a real OpenID provider in the place of the reader's.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../conformance/targets/process.ts';
import { formatFault } from '../../src/admin/fault.ts';
import { readDocument } from '../../src/admin/document.ts';
import { checkFiles } from '../../src/admin/file-state.ts';
import { parseSettings } from '../../src/config/settings.ts';
import { KINDS } from '../../src/objects/kinds.ts';
import { startCambist } from '../support/cambist.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';

const GUIDE = 'docs/your-own-issuer.md';
const PLURALS = Object.values(KINDS).map(({ plural }) => plural);

function yamlBlocks(page: string): string[] {
  const text = readFileSync(page, 'utf8');
  return [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
}

function holdsObjects(block: string): boolean {
  return PLURALS.some((plural) => new RegExp(`^${plural}:`, 'm').test(block));
}

const pages = ['README.md', ...readdirSync('docs').map((name) => `docs/${name}`)].filter(
  (page) => page.endsWith('.md') && existsSync(page) && yamlBlocks(page).length > 0,
);

describe.each(pages)('the YAML of %s', (page) => {
  it('is accepted by the validators of objects and settings, all objects of the page taken together', async () => {
    const blocks = yamlBlocks(page);
    const objects = blocks.filter(holdsObjects).map((text, index) => ({ file: `${page} block ${index + 1}`, text }));
    const checked = await checkFiles(objects, {
      ownIssuer: 'https://sts.example.com',
      demoRefusedBecause: undefined,
    });
    expect(Array.isArray(checked) ? checked.map(formatFault) : []).toEqual([]);
    for (const block of blocks.filter((text) => !holdsObjects(text))) {
      const document = readDocument(block, page);
      if (Array.isArray(document)) throw new Error(document.map(formatFault).join('\n'));
      const settings = parseSettings({
        document,
        // A block that shows one section says nothing of these.
        environment: {
          DATABASE_URL: 'postgres://cambist:secret@db.example.com/cambist',
          CAMBIST_ISSUER: 'https://sts.example.com',
          ...(block.includes('key_encryption: { transit:')
            ? {}
            : { CAMBIST_KEY_ENCRYPTION_KEY: Buffer.from([...Array(32).keys()]).toString('base64') }),
        },
        fileFolder: '/etc/cambist',
        cwd: '/',
        hostName: 'node-1',
        readSecret: () => ({ text: Buffer.from([...Array(32).keys()]).toString('base64') }),
      });
      expect(Array.isArray(settings) ? settings.map(formatFault) : []).toEqual([]);
    }
  });
});

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it(
  'the guide, followed: the agent reaches one MCP server for the user and is refused at the other',
  { timeout: 120_000 },
  async () => {
    const provider = await startOidcIssuer();
    cleanUps.push(() => provider.stop());
    const [calendar, notes] = [
      `http://127.0.0.1:${await freePort()}/mcp`,
      `http://127.0.0.1:${await freePort()}/mcp`,
    ] as const;
    const cambist = await startCambist({ objects: '' });
    cleanUps.push(() => cambist.stop());
    // The reader writes one issuer; the guide's first is theirs here.
    const [keycloak = '', , , registered = '', policies = ''] = yamlBlocks(GUIDE);
    const issuer = keycloak
      .replace(/issuer: \S+/, `issuer: ${provider.issuer}\n    internal: true`)
      .replace('name: keycloak', 'name: corp');
    const servers = registered.replace(/http:\S+9501\/mcp/, calendar).replace(/http:\S+9502\/mcp/, notes);
    await cambist.apply([issuer, servers, policies.replace(/groups: \[.*\]/, "groups: ['corp:staff']")].join('\n'));

    await Promise.all([startServer(cambist.issuer, calendar), startServer(cambist.issuer, notes)]);
    const folder = mkdtempSync(join(tmpdir(), 'cambist-guide-'));
    cleanUps.push(() => {
      rmSync(folder, { recursive: true });
    });
    writeFileSync(join(folder, 'secret'), cambist.secretOf('assistant'));
    writeFileSync(join(folder, 'id_token'), await provider.idToken('ada'));

    const { code, output } = await run(['docs/examples/agent.mjs', calendar, notes], {
      CAMBIST: cambist.issuer,
      CLIENT_ID: 'assistant',
      CLIENT_SECRET_FILE: join(folder, 'secret'),
      ID_TOKEN_FILE: join(folder, 'id_token'),
    });
    expect(output).toContain(`${calendar}: for corp:ada, by assistant: calendar:read`);
    expect(output).toMatch(new RegExp(`${notes}: invalid_scope; ask: cambist explain \\S+`));
    expect(code).toBe(1);

    // The server by itself: a token for the other one, and none at all (RFC 9728 §5.1).
    const anonymous = await fetch(calendar, { method: 'POST' });
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers.get('www-authenticate')).toContain('/.well-known/oauth-protected-resource/mcp');
    const token = await cambist.token(
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await provider.idToken('ada'),
        subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
        resource: calendar,
      },
      { basic: ['assistant', cambist.secretOf('assistant')] },
    );
    const misused = await fetch(notes, {
      method: 'POST',
      headers: { authorization: `Bearer ${String(token.body.access_token)}` },
    });
    expect(misused.status).toBe(401);
  },
);

async function startServer(issuer: string, resource: string): Promise<void> {
  const env = { ...process.env, CAMBIST: issuer, RESOURCE: resource };
  const child: ChildProcess = spawn(process.execPath, ['docs/examples/mcp-server.mjs'], { env });
  cleanUps.push(() => child.kill());
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => {
      resolve();
    });
    child.once('exit', (code) => {
      reject(new Error(`the MCP server ended with ${String(code)}`));
    });
  });
}

function run(args: string[], env: Record<string, string>): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}
