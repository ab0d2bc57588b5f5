/**
 * Upstream: a third-party API behind a resource. Who may use it, which requests it takes, where its credential comes from
 * and how that is put into a request. It is a target like a resource is: its tokens have its egress URI as audience.
 */
import { z } from 'zod';
import { isLoopbackUrl } from '../core/uri.ts';
import { freeText, line, objectName, remoteUrl, requestsPerMinute, scopeName } from './names.ts';
import { MAX_TOKEN_LIFETIME_SECONDS } from './resource.ts';
import { pathPattern, secretPath, templateFault } from './upstream-templates.ts';

/** An HTTP field name (RFC 9110 §5.1). */
const headerName = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'must be a header name: letters, digits, "-"');

/** Headers that are not the credential's to set: they frame the message, or say who sent it. */
const RESERVED_HEADERS =
  /^(host|connection|content-.*|transfer-encoding|te|trailer|upgrade|keep-alive|proxy-.*|cookie|set-cookie|forwarded|x-forwarded-.*|x-http-method.*|x-method-override|expect|traceparent|tracestate)$/i;

const requestRule = z.strictObject({
  methods: z
    .array(z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', '*']))
    .min(1)
    .describe('HTTP methods; "*" = all of these'),
  path: pathPattern.describe('Path below the base URL: * stands for one segment, ** at the end for any rest'),
  scopes: z.array(scopeName).min(1).describe('Scopes that the token must all have'),
});

const secretField = line(256).min(1);

const secretPlace = {
  store: z.enum(['vault', 'embedded']).describe('Where the secret lies'),
  mount: secretPath.optional().describe('Mount of the KV v2 engine; absent = vault.kv_mount of the settings'),
  path: secretPath.describe(
    'Path of the secret; may hold {subject}, {subject_hash}, {client} and {resource}, whose values are encoded',
  ),
  login: z
    .enum(['service', 'subject'])
    .default('service')
    .describe('As whom to log in to Vault: as Cambist, or as the subject (vault.subject_login of the settings)'),
} as const;

const staticCredential = z.strictObject({
  kind: z.literal('static'),
  ...secretPlace,
  field: secretField.describe('Field of the secret'),
  username_field: secretField.optional().describe('Field of the user name, for basic'),
  allow_fetch: z
    .boolean()
    .default(false)
    .describe('Hand the key out by token exchange; shown as a warning and in every record'),
});

const dynamicCredential = z.strictObject({
  kind: z.literal('dynamic'),
  store: z.literal('vault').default('vault'),
  path: secretPath.describe('What is read for a lease, such as database/creds/readonly'),
  login: secretPlace.login,
  field: secretField.optional().describe('What is injected; absent = the credential can only be fetched'),
  username_field: secretField.optional().describe('Field of the user name, for basic'),
  lifetime_seconds: z
    .number()
    .int()
    .min(10)
    .max(MAX_TOKEN_LIFETIME_SECONDS)
    .default(MAX_TOKEN_LIFETIME_SECONDS)
    .describe('Longest life of a lease'),
});

const clientCredentialsCredential = z.strictObject({
  kind: z.literal('oauth_client_credentials'),
  ...secretPlace,
  token_url: remoteUrl.describe('Token endpoint of the upstream (RFC 6749 §4.4)'),
  client_id: line(512).min(1).describe('client_id at the upstream'),
  field: secretField.describe('Field of the secret that holds the client secret'),
  auth: z.enum(['client_secret_basic', 'client_secret_post']).default('client_secret_basic'),
  scope: line(2048).optional().describe('Asked for at the upstream'),
  audience: line(2048).optional().describe('Sent as `audience`, where the upstream wants one'),
  resource: line(2048).optional().describe('Sent as `resource` (RFC 8707), where the upstream wants one'),
});

const injection = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('bearer') }),
  z.strictObject({
    kind: z.literal('basic'),
    username: line(512).optional().describe('Fixed user name; absent = that of the credential'),
  }),
  z.strictObject({
    kind: z.literal('header'),
    name: headerName,
    template: line(512).default('{credential}').describe('Value of the header; {credential} is replaced'),
  }),
  z.strictObject({
    kind: z.literal('query'),
    name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be a parameter name: letters, digits, ".", "_", "-"'),
    allow_query: z.literal(true).describe('Said explicitly, since a key in a URL ends up in the logs of the upstream'),
  }),
]);

