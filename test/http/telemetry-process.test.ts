/**
 * The built program in a process of its own: the SDK of OpenTelemetry is loaded when the environment asks for it, and not
 * a file of it otherwise.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { spawnCambist } from '../support/cambist.ts';
import { parseExposition } from '../support/exposition.ts';
import { startOtlpCollector } from '../support/otlp-collector.ts';

const TIMEOUT_MS = 120_000;
const folders: string[] = [];
// What a developer exports is not what is tested.
for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) Reflect.deleteProperty(process.env, name);
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Writes at its end which files the process had loaded. The packages in question are CommonJS. */
const PRELOADED = `
process.on('exit', () => {
  require('node:fs').writeFileSync(process.env.TEST_LOADED_FILE, JSON.stringify(Object.keys(require.cache)));
});`;

/** Runs a node, does something with it, stops it as a service manager would, and says which packages it had loaded. */
async function packagesOf(env: Record<string, string>, work: (adminUrl: string, url: string) => Promise<void>) {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-loaded-'));
  folders.push(folder);
  const [preload, loaded] = [join(folder, 'preload.cjs'), join(folder, 'loaded.json')];
  writeFileSync(preload, PRELOADED);
  const node = await spawnCambist({ env: { ...env, NODE_OPTIONS: `--require ${preload}`, TEST_LOADED_FILE: loaded } });
  try {
    await work(node.adminUrl, node.url);
    await node.stop();
    await node.ended;
  } finally {
    node.remove();
  }
  const files = JSON.parse(readFileSync(loaded, 'utf8')) as string[];
  const packages = files.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return [...new Set(packages)].filter((name) => name.startsWith('@opentelemetry/')).sort();
}

it(
  'without OTEL_… nothing of the SDK is loaded, and /metrics works',
  async () => {
    const packages = await packagesOf({}, async (adminUrl) => {
      const { sum } = parseExposition(await (await fetch(`${adminUrl}/metrics`)).text());
      expect(sum('cambist_build_info')).toBe(1);
    });
    expect(packages).toEqual(['@opentelemetry/api']);
  },
  TIMEOUT_MS,
);

it(
  'with an endpoint spans and numbers go there as protobuf, the last of them when the process ends',
  async () => {
    const collector = await startOtlpCollector();
    try {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SERVICE_NAME: 'sts-of-the-test' };
      const packages = await packagesOf(env, async (_, url) => {
        const body = new URLSearchParams({ grant_type: 'client_credentials' });
        expect((await fetch(`${url}/oauth2/token`, { method: 'POST', body })).status).toBe(401);
      });
      expect(packages).toContain('@opentelemetry/sdk-trace');
      expect(packages).toContain('@opentelemetry/sdk-metrics');
      await vi.waitFor(() => {
        expect(collector.requests.map(({ path }) => path)).toEqual(
          expect.arrayContaining(['/v1/traces', '/v1/metrics']),
        );
      }, 10_000);
      for (const { headers } of collector.requests) expect(headers['content-type']).toBe('application/x-protobuf');
      const all = collector.bodies.join('');
      for (const text of [
        'sts-of-the-test',
        'cambist.token',
        'cambist.token_requests',
        'client_authentication_missing',
      ])
        expect(all).toContain(text);
    } finally {
      await collector.stop();
    }
  },
  TIMEOUT_MS,
);
