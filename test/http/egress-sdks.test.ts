/**
 * SDKs of vendors as they are published, through the egress: their base URL and their key are all that is changed, and
 * the key is a token. What stands in the guide (docs/sdks.md) runs as it stands there: its objects, its programs. The
 * vendors' APIs are servers that take their own key and nothing else. All that SDK and Cambist say to each other is
 * kept, and so is all that reaches a vendor: no token there, no key here.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Anthropic from '@anthropic-ai/sdk';
import { Octokit } from '@octokit/rest';
import OpenAI, { AzureOpenAI, toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createSecretOperations } from '../../src/admin/secret-operations.ts';
import { startCambist } from '../support/cambist.ts';
import type { TestCambist } from '../support/cambist.ts';
import { closedRecord } from '../support/egress.ts';
import { startJwksIssuer } from '../support/jwks-issuer.ts';
import type { JwksIssuer } from '../support/jwks-issuer.ts';
import { startVendors, VENDOR_KEYS } from '../support/vendor-apis.ts';
import type { Vendor, Vendors } from '../support/vendor-apis.ts';
import { startWireTap } from '../support/wire-tap.ts';
import type { WireTap } from '../support/wire-tap.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const GUIDE = readFileSync(join(ROOT, 'docs/sdks.md'), 'utf8');
const HOSTS = {
  'https://api.github.com': 'github',
  'https://uploads.github.com': 'github',
  'https://api.openai.com': 'openai',
  'https://example.openai.azure.com': 'azure',
  'https://api.anthropic.com': 'anthropic',
} as const;
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';

let [corp, vendors, tap, cambist] = [] as unknown as [JwksIssuer, Vendors, WireTap, TestCambist];
const tokens: string[] = [];

beforeAll(async () => {
  [corp, vendors, tap] = [await startJwksIssuer(), await startVendors(), await startWireTap()];
  cambist = await startCambist({ objects: guideObjects(), settings: { issuer: tap.url } });
  tap.leadTo(Number(new URL(cambist.url).port));
  const { service } = cambist;
  const operations = createSecretOperations({ ...service.secretParts, objects: service.objects, author: 'test' });
  for (const [vendor, key] of Object.entries(VENDOR_KEYS)) {
    const fields = { [vendor === 'github' ? 'token' : 'key']: key };
    const outcome = await operations.setSecret({ path: `apis/${vendor}`, fields, tags: {}, replace: false });
    if (!outcome.ok) throw new Error(JSON.stringify(outcome));
  }
});
afterEach(() => {
  vendors.troubles.length = 0;
  vendors.release();
  for (const api of Object.values(vendors.apis)) api.arrived.length = 0;
});
afterAll(async () => {
  await cambist.stop();
  await Promise.all([corp.stop(), vendors.stop(), tap.stop()]);
});

/** The objects of the guide, with the vendors' hosts led to their stand-ins, and somebody who signs in. */
function guideObjects(): string {
  const [, yaml = ''] = /^```yaml\n(.*?)^```$/ms.exec(GUIDE) ?? [];
  const led = Object.entries(HOSTS).reduce(
    (text, [host, vendor]) => text.replaceAll(host, vendors.apis[vendor].url),
    yaml,
  );
  return `${led.replaceAll(/^( {4}base_url: .*)$/gm, '$1\n    internal: true')}
issuers: [{ name: corp, issuer: '${corp.issuer}', internal: true }]
`;
}

/** As the server gets it: the assistant's token for the server, exchanged by the server. */
async function tokenFor(vendor: Vendor): Promise<string> {
  const exchange = async (client: string, fields: Record<string, string>): Promise<string> => {
    const answer = await cambist.token(
      { grant_type: EXCHANGE, ...fields },
      { basic: [client, cambist.secretOf(client)] },
    );
    if (answer.status !== 200) throw new Error(answer.text);
    return answer.body.access_token;
  };
  const received = await exchange('assistant', {
    subject_token: await corp.mint({ aud: cambist.issuer, sub: 'ada' }),
    subject_token_type: `${TYPE}id_token`,
    resource: 'https://notes.example.com/mcp',
  });
  const token = await exchange('notes-server', {
    subject_token: received,
    subject_token_type: `${TYPE}access_token`,
    audience: vendor,
  });
  tokens.push(token);
  return token;
}

const octokit = async () =>
  new Octokit({
    baseUrl: `${cambist.issuer}/egress/github`,
    auth: await tokenFor('github'),
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
  });
const openai = async () =>
  new OpenAI({ baseURL: `${cambist.issuer}/egress/openai/v1`, apiKey: await tokenFor('openai') });
