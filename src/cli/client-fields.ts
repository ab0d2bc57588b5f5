/**
 * The fields of a client that people type.
 */
import { CliFailure, EXIT } from './failure.ts';
import { jwksOf, numberOf } from './object-flags.ts';
import type { FieldFlag } from './object-flags.ts';

export const CLIENT_FIELDS: readonly FieldFlag[] = [
  {
    flags: '--auth <method>',
    description: 'how it may authenticate',
    field: 'auth',
    shape: 'list',
    choices: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'workload_identity'],
  },
  {
    flags: '--grant <grant>',
    description: 'what it may use (default: both)',
    field: 'grants',
    shape: 'list',
    choices: ['client_credentials', 'token_exchange'],
  },
  { flags: '--name <text>', description: 'name for people', field: 'name', shape: 'one' },
  { flags: '--description <text>', description: 'what it is', field: 'description', shape: 'one' },
  {
    flags: '--requests-per-minute <n>',
    description: 'most requests per minute, over all nodes',
    field: 'requests_per_minute',
    shape: 'one',
    read: numberOf,
  },
  { flags: '--group <name>', description: 'a group for policies', field: 'groups', shape: 'list' },
  {
    flags: '--jwks-file <file>',
    description: 'its public keys, as a JWK Set',
    field: 'jwks',
    shape: 'one',
    read: jwksOf,
  },
  { flags: '--jwks-uri <url>', description: 'where its public keys are', field: 'jwks_uri', shape: 'one' },
  { flags: '--internal', description: '--jwks-uri may point to a private address', field: 'internal', shape: 'truth' },
  {
    flags: '--identity <issuer:sub>',
    description: 'a workload identity that is this client: short name of a trusted issuer, a colon, the exact sub',
    field: 'identities',
    shape: 'list',
    read: identityOf,
  },
];

function identityOf(text: string): unknown {
  const colon = text.indexOf(':');
  if (colon < 1 || colon === text.length - 1)
    throw new CliFailure(EXIT.usage, 'usage', `--identity must be ISSUER:SUB, not "${text}"`);
  return { issuer: text.slice(0, colon), sub: text.slice(colon + 1) };
}
