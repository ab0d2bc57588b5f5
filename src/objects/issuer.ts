/**
 * Trusted issuer: a source of external tokens. Which tokens of it count, in whose hands, and what their claims mean.
 */
import { z } from 'zod';
import { SIGNATURE_ALGORITHMS } from '../core/protocol.ts';
import { isLoopbackUrl } from '../core/uri.ts';
import { freeText, line, objectName, remoteUrl, scopeName, targetUri } from './names.ts';

/** How one kind of token of this issuer is recognised, so that kinds cannot be confused (RFC 8725 §3.11). */
const tokenTypeRule = z.strictObject({
  /** Accepted JOSE `typ` values, case-insensitive, `application/` prefix ignored; `""` = header without `typ`. */
  typ: z.array(line(64)).min(1).max(8).optional(),
  /** Claims that must be there: `true` = present, else equal to this value. */
  require: z.record(line(128), z.union([z.literal(true), line(2048), z.number()])).optional(),
  /** Claims that must not be there. */
  forbid: z.array(line(128)).max(32).optional(),
});
export type TokenTypeRule = z.infer<typeof tokenTypeRule>;

const TOKEN_TYPE_NAMES = ['access_token', 'id_token', 'jwt'] as const;
export type ExternalTokenType = (typeof TOKEN_TYPE_NAMES)[number];

const claimPath = line(256).min(1);