const azure = async () =>
  new AzureOpenAI({
    baseURL: `${cambist.issuer}/egress/azure/openai`,
    apiKey: await tokenFor('azure'),
    apiVersion: '2024-10-21',
  });
const anthropic = async () =>
  new Anthropic({ baseURL: `${cambist.issuer}/egress/anthropic`, apiKey: await tokenFor('anthropic') });
const ignore = () => undefined;

const HELLO = [{ role: 'user' as const, content: 'Say hello.' }];

describe('the guide', () => {
  it.each<[Vendor, string]>([
    ['github', [1, 2, 3, 4, 5, 6, 7].map((number) => `Issue ${number}`).join('\n') + '\n'],
    ['openai', 'Hello.'],
    ['azure', 'Hello.'],
    ['anthropic', 'Hello.'],
  ])('its program for %s does what it says, in a process without a key', async (vendor, expected) => {
    const program = [...GUIDE.matchAll(/^```js\n(.*?)^```$/gms)].map(([, text = '']) => text);
    const own = program.find((text) => text.includes(`/egress/${vendor}`)) ?? '';
    // Below the root, where its imports are found.
    mkdirSync(join(ROOT, 'dist'), { recursive: true });
    const folder = mkdtempSync(join(ROOT, 'dist', 'guide-'));
    try {
      writeFileSync(join(folder, 'program.mjs'), own);
      const env = { PATH: process.env['PATH'], CAMBIST: cambist.issuer, TOKEN: await tokenFor(vendor) };
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'program.mjs')], { env });
      expect(stdout).toBe(expected);
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect(vendors.apis[vendor].arrived.length).toBe(vendor === 'github' ? 3 : 1);
  });
});

describe('@octokit/rest', () => {
  it('follows the links to further pages through the egress', async () => {
    const github = await octokit();
    const { headers } = await github.rest.issues.listForRepo({ owner: 'example', repo: 'notes' });
    expect(headers.link).toContain(`<${cambist.issuer}/egress/github/repositories/1296269/issues?page=2>; rel="next"`);
    expect(headers['x-ratelimit-remaining']).toBe('4999');
    const pages = [];
    for await (const { data } of github.paginate.iterator('GET /repos/{owner}/{repo}/issues', {
      owner: 'example',
      repo: 'notes',
    }))
      pages.push(data.length);
    expect(pages).toEqual([3, 3, 1]);
  });

  it('uploads to another host of the vendor', async () => {
    const answer = await (
      await octokit()
    ).rest.repos.uploadReleaseAsset({
      owner: 'example',
      repo: 'notes',
      release_id: 7,
      name: 'notes.zip',
      data: Buffer.alloc(300_000, 'z') as unknown as string,
      baseUrl: `${cambist.issuer}/egress/github:uploads`,
    });
    expect(answer.status).toBe(201);
    expect(answer.data).toMatchObject({ name: 'notes.zip', size: 300_000 });
  });

  it('understands an error of the vendor, and one of Cambist', async () => {
    const github = await octokit();
    await expect(github.rest.issues.get({ owner: 'example', repo: 'notes', issue_number: 404 })).rejects.toMatchObject({
      name: 'HttpError',
      status: 404,
      message: expect.stringContaining('Not Found'),
      response: { headers: { 'cambist-egress': 'upstream' } },
    });
    await expect(github.rest.repos.delete({ owner: 'example', repo: 'notes' })).rejects.toMatchObject({
      status: 403,
      response: { headers: { 'cambist-egress': 'refused' }, data: { error: 'insufficient_scope' } },
    });
    expect(vendors.apis.github.arrived.map(({ method }) => method)).toEqual(['GET']);
  });
});

