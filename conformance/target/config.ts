/**
 * The target's description: its clients, where subject tokens come from, its resources, and what its owner says of it.
 * Read from YAML or JSON and checked whole, so that a typing error is not mistaken for a fault of the target.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const secret = z
  .union([z.string().min(1), z.strictObject({ file: z.string().min(1) }), z.strictObject({ env: z.string().min(1) })])
  .describe('A value, a file that holds it, or an environment variable');
export type Secret = z.infer<typeof secret>;

const authentication = z.discriminatedUnion('method', [
  z.strictObject({ method: z.literal('client_secret_basic'), secret }),
  z.strictObject({ method: z.literal('client_secret_post'), secret }),
  z.strictObject({
    method: z.literal('private_key_jwt'),
    key_file: z.string().min(1).describe('Private JWK; made on first use (`keygen` prints its public half)'),
    alg: z.enum(['ES256', 'RS256', 'PS256', 'EdDSA']).default('ES256'),
    audience: z
      .string()
      .default('issuer')
      .describe('`aud` of honest assertions: issuer, token_endpoint, or a literal value'),
  }),
]);
export type Authentication = z.infer<typeof authentication>;

const client = z.strictObject({
  client_id: z.string().min(1),
  auth: z.array(authentication).min(1).describe('Ways that it may authenticate; the first is the usual one'),
});
export type ClientConfig = z.infer<typeof client>;

const CLIENT_ROLES = ['requester', 'server', 'other', 'keyed', 'unentitled'] as const;
export type ClientRole = (typeof CLIENT_ROLES)[number];
const role = z.enum(CLIENT_ROLES);

const tokenType = z.string().min(1).describe('access_token, id_token, jwt, or a URN');
const parameters = z.record(z.string(), z.union([z.string(), z.array(z.string())])).default({});

const tokenSource = z.discriminatedUnion('source', [
  z.strictObject({
    source: z.literal('suite'),
    type: tokenType.default('id_token'),
    typ: z.string().optional().describe('JOSE typ header'),
    claims: z.record(z.string(), z.unknown()).describe('Claims beside iss, iat, exp and jti; needs sub and aud'),
  }),
  z.strictObject({
    source: z.literal('client_credentials'),
    type: tokenType.default('access_token'),
    client: role.default('requester'),
    parameters,
  }),
  z.strictObject({
    source: z.literal('password'),
    type: tokenType.default('access_token'),
    client: role.default('requester'),
    username: z.string(),
    password: secret,
    parameters,
    field: z.string().default('access_token').describe('Which member of the answer is the token'),
  }),
  z.strictObject({ source: z.literal('static'), type: tokenType.default('access_token'), token: secret }),
  z.strictObject({
    source: z.literal('command'),
    type: tokenType.default('access_token'),
    command: z.array(z.string()).min(1).describe('Program and arguments; prints the token'),
  }),
]);
export type TokenSource = z.infer<typeof tokenSource>;

const partyClaims = z.record(z.string(), z.unknown()).describe('Claims that the party must have, such as sub');

const resource = z.strictObject({
  name: z.string().min(1),
  resource: z.string().optional().describe('Its value of the `resource` parameter (RFC 8707), if the target takes it'),
  audience: z.string().optional().describe('Its value of the `audience` parameter (RFC 8693), if the target takes it'),
  aud: z.string().optional().describe('`aud` of its tokens, where it is not the value that was asked for'),
  scopes: z.array(z.string()).default([]).describe('Scopes that the default subject and the requester may have there'),
  denied_scopes: z.array(z.string()).default([]).describe('Scopes that exist there and that policy denies them'),
});
export type ResourceConfig = z.infer<typeof resource>;

const denial = z.strictObject({
  what: z.string().min(1).describe('The rule in words: "policy denies …"'),
  client: role.default('requester'),
  subject: z.string().default('default'),
  resource: z.string(),
  scope: z.string().optional(),
});

export const targetSchema = z.strictObject({
  name: z.string().min(1).describe('Product and version, as reports shall name it'),
  issuer: z.url().optional().describe('Issuer identifier; --issuer wins'),
  token_endpoint: z.url().optional().describe('Only for a target without metadata'),
  suite: z
    .strictObject({
      listen: z.url().describe('Where the suite serves its own issuers: a loopback address with a port'),
      algorithm: z.enum(['RS256', 'ES256']).default('RS256'),
      key_file: z.string().optional().describe('Keeps the trusted issuer’s key between runs'),
      trusted: z.boolean().default(true).describe('Whether the target was told to trust LISTEN/trusted'),
    })
    .optional(),
  clients: z.partialRecord(role, client).refine((roles) => roles.requester !== undefined, 'needs a `requester`'),
  subjects: z.record(z.string(), tokenSource).refine((named) => 'default' in named, 'needs a `default`'),
  exchange: z
    .strictObject({ parameters, scope: z.string().optional(), requested_token_type: tokenType.optional() })
    .default({ parameters: {} })
    .describe('What every exchange at this target needs beside the standard parameters'),
  resources: z.array(resource).min(1),
  unknown_target: z.string().default('https://nobody-registered-this.example/mcp'),
  client_credentials: z
    .strictObject({ client: role.default('requester'), parameters })
    .optional()
    .describe('An honest client_credentials request, if the target offers the grant'),
  delegation: z
    .strictObject({
      actor: z.enum(['client', 'token']).describe('Who becomes the actor: the authenticated client, or an actor token'),
      actor_token: tokenSource.optional(),
      expected: partyClaims.describe('Claims of `act` after an exchange by the requester'),
      hop: z
        .strictObject({
          resource: z.string().describe('Where the server exchanges on to'),
          scope: z.string().optional(),
          expected: partyClaims.describe('Claims of the outermost `act` after the hop by `server`'),
        })
        .optional(),
      may_act: partyClaims.optional().describe('The value of may_act that names the requester'),
    })
    .optional(),
  introspection: z
    .strictObject({ client: role })
    .optional()
    .describe('Who may introspect tokens of the first resource'),
  protected_resources: z
    .array(
      z.strictObject({
        url: z.url(),
        resource: z.string().describe('Its name among `resources`'),
        scope: z.string().optional().describe('Scopes of a token that is enough for the request'),
        body: z.string().optional().describe('A JSON body to POST; without one the request is a GET'),
        too_little: z
          .strictObject({ scope: z.string(), body: z.string().optional() })
          .optional()
          .describe('A scope that is too little for the request'),
      }),
    )
    .default([]),
  expectations: z
    .strictObject({
      subject: partyClaims.optional().describe('Claims of a token about the default subject'),
      assertions_are_single_use: z
        .boolean()
        .default(false)
        .describe('The target refuses a client assertion seen before'),
      denied: z.array(denial).default([]),
    })
    .default({ assertions_are_single_use: false, denied: [] }),
});
export type TargetConfig = z.infer<typeof targetSchema>;

/** Thrown for a configuration that cannot be used; the message names every fault. */
export class ConfigFault extends Error {}

