/**
 * Reports and expectations through the command line, against the little server: exit codes, masking, staleness.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { commandLine } from '../command-line.ts';
import { keyInFile } from '../issuer/keys.ts';
import { openMasker } from '../wire/mask.ts';
import { smallTarget } from './servers/description.ts';
import type { Fault } from './servers/faults.ts';
import { SECRETS, startSmallServer } from './servers/small-server.ts';
import type { SmallServer } from './servers/small-server.ts';

let folder: string;
let server: SmallServer | undefined;
const inFolder = (name: string) => join(folder, name);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'conformance-'));
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(folder, { recursive: true });
});

// The server must know the suite's issuer before the suite runs, so its port is fixed here.
const SUITE = 'http://127.0.0.1:31999';

async function run(faults: readonly Fault[], ...args: string[]): Promise<{ exitCode: number; text: string }> {
  const clientKey = await keyInFile(inFolder('keyed.json'), 'ES256');
  await server?.close();
  server = await startSmallServer({ trustedIssuer: `${SUITE}/trusted`, clientKey, faults });
  const target = { ...smallTarget(server.issuer, inFolder('keyed.json')), suite: { listen: SUITE } };
  writeFileSync(inFolder('target.json'), JSON.stringify(target));
  const lines: string[] = [];
  const write = (line: string) => lines.push(line);
  const exitCode = await commandLine(['--config', inFolder('target.json'), ...args], {
    write: (line) => {
      write(line);
    },
    coloured: false,
  });
  return { exitCode, text: lines.join('\n') };
}

const listOf = (name: string, text: string) => {
  writeFileSync(inFolder(name), text);
  return inFolder(name);
};

describe('exit codes', () => {
  it('is 0 for a correct server, and says beforehand what it will cost', async () => {
    const { exitCode, text } = await run([], '--profile', 'metadata');
    expect(exitCode).toBe(0);
    expect(text.indexOf('at most')).toBeLessThan(text.indexOf('metadata/document'));
  });

  it('is 1 for a failure that nobody expected, 0 for an expected one, 2 for a stale expectation', async () => {
    const expected = listOf('expected.yaml', 'expected_failures: [{ id: rfc6749-5.1-no-store, why: known }]');
    expect((await run(['cacheable'], '--profile', 'core')).exitCode).toBe(1);
    expect((await run(['cacheable'], '--profile', 'core', '--expected-failures', expected)).exitCode).toBe(0);
    const stale = await run([], '--profile', 'core', '--expected-failures', expected);
    expect(stale.exitCode).toBe(2);
    expect(stale.text).toContain('stale: rfc6749-5.1-no-store');
  });

  it('is 2 when skips are not the pinned ones, in either direction', async () => {
    const modest = ['--profile', 'introspection'] as const;
    const pinned = listOf('skips.yaml', 'skips: [rfc7662-2.2-active]');
    const gone = await run([], ...modest, '--skips', pinned);
    expect([gone.exitCode, gone.text.includes('stale pin: rfc7662-2.2-active')]).toEqual([2, true]);
    const none = listOf('none.yaml', 'skips: []');
    const skipping = await run(['metadata-missing'], ...modest, '--skips', none);
    expect([skipping.exitCode, skipping.text.includes('new skip: rfc7662-2.2-active')]).toEqual([2, true]);
  });

  it('is 3 for wrong usage: an unknown profile, a typing error in the description, an id that does not exist', async () => {
    expect((await run([], '--profile', 'nonsense')).exitCode).toBe(3);
    expect(
      (await run([], '--expected-failures', listOf('e.yaml', 'expected_failures: [{ id: x, why: y }]'))).exitCode,
    ).toBe(3);
    const lines: string[] = [];
    const output = { write: (line: string) => void lines.push(line), coloured: false };
    const bad = listOf('bad.yaml', 'name: x\nclients: {}\nresorces: []');
    expect(await commandLine(['--config', bad], output)).toBe(3);
    expect(lines.join('\n')).toContain('resorces');
  });

  it('is 3 for a host that is not loopback, before anything is sent', async () => {
    const { exitCode, text } = await run([], '--issuer', 'https://sts.example.com');
    expect([exitCode, text.includes('--allow-host sts.example.com')]).toEqual([3, true]);
  });

  it('is 4 when nobody answers', async () => {
    expect((await run([], '--issuer', 'http://127.0.0.1:1')).exitCode).toBe(4);
  });
});

describe('the reports', () => {
  it('show exact requests and answers, and no secret, in one page without anything from elsewhere', async () => {
    await run(['echo', 'error-characters'], '--profile', 'core,security', '--out', inFolder('out'));
    const [html, json, junit] = ['report.html', 'report.json', 'junit.xml'].map((name) =>
      readFileSync(join(folder, 'out', name), 'utf8'),
    );
    for (const text of [html ?? '', json ?? '', junit ?? '']) {
      for (const secret of Object.values(SECRETS)) expect(text).not.toContain(secret);
      expect(text).not.toMatch(/eyJ[\w-]+\.[\w-]+\.[\w-]{10,}/);
    }
    expect(html).not.toMatch(/<script|<link|src=|@import/);
    expect(html).toContain('https://www.rfc-editor.org/rfc/rfc8693#section-2.2.2');
    const report = JSON.parse(json ?? '') as { requirements: { id: string; evidence: { request: string }[] }[] };
    const missing = report.requirements.find(({ id }) => id === 'rfc8693-2.1-subject-token');
    expect(missing?.evidence[0]?.request).toMatch(/^POST http:\/\/127\.0\.0\.1:\d+\/token\n/);
    expect(missing?.evidence[0]?.request).toContain('authorization: Basic agent:•••');
    expect(missing?.evidence).toHaveLength(2);
    expect(junit).toContain('<failure message="an answer repeats what was sent"/>');
  });

  it('escape what a target answers', async () => {
    await run(['echo'], '--profile', 'security', '--out', inFolder('out'));
    expect(readFileSync(join(folder, 'out', 'report.html'), 'utf8')).not.toContain('<script>SuiteSecretMarker');
  });
});

describe('masking', () => {
  const masker = openMasker(['s3cret/with+signs']);

  it('hides a secret in every encoding in which it is sent', () => {
    const basic = Buffer.from('agent:s3cret%2Fwith%2Bsigns').toString('base64');
    expect(masker.text(`Basic ${basic}`)).toBe('Basic agent:•••');
    expect(masker.text('client_secret=s3cret%2Fwith%2Bsigns&x=1')).toBe('client_secret=•••&x=1');
    expect(masker.text('{"echo":"s3cret/with+signs"}')).toBe('{"echo":"•••"}');
  });

  it('leaves header and claims of a JWT readable and takes its signature', () => {
    expect(masker.text('{"access_token":"eyJhbGciOiJ.eyJzdWIiOi.c2lnbmF0dXJl"}')).toBe(
      '{"access_token":"eyJhbGciOiJ.eyJzdWIiOi.•••"}',
    );
  });

  it('cuts opaque tokens', () => {
    expect(masker.text('{"access_token":"0123456789abcdef0123456789abcdef"}')).toBe('{"access_token":"012345•••"}');
  });
});