describe('openai', () => {
  it('streams a completion, each event as it comes', async () => {
    vendors.hold();
    const stream = await (await openai()).chat.completions.create({ model: 'gpt-5.4', messages: HELLO, stream: true });
    const parts: string[] = [];
    for await (const chunk of stream) {
      parts.push(chunk.choices[0]?.delta.content ?? '');
      // The vendor sends nothing more until the first event was here.
      vendors.release();
    }
    expect(parts.join('')).toBe('Hello.');
  });

  it('uploads a file', async () => {
    const file = await toFile(Buffer.alloc(200_000, 'f'), 'notes.txt');
    const uploaded = await (await openai()).files.create({ file, purpose: 'user_data' });
    expect(uploaded).toMatchObject({ id: 'file-1', filename: 'notes.txt' });
    expect(uploaded.bytes).toBeGreaterThan(200_000);
  });

  it('tries again after 429 and 500; each try is a call of its own', async () => {
    const busy = { error: { message: 'busy', type: 'requests', code: 'rate_limit_exceeded' } };
    vendors.troubles.push(
      { status: 429, headers: { 'retry-after-ms': '5' }, body: busy },
      { status: 500, headers: { 'retry-after-ms': '5' }, body: busy },
    );
    const { data: stream, response } = await (
      await openai()
    ).chat.completions
      .create({ model: 'gpt-5.4', messages: HELLO, stream: true })
      .withResponse();
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe('Hello.');
    expect(vendors.apis.openai.arrived).toHaveLength(3);
    const requestId = response.headers.get('cambist-request-id') ?? '';
    expect(await closedRecord(cambist, requestId)).toMatchObject({ ended: 'done', status: 200, repeated: false });
  });

  it('understands an error of the vendor, and one of Cambist', async () => {
    const client = await openai();
    await expect(client.chat.completions.create({ model: 'no-such-model', messages: HELLO })).rejects.toMatchObject({
      constructor: OpenAI.BadRequestError,
      code: 'model_not_found',
      param: 'model',
      requestID: 'req_openai',
    });
    await expect(client.models.list()).rejects.toBeInstanceOf(OpenAI.PermissionDeniedError);
    const wrong = new OpenAI({ baseURL: client.baseURL, apiKey: await tokenFor('github') });
    await expect(wrong.chat.completions.create({ model: 'gpt-5.4', messages: HELLO })).rejects.toBeInstanceOf(
      OpenAI.AuthenticationError,
    );
    expect(vendors.apis.openai.arrived).toHaveLength(1);
  });
});

describe('@anthropic-ai/sdk', () => {
  it('streams a message, each event as it comes', async () => {
    vendors.hold();
    const stream = (await anthropic()).messages.stream({ model: 'claude-sonnet-5-5', max_tokens: 9, messages: HELLO });
    stream.on('text', () => {
      vendors.release();
    });
    expect(await stream.finalText()).toBe('Hello.');
  });

  it('tries again when the vendor is overloaded', async () => {
    const body = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
    vendors.troubles.push({ status: 529, headers: { 'retry-after-ms': '5' }, body });
    const stream = (await anthropic()).messages.stream({ model: 'claude-sonnet-5-5', max_tokens: 9, messages: HELLO });
    expect(await stream.finalText()).toBe('Hello.');
    expect(vendors.apis.anthropic.arrived).toHaveLength(2);
  });

  it('understands an error of the vendor, and one of Cambist', async () => {
    const client = await anthropic();
    await expect(
      client.messages.create({ model: 'claude-sonnet-5-5', max_tokens: 0, messages: HELLO }),
    ).rejects.toMatchObject({
      constructor: Anthropic.BadRequestError,
      requestID: 'req_anthropic',
      message: expect.stringContaining('max_tokens'),
    });
    await expect(client.models.list()).rejects.toBeInstanceOf(Anthropic.PermissionDeniedError);
  });
});

it('no vendor saw a token, and no SDK a key', async () => {
  const clients: (() => Promise<unknown>)[] = [
    async () => (await octokit()).rest.issues.listForRepo({ owner: 'example', repo: 'notes' }),
    async () => (await openai()).files.create({ file: await toFile(Buffer.from('x'), 'x'), purpose: 'user_data' }),
    async () => (await azure()).chat.completions.create({ model: 'gpt-5.4', messages: HELLO }),
    async () =>
      (await anthropic()).messages.stream({ model: 'claude-sonnet-5-5', max_tokens: 9, messages: HELLO }).finalText(),
  ];
  for (const call of clients) await call();
  for (const [vendor, api] of Object.entries(vendors.apis)) {
    expect(api.arrived, vendor).toHaveLength(1);
    const text = JSON.stringify(api.arrived.map(({ body, ...head }) => [head, body.toString('latin1')]));
    // The vendor's key came, so this is where a token would be seen.
    expect(text).toContain(VENDOR_KEYS[vendor as Vendor]);
    for (const token of tokens) expect(text).not.toContain(token.slice(-40));
  }
  const wire = tap.sent() + tap.received();
  // The tap hears what is said: the token is there.
  for (const token of tokens.slice(-4)) expect(tap.sent()).toContain(token);
  for (const key of Object.values(VENDOR_KEYS))
    for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const)
      expect(wire).not.toContain(Buffer.from(key).toString(encoding).replace(/=+$/, ''));
});