/** Reads and checks a configuration; relative files in it are relative to it. */
export function readTargetConfig(path: string, environment: NodeJS.ProcessEnv): TargetConfig {
  if (!existsSync(path)) throw new ConfigFault(`${path}: no such file`);
  let document: unknown;
  try {
    document = parse(withEnvironment(readFileSync(path, 'utf8'), environment));
  } catch (error) {
    throw new ConfigFault(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const checked = targetSchema.safeParse(document);
  if (!checked.success) throw new ConfigFault(`${path}:\n${z.prettifyError(checked.error)}`);
  return resolveFiles(checked.data, dirname(path));
}

function withEnvironment(text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(/\$\{([A-Z][A-Z0-9_]*)\}/g, (_all, name: string) => {
    const value = environment[name];
    if (value === undefined) throw new ConfigFault(`the environment variable ${name} is not set`);
    return value;
  });
}

function resolveFiles(config: TargetConfig, folder: string): TargetConfig {
  const resolve = (path: string) => (isAbsolute(path) ? path : join(folder, path));
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name,
        (name === 'file' || name === 'key_file') && typeof inner === 'string' ? resolve(inner) : visit(inner),
      ]),
    );
  };
  return visit(config) as TargetConfig;
}

/** The value of a secret. */
export function secretValue(given: Secret): string {
  if (typeof given === 'string') return given;
  if ('file' in given) return readFileSync(given.file, 'utf8').trim();
  const value = process.env[given.env];
  if (value === undefined) throw new ConfigFault(`the environment variable ${given.env} is not set`);
  return value;
}

/** Every secret of the configuration, so that reports can hide them. */
export function allSecrets(config: TargetConfig): string[] {
  const found: string[] = [];
  const keep = (given: Secret) => found.push(secretValue(given));
  for (const one of Object.values(config.clients))
    for (const auth of one.auth) if (auth.method !== 'private_key_jwt') keep(auth.secret);
  for (const source of [...Object.values(config.subjects), config.delegation?.actor_token]) {
    if (source?.source === 'password') keep(source.password);
    if (source?.source === 'static') keep(source.token);
  }
  return found;
}
