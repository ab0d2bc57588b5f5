/**
 * `cambist resource`: the MCP servers and other resources that tokens are for.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { addNounCommand } from './noun.ts';
import { numberOf, pairOf } from './object-flags.ts';
import type { FieldFlag } from './object-flags.ts';

export function addResourceCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'resource',
    about: 'resources: the MCP servers that tokens are for',
    argument: 'NAME',
    example: 'notes',
    disabling: 'issue no more tokens for a resource',
    columns: { URI: (spec) => spec.uri, SCOPES: (spec) => Object.keys(spec.scopes).join(' ') },
    naming: (name) => ({ name }),
    fields: FIELDS,
    addExamples: [
      'cambist resource add calendar --uri https://calendar.example.com/mcp \\',
      '    --scope "calendar:read=See events" --scope "calendar:write=Change events" \\',
      '    --default-scope calendar:read --served-by calendar-server',
      'cambist resource add notes --uri https://notes.example.com/mcp --scope "notes:read=Read notes" \\',
      '    --calls "calendar needs=notes:read gives=calendar:read"',
      'cambist resource add issues --uri https://issues.example.com/mcp --scope "issues:read=Read issues" \\',
      '    --calls "upstream:github needs=issues:read gives=github:read"',
      'cambist resource add -f notes.yaml --replace',
    ],
    next: (name) =>
      `Nobody may use it until policies permit it: see docs/policy.md, and try them with cambist policy check. It is named "${name}" there.`,
  });
}

const FIELDS: readonly FieldFlag[] = [
  { flags: '--uri <uri>', description: 'canonical URI: the aud of its tokens', field: 'uri', shape: 'one' },
  {
    flags: '--scope <name=description>',
    description: 'a scope, and what it allows',
    field: 'scopes',
    shape: 'map',
    read: (text) => pairOf(text, 'NAME=DESCRIPTION, such as "notes:read=Read notes"'),
  },
  {
    flags: '--default-scope <name>',
    description: 'asked for when a request names no scope',
    field: 'default_scopes',
    shape: 'list',
  },
  { flags: '--served-by <client>', description: 'client that is this resource', field: 'served_by', shape: 'list' },
  { flags: '--alias <uri>', description: 'another URI that names it', field: 'aliases', shape: 'list' },
  {
    flags: '--calls <edge>',
    description:
      'a resource that it may call for its callers, as "NAME needs=SCOPE,… gives=SCOPE,…", or "upstream:NAME needs=…"',
    field: 'calls',
    shape: 'list',
    read: callEdgeOf,
  },
  {
    flags: '--audience-group <name>',
    description: 'resources of one group may share one token',
    field: 'audience_group',
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
    description: 'most requests for it per minute, over all nodes',
    field: 'requests_per_minute',
    shape: 'one',
    read: numberOf,
  },
  {
    flags: '--signing-algorithm <alg>',
    description: 'of its tokens (default: ES256)',
    field: 'signing_algorithm',
    shape: 'one',
    choices: ['ES256', 'RS256'],
  },
  { flags: '--description <text>', description: 'what it is', field: 'description', shape: 'one' },
];

function callEdgeOf(text: string): unknown {
  const match = /^(?:(upstream):)?(\S+)\s+needs=(\S+)\s+gives=(\S+)$/.exec(text.trim());
  if (match === null)
    throw new CliFailure(
      EXIT.usage,
      'usage',
      `--calls must be "NAME needs=SCOPE,… gives=SCOPE,…", with upstream:NAME for an upstream, not "${text}"`,
    );
  const [, kind = 'resource', name, needs = '', gives = ''] = match;
  return { [kind]: name, needs: needs.split(','), gives: gives.split(',') };
}
