import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checkFiles } from '../../../src/admin/file-state.ts';
import { readDocument } from '../../../src/admin/document.ts';
import { formatFault } from '../../../src/admin/fault.ts';
import { ENVIRONMENT_SETTINGS, plainJsonSchema } from '../../../src/config/schema.ts';
import { parseSettings } from '../../../src/config/settings.ts';

const DOCS = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
const blocks = (language: string) =>
  [...DOCS.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map((match) => match[1]!);

test('docs/configuration.md lists every setting and every variable', () => {
  const leavesOf = (properties: Record<string, any>, before: string): string[] =>
    Object.entries(properties).flatMap(([name, shape]) =>
      shape.properties === undefined ? [before + name] : leavesOf(shape.properties, `${before}${name}.`),
    );
  const leaves = leavesOf(plainJsonSchema()['properties'] as Record<string, any>, '');
  const listed = [...DOCS.matchAll(/^\| `([a-z_.]+)` +\|/gm)].map((match) => match[1]);
  expect(listed.filter((name) => leaves.includes(name!))).toEqual(leaves);
  for (const variable of Object.keys(ENVIRONMENT_SETTINGS)) expect(DOCS).toContain(`\`${variable}\``);
});

test('the settings in docs/configuration.md can be run', () => {
  const document = readDocument(blocks('yaml')[0]!, 'cambist.yaml');
  if (Array.isArray(document)) throw new Error(document.map(formatFault).join('\n'));
  const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('hex');
  const readSecret = (path: string) => ({ text: path.endsWith('kek') ? key : 'postgres://u:p@db/cambist' });
  const around = { environment: {}, fileFolder: '/', cwd: '/', hostName: 'n', readSecret };
  expect(parseSettings({ document, ...around })).toMatchObject({
    issuer: 'https://sts.example.com',
    database: { poolMax: 20 },
  });
});

const VAULT_DOCS = readFileSync(new URL('../../../docs/vault.md', import.meta.url), 'utf8');

test.each([
  ['docs/configuration.md', blocks('yaml')[1], { method: 'kubernetes', role: 'cambist' }],
  ['docs/vault.md', /```yaml\n([^]*?)```/.exec(VAULT_DOCS)?.[1], { method: 'jwt', role: 'cambist' }],
])('the vault of %s can be added to them', (_, vault, login) => {
  const [settings = ''] = blocks('yaml');
  const document = readDocument(settings + String(vault), 'cambist.yaml');
  if (Array.isArray(document)) throw new Error(document.map(formatFault).join('\n'));
  const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('hex');
  const readSecret = (path: string) => ({ text: path.endsWith('kek') ? key : 'postgres://u:p@db/cambist' });
  const around = { environment: {}, fileFolder: '/etc/cambist', cwd: '/', hostName: 'n', readSecret };
  expect(parseSettings({ document, ...around })).toMatchObject({
    vault: { caFile: '/etc/cambist/vault-ca.pem', login },
  });
});

test('the objects in docs/configuration.md can be applied, and have the fault that it shows when they are misspelt', async () => {
  const options = { ownIssuer: 'https://sts.example.com', demoRefusedBecause: undefined };
  const faults = async (text: string) => {
    const checked = await checkFiles([{ file: 'objects.yaml', text }], options);
    return Array.isArray(checked) ? checked.map(formatFault) : [];
  };
  const text = blocks('yaml').find((block) => block.includes('served_by:'))!;
  expect(await faults(text)).toEqual([]);
  const misspelt = text.replace('served_by: [notes-server]', 'served_by: [notes-sever]');
  expect(await faults(misspelt)).toEqual([blocks('text')[1]!.trim()]);
});

test('the faults of settings in docs/configuration.md are what is said', () => {
  const yaml = 'issuer: https://sts.example.com\nlisten:\n  host: 0.0.0.0\n\n\n\n\n\nlog_levle: debug\n';
  const document = readDocument(yaml, 'cambist.yaml');
  if (Array.isArray(document)) throw new Error('no document');
  const around = {
    environment: {},
    fileFolder: '/',
    cwd: '/',
    hostName: 'n',
    readSecret: () => ({ failure: 'ENOENT' }),
  };
  const said = (text: string) => {
    const document = readDocument(text, 'cambist.yaml');
    if (Array.isArray(document)) throw new Error('no document');
    const parsed = parseSettings({ document, ...around });
    return Array.isArray(parsed) ? parsed.map(formatFault) : [];
  };
  const shown = blocks('text')[0]!.trim().split('\n');
  expect(said(yaml.replace('log_levle', 'log_level'))).toEqual([shown[0]]);
  expect(said(yaml.replace('0.0.0.0', '127.0.0.1'))).toEqual([shown[1]]);
});
