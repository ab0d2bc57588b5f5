/**
 * `cambist upstream`: third-party APIs behind resources, who may use them, and where their credentials come from.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { addNounCommand } from './noun.ts';
import { numberOf, pairOf } from './object-flags.ts';
import type { FieldFlag } from './object-flags.ts';

export function addUpstreamCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'upstream',
    about: 'upstreams: third-party APIs, and where their credentials come from',
    argument: 'NAME',
    example: 'github',
    disabling: 'forward nothing more to an upstream, hand out nothing of it, and end what is open',
    columns: {
      'BASE URL': (spec) => spec.base_url,
      CREDENTIAL: ({ credential }) => `${credential.kind} ${credential.store}:${credential.path}`,
      CALLERS: (spec) => spec.callers.join(' '),
    },
    naming: (name) => ({ name }),
    fields: FIELDS,
    addExamples: [
      'cambist upstream add github --base-url https://api.github.com --caller issues-server \\',
      '    --scope "github:read=Read issues" --default-scope github:read \\',
      '    --allow "GET /repos/*/*/issues github:read" \\',
      '    --credential static --store embedded --path github/bot --field token',
      'cambist upstream add mail --base-url https://api.mail.example --caller notes-server \\',
      '    --scope "mail:send=Send mail" --allow "POST /v3/mail/send mail:send" \\',
      '    --credential static --store vault --path "mail/{subject}" --field key --inject header --header-name x-api-key',
      'cambist upstream add orders-db -f orders-db.yaml        # everything else has no flag: see docs/upstreams.md',
    ],
    next: nextSteps,
  });
}

const FIELDS: readonly FieldFlag[] = [
  { flags: '--base-url <url>', description: 'requests go below it', field: 'base_url', shape: 'one' },
  {
    flags: '--internal',
    description: 'its URLs may point to private or loopback addresses',
    field: 'internal',
    shape: 'truth',
  },
  { flags: '--ca-file <file>', description: 'authority that signed its certificate', field: 'ca_file', shape: 'one' },
  {
    flags: '--scope <name=description>',
    description: 'a scope, and what it allows',
    field: 'scopes',
    shape: 'map',
    read: (text) => pairOf(text, 'NAME=DESCRIPTION, such as "github:read=Read issues"'),
  },
  {
    flags: '--default-scope <name>',
    description: 'asked for when a request names no scope',
    field: 'default_scopes',
    shape: 'list',
  },
  { flags: '--caller <client>', description: 'client that may use it', field: 'callers', shape: 'list' },
  {
    flags: '--allow <rule>',
    description: 'requests that are let through, as "GET,HEAD /repos/** SCOPE,…"; everything else is not',
    field: 'requests',
    shape: 'list',
    read: ruleOf,
  },
  {
    flags: '--credential <kind>',
    description: 'where its credential comes from',
    field: 'credential.kind',
    shape: 'one',
    choices: ['static', 'dynamic', 'oauth_client_credentials'],
  },
  {
    flags: '--store <store>',
    description: 'where the secret lies',
    field: 'credential.store',
    shape: 'one',
    choices: ['vault', 'embedded'],
  },
  { flags: '--path <path>', description: 'path of the secret there', field: 'credential.path', shape: 'one' },
  { flags: '--mount <mount>', description: 'KV v2 mount in Vault', field: 'credential.mount', shape: 'one' },
  { flags: '--field <field>', description: 'field of the secret', field: 'credential.field', shape: 'one' },
  {
    flags: '--username-field <field>',
    description: 'field of the user name, for basic',
    field: 'credential.username_field',
    shape: 'one',
  },
  {
    flags: '--token-url <url>',
    description: 'its token endpoint (oauth_client_credentials)',
    field: 'credential.token_url',
    shape: 'one',
  },
  {
    flags: '--client-id <id>',
    description: 'client_id there (oauth_client_credentials)',
    field: 'credential.client_id',
    shape: 'one',
  },
  {
    flags: '--inject <how>',
    description: 'how the credential goes into a request (default: bearer); query needs a file',
    field: 'inject.kind',
    shape: 'one',
    choices: ['bearer', 'basic', 'header'],
  },
  { flags: '--header-name <name>', description: 'with --inject header', field: 'inject.name', shape: 'one' },
  {
    flags: '--header-template <template>',
    description: 'with --inject header, such as "Token {credential}"',
    field: 'inject.template',
    shape: 'one',
  },
  {
    flags: '--lifetime-seconds <n>',
    description: 'lifetime of its tokens (default: 300)',
    field: 'lifetime_seconds',
    shape: 'one',
    read: numberOf,
  },
  {
    flags: '--requests-per-minute <n>',
    description: 'most requests for its tokens per minute, over all nodes',
    field: 'requests_per_minute',
    shape: 'one',
    read: numberOf,
  },
  { flags: '--description <text>', description: 'what it is', field: 'description', shape: 'one' },
];

function ruleOf(text: string): unknown {
  const match = /^(\S+)\s+(\/\S*)\s+(\S+)$/.exec(text.trim());
  if (match === null)
    throw new CliFailure(
      EXIT.usage,
      'usage',
      `--allow must be "METHOD,… /PATH SCOPE,…", such as "GET /repos/** github:read", not "${text}"`,
    );
  const [, methods = '', path, scopes = ''] = match;
  return { methods: methods.toUpperCase().split(','), path, scopes: scopes.split(',') };
}

function nextSteps(name: string, options: Readonly<Record<string, unknown>>): string {
  const { store, path, field } = options;
  const key =
    store === 'embedded' && typeof path === 'string' && typeof field === 'string' && !path.includes('{')
      ? `Put its key there, if it is not yet: cambist secret set ${path} --field ${field}\n`
      : '';
  return `${key}Its egress URI is <issuer>/egress/${name}: what tokens for it are asked for with, and the base URL of requests to it.
A server gets there along a call edge: cambist resource add … --calls "upstream:${name} needs=… gives=…"; policies name it "${name}".`;
}
