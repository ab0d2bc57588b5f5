/**
 * What is allowed and weaker than it could be: said at every apply, for as long as it is so.
 */
import type { Client } from '../objects/client.ts';
import type { TrustedIssuer } from '../objects/issuer.ts';
import type { Upstream } from '../objects/upstream.ts';
import { objectLabel } from './objects-file.ts';
import type { WorldObject } from './world.ts';

/** The warnings of one object, each a sentence that begins with the object. */
export function warningsOf({ kind, name, spec }: WorldObject): string[] {
  const label = objectLabel(kind, name);
  if (kind === 'client') return clientWarnings(spec as Client).map((text) => `${label}: ${text}`);
  if (kind === 'upstream') return upstreamWarnings(spec as Upstream).map((text) => `${label}: ${text}`);
  if (kind === 'issuer') return issuerWarnings(spec as TrustedIssuer).map((text) => `${label}: ${text}`);
  return [];
}

function clientWarnings(spec: Client): string[] {
  const warnings: string[] = [];
  if (spec.token_endpoint_audience)
    warnings.push(
      'token_endpoint_audience accepts assertions made for the token endpoint; another server that knows its URL can have them made (rfc7523bis). Let the client use our issuer as aud',
    );
  if (spec.allow_default_service_account)
    warnings.push(
      'allow_default_service_account: every pod of that namespace without an account of its own is this client',
    );
  return warnings;
}

function upstreamWarnings({ credential, inject }: Upstream): string[] {
  const warnings: string[] = [];
  if (credential.kind === 'static' && credential.allow_fetch)
    warnings.push(
      'credential.allow_fetch hands the key itself to its callers, who have it for as long as it is not rotated. Leave it out, and let them send requests through the egress',
    );
  if (inject.kind === 'query')
    warnings.push('inject.kind query puts the key into URLs, which its servers and proxies may write into their logs');
  return warnings;
}

function issuerWarnings(spec: TrustedIssuer): string[] {
  const warnings = spec.audiences
    .filter(({ clients }) => clients.includes('*'))
    .map(({ value }) => `audience ${value} may be presented by every client ("*")`);
  if (spec.subject.verbatim)
    warnings.push('subject.verbatim: its subjects are told from others by nothing but the care of that issuer');
  return warnings;
}