export const upstreamSpec = z
  .strictObject({
    name: objectName.describe('Also the segment of its egress URI: <issuer>/egress/<name>'),
    description: freeText(1000).optional(),
    base_url: remoteUrl.describe('Requests go below it'),
    more_urls: z
      .record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/), remoteUrl)
      .default({})
      .describe('Further base URLs by label, reached at /egress/<name>:<label>/'),
    internal: z.boolean().default(false).describe('Its URLs may point to private or loopback addresses'),
    ca_file: line(4096).optional().describe('PEM file of the authority that signed its TLS certificate'),
    scopes: z.record(scopeName, freeText(1000)).describe('Scopes and what each allows'),
    default_scopes: z.array(scopeName).default([]).describe('Asked for when a request names no scope'),
    callers: z.array(objectName).default([]).describe('Clients that may use it, as current actor or as themselves'),
    requests: z.array(requestRule).min(1).max(200).describe('Requests that are let through; everything else is not'),
    credential: z.discriminatedUnion('kind', [staticCredential, dynamicCredential, clientCredentialsCredential]),
    inject: injection.default({ kind: 'bearer' }),
    require_tags: z
      .strictObject({
        owner: z.boolean().default(false).describe('custom_metadata must name the subject as cambist_owner'),
        audience: z.boolean().default(false).describe('custom_metadata must name this upstream as cambist_audience'),
      })
      .default({ owner: false, audience: false })
      .describe('A tag that is there is always checked; these must be there'),
    timeout_ms: z.number().int().min(100).max(600_000).default(30_000).describe('To the first byte of the answer'),
    idle_timeout_ms: z.number().int().min(100).max(600_000).default(60_000).describe('Between two pieces of a body'),
    request_bytes_max: z.number().int().min(0).max(10_737_418_240).default(104_857_600),
    response_bytes_max: z.number().int().min(0).max(10_737_418_240).default(1_073_741_824),
    lifetime_seconds: z.number().int().min(10).max(MAX_TOKEN_LIFETIME_SECONDS).default(300),
    requests_per_minute: requestsPerMinute.describe(
      'Requests of one client for its tokens per minute at the token endpoint, over all nodes; absent = limits.resource_per_minute of the settings',
    ),
    demo: z.boolean().default(false),
  })
  .superRefine((spec, context) => {
    const fault = (path: (string | number)[], message: string) => {
      context.addIssue({ code: 'custom', path, message });
    };
    for (const [index, scope] of spec.default_scopes.entries())
      if (!Object.hasOwn(spec.scopes, scope)) fault(['default_scopes', index], `"${scope}" is not among scopes`);
    for (const [index, rule] of spec.requests.entries())
      for (const [at, scope] of rule.scopes.entries())
        if (!Object.hasOwn(spec.scopes, scope))
          fault(['requests', index, 'scopes', at], `"${scope}" is not among scopes`);
    const urls: [(string | number)[], string][] = [
      [['base_url'], spec.base_url],
      ...Object.entries(spec.more_urls).map(([label, url]): [(string | number)[], string] => [
        ['more_urls', label],
        url,
      ]),
    ];
    const { credential, inject } = spec;
    if (credential.kind === 'oauth_client_credentials') urls.push([['credential', 'token_url'], credential.token_url]);
    for (const [path, url] of urls) {
      if (url.startsWith('http:') && !(spec.internal && isLoopbackUrl(url)))
        fault(path, 'must be https (http only on loopback, with internal: true)');
      if (url.includes('?')) fault(path, 'must have no query');
    }
    const template = templateFault(credential.path);
    if (template !== undefined) fault(['credential', 'path'], template);
    if ('mount' in credential && credential.mount?.includes('{') === true)
      fault(['credential', 'mount'], 'must be the same for everybody: it takes no placeholders');
    if (credential.store === 'embedded' && credential.login === 'subject')
      fault(['credential', 'login'], 'only Vault knows logins');
    if (inject.kind === 'header') {
      if (RESERVED_HEADERS.test(inject.name))
        fault(['inject', 'name'], 'is a header that no credential may be put into');
      if (inject.template.split('{credential}').length !== 2)
        fault(['inject', 'template'], 'must hold {credential} exactly once');
    }
    const usernameField = 'username_field' in credential ? credential.username_field : undefined;
    if (inject.kind === 'basic' && (inject.username === undefined) === (usernameField === undefined))
      fault(['inject'], 'basic needs a user name: either username here, or username_field of the credential');
  });

export type Upstream = z.infer<typeof upstreamSpec>;
export type CredentialSource = Upstream['credential'];
export type Injection = Upstream['inject'];
export type RequestRule = Upstream['requests'][number];
