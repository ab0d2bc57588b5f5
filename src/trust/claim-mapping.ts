/**
 * What the claims of a trusted issuer's token mean here: subject, groups, display fields, and its scopes where a mapping
 * gives them a meaning. Refuses what cannot be read with certainty: a missing group list that is only elsewhere
 * ("overage") is not an empty one, and two different subjects never compose to one string.
 */
import type { TrustedIssuer } from '../objects/issuer.ts';
import { claimAt } from '../tokens/claims.ts';
import { fault } from '../tokens/fault.ts';
import type { Fault } from '../tokens/fault.ts';
import { isJsonObject } from '../tokens/strict-json.ts';
import type { JsonObject } from '../tokens/strict-json.ts';

/** Scopes at one resource that a token's own scope stands for. */
export interface Entitlement {
  readonly resource: string;
  readonly scopes: readonly string[];
}

/** Longest subject, and longest claim that is part of one, in characters. */
export const MAX_SUBJECT_LENGTH = 1024;
const MAX_GROUPS = 1000;
const MAX_GROUP_LENGTH = 512;
const MAX_DISPLAY_LENGTH = 512;
/** SPIFFE-ID §2.2: a path of non-empty segments, none of them a dot segment. */
const SPIFFE_PATH = /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)+$/;

/**
 * The subject (R13): one claim verbatim, or several joined with ":", with ":" and "%" inside them percent-encoded so
 * that no two lists of values give one string.
 */
export function readSubject(claims: JsonObject, spec: TrustedIssuer): string | Fault {
  const names = spec.subject.claims;
  const parts: string[] = [];
  for (const name of names) {
    const value = claimAt(claims, name);
    if (value === undefined) return fault('claim_missing', name);
    if (!isText(value, MAX_SUBJECT_LENGTH)) return fault('claim_invalid', name);
    parts.push(names.length === 1 ? value : value.replace(/[%:]/g, encodeURIComponent));
  }
  const subject = parts.join(':');
  if (subject.length > MAX_SUBJECT_LENGTH) return fault('claim_invalid', 'sub');
  if (spec.issuer.startsWith('spiffe://') && !isInTrustDomain(claims.sub, spec.issuer))
    return fault('claim_invalid', 'sub');
  return subject;
}

/** The mapped groups as `issuer-short-name:group`, without duplicates; none where no groups are mapped. */
export function readGroups(claims: JsonObject, spec: TrustedIssuer): readonly string[] | Fault {
  const path = spec.claims.groups;
  if (path === undefined) return [];
  if (isOverage(claims, path)) return fault('groups_overage', path);
  const value = claimAt(claims, path) ?? [];
  const groups: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (groups.length > MAX_GROUPS) return fault('groups_overage', path);
  if (!groups.every((group) => isText(group, MAX_GROUP_LENGTH))) return fault('claim_invalid', path);
  return [...new Set(groups)].map((group) => `${spec.name}:${group}`);
}

/** What the token's own scopes mean here; `undefined` where the trusted issuer has no mapping. */
export function readEntitlement(claims: JsonObject, spec: TrustedIssuer): readonly Entitlement[] | undefined | Fault {
  const mapping = spec.claims.scope;
  if (mapping === undefined) return undefined;
  const value = claimAt(claims, mapping.claim) ?? [];
  const scopes: readonly unknown[] =
    typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [null];
  if (!scopes.every((scope) => typeof scope === 'string')) return fault('claim_invalid', mapping.claim);
  const byResource = new Map<string, Set<string>>();
  for (const scope of new Set(scopes)) {
    if (!Object.hasOwn(mapping.values, scope)) continue;
    for (const meaning of mapping.values[scope] ?? []) {
      const known = byResource.get(meaning.resource) ?? new Set();
      byResource.set(meaning.resource, new Set([...known, ...meaning.scopes]));
    }
  }
  return [...byResource].map(([resource, names]) => ({ resource, scopes: [...names] }));
}

/**
 * E-mail and display name are shown to people and auditors and decide nothing, so one that is not a plain string is left
 * out. An e-mail address that the issuer itself calls unverified is left out as well: somebody would trust it.
 */
export function readDisplay(
  claims: JsonObject,
  spec: TrustedIssuer,
): { readonly email?: string; readonly name?: string } {
  const { email: emailPath, name: namePath } = spec.claims;
  const unverified = claims.email_verified === false || claims.email_verified === 'false';
  const email = emailPath === undefined || unverified ? undefined : claimAt(claims, emailPath);
  const name = namePath === undefined ? undefined : claimAt(claims, namePath);
  return {
    ...(isText(email, MAX_DISPLAY_LENGTH) && { email }),
    ...(isText(name, MAX_DISPLAY_LENGTH) && { name }),
  };
}

/** Entra leaves the list out when it is long, and says where to ask for it (OpenID Connect Core §5.6.2). */
function isOverage(claims: JsonObject, path: string): boolean {
  const elsewhere = claims._claim_names;
  if (isJsonObject(elsewhere) && Object.hasOwn(elsewhere, path)) return true;
  return path === 'groups' && (claims.hasgroups === true || claims.hasgroups === 'true');
}

function isInTrustDomain(sub: unknown, issuer: string): boolean {
  return typeof sub === 'string' && sub.startsWith(`${issuer}/`) && SPIFFE_PATH.test(sub.slice(issuer.length));
}

/** A non-empty string within bounds and without control characters. */
function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value !== '' && value.length <= maxLength && !/\p{Cc}/u.test(value);
}