export const issuerSpec = z
  .strictObject({
    name: objectName.describe('Short name: the prefix of `sub` in our tokens for its subjects'),
    issuer: line(2048).describe(
      'Exact `iss` of its tokens; may hold {tenant}, then `tenants` lists the allowed ones; spiffe://trust-domain for SPIFFE',
    ),
    tenants: z
      .array(z.string().regex(/^[A-Za-z0-9._-]{1,128}$/))
      .min(1)
      .max(1000)
      .optional(),
    description: freeText(1000).optional(),
    internal: z.boolean().default(false).describe('Its URLs may point to private or loopback addresses'),
    discovery: z
      .boolean()
      .optional()
      .describe('Find the keys through OpenID Connect discovery (default when neither jwks nor jwks_uri is given)'),
    jwks_uri: remoteUrl.optional(),
    jwks: z.strictObject({ keys: z.array(z.record(z.string(), z.unknown())).min(1).max(20) }).optional(),
    ca_file: line(4096).optional().describe('PEM file of the authority that signed its TLS certificate'),
    bearer_file: z
      .string()
      .max(4096)
      .optional()
      .describe('File whose content is sent as bearer token to the JWKS URL (Kubernetes)'),
    audiences: z
      .array(
        z.strictObject({
          value: line(2048).min(1),
          clients: z.array(z.union([objectName, z.literal('*')])).min(1),
        }),
      )
      .max(100)
      .default([])
      .describe('Audiences, beside Cambist itself, that its tokens may have, and which clients may present them'),
    clients: z
      .array(objectName)
      .optional()
      .describe(
        'Only these clients may present any token of this issuer; absent = those that `audiences` name, and any client for tokens whose audience is Cambist',
      ),
    algorithms: z.array(z.enum(SIGNATURE_ALGORITHMS)).min(1).default(['RS256', 'ES256']),
    token_types: z
      .partialRecord(z.enum(TOKEN_TYPE_NAMES), tokenTypeRule)
      .default({ id_token: {} })
      .describe('Kinds of token that are accepted of it. Kubernetes, GitHub Actions and SPIFFE: {jwt: {}}'),
    required_claims: z.record(line(128), z.union([z.literal(true), line(2048), z.number(), z.boolean()])).default({}),
    subject: z
      .strictObject({
        claims: z
          .array(claimPath)
          .min(1)
          .max(3)
          .default(['sub'])
          .describe('Claims whose values make the subject; Entra: [tid, oid]'),
        verbatim: z
          .boolean()
          .default(false)
          .describe('Write its `sub` into our tokens without the short name in front'),
      })
      .default({ claims: ['sub'], verbatim: false }),
    claims: z
      .strictObject({
        groups: claimPath.optional(),
        email: claimPath.optional(),
        name: claimPath.optional(),
        scope: z
          .strictObject({
            claim: claimPath.default('scope'),
            values: z.record(
              line(2048),
              z.array(z.strictObject({ resource: targetUri, scopes: z.array(scopeName).min(1) })),
            ),
          })
          .optional()
          .describe('What a scope of its tokens means here; absent = its scopes mean nothing here'),
      })
      .default({}),
    max_lifetime_seconds: z
      .number()
      .int()
      .min(60)
      .max(7 * 86400)
      .default(86400)
      .describe('Longest exp − iat of a token of it'),
    single_use: z.boolean().default(false),
    demo: z.boolean().default(false),
  })
  .superRefine((spec, context) => {
    const fault = (path: string, message: string) => {
      context.addIssue({ code: 'custom', path: [path], message });
    };
    const sources = [spec.jwks !== undefined, spec.jwks_uri !== undefined, spec.discovery === true].filter(
      Boolean,
    ).length;
    if (sources > 1) fault('jwks_uri', 'give one of discovery, jwks_uri and jwks');
    const templated = spec.issuer.includes('{tenant}');
    if (templated && spec.tenants === undefined) fault('tenants', 'the issuer has {tenant}: list the allowed tenants');
    if (!templated && spec.tenants !== undefined) fault('tenants', 'the issuer has no {tenant}: remove this');
    const spiffe = spec.issuer.startsWith('spiffe://');
    if (spiffe && !/^spiffe:\/\/[a-z0-9._-]+$/.test(spec.issuer))
      fault('issuer', 'a SPIFFE issuer is spiffe://trust-domain');
    if (spiffe && spec.jwks === undefined && spec.jwks_uri === undefined)
      fault('jwks_uri', 'a SPIFFE trust domain needs its bundle endpoint here, or its jwks');
    if (!spiffe && !URL.canParse(spec.issuer.replace('{tenant}', 't'))) fault('issuer', 'must be a URL');
    for (const [path, url] of [
      ['issuer', spiffe || spec.jwks !== undefined || spec.jwks_uri !== undefined ? undefined : spec.issuer],
      ['jwks_uri', spec.jwks_uri],
    ] as const) {
      if (url === undefined || url.startsWith('https://')) continue;
      if (!(spec.internal && isLoopbackUrl(url)))
        fault(path, 'must be https (http only on loopback, for an issuer with internal: true)');
    }
    if (spec.claims.scope === undefined && Object.keys(spec.token_types).length === 0)
      fault('token_types', 'list at least one kind of token');
    const access = spec.token_types.access_token;
    if (access?.typ?.some((typ) => !/^(application\/)?at\+jwt$/i.test(typ)) && access.require === undefined)
      fault('token_types', 'access tokens without typ at+jwt need `require`: a claim that its ID tokens do not have');
    if ((spec.tenants?.length ?? 0) > 1 && spec.subject.claims.length < 2)
      fault('subject', 'subjects of several tenants need the tenant in them: claims such as [tid, oid]');
    if (spec.subject.verbatim && spec.tenants !== undefined)
      fault('subject', 'verbatim subjects cannot be told apart across tenants');
  });

export type TrustedIssuer = z.infer<typeof issuerSpec>;

/**
 * The `iss` values that can stand beside such a subject: those of the tenants that are part of it (Entra: tid in [tid, oid]),
 * all of them where none is.
 */
export function issValuesOfSubject(spec: TrustedIssuer, sub: string): string[] {
  const parts = spec.subject.claims.length > 1 ? sub.split(':') : [];
  const own = spec.tenants?.filter((tenant) => parts.includes(tenant)) ?? [];
  return issValues(own.length === 0 ? spec : { ...spec, tenants: own });
}

/** Every exact `iss` value that this trusted issuer stands for. */
export function issValues(spec: TrustedIssuer): string[] {
  return spec.tenants === undefined
    ? [spec.issuer]
    : spec.tenants.map((tenant) => spec.issuer.replaceAll('{tenant}', tenant));
}
