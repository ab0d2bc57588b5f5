/**
 * `cambist issuer`: the trusted issuers, whose tokens count here.
 */
import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { CliFailure, EXIT } from './failure.ts';
import { addNounCommand } from './noun.ts';
import { jwksOf, numberOf, pairOf } from './object-flags.ts';
import type { FieldFlag } from './object-flags.ts';

export function addIssuerCommand(program: Command, context: CliContext): void {
  addNounCommand(program, context, {
    kind: 'issuer',
    about: 'trusted issuers: whose tokens count here',
    argument: 'NAME',
    example: 'corp',
    disabling: 'refuse every token of a trusted issuer, and everybody whom it vouched for',
    columns: { ISSUER: (spec) => spec.issuer, TOKENS: (spec) => Object.keys(spec.token_types).join(',') },
    naming: (name) => ({ name }),
    fields: FIELDS,
    addExamples: [
      'cambist issuer add corp --issuer https://login.example.com --audience staff-portal=planner,notes-agent \\',
      '    --groups-claim groups',
      'cambist issuer add ci --issuer https://token.actions.githubusercontent.com --token-type jwt',
      'cambist issuer add cluster --issuer https://kubernetes.default.svc.cluster.local --token-type jwt --internal \\',
      '    --jwks-uri https://10.0.0.1/openid/v1/jwks --ca-file /etc/cambist/cluster.pem',
      'cambist issuer add -f corp.yaml',
    ],
  });
}

const FIELDS: readonly FieldFlag[] = [
  {
    flags: '--issuer <url>',
    description: 'the exact iss of its tokens; its keys are found through OpenID Connect discovery',
    field: 'issuer',
    shape: 'one',
  },
  {
    flags: '--audience <value=clients>',
    description: 'an audience that its tokens may have, and the clients that may present them, as in portal=a,b',
    field: 'audiences',
    shape: 'list',
    read: audienceOf,
  },
  {
    flags: '--client <id>',
    description: 'only these clients may present any token of it',
    field: 'clients',
    shape: 'list',
  },
  {
    flags: '--token-type <type>',
    description: 'kind of token that is accepted of it (default: id_token)',
    field: 'token_types',
    shape: 'map',
    choices: ['id_token', 'access_token', 'jwt'],
    read: (type) => [type, {}],
  },
  { flags: '--jwks-uri <url>', description: 'where its keys are, without discovery', field: 'jwks_uri', shape: 'one' },
  {
    flags: '--jwks-file <file>',
    description: 'its public keys, as a JWK Set',
    field: 'jwks',
    shape: 'one',
    read: jwksOf,
  },
  { flags: '--internal', description: 'its URLs may point to private addresses', field: 'internal', shape: 'truth' },
  {
    flags: '--ca-file <path>',
    description: 'PEM file of the authority of its certificate',
    field: 'ca_file',
    shape: 'one',
  },
  {
    flags: '--algorithm <alg>',
    description: 'signature algorithm that it may use (default: RS256, ES256)',
    field: 'algorithms',
    shape: 'list',
  },
  { flags: '--groups-claim <claim>', description: 'claim that lists groups', field: 'claims.groups', shape: 'one' },
  { flags: '--email-claim <claim>', description: 'claim with the e-mail address', field: 'claims.email', shape: 'one' },
  {
    flags: '--subject-claim <claim>',
    description: 'claim that makes the subject (default: sub; Entra: tid and oid)',
    field: 'subject.claims',
    shape: 'list',
  },
  {
    flags: '--require <claim=value>',
    description: 'a claim that every token of it must have, with this value',
    field: 'required_claims',
    shape: 'map',
    read: (text) => pairOf(text, 'CLAIM=VALUE'),
  },
  {
    flags: '--max-lifetime-seconds <n>',
    description: 'longest exp − iat of its tokens',
    field: 'max_lifetime_seconds',
    shape: 'one',
    read: numberOf,
  },
  {
    flags: '--single-use',
    description: 'each of its tokens is good for one exchange',
    field: 'single_use',
    shape: 'truth',
  },
  { flags: '--description <text>', description: 'what it is', field: 'description', shape: 'one' },
];

/** The clients follow the last `=`: a value may have one, a client id has none. */
function audienceOf(text: string): unknown {
  const at = text.lastIndexOf('=');
  const clients = text.slice(at + 1).split(',');
  if (at < 1 || clients.includes(''))
    throw new CliFailure(EXIT.usage, 'usage', `--audience must be VALUE=CLIENT,CLIENT, not "${text}"`);
  return { value: text.slice(0, at), clients };
}
